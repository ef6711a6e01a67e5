"""Extension points beyond the Kubernetes framework's: what gangs, quotas, reservations and devices need from the engine.

A plugin has such a hook by subclassing its base; it is found when the profile is made, whichever native points it is enabled at
(transformers: only where the plugin is enabled at their native point).
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from koordinator.api.core import Node, Pod
from koordinator.scheduler.engine.framework import CycleState, Diagnosis, Plugin, Status
from koordinator.scheduler.engine.pod import PodInfo

IGNORED_NOMINATIONS = "scheduling.koordinator.sh/nominated-pods-to-ignore"
"""Cycle state: uids of pods of the same job, whose promised nodes are free for this pod."""


PHASE, POST_FILTER = "koordinator.sh/phase", "PostFilter"
"""Cycle state: set while PostFilter plugins ask what would be if. What was remembered of real nodes does not count then."""


class PreFilterTransformer(Plugin):
    """Runs before and after PreFilter of every pod, not once per signature."""

    def before_pre_filter(self, state: CycleState, pod: PodInfo) -> PodInfo | Status | None:
        """Another pod to be judged in this one's place, for this cycle's PreFilter, Filter and Score only; or a refusal."""
        return None

    def after_pre_filter(self, state: CycleState, pod: PodInfo, only: frozenset[str] | None) -> Status | None:
        """A look at the nodes that PreFilter left (None: all)."""
        return None


class View(NamedTuple):
    """How a node looks to one pod: without these pods (by uid), and with those."""

    without: tuple[str, ...] = ()
    added: tuple[PodInfo, ...] = ()


class ViewPlugin(Plugin):
    """Shows some nodes differently to some pods: a reservation's owner sees the node without the reservation.

    This is the columnar form of transforming a node before Filter, and of restoring reservations: nodes named here are judged
    one by one as they would be with these pods gone or there, all others stay as they are for everybody.
    """

    def views(self, state: CycleState, pod: PodInfo) -> Mapping[str, View]:
        """By node name."""
        raise NotImplementedError


class ScoreTransformer(Plugin):
    def before_score(self, state: CycleState, pod: PodInfo) -> Status | None:
        raise NotImplementedError


class PostFilterTransformer(Plugin):
    def after_post_filter(self, state: CycleState, pod: PodInfo, diagnosis: Diagnosis) -> None:
        raise NotImplementedError


class Plan(NamedTuple):
    """A whole job: its pods, and a node for each by its key (namespace/name)."""

    pods: tuple[PodInfo, ...]
    nodes: Mapping[str, str]


class FindOneNodePlugin(Plugin):
    """Knows the pod's node in advance: a gang that was planned as a whole. The first of a profile wins."""

    def find_one_node(self, state: CycleState, pod: PodInfo) -> str | Plan | Status | None:
        """The node; None to leave it to the cycle; a status refuses the pod.

        A plan puts the whole job on its nodes at once behind the gate EnableInlineBatchSchedule, else just this pod on its own.
        """
        raise NotImplementedError


BATCH = "koordinator.sh/batch"
"""Cycle state: the pod is placed as one of a job that is done at once. No hook may start another job then."""


class PlacementHint(NamedTuple):
    """Where the pod is going to be put, known before anybody was asked. ``extensions``: for plugins, by name."""

    nodes: tuple[str, ...]
    extensions: Mapping[str, Any]


PLACEMENT_HINT = "koordinator.sh/placement-hint"
"""Cycle state: a ``PlacementHint``. Set for pods of a job that is done at once, and by SchedulingHint."""


class PreferNodesPlugin(Plugin):
    """Names nodes to try first: the first that passes every filter is taken without scoring. The first of a profile wins."""

    def prefer_nodes(self, state: CycleState, allowed: frozenset[str] | None) -> Sequence[str]:
        raise NotImplementedError


class NextPodPlugin(Plugin):
    """May say which pod comes next, whatever the queue's order: the other members of a gang. The first of all profiles wins."""

    def next_pod(self) -> str | None:
        """The pod's uid, or None for the head of the queue."""
        raise NotImplementedError


class NominatePlugin(Plugin):
    """Chooses what on the chosen node the pod gets (a reservation). Asked once the node is known, however it was found."""

    def nominate(self, state: CycleState, pod: PodInfo, node: str) -> Status | None:
        raise NotImplementedError


class ResizePlugin(Plugin):
    """Behind the gate ResizePod: changes what the pod asks for on its chosen node; this is what is assumed and bound."""

    def resize(self, state: CycleState, pod: PodInfo, node: str) -> PodInfo | Status | None:
        raise NotImplementedError


class AnnotationPlugin(Plugin):
    """Reads annotations that people write. What of them it cannot read becomes events on the object."""

    def unreadable(self, obj: Node | Pod) -> Iterable[str]:
        """One sentence for each: annotation, field and reason."""
        raise NotImplementedError


