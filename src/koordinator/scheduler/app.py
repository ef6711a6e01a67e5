"""koord-scheduler, the process: informers feed the engine, one loop runs cycles, workers bind. All on one event loop.

This file puts the parts together; ``life`` runs them, ``watching`` feeds them, ``loop`` is the scheduling loop.
"""

import asyncio
from collections.abc import Callable, Sequence

from koordinator.clock import Clock
from koordinator.errors import readable
from koordinator.kube.client import Client
from koordinator.kube.events import Recorder
from koordinator.kube.flags import ConnectionFlags, client_config
from koordinator.kube.pauses import collect_when_quiet, settle
from koordinator.kube.store import Store
from koordinator.scheduler.auditor.auditor import Auditor
from koordinator.scheduler.auditor.options import AuditorOptions
from koordinator.scheduler.catalogue import Catalogue, built_in, with_entry_points
from koordinator.scheduler.config.write import current
from koordinator.scheduler.debug.flags import Flags
from koordinator.scheduler.debug.trace import Trace
from koordinator.scheduler.engine.batch import BatchStats
from koordinator.scheduler.engine.binding import Binder
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.cycle import Scheduler
from koordinator.scheduler.engine.events import ClusterEvent, Happening
from koordinator.scheduler.engine.framework import WatchPlugin
from koordinator.scheduler.engine.handle import Handle
from koordinator.scheduler.engine.hooks import StartPlugin
from koordinator.scheduler.engine.meter import Meter
from koordinator.scheduler.engine.objects import Objects
from koordinator.scheduler.engine.queue import SchedulingQueue
from koordinator.scheduler.engine.queued import Where
from koordinator.scheduler.explain.controller import Explanations
from koordinator.scheduler.explain.explainer import Explainer
from koordinator.scheduler.explain.sampling import percentages
from koordinator.scheduler.extenders import extenders_of
from koordinator.scheduler.feed import Feed
from koordinator.scheduler.life import Life
from koordinator.scheduler.metrics import Metrics
from koordinator.scheduler.monitor import Monitor
from koordinator.scheduler.options import SchedulerOptions
from koordinator.scheduler.profiles import make_profiles, timings_of
from koordinator.scheduler.report import Reporter
from koordinator.scheduler.serve import serving
from koordinator.scheduler.topology.manager import NetworkTopology
from koordinator.scheduler.watching import left_out

