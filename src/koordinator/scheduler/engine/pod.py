"""A pod as the engine sees it: the decoded object plus what is worked out once per pod template.

Pods of one workload differ in little that scheduling reads. ``PodReader`` recognises equal templates by their bytes, so
quantities are parsed, vectors made and signatures taken once per template and not once per pod.
"""

import weakref
from collections import deque
from collections.abc import Hashable
from operator import attrgetter
from typing import Any

import msgspec

from koordinator.api.core import Pod, PodSpec
from koordinator.api.keys import RESERVE_POD
from koordinator.api.resources import CPU, MEMORY, PODS, Amounts, pod_limits, pod_requests
from koordinator.scheduler.engine.columns import Columns, Ints
from koordinator.scheduler.engine.resized import as_counted

NONZERO_DEFAULTS: Amounts = {CPU: 100, MEMORY: 200 * 1024 * 1024}
"""What a container counts as in scores when it does not say: 100 milli-CPU and 200 MiB."""

SCHEDULER_NAME_LABEL = "scheduling.koordinator.sh/scheduler-name"
_OURS = "koordinator.sh/"
_all_but_node_name = attrgetter(*(field for field in PodSpec.__struct_fields__ if field != "node_name"))
_encode = msgspec.msgpack.Encoder().encode


class Template:
    """What pods of one template share."""

    __slots__ = ("__weakref__", "_nonzero", "_vector", "limits", "nonzero", "notes", "requests")

    def __init__(self, pod: Pod) -> None:
        self.requests: Amounts = {**pod_requests(pod), PODS: 1}
        self.limits = pod_limits(pod)
        self.nonzero: Amounts = {**self.requests, **_only_cpu_and_memory(pod_requests(pod, NONZERO_DEFAULTS))}
        self.notes: dict[Hashable, Any] = {}
        """What profiles and plugins have worked out for the template, each under a key of its own: an object made for that, or
        a name where any cluster would give the same answer. Never an ``id``: templates outlive those who note, and ids return.
        """
        self._vector: Ints | None = None
        self._nonzero: Ints | None = None

    def vector(self, columns: Columns) -> Ints:
        """Requests as a row of the columns."""
        if self._vector is None or len(self._vector) != columns.width:
            self._vector = columns.vector(self.requests)
        return self._vector

    def nonzero_vector(self, columns: Columns) -> Ints:
        """Requests as scores count them, as a row of the columns."""
        if self._nonzero is None or len(self._nonzero) != columns.width:
            self._nonzero = columns.vector(self.nonzero)
        return self._nonzero


def _only_cpu_and_memory(amounts: Amounts) -> Amounts:
    return {name: amounts[name] for name in (CPU, MEMORY) if name in amounts}


class PodInfo:
    """One pod with its template. ``pod`` is never changed; an update makes a new PodInfo."""

    __slots__ = ("key", "name", "namespace", "pod", "priority", "template", "uid")

    def __init__(self, pod: Pod, template: Template) -> None:
        self.pod = pod
        meta = pod.metadata
        self.namespace, self.name, self.uid = meta.namespace, meta.name, meta.uid
        self.key = f"{meta.namespace}/{meta.name}"
        self.priority = pod.spec.priority or 0
        self.template = template


class PodReader:
    """Makes PodInfos. Raises ValueError, naming resource and reason, for a pod whose quantities cannot be read.

    Guarantee: as long as a pod of a template is known, pods like it get that very template, however many others there are. So
    ``is`` tells whether a pod has changed in what scheduling reads.
    """

    def __init__(self, remembered: int = 4096) -> None:
        """``remembered``: so many templates stay although all their pods have gone; the next job may be of the same kind."""
        self._templates: weakref.WeakValueDictionary[Hashable, Template] = weakref.WeakValueDictionary()
        self._recent: deque[Template] = deque(maxlen=remembered)

    def read(self, pod: Pod) -> PodInfo:
        counted = as_counted(pod) if pod.status.container_statuses else pod
        key = template_key(counted)
        template = self._templates.get(key)
        if template is None:
            template = self._templates[key] = Template(counted)
            self._recent.append(template)
        return PodInfo(pod, template)


def template_key(pod: Pod) -> Hashable:
    """Equal for pods that no plugin can tell apart: their spec, our labels and annotations, the kinds of their owners."""
    meta = pod.metadata
    return (
        _encode(_all_but_node_name(pod.spec)),
        meta.namespace,
        _ours(meta.labels),
        _ours(meta.annotations),
        tuple(owner.kind for owner in meta.owner_references) if meta.owner_references else (),
    )


def _ours(entries: dict[str, str] | None) -> tuple[tuple[str, str], ...]:
    if not entries:
        return ()
    return tuple((key, value) for key, value in entries.items() if _OURS in key)


def is_reserve_pod(pod: Pod) -> bool:
    """Whether the pod stands for a Reservation and exists in our memory only."""
    return (pod.metadata.annotations or {}).get(RESERVE_POD) == "true"


def scheduler_name(pod: Pod) -> str:
    """Which scheduler the pod asks for. The label wins over the spec, even when it is empty."""
    label = (pod.metadata.labels or {}).get(SCHEDULER_NAME_LABEL)
    return label if label is not None else pod.spec.scheduler_name or "default-scheduler"
