"""The node resource controller: events in, one vectorised pass over all nodes they touch, patches out.

Guarantees: only what the diff rules call for is written; one bad object affects its own node at most, and an event says so;
a node whose report goes stale loses its batch resources on time, without any event having to come.
"""

import asyncio
import itertools
import logging
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from koordinator.api import keys
from koordinator.api.core import Node
from koordinator.api.device import Device
from koordinator.api.resources import CPU, MEMORY, MID_CPU, MID_MEMORY, RDMA
from koordinator.api.sloconfig.colocation import ColocationStrategy
from koordinator.clock import Clock
from koordinator.manager.config import ConfigCache
from koordinator.manager.controllers.complaints import Complaints
from koordinator.manager.controllers.nodewriter import NodeWriter, Plan, Topology, Write, Zones
from koordinator.manager.controllers.passes import PassQueue
from koordinator.manager.controllers.pernode import MetricObject
from koordinator.manager.metrics import CALCULATE, RESET, Count, uncounted
from koordinator.manager.overcommit import batch, devices, inputs, mid, prepare
from koordinator.manager.overcommit.arrays import Array
from koordinator.manager.overcommit.inputs import NO_REPORT, NodeShare, PodShare, Reported
from koordinator.manager.overcommit.ratios import amplification_text, normalization_text
from koordinator.manager.overcommit.selling import why_not
from koordinator.manager.overcommit.zones import zone_batch, zone_capacities
from koordinator.manager.seen import SeenPod

log = logging.getLogger(__name__)

WRITES_AT_ONCE = 32
CHUNK = 64
"""Nodes that are calculated in one go: 3 ms."""


NORMALIZATION, AMPLIFICATION = "CPUNormalization", "ResourceAmplification"
MID_RESOURCE, BATCH_RESOURCE = "MidResource", "BatchResource"
GPU_RESOURCE, RDMA_RESOURCE = "GPUDeviceResource", "RDMADeviceResource"
PLUGINS = (NORMALIZATION, AMPLIFICATION, MID_RESOURCE, BATCH_RESOURCE, GPU_RESOURCE, RDMA_RESOURCE)
_SOLD = {MID_RESOURCE: (MID_CPU, MID_MEMORY), BATCH_RESOURCE: prepare.BATCH}


_DEVICE_NAMES = frozenset((*devices.GPU_NAMES, RDMA))


class _Seen(NamedTuple):
    """One node in a pass, and why it sells nothing, if it does not."""

    node: Node
    strategy: ColocationStrategy
    report: Reported
    why_not: str


def plugin_enabled(plugins: Sequence[str], name: str) -> bool:
    """``--noderesource-plugins``: the first entry that names the plugin decides, ``-Name`` turns it off, else ``*``."""
    for entry in plugins:
        if entry in (name, f"-{name}"):
            return entry == name
    return "*" in plugins


class Settings(NamedTuple):
    """``tally`` is told how often a plugin's phase succeeded or failed; ``gpu_shared``: nodes show ``gpu.shared``."""

    plugins: Sequence[str] = ("*",)
    gpu_shared: bool = False
    tally: Count = uncounted


_DEFAULTS = Settings()


