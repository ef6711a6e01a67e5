"""The manager as one process: what it reads, who works on it, in which order it starts.

Informers and webhooks run on every replica; the controllers only on the leader, on caches that are warm already.
"""

import asyncio
import contextlib
import gc
from collections.abc import Callable

from koordinator.api import features
from koordinator.api.meta import Object
from koordinator.clock import Clock
from koordinator.errors import readable
from koordinator.kube.client import Client
from koordinator.kube.events import Recorder
from koordinator.kube.flags import ConnectionFlags, client_config
from koordinator.kube.leader import LeaderElector, make_identity
from koordinator.kube.metrics import Collector, CountedQueue
from koordinator.kube.store import Store
from koordinator.manager import health
from koordinator.manager.config import ConfigCache
from koordinator.manager.controllers.wiring import Controllers
from koordinator.manager.informers import Informers
from koordinator.manager.metrics import Metrics
from koordinator.manager.options import ManagerOptions
from koordinator.manager.parts import Parts
from koordinator.manager.priorities import ensure_priority_classes
from koordinator.manager.webhooks.wiring import Webhooks

__all__ = ["Manager", "ManagerOptions", "run"]


async def run(options: ManagerOptions, clock: Clock, on_ready: Callable[[], None] = lambda: None) -> None:
    """Serve until cancelled. ``on_ready`` is called once, when caches are warm and webhooks registered."""
    gates = features.MANAGER.parse(options.feature_gates)
    flags = ConnectionFlags(
        kubeconfig=options.kubeconfig, master=options.master, kube_api_qps=options.qps, kube_api_burst=options.burst
    )
    config = client_config(flags, "koordinator-manager")

    def ready() -> None:
        gc.collect()
        gc.freeze()  # what the caches hold now stays: no collection need walk it and hold answers up
        on_ready()

    async with Client(config, clock) as client:
        manager = Manager(client, clock, options, gates)
        manager.metrics.registry.register(Collector([client.metrics], manager.queues))
        try:
            await manager.run(ready)
        except ExceptionGroup as group:
            raise readable(group) or group from None


class Manager:
    """All parts, put together on any store."""

    def __init__(self, store: Store, clock: Clock, options: ManagerOptions, gates: frozenset[str]) -> None:
        self._store, self._clock, self._options = store, clock, options
        self.metrics = Metrics(clock)
        self.ready = False
        self.ports = health.Ports()
        self._recorder = Recorder(store, "koord-manager", clock)
        self._informers = Informers(store, clock, options.namespace)
        parts = Parts(store, clock, self._informers, self.metrics, options, gates)
        self._controllers = Controllers(parts, self._warn)
        self._webhooks = Webhooks(parts, self._controllers.config_data) if "WebhookFramework" in gates else None

    @property
    def config(self) -> ConfigCache:
        """The configuration in force."""
        return self._controllers.config

    def queues(self) -> list[CountedQueue]:
        """The controllers' queues, for whoever shows them."""
        return self._controllers.queues

    async def run(self, on_ready: Callable[[], None]) -> None:
        """Serve until cancelled."""
        options = self._options
        served = health.Served(self.metrics.text, lambda: self.ready)
        async with contextlib.AsyncExitStack() as stack:
            self.ports = await health.listen(stack, served, (options.metrics, options.probes, options.pprof))
            await self._serve(on_ready)

    async def _serve(self, on_ready: Callable[[], None]) -> None:
        informers = self._informers.all()
        async with asyncio.TaskGroup() as tasks:
            for job in [self._recorder.run(), *(informer.run() for informer in informers)]:
                tasks.create_task(job)
            for informer in informers:
                await informer.synced()
            self._controllers.start()
            await ensure_priority_classes(self._store)
            tasks.create_task(self._lead())
            try:
                if self._webhooks is not None:
                    await self._webhooks.start()
                    tasks.create_task(self._webhooks.service.run())
                self.ready = True
                on_ready()
                await asyncio.Event().wait()
            finally:
                self.ready = False
                if self._webhooks is not None:
                    await self._webhooks.service.stop()

    def _warn(self, obj: Object, reason: str, message: str) -> None:
        self._recorder.event(obj, "Warning", reason, message)

    async def _lead(self) -> None:
        if not self._options.leader_elect:
            await self._control()
            return
        namespace = self._options.leader_election_namespace
        elector = LeaderElector(self._store, namespace, "koordinator-manager", make_identity(), self._clock)
        await elector.run(self._control)

    async def _control(self) -> None:
        self.metrics.leading(now=True)
        try:
            async with asyncio.TaskGroup() as tasks:
                for controller in self._controllers.running:
                    tasks.create_task(controller())
        finally:
            self.metrics.leading(now=False)
