"""NodeMetric: what this node and its pods use, for the scheduler and for whoever sells the idle part. Assembling is pure.

Only the status is ours, and only as a merge patch. In such a patch an empty object would leave the last report's numbers
standing, so what has no samples is written as ``{"resources": null}``.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from koordinator.api import durations, priority, qos, quantity
from koordinator.api.meta import format_time
from koordinator.api.registry import NODE_METRICS
from koordinator.api.slo import NodeMetricSpec
from koordinator.api.strategies import HostApplication
from koordinator.clock import Clock
from koordinator.errors import KoordError
from koordinator.koordlet.notices import Notices
from koordinator.koordlet.observe import aggregate, series
from koordinator.koordlet.observe.series import MetricStore, Window
from koordinator.koordlet.view import PodView
from koordinator.kube.errors import NotFound
from koordinator.kube.store import Store

Usage = dict[str, Any]
_WITH_CACHE = "usageWithPageCache"
_DEFAULT_DURATIONS = (300.0, 600.0, 1800.0)
_POLL_SECONDS = 0.2
"""How often to look whether there is something to say, after the start."""


class Policy(msgspec.Struct, frozen=True):
    """How to report. Seconds."""

    aggregate: float = 300.0
    interval: float = 60.0
    durations: tuple[float, ...] = _DEFAULT_DURATIONS
    memory: str = "usageWithoutPageCache"


class Floor(msgspec.Struct, frozen=True):
    """Shorter than this is not asked of a real API server, whatever the spec says. Seconds."""

    aggregate: float = 60.0
    interval: float = 30.0


_FLOOR = Floor()


def policy(spec: NodeMetricSpec | None, floor: Floor = _FLOOR) -> Policy:
    """The spec over the defaults; intervals below the floor are lifted to it, unreadable durations are left out."""
    wanted = spec.metric_collect_policy if spec else None
    if wanted is None:
        return Policy()
    listed = wanted.node_aggregate_policy.durations if wanted.node_aggregate_policy else None
    return Policy(
        max(wanted.aggregate_duration_seconds or Policy().aggregate, floor.aggregate),
        max(wanted.report_interval_seconds or Policy().interval, floor.interval),
        _DEFAULT_DURATIONS if listed is None else tuple(seconds for text in listed if (seconds := _seconds(text)) > 0),
        wanted.node_memory_collect_policy or Policy().memory,
    )


def _seconds(text: str) -> float:
    try:
        return durations.parse(text) / durations.SECOND
    except ValueError:
        return 0.0


class Source(msgspec.Struct, frozen=True):
    """What a report is made of. ``host_apps`` is None while there is no NodeSLO; ``numa_nodes`` are those with samples."""

    store: MetricStore
    now: float
    policy: Policy
    pods: Sequence[PodView] = ()
    host_apps: Sequence[HostApplication] | None = None
    numa_nodes: Sequence[int] = ()

    @property
    def end_ms(self) -> int:
        return int(self.now * 1000)

    def window(self, kind: str, subject: str, seconds: float) -> Window:
        return self.store.window(kind, subject, self.end_ms - int(seconds * 1000), self.end_ms)

    def memory(self, plain: str, with_cache: str) -> str:
        """The memory series that the collect policy asks for."""
        return with_cache if self.policy.memory == _WITH_CACHE else plain


def assemble(source: Source) -> dict[str, Any]:
    """``status`` without its time. Empty usages are ``{}``."""
    node = (series.NODE_CPU, source.memory(series.NODE_MEMORY, series.NODE_MEMORY_CACHE))
    system = (series.SYS_CPU, series.SYS_MEMORY)
    numa = numa_usages(source)
    return {
        "nodeMetric": {
            "nodeUsage": _average(source, *node),
            "aggregatedNodeUsages": [_aggregated(source, *node, seconds) for seconds in source.policy.durations],
            "systemUsage": _average(source, *system),
            "aggregatedSystemUsages": [_aggregated(source, *system, seconds) for seconds in source.policy.durations],
            **({"numaUsages": numa} if numa else {}),
        },
        "podsMetric": _pods(source),
        "hostApplicationMetric": _host_apps(source),
    }


def numa_usages(source: Source) -> list[dict[str, Any]]:
    """By NUMA node; nodes without samples are left out."""
    found = []
    for number in sorted(source.numa_nodes):
        usage = _average(source, series.NUMA_CPU, series.NUMA_MEMORY, str(number))
        if usage:
            system = _average(source, series.SYS_NUMA_CPU, series.SYS_NUMA_MEMORY, str(number))
            found.append({"numaNodeID": number, "nodeUsage": usage, "systemUsage": system})
    return found


class Gpu(msgspec.Struct, frozen=True):
    """One GPU of this node. ``memory_total`` in bytes."""

    id: str
    minor: int
    memory_total: int


def gpu_usages(source: Source, gpus: Sequence[Gpu]) -> list[dict[str, Any]]:
    """Average use by GPU; GPUs without samples are left out."""
    found = []
    for gpu in gpus:
        core = source.window(series.NODE_GPU_CORE, gpu.id, source.policy.aggregate)
        memory = source.window(series.NODE_GPU_MEMORY, gpu.id, source.policy.aggregate)
        if len(core) and len(memory):
            used = int(memory.aggregate("avg"))
            amounts = {"core": int(core.aggregate("avg")), "memory": used, "memory-ratio": 100 * used // gpu.memory_total}
            texts = {f"koordinator.sh/gpu-{name}": str(number) for name, number in amounts.items()}
            found.append({"type": "gpu", "id": gpu.id, "minor": gpu.minor, "health": False, "resources": texts})
    return found


def _average(source: Source, cpu: str, memory: str, subject: str = "") -> Usage:
    seconds = source.policy.aggregate
    return _usage(source.window(cpu, subject, seconds), source.window(memory, subject, seconds), "avg")


def _aggregated(source: Source, cpu: str, memory: str, seconds: float) -> dict[str, Any]:
    """One duration, every aggregation; all empty while samples span less than half of it."""
    cpus, memories = source.window(cpu, "", seconds), source.window(memory, "", seconds)
    cold = not len(cpus) or aggregate.cold(0, cpus.span_ms, int(seconds * 1000))
    usage = {kind: {} if cold else _usage(cpus, memories, kind) for kind in aggregate.TYPES}
    return {"usage": usage, "duration": durations.to_text(int(seconds * durations.SECOND))}


def _usage(cpus: Window, memories: Window, kind: str) -> Usage:
    if not len(cpus) or not len(memories):
        return {}
    cpu = quantity.of_milli(int(cpus.aggregate(kind) * 1000))
    memory = quantity.of(int(memories.aggregate(kind)), quantity.BINARY_SI)
    return {"resources": {"cpu": str(cpu), "memory": str(memory)}}


def _pods(source: Source) -> list[dict[str, Any]]:
    memory = source.memory(series.POD_MEMORY, series.POD_MEMORY_CACHE)
    found = []
    for view in sorted(source.pods, key=lambda one: (one.pod.namespace, one.pod.name)):
        if usage := _average(source, series.POD_CPU, memory, view.uid):
            entry = {"namespace": view.pod.namespace, "name": view.pod.name, "podUsage": usage}
            entry |= {"priority": str(priority.with_default(view.pod)), "qos": str(qos.with_default(view.pod))}
            found.append(entry)
    return found


def _host_apps(source: Source) -> list[dict[str, Any]]:
    memory = source.memory(series.HOST_APP_MEMORY, series.HOST_APP_MEMORY_CACHE)
    apps = [(app, _average(source, series.HOST_APP_CPU, memory, app.name)) for app in source.host_apps or []]
    return [
        {"name": app.name, "usage": usage, "priority": app.priority, "qos": app.qos}
        for app, usage in sorted(apps, key=lambda pair: pair[0].name)
        if usage
    ]


def patch(status: Mapping[str, Any], now: float) -> dict[str, Any]:
    """The merge patch of a report: top-level usages are cleared where they are empty."""
    node = {"numaUsages": None, **status["nodeMetric"]}
    for name in ("nodeUsage", "systemUsage"):
        node[name] = node[name] or {"resources": None}
    rest = {"updateTime": format_time(now), "prodReclaimableMetric": {"resource": {"resources": None}}, "prodPeakMetric": None}
    return {"status": {**status, "nodeMetric": node, **rest}}


class Reporter:
    """Writes the report: at once when there is something to say, then at the interval of the NodeMetric's spec."""

    def __init__(self, store: Store, node_name: str, clock: Clock, notices: Notices, retry_seconds: float = 1.0) -> None:
        self._store, self._name, self._clock, self._notices = store, node_name, clock, notices
        self._retry = retry_seconds
        self.reports = 0

    async def run(self, source: Callable[[], Source | None], interval: float | None = None) -> None:
        """Report for ever. ``source`` answers None while there is nothing to say yet; ``interval`` overrules the spec's.

        The spec is looked at every second, so that a shorter interval counts at once and not after the longer one.
        """
        last = float("-inf")
        while True:
            found, now = source(), self._clock.monotonic()
            due = found is not None and now - last >= (found.policy.interval if interval is None else interval)
            if found is not None and due and await self.report(found):
                last = now
            await self._clock.sleep(_POLL_SECONDS if found is None else self._retry)

    async def report(self, source: Source) -> bool:
        """Whether it was written. A missing NodeMetric is no error: it is the manager's to create."""
        body = patch(assemble(source), source.now)
        try:
            await self._store.patch(NODE_METRICS, self._name, body, subresource="status")
        except NotFound:
            return False
        except KoordError as err:
            self._notices.say(
                "report", f"NodeMetric {self._name} cannot be written: {err}; trying again every {self._retry:g} s"
            )
            return False
        self._notices.over("report", f"NodeMetric {self._name} is being written again")
        self.reports += 1
        return True
