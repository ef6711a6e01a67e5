"""The node resource controller: events in, one vectorised pass over all nodes they touch, patches out.

Guarantees: only what the diff rules call for is written; one bad object affects its own node at most, and an event says so;
a node whose report goes stale loses its batch resources on time, without any event having to come.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

from koordinator.api.core import Node, Pod
from koordinator.api.meta import Object
from koordinator.api.registry import NODES
from koordinator.api.resources import MID_CPU, MID_MEMORY
from koordinator.api.sloconfig.colocation import ColocationStrategy
from koordinator.clock import Clock
from koordinator.kube.errors import ApiError, NotFound
from koordinator.kube.store import Store
from koordinator.manager.config import ConfigCache
from koordinator.manager.controllers.passes import PassQueue
from koordinator.manager.overcommit import batch, inputs, mid, prepare
from koordinator.manager.overcommit.inputs import NodeShare, PodShare, Reported

log = logging.getLogger(__name__)

PATCHES_AT_ONCE = 32
_NO_REPORT = Reported()

Tell = Callable[[Object, str, str], None]
"""Raise a Warning event: object, reason, message."""

Publish = Callable[[str, dict[str, int | None]], None]
"""Told each node's calculated resources."""


MID = (MID_CPU, MID_MEMORY)


class _Seen(NamedTuple):
    """One node in a pass, and why it sells nothing, if it does not."""

    node: Node
    strategy: ColocationStrategy
    report: Reported
    why_not: str


class _Plan(NamedTuple):
    """One node and what it shall sell: None takes a resource back."""

    node: Node
    strategy: ColocationStrategy
    calculated: dict[str, int | None]


def plugin_enabled(plugins: Sequence[str], name: str) -> bool:
    """``--noderesource-plugins``: the first entry that names the plugin decides, ``-Name`` turns it off, else ``*``."""
    for entry in plugins:
        if entry in (name, f"-{name}"):
            return entry == name
    return "*" in plugins


