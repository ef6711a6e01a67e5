"""The Node object and the Lease: made at the start, kept current, read for admission."""

import logging
from collections.abc import Coroutine
from typing import Any

import msgspec

from koordinator.api.meta import Object, Struct
from koordinator.api.registry import LEASES, Resource
from koordinator.api.resources import amounts
from koordinator.clock import Clock
from koordinator.cluster.nodes.process import machine
from koordinator.cluster.nodes.process.admission import NodeView
from koordinator.cluster.nodes.process.options import ProcessOptions
from koordinator.kube.errors import AlreadyExists, ApiError, NotFound
from koordinator.kube.informer import Informer
from koordinator.kube.store import Store

log = logging.getLogger(__name__)

LEASE_NAMESPACE = "kube-node-lease"
LEASE_EVERY = 10.0
STATUS_EVERY = 300.0
REGISTER_AGAIN = 1.0


class FullNodeStatus(Struct):
    allocatable: dict[str, str | int | float] | None = None
    conditions: list[dict[str, Any]] | None = None


class FullNode(Object):
    """The node with its conditions as they are, to write them back whole."""

    status: FullNodeStatus = msgspec.field(default_factory=FullNodeStatus)


FULL_NODES = Resource("", "v1", "nodes", "Node", FullNode, namespaced=False)


class Registration:
    """``start`` once, then ``lease_loop``, ``status_loop`` and ``watch`` for ever."""

    def __init__(self, options: ProcessOptions, store: Store, clock: Clock) -> None:
        self.options, self.store, self.clock = options, store, clock
        self.port = 0
        self._node = Informer(store, FULL_NODES, clock=clock, field_selector=f"metadata.name={options.name}")

    async def watch(self) -> None:
        """Keep what others write to the node at hand."""
        await self._node.run()

    async def start(self, port: int) -> None:
        """Register with this kubelet port; returns when the API server knows the node and we know what it knows."""
        self.port = port
        body = machine.node_object(self.options)
        while True:
            try:
                await self._create_or_label(body)
            except ApiError as err:
                log.warning("node %s: cannot register, trying again: %s", self.options.name, err)
                await self.clock.sleep(REGISTER_AGAIN)
            else:
                break
        await self._node.synced()
        await self._write_status()
        await self._renew()

    async def lease_loop(self) -> None:
        while True:
            await self.clock.sleep(LEASE_EVERY)
            await self._renew()

    async def status_loop(self) -> None:
        while True:
            await self.clock.sleep(STATUS_EVERY)
            await self._write_status()

    def view(self) -> NodeView | None:
        """The node as last seen; None when it is not there. Raises ValueError on an unreadable quantity."""
        return self._view(self._node.get(self.options.name))

    async def fresh_view(self) -> NodeView | None:
        """The node as it is now: our copy may be older than the scheduler's. Falls back to the copy."""
        try:
            return self._view(await self.store.get(FULL_NODES, self.options.name))
        except ApiError:
            return self.view()

    def _view(self, node: FullNode | None) -> NodeView | None:
        return None if node is None else NodeView(self.options.name, node.labels, amounts(node.status.allocatable))

    async def _create_or_label(self, body: dict[str, Any]) -> None:
        try:
            await self.store.create(FULL_NODES, body)
        except AlreadyExists:
            await self.store.patch(FULL_NODES, self.options.name, {"metadata": {"labels": body["metadata"]["labels"]}})

    async def _write_status(self) -> None:
        node = self._node.get(self.options.name)
        seen = list(node.status.conditions or []) if node is not None else []
        body = machine.status_patch(self.options, self.port, seen, self.clock.now())
        await self._tolerate("status", self.store.patch(FULL_NODES, self.options.name, body, subresource="status"))

    async def _renew(self) -> None:
        body = machine.lease(self.options, self.clock.now())
        try:
            await self.store.patch(LEASES, self.options.name, body, LEASE_NAMESPACE)
        except NotFound:
            await self._tolerate("lease", self.store.create(LEASES, body, LEASE_NAMESPACE))
        except ApiError as err:
            log.warning("node %s: lease not renewed: %s", self.options.name, err)

    async def _tolerate(self, what: str, call: Coroutine[Any, Any, Any]) -> None:
        """The next beat tries again anyway."""
        try:
            await call
        except ApiError as err:
            log.warning("node %s: %s not written: %s", self.options.name, what, err)