class ForgetPlugin(Plugin):
    """Wants to know when an assumed pod is given up, even if it did not reserve.

    Of a job that is placed at once and fails it hears nothing: all in one attempt its pods were assumed and given back.
    """

    def forget(self, pod: PodInfo, node: str) -> None:
        raise NotImplementedError


class Hint(NamedTuple):
    """NUMA zones, as bits, that would do for one resource. ``affinity`` None: any zones."""

    affinity: int | None = None
    preferred: bool = True
    score: int = 0
    unsatisfied: bool = False
    """No zones will do. Set by the topology manager, not by providers."""


class HintProvider(Plugin):
    """Knows which zones of a node would do for a pod's CPUs, memory or devices. The topology manager makes all agree."""

    def hints(self, state: CycleState, pod: PodInfo, node: str) -> Mapping[str, Sequence[Hint] | None] | Status | None:
        """Per resource. No entry or None: the resource does not mind; an empty list: no zones will do; a status: not here."""
        raise NotImplementedError

    def allocate(self, state: CycleState, pod: PodInfo, node: str, hint: Hint) -> Status | None:
        """Whether the pod can have what it wants within the zones that were agreed on; remembers in ``state`` what exactly."""
        raise NotImplementedError


class Failure(NamedTuple):
    """How an attempt failed. ``plugin`` is the sole refuser, empty when there are several."""

    message: str
    plugins: frozenset[str] = frozenset()
    error: bool = False

    @property
    def plugin(self) -> str:
        return next(iter(self.plugins)) if len(self.plugins) == 1 else ""


class ErrorHandler(Plugin):
    """Hears of every failed attempt. Handlers run in order, the first that says True ends the row."""

    def before_error(self, pod: PodInfo, failure: Failure) -> bool:
        """True: handled; the pod is neither reported nor put back by the engine."""
        return False

    def after_error(self, pod: PodInfo, failure: Failure) -> bool:
        return False


class PodPlugin(Plugin):
    """Hears of every pod there is, waiting or on a node, ours or not, before queue and cluster do: a gang knows its members."""

    def pod_known(self, pod: Pod) -> None:
        """A pod has come or changed."""
        raise NotImplementedError

    def pod_gone(self, pod: Pod) -> None:
        raise NotImplementedError


# --- beside scheduling -----------------------------------------------------------------------------------------------------


class StartPlugin(Plugin):
    """Has something to do once, before the first pod. What is raised here keeps the scheduler from starting."""

    async def after_plugin_caches(self) -> None:
        """Nodes and what plugins watch are known, pods are not: a quota's tree must stand before pods are counted in it."""

    async def after_caches(self) -> None:
        """Everything is known."""


class ControllerPlugin(Plugin):
    """Has work that goes on beside scheduling: a gang's phase, a quota's status. It runs on the leader only."""

    def controllers(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """By name: what runs until it is cancelled. One that fails starts again after a pause.

        Of the plugins of one name in several profiles only the first is asked.
        """
        raise NotImplementedError


# --- one merged patch ------------------------------------------------------------------------------------------------------

PATCH = "koordinator.sh/patch"
"""Cycle state: the ``Changes`` that PreBind plugins have gathered."""


class Changes(msgspec.Struct):
    """What PreBind plugins want to be written on the pod, all in one patch."""

    annotations: dict[str, str | None] = {}
    labels: dict[str, str | None] = {}

    def __bool__(self) -> bool:
        return bool(self.annotations or self.labels)


def changes_of(state: CycleState) -> Changes:
    """Where a PreBind plugin writes the annotations and labels that record its allocation."""
    changes: Changes = state.setdefault(PATCH, Changes())
    return changes


class ApplyPatchPlugin(Plugin):
    """Writes the gathered changes. The first at PreBind that does not answer Skip has done it."""

    async def apply_patch(self, pod: PodInfo, changes: Changes) -> Status | None:
        raise NotImplementedError


# --- nominations after a failure ----------------------------------------------------------------------------------------------


class Nominating(NamedTuple):
    """What becomes of a pod's promised node after a failure: ``noop`` keeps it, ``override`` sets it (empty: none)."""

    mode: str
    node: str = ""


JOB_PREEMPTED, JOB_REJECTED, JOB_NOT_PREEMPTED = "JobPreemptionSuccessPlugin", "JobRejectPlugin", "JobPreemptionFailurePlugin"


def taken_over(wanted: Nominating, code: str, plugin: str, refuser: str, assumed_node: str) -> Nominating:
    """The job plugins' answers stand for more than one pod: they decide about the nomination, too.

    ``plugin`` is the one whose status ended the attempt, ``refuser`` the sole plugin that refused all nodes (or ``plugin``).
    """
    if code != "Unschedulable":
        return wanted
    if refuser == JOB_PREEMPTED:
        return Nominating("override", assumed_node)
    if plugin == JOB_REJECTED:
        return Nominating("noop")
    return Nominating("override") if plugin == JOB_NOT_PREEMPTED else wanted
