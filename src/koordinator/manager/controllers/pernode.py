"""Controllers that keep one object per node, named as the node: NodeMetric's collect policy and NodeSLO's strategies."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from koordinator.api.core import Node
from koordinator.api.registry import NODE_METRICS, NODE_SLOS, Resource
from koordinator.api.slo import AggregatePolicy, MetricCollectPolicy, NodeMetricSpec, NodeMetricStatus
from koordinator.api.sloconfig import colocation
from koordinator.api.sloconfig.colocation import ColocationStrategy
from koordinator.api.sloconfig.validation import colocation_problems
from koordinator.clock import Clock
from koordinator.kube.errors import ApiError
from koordinator.kube.store import Store
from koordinator.kube.workqueue import WorkQueue
from koordinator.manager.config import ConfigCache
from koordinator.manager.controllers.changes import Change, Create, Delete, Patch, SpecObject, carry_out, reconcile_spec
from koordinator.manager.controllers.complaints import Tell
from koordinator.manager.metrics import CountReconcile, uncounted_reconcile
from koordinator.manager.overcommit.inputs import NO_REPORT, Reported, reported

WORKERS = 16

_SYSTEM = "getSystemConfigSpec"
_SLO_PARTS = (
    "getResourceThresholdSpec",
    "getResourceQOSSpec",
    "getCPUBurstConfigSpec",
    _SYSTEM,
    "getHostApplicationConfig",
    "getNodeSLOExtension",
)

JsonObject = dict[str, Any]
Wanted = Callable[[Node, JsonObject | None], JsonObject | None]
"""The spec that a node's object shall have, given the one it has; None leaves that as it is."""


class MetricObject(SpecObject):
    """A NodeMetric: its spec compared whole, its status boiled down to ``report`` the moment it is decoded."""

    status: NodeMetricStatus = msgspec.field(default_factory=NodeMetricStatus)
    report: Reported = msgspec.field(default=NO_REPORT, name="~")

    def __post_init__(self) -> None:
        if self.report is NO_REPORT:
            self.report, self.status = reported(self.status), _READ


_READ = NodeMetricStatus()


METRICS = Resource(
    NODE_METRICS.group, NODE_METRICS.version, NODE_METRICS.plural, NODE_METRICS.kind, type=MetricObject, namespaced=False
)
SLOS = Resource(NODE_SLOS.group, NODE_SLOS.version, NODE_SLOS.plural, NODE_SLOS.kind, type=SpecObject, namespaced=False)


class PerNode:
    """Keeps one object of ``resource`` for every node. ``get_node`` and ``get_object`` read the informers' caches."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        resource: Resource[Any],
        wanted: Wanted,
        caches: tuple[Callable[[str], Node | None], Callable[[str], SpecObject | None]],
        count: CountReconcile = uncounted_reconcile,
    ) -> None:
        self._store, self._resource, self._wanted, self._count = store, resource, wanted, count
        self._get_node, self._get_object = caches
        self.queue: WorkQueue[str] = WorkQueue(resource.kind.lower(), clock)

    def add_all(self, names: Iterable[str]) -> None:
        for name in names:
            self.queue.add(name)

    async def run(self) -> None:
        await self.queue.run(self._reconcile, workers=WORKERS)

    async def _reconcile(self, name: str) -> None:
        node, found = self._get_node(name), self._get_object(name)
        existing = found.spec if found else None
        wanted = self._wanted(node, existing) if node else None
        change = reconcile_spec(node_exists=node is not None, existing=existing, wanted=wanted)
        if change is None:
            return
        what, reason = f"{self._resource.kind.lower()}_reconcile", f"{_VERBS[type(change)]}{self._resource.kind}"
        try:
            await carry_out(self._store, self._resource, name, change)
        except ApiError:
            self._count(what, reason, ok=False)
            raise
        self._count(what, reason, ok=True)


_VERBS: Mapping[type[Change], str] = {Create: "create", Patch: "update", Delete: "delete"}


def metric_spec(config: ConfigCache, count: CountReconcile = uncounted_reconcile) -> Wanted:
    """NodeMetric: how often and over which durations koordlet reports, from the node's strategy."""

    def wanted(node: Node, existing: JsonObject | None) -> JsonObject | None:
        strategy = config.colocation_of(node)
        if strategy is None or (config.colocation_error and existing is not None):
            return None
        valid = not colocation_problems(strategy)
        count("nodemetric_spec_parse", "getNodeMetricCollectPolicy", ok=valid)
        usable = strategy if strategy.enable and valid else colocation.DEFAULT
        spec: JsonObject = msgspec.to_builtins(NodeMetricSpec(metric_collect_policy=collect_policy(usable)))
        return spec

    return wanted


def collect_policy(strategy: ColocationStrategy) -> MetricCollectPolicy:
    """How a node's koordlet is to measure and report, as the node's strategy says."""
    durations = strategy.metric_aggregate_policy.durations if strategy.metric_aggregate_policy else None
    return MetricCollectPolicy(
        aggregate_duration_seconds=strategy.metric_aggregate_duration_seconds,
        report_interval_seconds=strategy.metric_report_interval_seconds,
        node_aggregate_policy=AggregatePolicy(durations=durations),
        node_memory_collect_policy=strategy.metric_memory_collect_policy,
    )


def slo_spec(config: ConfigCache, tell: Tell, count: CountReconcile = uncounted_reconcile) -> Wanted:
    """NodeSLO: what koordlet enforces. Extensions in the object are others' and stay."""

    def wanted(node: Node, existing: JsonObject | None) -> JsonObject | None:
        spec, bad = config.slo_of(node)
        for part in _SLO_PARTS:
            count("nodeslo_spec_parse", part, ok=bad is None or part != _SYSTEM)
        if bad is not None:
            tell(node, "InvalidNodeAnnotation", f"metadata.annotations[{bad.key}]: {bad.raw[:80]!r}: {bad.reason}")
        body: JsonObject = msgspec.to_builtins(spec)
        if existing and "extensions" in existing:
            body["extensions"] = existing["extensions"]
        return body

    return wanted
