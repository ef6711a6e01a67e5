"""Hollow nodes: nodes without processes. One task set plays the kubelet and koordlet of all of them.

All nodes share one pod watch and one connection pool. Cost is per change, not per node: heartbeats are so far apart that all
nodes together send at most ``beats_per_second``, and each Lease says how far that is.
"""

import asyncio
import contextlib
import math
from collections.abc import Callable

import msgspec

from koordinator.api.core import Node, Pod
from koordinator.api.meta import format_micro_time
from koordinator.api.registry import LEASES, NODES
from koordinator.clock import Clock
from koordinator.cluster.nodes import hollow_fleet, hollow_shape
from koordinator.cluster.nodes.hollow_fleet import LABEL, LEASE_NAMESPACE, SILENT, Fleet, Member
from koordinator.cluster.nodes.hollow_inventory import Inventory
from koordinator.cluster.nodes.hollow_lives import Habits
from koordinator.cluster.nodes.hollow_pods import HollowPods, ignoring_gone
from koordinator.cluster.nodes.hollow_reports import REPORT_TARGETS, ReportTarget, interval, report
from koordinator.errors import ConfigInvalid
from koordinator.kube.errors import AlreadyExists, NotFound
from koordinator.kube.informer import Informer
from koordinator.kube.retry import Backoff
from koordinator.kube.store import Store
from koordinator.kube.workqueue import WorkQueue

WORKERS = 16
PULSE_SECONDS = 0.5
"""How often the nodes are looked over for heartbeats and reports that are due."""
BEAT_SECONDS = 10.0
LEASE_SECONDS = 40.0
LEASES_AT_START = 2.5
"""How much faster than later heartbeats the first ones may come: every node has its Lease well within the default grace."""
RETRY = Backoff(base=0.1, factor=2.0, limit=10.0)


class HollowOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How many nodes of which shape, and how they behave."""

    count: int = 3
    shape: str = ""
    prefix: str = "hollow"
    seed: int = 0
    job_seconds: float = 10.0
    stop_seconds: float = 0.5
    beat_seconds: float = BEAT_SECONDS
    lease_seconds: float = LEASE_SECONDS
    beats_per_second: float = 100.0
    concurrency: int = 64
    report_metrics: bool = True
    report_hardware: bool = True


class HollowNodes:
    """Call ``run``; it ends only by cancellation."""

    def __init__(self, options: HollowOptions, store: Store, clock: Clock, complain: Callable[[Pod, str], None]) -> None:
        """``complain`` hears of annotations that cannot be read. Raises: ConfigInvalid."""
        if options.count < 1:
            raise ConfigInvalid("hollow nodes", options.count, "must be at least 1", "no node was made")
        self.options, self._store, self._clock = options, store, clock
        self.fleet = Fleet(options.prefix, options.count, hollow_shape.parse(options.shape), options.seed)
        self.beat_seconds = max(options.beat_seconds, len(self.fleet) / options.beats_per_second)
        self.lease_seconds = int(max(options.lease_seconds, 4 * self.beat_seconds))
        self._nodes = Informer(store, NODES, clock=clock, label_selector=f"{LABEL}=true")
        self._targets = Informer(store, REPORT_TARGETS, clock=clock)
        self._inventory = Inventory(self.fleet, store, clock)
        self._due: WorkQueue[tuple[str, str]] = WorkQueue("hollow nodes", clock, RETRY)
        self._pods = HollowPods(self.fleet, store, clock, Habits(options.job_seconds, options.stop_seconds), complain)
        self._work = {"beat": self._beat, "recover": self._recover, "report": self._report}

    async def run(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Register the nodes, then live. Ready when all are registered and pods are being followed."""
        taken_over = await Registration(self.fleet, self._store, self._clock).run(self.options.concurrency)
        if taken_over and self.options.report_hardware:
            await self._inventory.look()
        self._nodes.on(added=self._node_changed, updated=lambda _, new: self._node_changed(new), deleted=self._node_gone)
        now = self._clock.monotonic()
        for member in self.fleet:
            member.beat_due = now + member.index / (LEASES_AT_START * self.options.beats_per_second)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._nodes.run())
            tasks.create_task(self._pods.run(self.options.concurrency))
            tasks.create_task(self._due.run(self._handle, WORKERS))
            tasks.create_task(self._pulse())
            if self.options.report_hardware:
                tasks.create_task(self._inventory.run())
            if self.options.report_metrics:
                self._targets.on(added=self._target_added)
                tasks.create_task(self._targets.run())
            await self._nodes.synced()
            await self._pods.synced()
            on_ready()

    async def _pulse(self) -> None:
        """Find what is due. One task for all nodes: five thousand timers would cost more than they do."""
        while True:
            now = self._clock.monotonic()
            for member in self.fleet:
                if member.beat_due <= now:
                    member.beat_due = now + self._until_next_beat(member)
                    self._due.add(("beat", member.name))
                if member.report_due <= now:
                    member.report_due = math.inf
                    self._due.add(("report", member.name))
            await self._clock.sleep(PULSE_SECONDS)

    def _until_next_beat(self, member: Member) -> float:
        """All first beats come soon after the start; the second ones spread the nodes over the interval, where they stay."""
        return self.beat_seconds * (1.0 if member.leased else 0.5 + 0.5 * member.index / len(self.fleet))

    async def _handle(self, key: tuple[str, str]) -> None:
        what, name = key
        member = self.fleet.get(name)
        if member is not None:
            await self._work[what](member)

    # --- being there -------------------------------------------------------------------------------------------------------

    async def _beat(self, member: Member) -> None:
        if not member.leased:
            await self._take_lease(member)  # a silent node too: without a Lease nobody would miss its heartbeats
            return
        if member.silent:
            return
        renewal = {"spec": {"renewTime": format_micro_time(self._clock.now())}}
        try:
            await self._store.patch(LEASES, member.name, renewal, LEASE_NAMESPACE)
        except NotFound:
            await self._take_lease(member)

    async def _take_lease(self, member: Member) -> None:
        """Make the Lease, or take over an earlier run's: it may announce another duration."""
        node = self._nodes.get(member.name)
        uid = node.metadata.uid if node is not None else ""
        lease = hollow_fleet.lease_body(member, uid, self.lease_seconds, self._clock.now())
        try:
            await self._store.create(LEASES, lease, LEASE_NAMESPACE)
        except AlreadyExists:
            ours = {"metadata": {"ownerReferences": lease["metadata"]["ownerReferences"]}, "spec": lease["spec"]}
            await self._store.patch(LEASES, member.name, ours, LEASE_NAMESPACE)
        member.leased = True

    async def _recover(self, member: Member) -> None:
        """Somebody called the node unwell, and it is well: say so again."""
        if not member.silent:
            status = {"conditions": hollow_fleet.healthy(self._clock.now())}
            await ignoring_gone(self._store.patch(NODES, member.name, {"status": status}, subresource="status"))

    def _node_changed(self, node: Node) -> None:
        member = self.fleet.get(node.name)
        if member is None:
            return
        self._inventory.describe(node.name, node.metadata.uid)
        was_silent, member.silent = member.silent, node.annotations.get(SILENT) == "true"
        if member.silent:
            return
        if was_silent:
            member.beat_due = self._clock.monotonic()
            self._pods.wake(member)
        ready = next((c for c in node.status.conditions or [] if c.type == "Ready"), None)
        if ready is None or ready.status != "True":
            self._due.add(("recover", node.name))

    def _node_gone(self, node: Node) -> None:
        self.fleet.drop(node.name)
        self._inventory.forget(node.name)

    # --- usage -------------------------------------------------------------------------------------------------------------

    def _target_added(self, target: ReportTarget) -> None:
        """The first report goes out at once: what it says is known without measuring."""
        if (member := self.fleet.get(target.name)) is not None:
            member.report_due = self._clock.monotonic()

    async def _report(self, member: Member) -> None:
        target = self._targets.get(member.name)
        if target is None:
            return
        seconds = interval(target)
        if not member.reported:
            member.reported = True
            # not all in the same second for ever
            seconds *= 0.5 + 0.5 * (member.seed % 1000) / 1000
        member.report_due = self._clock.monotonic() + seconds
        if not member.silent:
            status = report(member, target, self._clock.now())
            await ignoring_gone(self._store.patch(REPORT_TARGETS, member.name, {"status": status}, subresource="status"))