class NodeResources:
    """Feed it with what informers say (``node_*``, ``pod_*``, ``metric_*``), and let ``run`` work."""

    def __init__(
        self,
        writer: NodeWriter,
        clock: Clock,
        config: ConfigCache,
        complaints: Complaints,
        settings: Settings = _DEFAULTS,
    ) -> None:
        self._writer, self._clock, self._config, self._complaints = writer, clock, config, complaints
        self._count, self._sync_shared = settings.tally, settings.gpu_shared
        plugins = settings.plugins
        self._plugins = frozenset(name for name in PLUGINS if plugin_enabled(plugins, name))
        self.queue = PassQueue(clock, name="noderesource")
        self._nodes: dict[str, Node] = {}
        self._shares: dict[str, NodeShare] = {}
        self._pods: dict[str, dict[str, PodShare]] = {}
        self._reports: dict[str, Reported] = {}
        self._topologies: dict[str, Topology] = {}
        self._devices: dict[str, Device] = {}

    async def run(self) -> None:
        await self.queue.serve(self.work)

    # --- what informers say ------------------------------------------------------------------------------------------------

    def node_changed(self, node: Node) -> None:
        share = inputs.node_share(node)
        self._nodes[node.name], self._shares[node.name] = node, share
        self._complaints.about(node, "InvalidNodeResources", share.problem)
        self._complaints.about(node, "InvalidNodeAnnotation", inputs.unreadable(node), "strategy")
        self.queue.mark(node.name)

    def node_deleted(self, node: Node) -> None:
        for known in (self._nodes, self._shares):
            known.pop(node.name, None)
        self._writer.forget(node.name)
        self._complaints.forget(node)
        self.queue.forget(node.name)

    def pod_changed(self, pod: SeenPod) -> None:
        share = pod.share
        if not share.node:
            return
        on_node = self._pods.setdefault(share.node, {})
        if on_node.get(share.key) != share:
            on_node[share.key] = share
            self._complaints.about(pod, "InvalidPodRequests", share.problem)
            self.queue.mark(share.node)

    def pod_moved(self, old: SeenPod, new: SeenPod) -> None:
        """An update; a pod of the same name may be another one on another node."""
        if old.share.node and old.share.node != new.share.node:
            self.pod_deleted(old)
        self.pod_changed(new)

    def pod_deleted(self, pod: SeenPod) -> None:
        node = pod.share.node
        on_node = self._pods.get(node, {})
        if on_node.pop(pod.share.key, None) is not None:
            self.queue.mark(node)
        if not on_node:
            self._pods.pop(node, None)

    def metric_changed(self, metric: MetricObject) -> None:
        report = metric.report
        self._complaints.about(metric, "AbnormalNodeMetric", "; ".join(report.problems[:5]))
        self._reports[metric.name] = report
        self.queue.mark(metric.name)

    def metric_deleted(self, name: str) -> None:
        self._reports.pop(name, None)
        self._writer.forget(name)
        self.queue.mark(name)

    def topology_changed(self, topology: Topology) -> None:
        before = self._topologies.get(topology.name)
        self._topologies[topology.name] = topology
        if before is None or _machine(before) != _machine(topology):
            self.queue.mark(topology.name)

    def topology_deleted(self, topology: Topology) -> None:
        self._topologies.pop(topology.name, None)

    def device_changed(self, device: Device) -> None:
        self._devices[device.name] = device
        self.queue.mark(device.name)

    def device_updated(self, old: Device, new: Device) -> None:
        if (old.spec, old.labels) != (new.spec, new.labels):
            self.device_changed(new)

    def device_deleted(self, device: Device) -> None:
        if self._devices.pop(device.name, None) is not None:
            self._complaints.forget(device)
            self.queue.mark(device.name)

    def config_changed(self) -> None:
        self.queue.mark_all(self._nodes)

    # --- one pass ----------------------------------------------------------------------------------------------------------

    async def work(self, names: Collection[str]) -> Collection[str]:
        """Calculate and write what ``names`` need. Returns those that could not be written."""
        if self._config.colocation is None:
            return ()
        slots, now, waiting = asyncio.Semaphore(WRITES_AT_ONCE), self._clock.now(), iter(names)
        writing: list[asyncio.Task[str]] = []
        while chunk := list(itertools.islice(waiting, CHUNK)):
            writing += [asyncio.create_task(self._write(write, slots)) for write in self._calculate_writes(chunk, now)]
            await asyncio.sleep(0)  # webhooks answer on the same loop
        return [failed for failed in await asyncio.gather(*writing) if failed]

    async def _write(self, write: Write, slots: asyncio.Semaphore) -> str:
        """The node's name if something could not be written."""
        async with slots:
            return "" if await self._writer.write(write) else write.node

    def _calculate_writes(self, names: Iterable[str], now: float) -> list[Write]:
        seen = [one for name in names if (one := self._look(name, now))]
        selling = [one for one in seen if not one.why_not]
        plans = [self._reset(one) for one in seen if one.why_not]
        plans += self._calculate(selling)
        self._count_phases(len(seen) - len(selling), len(selling))
        return [write for plan in plans if (write := self._writer.needed(plan, now))]

    def _count_phases(self, reset: int, calculated: int) -> None:
        """Ratios and devices count their failures where they happen."""
        for plugin in self._plugins:
            for phase, number in ((RESET, reset), (CALCULATE, calculated)):
                if number:
                    self._count(plugin, phase, ok=True, number=number)

    def _look(self, name: str, now: float) -> _Seen | None:
        node = self._nodes.get(name)
        strategy = self._config.colocation_of(node) if node else None
        if node is None or strategy is None:
            return None
        report = self._reports.get(name, NO_REPORT)
        return _Seen(node, strategy, report, why_not(self._config, strategy, report, now))

    def _reset(self, seen: _Seen) -> Plan:
        """Nothing is sold. A node that is switched off is not amplified either; its CPUs are as fast as they were."""
        log.debug("node %s: %s", seen.node.name, seen.why_not)
        off = seen.why_not == batch.DISABLED
        if off:
            ratios: dict[str, str | None] = {keys.RESOURCE_AMPLIFICATION_RATIO: None} if AMPLIFICATION in self._plugins else {}
        else:
            ratios = self._ratios(seen)
        names = [name for plugin, pair in _SOLD.items() if plugin in self._plugins for name in pair]
        plan = Plan(seen.node, seen.strategy, dict.fromkeys(names), ratios)
        topology = self._topologies.get(seen.node.name)
        if topology is not None and BATCH_RESOURCE in self._plugins:
            plan.zones = Zones(topology, None)
        if not off:
            self._add_devices(plan)
        return plan

    def _calculate(self, selling: list[_Seen]) -> list[Plan]:
        if not selling:
            return []
        plans = [Plan(seen.node, seen.strategy, {}, self._ratios(seen)) for seen in selling]
        if MID_RESOURCE in self._plugins:
            _fill(plans, _SOLD[MID_RESOURCE], self._mid_resources(selling))
        if BATCH_RESOURCE in self._plugins:
            self._fill_batch(plans, selling)
        for seen, plan in zip(selling, plans, strict=True):
            self._add_devices(plan)
            self._expire(seen)
        return plans

    def _add_devices(self, plan: Plan) -> None:
        """What of the node's devices is offered. A Device that cannot be read changes nothing."""
        device = self._devices.get(plan.node.name)
        if device is None and not _shows_devices(plan.node):
            return
        if GPU_RESOURCE in self._plugins:
            try:
                offered = devices.gpus(device, shared=self._sync_shared)
            except ValueError as err:
                self._count(GPU_RESOURCE, CALCULATE, ok=False)
                self._complain_of_device(device, str(err))
            else:
                self._complain_of_device(device, "")
                plan.resources.update(offered.resources)
                plan.labels = offered.labels
        if RDMA_RESOURCE in self._plugins:
            plan.resources.update(devices.rdma(device).resources)

    def _complain_of_device(self, device: Device | None, problem: str) -> None:
        if device is not None:
            self._complaints.about(device, "InvalidDevice", problem)

    def _fill_batch(self, plans: list[Plan], selling: list[_Seen]) -> None:
        rows = [inputs.demand_row(*self._known(seen)) for seen in selling]
        demand, rules = batch.Demand.of(rows), batch.Rules.of([batch.rule_row(seen.strategy) for seen in selling])
        _fill(plans, _SOLD[BATCH_RESOURCE], batch.batch(demand, rules))
        for row, (plan, seen) in enumerate(zip(plans, selling, strict=True)):
            if log.isEnabledFor(logging.DEBUG):
                log.debug("node %s: %s", seen.node.name, "; ".join(part.text for part in batch.explain(demand, rules, row)))
            if seen.node.name in self._topologies:
                plan.zones = self._zones(seen, rows[row], batch.Rules(*(field[row : row + 1] for field in rules)))

    def _zones(self, seen: _Seen, row: Sequence[int], rules: batch.Rules) -> Zones | None:
        topology = self._topologies[seen.node.name]
        try:
            capacities = zone_capacities(topology.zones)
        except ValueError as err:
            self._complaints.about(topology, "InvalidZone", f"zones: {err}")
            return None
        self._complaints.about(topology, "InvalidZone", "")
        _, pods, report = self._known(seen)
        return Zones(topology, zone_batch(capacities, row, rules, pods, report)) if capacities else None

    def _mid_resources(self, selling: list[_Seen]) -> Array:
        demand = mid.MidDemand.of([inputs.mid_row(*self._known(seen)) for seen in selling])
        return mid.mid(demand, mid.MidRules.of([mid.mid_rule_row(seen.strategy) for seen in selling]))

    def _ratios(self, seen: _Seen) -> dict[str, str | None]:
        """The ratio annotations that the node shall carry. One that cannot be told is left alone (speed) or removed (offer)."""
        node, result = seen.node, dict[str, str | None]()
        labels, annotations = node.metadata.labels, node.metadata.annotations
        if NORMALIZATION in self._plugins:
            topology = self._topologies.get(node.name)
            strategy = self._config.normalization.for_labels(labels)
            problem = ""
            try:
                result[keys.CPU_NORMALIZATION_RATIO] = normalization_text(
                    strategy, labels, topology.annotations if topology else None
                )
            except ValueError as err:
                problem = str(err)
                self._count(NORMALIZATION, CALCULATE, ok=False)
            self._complaints.about(node, "CPUNormalizationUnknown", problem)
        if AMPLIFICATION in self._plugins:
            result[keys.RESOURCE_AMPLIFICATION_RATIO] = self._amplification(node, annotations)
        return result

    def _amplification(self, node: Node, annotations: dict[str, str] | None) -> str | None:
        try:
            text = amplification_text(self._config.amplification.for_labels(node.metadata.labels), annotations)
        except ValueError as err:
            self._complaints.about(node, "ResourceAmplificationInvalid", str(err))
            self._count(AMPLIFICATION, CALCULATE, ok=False)
            return None
        self._complaints.about(node, "ResourceAmplificationInvalid", "")
        return text

    def _known(self, seen: _Seen) -> tuple[NodeShare, Collection[PodShare], Reported]:
        name = seen.node.name
        return self._shares[name], self._pods.get(name, {}).values(), seen.report

    def _expire(self, seen: _Seen) -> None:
        """Look at the node again when its report has become stale."""
        minutes = seen.strategy.degrade_time_minutes or 15
        self.queue.later(seen.node.name, (seen.report.updated or 0.0) + minutes * 60 + 0.001)


def _fill(plans: list[Plan], names: tuple[str, str], amounts: Array) -> None:
    for plan, row in zip(plans, amounts.tolist(), strict=True):
        plan.resources.update(zip(names, row, strict=True))


def _shows_devices(node: Node) -> bool:
    status = node.status
    return any(not _DEVICE_NAMES.isdisjoint(amounts) for amounts in (status.capacity, status.allocatable) if amounts)


def _machine(topology: Topology) -> object:
    """What of a topology our numbers depend on; our own resources in it do not count."""
    zones = [
        [(one.get("name"), one.get("allocatable")) for one in zone.get("resources") or [] if one.get("name") in (CPU, MEMORY)]
        for zone in topology.zones
    ]
    return topology.annotations.get(keys.CPU_BASIC_INFO), zones