class NodeResources:
    """Feed it with what informers say (``node_*``, ``pod_*``, ``metric_*``), and let ``run`` work."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        config: ConfigCache,
        tell: Tell,
        publish: Publish,
        plugins: Sequence[str] = ("*",),
    ) -> None:
        self._mid, self._batch = (plugin_enabled(plugins, name) for name in ("MidResource", "BatchResource"))
        self._store, self._clock, self._config = store, clock, config
        self._tell, self._publish = tell, publish
        self._queue = PassQueue(clock)
        self._nodes: dict[str, Node] = {}
        self._shares: dict[str, NodeShare] = {}
        self._pods: dict[str, dict[str, PodShare]] = {}
        self._reports: dict[str, Reported] = {}
        self._synced: dict[str, float] = {}
        self._told: dict[tuple[str, str, str], str] = {}

    async def run(self) -> None:
        await self._queue.serve(self.work)

    # --- what informers say ------------------------------------------------------------------------------------------------

    def node_changed(self, node: Node) -> None:
        share = inputs.node_share(node)
        self._nodes[node.name], self._shares[node.name] = node, share
        self._complain(node, "InvalidNodeResources", share.problem)
        self._queue.mark(node.name)

    def node_deleted(self, node: Node) -> None:
        for known in (self._nodes, self._shares, self._synced):
            known.pop(node.name, None)
        self._queue.forget(node.name)

    def pod_changed(self, pod: Pod) -> None:
        share = inputs.pod_share(pod)
        if not share.node:
            return
        on_node = self._pods.setdefault(share.node, {})
        if on_node.get(share.key) != share:
            on_node[share.key] = share
            self._complain(pod, "InvalidPodRequests", share.problem)
            self._queue.mark(share.node)

    def pod_moved(self, old: Pod, new: Pod) -> None:
        """An update; a pod of the same name may be another one on another node."""
        if old.spec.node_name and old.spec.node_name != new.spec.node_name:
            self.pod_deleted(old)
        self.pod_changed(new)

    def pod_deleted(self, pod: Pod) -> None:
        on_node = self._pods.get(pod.spec.node_name, {})
        if on_node.pop(pod.key, None) is not None:
            self._queue.mark(pod.spec.node_name)
        if not on_node:
            self._pods.pop(pod.spec.node_name, None)

    def metric_changed(self, metric: Any) -> None:
        report = inputs.reported(metric)
        self._complain(metric, "AbnormalNodeMetric", "; ".join(report.problems[:5]))
        self._reports[metric.name] = report
        self._queue.mark(metric.name)

    def metric_deleted(self, name: str) -> None:
        self._reports.pop(name, None)
        self._synced.pop(name, None)
        self._queue.mark(name)

    def config_changed(self) -> None:
        self._queue.mark_all(self._nodes)

    # --- one pass ----------------------------------------------------------------------------------------------------------

    async def work(self, names: Collection[str]) -> Collection[str]:
        """Calculate and write what ``names`` need. Returns those that could not be written."""
        if self._config.colocation is None:
            return ()
        now = self._clock.now()
        seen = [one for name in names if (one := self._look(name, now))]
        plans = [self._reset(one) for one in seen if one.why_not]
        plans += self._calculate([one for one in seen if not one.why_not])
        slots = asyncio.Semaphore(PATCHES_AT_ONCE)
        done = await asyncio.gather(*(self._write(slots, plan, now) for plan in plans))
        return [name for name in done if name]

    def _look(self, name: str, now: float) -> _Seen | None:
        node = self._nodes.get(name)
        strategy = self._config.colocation_of(node) if node else None
        if node is None or strategy is None:
            return None
        report = self._reports.get(name, _NO_REPORT)
        return _Seen(node, strategy, report, self._why_not(strategy, report, now))

    def _why_not(self, strategy: ColocationStrategy, report: Reported, now: float) -> str:
        if not self._config.colocation_enabled(strategy):
            return batch.DISABLED
        if not report.usable or batch.stale(report.updated, now, strategy.degrade_time_minutes or 15):
            return batch.DEGRADED
        return ""

    def _reset(self, seen: _Seen) -> _Plan:
        log.debug("node %s: %s", seen.node.name, seen.why_not)
        names = (*(MID if self._mid else ()), *(prepare.BATCH if self._batch else ()))
        return _Plan(seen.node, seen.strategy, dict.fromkeys(names))

    def _calculate(self, selling: list[_Seen]) -> list[_Plan]:
        if not selling:
            return []
        plans = [_Plan(seen.node, seen.strategy, {}) for seen in selling]
        if self._mid:
            _fill(plans, MID, self._mid_resources(selling))
        if self._batch:
            _fill(plans, prepare.BATCH, self._batch_resources(selling))
        for seen in selling:
            self._expire(seen)
        return plans

    def _batch_resources(self, selling: list[_Seen]) -> batch.Array:
        demand = batch.Demand.of([inputs.demand_row(*self._known(seen)) for seen in selling])
        rules = batch.Rules.of([batch.rule_row(seen.strategy) for seen in selling])
        if log.isEnabledFor(logging.DEBUG):
            for row, seen in enumerate(selling):
                log.debug("node %s: %s", seen.node.name, "; ".join(part.text for part in batch.explain(demand, rules, row)))
        return batch.batch(demand, rules)

    def _mid_resources(self, selling: list[_Seen]) -> batch.Array:
        demand = mid.MidDemand.of([inputs.mid_row(*self._known(seen)) for seen in selling])
        return mid.mid(demand, mid.MidRules.of([mid.mid_rule_row(seen.strategy) for seen in selling]))

    def _known(self, seen: _Seen) -> tuple[NodeShare, Collection[PodShare], Reported]:
        name = seen.node.name
        return self._shares[name], self._pods.get(name, {}).values(), seen.report

    def _expire(self, seen: _Seen) -> None:
        """Look at the node again when its report has become stale."""
        minutes = seen.strategy.degrade_time_minutes or 15
        self._queue.later(seen.node.name, (seen.report.updated or 0.0) + minutes * 60 + 0.001)

    async def _write(self, slots: asyncio.Semaphore, plan: _Plan, now: float) -> str:
        """Bring one node up to date. Returns its name when that failed."""
        node, strategy, calculated = plan
        name = node.name
        if node.status.capacity is None or node.status.allocatable is None:
            return ""
        prepared = self._prepared(node, calculated)
        self._complain(node, "InvalidNodeAnnotation", prepared.problem)
        self._publish(name, prepared.resources)
        if not self._due(name, strategy, now) and not prepare.needs_sync(
            node, prepared.resources, strategy.resource_diff_threshold or 0.1
        ):
            return ""
        if patch := prepare.changed_status(node, prepared):
            try:
                async with slots:
                    await self._store.patch(NODES, name, patch, subresource="status")
            except NotFound:
                return ""
            except ApiError as err:
                log.warning("node %s: batch resources not written, trying again: %s", name, err)
                return name
        self._synced[name] = now
        return ""

    def _prepared(self, node: Node, calculated: dict[str, int | None]) -> prepare.Prepared:
        others = {name: number for name, number in calculated.items() if name not in prepare.BATCH}
        if not self._batch:
            return prepare.Prepared(others, {})
        prepared = prepare.prepare_batch(calculated, node.metadata.annotations)
        prepared.resources.update(others)
        return prepared

    def _due(self, name: str, strategy: ColocationStrategy, now: float) -> bool:
        """Whether so long has passed since the last write that small differences are written too."""
        last = self._synced.get(name)
        return last is None or now - last > (strategy.update_time_threshold_seconds or 300)

    def _complain(self, obj: Object, reason: str, problem: str) -> None:
        """Raise an event once per new problem."""
        key = (obj.kind, obj.key, reason)
        if not problem:
            self._told.pop(key, None)
        elif self._told.get(key) != problem:
            self._told[key] = problem
            self._tell(obj, reason, problem)


def _fill(plans: list[_Plan], names: tuple[str, str], amounts: batch.Array) -> None:
    for plan, row in zip(plans, amounts.tolist(), strict=True):
        plan.calculated.update(zip(names, row, strict=True))