class Registration:
    """Makes the nodes, or takes over those of an earlier run and removes its surplus."""

    def __init__(self, fleet: Fleet, store: Store, clock: Clock) -> None:
        self._fleet, self._store, self._clock = fleet, store, clock

    async def run(self, concurrency: int) -> bool:
        """Whether there were nodes to take over."""
        page = await self._store.list(NODES, label_selector=f"{LABEL}=true")
        present = {node.name: node for node in page.items}
        for name in self._fleet.surplus(present):
            await ignoring_gone(self._store.delete(NODES, name))
        slots = asyncio.Semaphore(concurrency)

        async def one(member: Member) -> None:
            async with slots:
                await self._register(member, present.get(member.name))

        await asyncio.gather(*(one(member) for member in self._fleet))
        return bool(present)

    async def _register(self, member: Member, known: Node | None) -> None:
        body = hollow_fleet.node_body(member, self._fleet.shape, self._clock.now())
        if known is None:
            with contextlib.suppress(AlreadyExists):
                await self._store.create(NODES, body)
                return
        if known is not None and hollow_fleet.is_as(known, body):
            return
        await self._store.patch(NODES, member.name, {"metadata": {"labels": body["metadata"]["labels"]}})
        await self._store.patch(NODES, member.name, {"status": body["status"]}, subresource="status")


async def run(options: HollowOptions, store: Store, clock: Clock, on_ready: Callable[[], None] = lambda: None) -> None:
    """Be hollow nodes until cancelled. Raises: ConfigInvalid."""
    from koordinator.kube.events import Recorder

    recorder = Recorder(store, "hollow-kubelet", clock)
    nodes = HollowNodes(options, store, clock, lambda pod, why: recorder.event(pod, "Warning", "InvalidAnnotation", why))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(recorder.run())
        tasks.create_task(nodes.run(on_ready))
