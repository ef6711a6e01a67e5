"""Bringing one node up to date: its NUMA zones, its status, its ratio annotations; each only when that is worth a write."""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from koordinator.api.core import Node
from koordinator.api.meta import Object
from koordinator.api.registry import NODE_RESOURCE_TOPOLOGIES, NODES, Resource
from koordinator.api.resources import MID_CPU, MID_MEMORY
from koordinator.api.sloconfig.colocation import ColocationStrategy
from koordinator.kube.errors import ApiError, NotFound
from koordinator.kube.store import Store
from koordinator.manager.controllers.complaints import Complaints
from koordinator.manager.metrics import PREPARE, UNCOUNTED, Counts
from koordinator.manager.overcommit import prepare
from koordinator.manager.overcommit.arrays import Array
from koordinator.manager.overcommit.ratios import changed_ratios
from koordinator.manager.overcommit.zones import emptied_zones, updated_zones

log = logging.getLogger(__name__)

Publish = Callable[[str, dict[str, int | None]], None]
"""Told each node's calculated batch and mid resources."""

SOLD = (*prepare.BATCH, MID_CPU, MID_MEMORY)


class Topology(Object):
    """A NodeResourceTopology with its zones as plain JSON: koordlet writes them, we add two resources to each."""

    zones: list[dict[str, Any]] = msgspec.field(default_factory=list)


TOPOLOGIES = Resource(
    NODE_RESOURCE_TOPOLOGIES.group,
    NODE_RESOURCE_TOPOLOGIES.version,
    NODE_RESOURCE_TOPOLOGIES.plural,
    NODE_RESOURCE_TOPOLOGIES.kind,
    type=Topology,
    namespaced=False,
)


class Plan(msgspec.Struct):
    """What one node shall say. A resource or annotation that is None is taken back; one that is not named is left alone."""

    node: Node
    strategy: ColocationStrategy
    resources: dict[str, int | None]
    ratios: dict[str, str | None]
    zones: "Zones | None" = None
    labels: dict[str, str] = {}

    @property
    def normalization(self) -> float:
        """The CPU normalization of this pass."""
        return prepare.usable_ratio({key: text for key, text in self.ratios.items() if text is not None})


class Zones(NamedTuple):
    """Batch resources of each zone of the topology that they were computed from; ``sold`` None: nothing is sold any more."""

    topology: Topology
    sold: Array | None


class Write(NamedTuple):
    """Patches for one node: of its topology, and of itself; ``synced`` is the time to remember once that is done."""

    node: str
    zones: dict[str, Any] | None
    patch: dict[str, Any]
    synced: float | None


class NodeWriter:
    """Says what of a plan has to be written, writes it, and remembers when each node was last written."""

    def __init__(self, store: Store, complaints: Complaints, publish: Publish, count: Counts = UNCOUNTED) -> None:
        self._store, self._complaints, self._publish, self._count = store, complaints, publish, count
        self._synced: dict[str, float] = {}

    def forget(self, name: str) -> None:
        """Write the node's next plan whatever the thresholds say."""
        self._synced.pop(name, None)

    def needed(self, plan: Plan, now: float) -> Write | None:
        """What has to be written for the plan; None when nothing."""
        node = plan.node
        if node.status.capacity is None or node.status.allocatable is None:
            return None
        zones, patch = self._zones_patch(plan), self._node_patch(plan, now)
        due = self._due(node.name, plan.strategy, now)
        if not patch and due:
            self._synced[node.name] = now
        if not patch and zones is None:
            return None
        return Write(node.name, zones, patch, now if due or "status" in patch else None)

    async def write(self, write: Write) -> bool:
        """Whether everything was written."""
        fine = True
        if write.zones is not None:
            fine = await self._attempt(write.node, "updateNodeResourceTopology", TOPOLOGIES, write.zones)
        if not write.patch:
            return fine
        reason = "updateNodeStatus" if "status" in write.patch else "patchNodeMeta"
        if not await self._attempt(write.node, reason, NODES, write.patch):
            return False
        if write.synced is not None:
            self._synced[write.node] = write.synced
        return fine

    async def _attempt(self, name: str, reason: str, resource: Resource[Any], patch: dict[str, Any]) -> bool:
        subresource = "status" if resource is NODES and "status" in patch else ""
        try:
            await self._store.patch(resource, name, patch, subresource=subresource)
        except NotFound:  # deleted meanwhile
            self._count.reconcile("updateNodeNotFound", ok=False)
        except ApiError as err:
            self._count.reconcile(reason, ok=False)
            log.warning("node %s: not brought up to date, trying again: %s", name, err)
            return False
        else:
            self._count.reconcile(reason, ok=True)
        return True

    def _zones_patch(self, plan: Plan) -> dict[str, Any] | None:
        if plan.zones is None:
            return None
        topology, sold = plan.zones
        if sold is None:
            zones = emptied_zones(topology.zones)
        else:
            zones = updated_zones(topology.zones, sold, plan.normalization, plan.strategy.resource_diff_threshold or 0.1)
        if zones is None:
            return None
        seen = {"resourceVersion": topology.metadata.resource_version}  # koordlet writes the same list
        return {"metadata": seen, "zones": zones}

    def _node_patch(self, plan: Plan, now: float) -> dict[str, Any]:
        """One patch for status, annotations and labels where several change: a node's status is written with its metadata."""
        node = plan.node
        patch = self._status_patch(plan, now)
        metadata = {
            "annotations": {
                **patch.pop("metadata", {}).get("annotations", {}),
                **changed_ratios(node.annotations, plan.ratios),
            },
            "labels": {key: text for key, text in plan.labels.items() if node.labels.get(key) != text},
        }
        if metadata := {part: texts for part, texts in metadata.items() if texts}:
            patch["metadata"] = metadata
        return patch

    def _status_patch(self, plan: Plan, now: float) -> dict[str, Any]:
        """Empty unless the node's amounts have moved far enough, or long enough ago."""
        node, strategy = plan.node, plan.strategy
        prepared = _prepared(plan)
        self._complaints.about(node, "InvalidNodeAnnotation", prepared.problem)
        if prepared.problem:
            self._count.plugin("BatchResource", PREPARE, ok=False)
        self._publish(node.name, {name: plan.resources[name] for name in SOLD if name in plan.resources})
        due = self._due(node.name, strategy, now)
        if due or prepare.needs_sync(node, prepared.resources, strategy.resource_diff_threshold or 0.1):
            return prepare.changed_status(node, prepared)
        return {}

    def _due(self, name: str, strategy: ColocationStrategy, now: float) -> bool:
        """Whether so long has passed since the last write that small differences are written too."""
        last = self._synced.get(name)
        return last is None or now - last > (strategy.update_time_threshold_seconds or 300)


def _prepared(plan: Plan) -> prepare.Prepared:
    others = {name: number for name, number in plan.resources.items() if name not in prepare.BATCH}
    if len(others) == len(plan.resources):
        return prepare.Prepared(others, {})
    prepared = prepare.prepare_batch(plan.resources, plan.node.metadata.annotations, plan.normalization)
    prepared.resources.update(others)
    return prepared