__all__ = ["App", "SchedulerOptions", "run"]


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

    def __init__(self, store: Store, options: SchedulerOptions, clock: Clock, catalogue: Catalogue | None = None) -> None:
        self.store, self.options, self.clock = store, options, clock
        self.metrics = Metrics(clock.monotonic)
        self.catalogue = catalogue or (with_entry_points() if options.entry_points else built_in())
        self.reading = current(options, self.catalogue)
        names = [profile.scheduler_name for profile in self.reading.configuration.profiles]
        self.recorder = Recorder(store, names[0], clock)
        self.reporter = Reporter(store, self.recorder, clock, self.metrics)
        cluster = Cluster()
        handles = [Handle(cluster, store, clock, name, options.gates, self.metrics) for name in names]
        self.profiles = make_profiles(self.reading.configuration, self.catalogue, handles)
        for profile in self.profiles:
            for plugin in profile.plugins.values():
                plugin.meter = Meter(profile.name, self.metrics.watch)
        self.profile = self.profiles[0]
        if not options.config:
            self.profile.names = tuple(options.scheduler_names)  # one profile for them all
        self.extenders = extenders_of(self.reading.configuration, self.profiles, cluster)
        self.queue = SchedulingQueue(clock.monotonic, timings_of(self.reading.configuration, options))
        self.scheduler = Scheduler(cluster, self.queue, self.profiles, self.reporter, options.seed, options.gates)
        self.scheduler.waiting.ended = self.metrics.waited
        self.scheduler.extenders, self.scheduler.ask_extenders = self.extenders.all, self.extenders.ask
        self.scheduler.batch.stats = BatchStats(self.metrics)
        text = "Taking the pod out of the queue that a plugin wants next."
        self.scheduler.next_pod_seconds = self.metrics.histogram("next_pod_delete_from_queue_latency", text)
        self._connect(handles)
        self.binder = Binder(self.scheduler.bound, self.scheduler.bind_failed, options.bind_concurrency)
        self.scheduler.submit, self.binder.obstacle = self.binder.submit, self.scheduler.obstacle
        self.feed = Feed(self.scheduler, self.reporter)
        self._look_on(options)
        self.life = Life(self)
        self.auditor = self._auditing(options.auditor, handles) if options.auditor is not None else None
        self.network = self._knowing_the_network(handles) if options.network_topology else None
        self.https_address: tuple[str, int] | None = None
        self.http_address: tuple[str, int] | None = None

    def _look_on(self, options: SchedulerOptions) -> None:
        """Those who explain, trace and time what the scheduler does."""
        debug, clock = options.debug, self.clock
        self.flags = Flags(debug.top_scores, debug.filters, debug.diagnosis, debug.diagnosis_blocking, debug.verbosity)
        self.explainer = Explainer(self.scheduler, clock.monotonic)
        self.explainer.percentages = percentages(self.reading.configuration)
        self.trace = Trace(self.explainer, self.reporter, self.flags, clock, debug.diagnosis_queue)
        self.scheduler.chosen, self.reporter.trace = self.trace.chosen, self.trace
        self.monitor = self.reporter.monitor = Monitor(clock.monotonic, options.scheduling_timeout, options.monitor_period)
        self.monitor.on_its_way = self.queue.__contains__
        self.explanations = Explanations(self.store, self.explainer, clock, lambda: self.leading)

    def _connect(self, handles: Sequence[Handle]) -> None:
        """Plugins were made first: now there is somebody to talk to."""
        self.reporter.promised = self.scheduler.cluster.nominator.node_of
        for handle in handles:
            handle.recorder, handle.queue, handle.waiting = self.recorder, self.queue, self.scheduler.waiting
            handle.extenders, handle.scheduler = self.extenders, self.scheduler

    def _auditing(self, options: AuditorOptions, handles: Sequence[Handle]) -> Auditor:
        auditor = Auditor(self.clock, self.scheduler.wants, self.queue, options, self.metrics)
        auditor.leading = lambda: self.leading
        self.scheduler.cluster.listeners.append(auditor)
        self.life.watching.pods.on(auditor.pod_set, auditor.pod_changed, auditor.pod_deleted)
        self.reporter.auditor = auditor
        for handle in handles:
            handle.auditor = auditor
        return auditor

    def _knowing_the_network(self, handles: Sequence[Handle]) -> NetworkTopology:
        network = NetworkTopology(self.store, self.scheduler.cluster, self.clock, self.recorder)
        network.changed = lambda: self.scheduler.tell(ClusterEvent(Happening.NETWORK))
        for handle in handles:
            handle.network = network
        return network

    @property
    def watchers(self) -> list[WatchPlugin]:
        kept = self.scheduler.cluster.shared(Objects).kept.values()
        wanted = [*kept, *(plugin for profile in self.profiles for plugin in profile.watchers)]
        return [plugin for plugin in wanted if not left_out(plugin.resource, self.options.gates)]

    @property
    def starters(self) -> list[StartPlugin]:
        return [plugin for profile in self.profiles for plugin in profile.starters]

    @property
    def leading(self) -> bool:
        return self.life.leading

    @property
    def quiet(self) -> bool:
        """Whether nothing is to be done at this moment."""
        return not self.queue.counts[Where.ACTIVE] and not self.binder.in_flight

    def reset_metrics(self) -> None:
        self.metrics.reset()

    # -- life ----------------------------------------------------------------------------------------------------------

    async def run(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Watch at once, schedule when leading. Ends by cancellation, after the binds in flight.

        Raises: Unavailable (port taken, plugin that cannot start), LeadershipLost.
        """
        try:
            async with serving(self), asyncio.TaskGroup() as tasks:
                await self.life.run(tasks, on_ready)
        except BaseExceptionGroup as group:
            alone = readable(group)
            if alone is None:
                raise
            raise alone from None
