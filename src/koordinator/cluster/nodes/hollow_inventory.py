"""Writes what hollow nodes are made of: once per node, and again only when its shape has changed."""

import logging
from typing import Any

from koordinator.api.meta import Object
from koordinator.api.registry import DEVICES, NODE_RESOURCE_TOPOLOGIES, RESOURCE_SLICES, Resource
from koordinator.clock import Clock
from koordinator.cluster.nodes import hollow_hardware
from koordinator.cluster.nodes.hollow_fleet import Fleet
from koordinator.cluster.nodes.hollow_pods import ignoring_gone
from koordinator.kube.errors import AlreadyExists, NotFound
from koordinator.kube.retry import Backoff
from koordinator.kube.store import Store
from koordinator.kube.workqueue import WorkQueue

log = logging.getLogger(__name__)

WORKERS = 8
"""Few: five thousand nodes must not keep the first heartbeats waiting."""
RETRY = Backoff(base=0.2, factor=2.0, limit=10.0)


class Inventory:
    """Call ``describe`` for every node that is there; ``run`` does the writing."""

    def __init__(self, fleet: Fleet, store: Store, clock: Clock) -> None:
        self._fleet, self._store, self._clock = fleet, store, clock
        self._queue: WorkQueue[str] = WorkQueue("hollow hardware", clock, RETRY)
        self._uids: dict[str, str] = {}
        self._digest = hollow_hardware.digest(fleet.shape)
        self._held: dict[str, set[str]] = {}

    async def look(self) -> None:
        """Take over what an earlier run has written. Not needed where there was none."""
        for resource in (NODE_RESOURCE_TOPOLOGIES, DEVICES, RESOURCE_SLICES):
            bare = _bare(resource)
            try:
                page = await self._store.list(bare)
            except NotFound:  # the cluster does not know the kind
                continue
            self._held[resource.plural] = {
                obj.name for obj in page.items if obj.annotations.get(hollow_hardware.DIGEST) == self._digest
            }

    def describe(self, name: str, uid: str) -> None:
        """The node is there, with this uid."""
        if self._uids.get(name) != uid:
            self._uids[name] = uid
            self._queue.add(name)

    def forget(self, name: str) -> None:
        self._uids.pop(name, None)
        for held in self._held.values():
            held.difference_update((name, hollow_hardware.slice_name(name)))

    async def run(self) -> None:
        await self._queue.run(self._write, WORKERS)

    async def _write(self, name: str) -> None:
        member, uid = self._fleet.get(name), self._uids.get(name)
        if member is None or uid is None:
            return
        shape = self._fleet.shape
        await self._put(NODE_RESOURCE_TOPOLOGIES, name, hollow_hardware.topology(member, shape, uid))
        await self._put_or_not(DEVICES, name, hollow_hardware.devices(member, shape, uid, self._clock.now()))
        slice_ = hollow_hardware.resource_slice(member, shape, uid)
        await self._put_or_not(RESOURCE_SLICES, hollow_hardware.slice_name(name), slice_)

    async def _put_or_not(self, resource: Resource[Any], name: str, body: dict[str, Any] | None) -> None:
        if body is not None:
            await self._put(resource, name, body)
        elif resource.plural in self._held:
            await ignoring_gone(self._store.delete(resource, name))  # an earlier run of this node may have had some

    async def _put(self, resource: Resource[Any], name: str, body: dict[str, Any]) -> None:
        if name in self._held.get(resource.plural, ()):
            return
        bare = _bare(resource)
        try:
            await self._store.create(bare, body)
        except AlreadyExists:
            await self._store.patch(bare, name, body)
        except NotFound:
            log.debug("%s: the cluster does not know the kind %s", name, resource.kind)
            return
        self._held.setdefault(resource.plural, set()).add(name)


def _bare(resource: Resource[Any]) -> Resource[Object]:
    """The resource read for its metadata only: five thousand topologies are twenty megabytes."""
    return Resource(resource.group, resource.version, resource.plural, resource.kind, Object, namespaced=False)
