"""koord-scheduler, the process: informers feed the engine, one loop runs cycles, workers bind.

Everything lives on one event loop. Cycles run in short batches, so that watches and binds get their turn in between.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from koordinator.api.meta import Object
from koordinator.api.registry import NODES, PODS, Resource
from koordinator.clock import Clock
from koordinator.errors import KoordError
from koordinator.kube.client import Client
from koordinator.kube.errors import ApiError, NotFound
from koordinator.kube.events import Recorder
from koordinator.kube.flags import ConnectionFlags, client_config
from koordinator.kube.informer import Informer
from koordinator.kube.leader import LeaderElector, make_identity
from koordinator.kube.pauses import collect_when_quiet, settle
from koordinator.kube.store import Store
from koordinator.scheduler.catalogue import built_in, with_entry_points
from koordinator.scheduler.config.write import current
from koordinator.scheduler.debug.flags import Flags
from koordinator.scheduler.debug.trace import Trace
from koordinator.scheduler.engine.binding import Binder
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.cycle import Scheduler
from koordinator.scheduler.engine.framework import WatchPlugin
from koordinator.scheduler.engine.handle import Handle
from koordinator.scheduler.engine.objects import Objects
from koordinator.scheduler.engine.queue import SchedulingQueue, Where
from koordinator.scheduler.explain.controller import Explanations
from koordinator.scheduler.explain.explainer import Explainer
from koordinator.scheduler.extenders import extenders_of
from koordinator.scheduler.feed import Feed
from koordinator.scheduler.metrics import Metrics
from koordinator.scheduler.monitor import Monitor
from koordinator.scheduler.options import SchedulerOptions
from koordinator.scheduler.profiles import make_profiles, timings_of
from koordinator.scheduler.reload import reloading
from koordinator.scheduler.report import Reporter
from koordinator.scheduler.serve import serving

log = logging.getLogger(__name__)

__all__ = ["App", "SchedulerOptions", "run"]

BATCH_SECONDS = 0.008
"""How long cycles run before the event loop gets its turn."""


async def run(options: SchedulerOptions, clock: Clock, on_ready: Callable[[], None] = lambda: None) -> None:
    """Schedule until cancelled. Raises: ConfigInvalid, Unavailable, LeadershipLost."""
    flags = ConnectionFlags(
        kubeconfig=options.kubeconfig, master=options.master, kube_api_qps=options.qps, kube_api_burst=options.burst
    )
    async with Client(client_config(flags)) as client:
        app = App(client, options, clock)

        def ready() -> None:
            settle()
            on_ready()

        collecting = asyncio.create_task(collect_when_quiet(clock, lambda: app.quiet))
        try:
            await app.run(ready)
        finally:
            collecting.cancel()


class App:
    """The parts of the process, wired."""

    def __init__(self, store: Store, options: SchedulerOptions, clock: Clock) -> None:
        self.store, self.options, self.clock = store, options, clock
        self.metrics = Metrics()
        self.catalogue = with_entry_points() if options.entry_points else built_in()
        self.reading = current(options, self.catalogue)
        names = [profile.scheduler_name for profile in self.reading.configuration.profiles]
        self.recorder = Recorder(store, names[0], clock)
        self.reporter = Reporter(store, self.recorder, clock, self.metrics)
        cluster = Cluster()
        handles = [Handle(cluster, store, clock, name, options.gates) for name in names]
        self.profiles = make_profiles(self.reading.configuration, self.catalogue, handles)
        self.profile = self.profiles[0]
        if not options.config:
            self.profile.names = tuple(options.scheduler_names)  # one profile for them all
        self.extenders = extenders_of(self.reading.configuration, self.profiles, cluster)
        self.queue = SchedulingQueue(clock.monotonic, timings_of(self.reading.configuration, options))
        self.scheduler = Scheduler(cluster, self.queue, self.profiles, self.reporter, options.seed)
        self.scheduler.extenders, self.scheduler.ask_extenders = self.extenders.all, self.extenders.ask
        self._connect(handles)
        self.binder = Binder(self.scheduler.bound, self.scheduler.bind_failed, options.bind_concurrency)
        self.scheduler.submit = self.binder.submit
        self.feed = Feed(self.scheduler, self.reporter)
        debug = options.debug
        self.flags = Flags(debug.top_scores, debug.filters, debug.diagnosis, debug.diagnosis_blocking, debug.verbosity)
        self.explainer = Explainer(self.scheduler, clock.monotonic)
        self.trace = Trace(self.explainer, self.reporter, self.flags, clock)
        self.scheduler.chosen, self.reporter.trace = self.trace.chosen, self.trace
        self.monitor = self.reporter.monitor = Monitor(clock.monotonic, options.scheduling_timeout, options.monitor_period)
        self.explanations = Explanations(store, self.explainer, clock, lambda: self.leading)
        self._woken = asyncio.Event()
        self.queue.woken = self._woken.set
        self.leading = False
        self.elector: LeaderElector | None = None
        self.synced = False
        self.https_address: tuple[str, int] | None = None
        self.http_address: tuple[str, int] | None = None
        self._plugin_informers: dict[Resource[Any], Informer[Object]] = {}

    def _connect(self, handles: Sequence[Handle]) -> None:
        """Plugins were made first: now there is somebody to talk to."""
        self.reporter.promised = self.scheduler.cluster.nominator.node_of
        for handle in handles:
            handle.recorder, handle.queue, handle.waiting = self.recorder, self.queue, self.scheduler.waiting
            handle.extenders = self.extenders
        if "ResizePod" not in self.options.gates:
            for profile in self.profiles:
                profile.resizes = []

    @property
    def watchers(self) -> list[WatchPlugin]:
        kept = self.scheduler.cluster.shared(Objects).kept.values()
        return [*kept, *(plugin for profile in self.profiles for plugin in profile.watchers)]

    @property
    def quiet(self) -> bool:
        """Whether nothing is to be done at this moment."""
        return not self.queue.counts[Where.ACTIVE] and not self.binder.in_flight

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
            background.append(tasks.create_task(reloading(self)))
            self.synced = True
            on_ready()
            await self._lead(self._schedule)
        finally:
            await self._finish()
            await self.extenders.close()
            for task in background:
                task.cancel()

    async def _lead(self, work: Callable[[], Awaitable[None]]) -> None:
        if not self.options.leader_elect:
            await work()
            return
        election = self.options.election
        self.elector = LeaderElector(self.store, election.namespace, election.name, make_identity(), self.clock, election.times)
        await self.elector.run(lambda: self._lead_and_finish(work))

    async def _lead_and_finish(self, work: Callable[[], Awaitable[None]]) -> None:
        """Binds in flight end before the Lease is given back: the next leader must find what we have decided."""
        try:
            await work()
        finally:
            await self._finish()

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
        for plugin in self.watchers:
            self._plugin_informer(plugin)
        running += [tasks.create_task(informer.run()) for informer in self._plugin_informers.values()]
        await nodes.synced()
        for plugin in self.watchers:
            await self._synced_if_there(plugin, self._plugin_informers[plugin.resource])
        pods = Informer(self.store, PODS, clock=self.clock)
        pods.on(feed.pod_added, feed.pod_updated, feed.pod_deleted, feed.pod_unreadable)
        running.append(tasks.create_task(pods.run()))
        await pods.synced()
        return running

    def _plugin_informer(self, plugin: WatchPlugin) -> None:
        """One informer a kind, whoever of the profiles' plugins want it."""
        feed = self.feed
        informer = self._plugin_informers.get(plugin.resource)
        if informer is None:
            informer = self._plugin_informers[plugin.resource] = Informer(self.store, plugin.resource, clock=self.clock)
        informer.on(
            lambda obj: feed.object_set(plugin, obj),
            lambda _, obj: feed.object_set(plugin, obj),
            lambda obj: feed.object_deleted(plugin, obj),
            feed.unreadable,
        )

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
                more = self._batch()
                if (question := self.scheduler.waiting_for) is not None:
                    self.scheduler.waiting_for = None
                    await question
                elif not more:
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
            if self.scheduler.waiting_for is not None:
                return True
            now = monotonic()
        return True

    async def _tick(self) -> None:
        """What time alone moves: pauses that end, reports that grow old."""
        while True:
            self.queue.flush()
            self.scheduler.tick()
            for plugin in self.watchers:
                try:
                    plugin.tick(self.clock.now())
                except Exception:
                    log.exception("plugin %s did not take notice of the time", plugin.name)
            due = self.queue.next_flush()
            pause = 1.0 if due is None else due - self.clock.monotonic()
            await self.clock.sleep(min(max(pause, 0.05), 1.0))
