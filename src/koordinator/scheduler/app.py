"""koord-scheduler, the process: informers feed the engine, one loop runs cycles, workers bind.

Everything lives on one event loop. Cycles run in short batches, so that watches and binds get their turn in between.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

import msgspec

from koordinator.api.meta import Object
from koordinator.api.registry import NODES, PODS
from koordinator.clock import Clock
from koordinator.errors import KoordError
from koordinator.kube import config
from koordinator.kube.client import Client
from koordinator.kube.errors import ApiError, NotFound
from koordinator.kube.events import Recorder
from koordinator.kube.informer import Informer
from koordinator.kube.leader import LeaderElector, make_identity
from koordinator.kube.store import Store
from koordinator.scheduler.debug.flags import Flags
from koordinator.scheduler.debug.trace import Trace
from koordinator.scheduler.engine.binding import Binder
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.cycle import Scheduler
from koordinator.scheduler.engine.framework import WatchPlugin
from koordinator.scheduler.engine.queue import SchedulingQueue
from koordinator.scheduler.explain.controller import Explanations
from koordinator.scheduler.explain.explainer import Explainer
from koordinator.scheduler.feed import Feed
from koordinator.scheduler.metrics import Metrics
from koordinator.scheduler.profiles import default_profile
from koordinator.scheduler.report import Reporter
from koordinator.scheduler.serve import serving

log = logging.getLogger(__name__)

BATCH_SECONDS = 0.008
"""How long cycles run before the event loop gets its turn."""
_LEASE = ("koordinator-system", "koord-scheduler")


class SchedulerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line or the embedded cluster decides."""

    kubeconfig: str | None = None
    master: str | None = None
    scheduler_names: tuple[str, ...] = ("koord-scheduler", "default-scheduler")
    leader_elect: bool = False
    seed: int | None = None
    bind_concurrency: int = 64
    http_address: str = "127.0.0.1"
    http_port: int | None = None
    """Where /healthz and /metrics are served; None for nowhere, 0 for any free port."""


async def run(options: SchedulerOptions, clock: Clock, on_ready: Callable[[], None] = lambda: None) -> None:
    """Schedule until cancelled."""
    async with Client(config.load(options.kubeconfig, options.master)) as client:
        await App(client, options, clock).run(on_ready)


class App:
    """The parts of the process, wired."""

    def __init__(self, store: Store, options: SchedulerOptions, clock: Clock) -> None:
        self.store, self.options, self.clock = store, options, clock
        self.metrics = Metrics()
        self.recorder = Recorder(store, options.scheduler_names[0], clock)
        self.reporter = Reporter(store, self.recorder, clock, self.metrics)
        cluster = Cluster()
        self.profile = default_profile(options.scheduler_names, cluster, store, clock)
        self.queue = SchedulingQueue(clock.monotonic)
        self.scheduler = Scheduler(cluster, self.queue, [self.profile], self.reporter, options.seed)
        self.binder = Binder(self.scheduler.bound, self.scheduler.bind_failed, options.bind_concurrency)
        self.scheduler.submit = self.binder.submit
        self.feed = Feed(self.scheduler, self.reporter)
        self.flags = Flags()
        self.explainer = Explainer(self.scheduler, clock.monotonic)
        self.trace = Trace(self.explainer, self.flags, clock)
        self.scheduler.chosen, self.reporter.trace = self.trace.chosen, self.trace
        self.monitor = self.reporter.monitor
        self.explanations = Explanations(store, self.explainer, clock, lambda: self.leading)
        self._woken = asyncio.Event()
        self.queue.woken = self._woken.set
        self.leading = False
        self.http_address: tuple[str, int] | None = None
        self._plugin_informers: list[Informer[Object]] = []

    # -- life ----------------------------------------------------------------------------------------------------------

    async def run(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Watch at once, schedule when leading. Ends by cancellation, after the binds in flight.

        Raises: Unavailable (port taken), LeadershipLost.
        """
        try:
            async with serving(self), asyncio.TaskGroup() as tasks:
                await self._run(tasks, on_ready)
        except BaseExceptionGroup as group:
            alone = group.exceptions[0]
            if len(group.exceptions) == 1 and isinstance(alone, KoordError):
                raise alone from None
            raise

    async def _run(self, tasks: asyncio.TaskGroup, on_ready: Callable[[], None]) -> None:
        background = [tasks.create_task(work) for work in (self.recorder.run(), self.reporter.run(), self.binder.run())]
        try:
            background += await self._watch(tasks)
            background.append(tasks.create_task(self.explanations.run()))
            on_ready()
            await self._lead(self._schedule)
        finally:
            await self._finish()
            for task in background:
                task.cancel()

    async def _lead(self, work: Callable[[], Awaitable[None]]) -> None:
        if not self.options.leader_elect:
            await work()
            return
        await LeaderElector(self.store, *_LEASE, make_identity(), self.clock).run(work)

    async def _finish(self) -> None:
        """Let binds in flight end, so that nobody assumes what we have already sent; bounded, because we are asked to stop."""
        try:
            async with asyncio.timeout(5):
                await self.binder.drained()
        except TimeoutError:
            log.warning("%d binds were still in flight", self.binder.in_flight)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                await self.reporter.drain()

    # -- watching ------------------------------------------------------------------------------------------------------

    async def _watch(self, tasks: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """Start the informers and wait for their first lists, nodes before pods. Returns the running tasks."""
        feed = self.feed
        nodes = Informer(self.store, NODES, clock=self.clock)
        nodes.on(feed.node_set, lambda _, node: feed.node_set(node), feed.node_deleted, feed.unreadable)
        running = [tasks.create_task(nodes.run())]
        running += [tasks.create_task(self._plugin_informer(plugin).run()) for plugin in self.profile.watchers]
        await nodes.synced()
        for plugin, informer in zip(self.profile.watchers, self._plugin_informers, strict=True):
            await self._synced_if_there(plugin, informer)
        pods = Informer(self.store, PODS, clock=self.clock)
        pods.on(feed.pod_added, feed.pod_updated, feed.pod_deleted, feed.pod_unreadable)
        running.append(tasks.create_task(pods.run()))
        await pods.synced()
        return running

    def _plugin_informer(self, plugin: WatchPlugin) -> Informer[Object]:
        feed = self.feed
        informer: Informer[Object] = Informer(self.store, plugin.resource, clock=self.clock)
        informer.on(
            lambda obj: feed.object_set(plugin, obj),
            lambda _, obj: feed.object_set(plugin, obj),
            lambda obj: feed.object_deleted(plugin, obj),
            feed.unreadable,
        )
        self._plugin_informers.append(informer)
        return informer

    async def _synced_if_there(self, plugin: WatchPlugin, informer: Informer[Object]) -> None:
        """Wait for the first list, unless the cluster does not know the kind (its CRD is not installed)."""
        try:
            await self.store.list(plugin.resource)
        except NotFound:
            log.warning("%s goes on without %s: the API server does not know them", plugin.name, plugin.resource.plural)
            return
        except ApiError as err:
            log.info("waiting for %s: %s", plugin.resource.plural, err)
        await informer.synced()

    # -- scheduling ----------------------------------------------------------------------------------------------------

    async def _schedule(self) -> None:
        """Cycles in batches; asleep when there is nothing to do."""
        self.leading = True
        ticker = asyncio.create_task(self._tick())
        try:
            while True:
                self._woken.clear()
                if not self._batch():
                    await self._woken.wait()
                elif self.binder.busy:
                    await asyncio.sleep(0.001)
                else:
                    await asyncio.sleep(0)
        finally:
            self.leading = False
            ticker.cancel()

    def _batch(self) -> bool:
        """Cycles for a few milliseconds; says whether more pods are ready."""
        monotonic, schedule_one = self.clock.monotonic, self.scheduler.schedule_one
        now = monotonic()
        until = now + BATCH_SECONDS
        while now < until and not self.binder.busy:
            self.reporter.started = now
            if not schedule_one():
                return False
            now = monotonic()
        return True

    async def _tick(self) -> None:
        """What time alone moves: pauses that end, reports that grow old."""
        while True:
            self.queue.flush()
            for plugin in self.profile.watchers:
                try:
                    plugin.tick(self.clock.now())
                except Exception:
                    log.exception("plugin %s did not take notice of the time", plugin.name)
            due = self.queue.next_flush()
            pause = 1.0 if due is None else due - self.clock.monotonic()
            await self.clock.sleep(min(max(pause, 0.05), 1.0))
