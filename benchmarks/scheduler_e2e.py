"""The cases end to end: pods are created over HTTP in an API server that keeps them on disk, and a watch shows them bound.

API server, scheduler and this client are three processes on the machine's cores. Besides pods a second the processor time per
pod is told: on a busy machine the latter is what can be compared. Every step has a deadline.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import msgspec

from benchmarks.embedded import Embedded, Process, Wire, embedded
from benchmarks.figures import Figure, Measurement
from benchmarks.scheduler_cases import CASES, Case, Churn
from benchmarks.scheduler_templates import BEFORE, HIGH, MEASURED, MakePod, before, big_node, namespace, plain
from koordinator.api import registry
from koordinator.api.meta import Object
from koordinator.api.slo import NodeMetric
from koordinator.cluster.demo.measure import percentile

SETTING_UP, MEASURING = 180.0, 120.0
"""Deadlines in seconds: for what a case finds, and for what is measured."""
_RESOURCES = {one.type: one for one in vars(registry).values() if isinstance(one, registry.Resource) and one.type is not Object}


class Sample(NamedTuple):
    """Pods a second; microseconds of processor time per pod of API server and scheduler; the scheduler's memory."""

    rate: float
    server: float
    scheduler: float
    megabytes: float


class World:
    """An API server and, when it has been started, a scheduler; and a client for both."""

    def __init__(self, pair: Embedded, wire: Wire) -> None:
        self.pair, self.wire = pair, wire
        self.bound: dict[str, float] = {}
        """When the watch showed a pod of the measured namespace to be on a node, by its name."""

    def post(self, obj: Object) -> bytes:
        return self.wire.post(_path(obj, collection=True), obj)

    def report(self, metric: NodeMetric) -> bytes:
        """What koordlet sends: the status alone."""
        body = msgspec.json.encode({"status": metric.status})
        return self.wire.request("PATCH", f"{_path(metric)}/status", body, "application/merge-patch+json")

    async def create(self, objects: Sequence[Object]) -> None:
        await self.wire.send(self.post(obj) for obj in objects)
        await self.wire.send(self.report(obj) for obj in objects if isinstance(obj, NodeMetric))

    def schedule(self, profile: str = "") -> Process:
        return self.pair.schedule(config=profile)

    async def follow(self, pods: str) -> None:
        """Watch a namespace until cancelled."""
        decode = msgspec.json.Decoder(_Event).decode
        path = f"/api/v1/namespaces/{pods}/pods?watch=1&resourceVersion=0&timeoutSeconds=600"
        async for line in self.wire.lines(path):
            found = decode(line).object
            if found.spec.node_name:
                self.bound.setdefault(found.metadata.name, time.monotonic())

    async def all_bound(self, count: int) -> None:
        while len(self.bound) < count:
            await asyncio.sleep(0.01)

    async def place(self, make: MakePod, numbers: range, within: float) -> float:
        """Seconds until these pods of one namespace are bound. Raises TimeoutError."""
        pods = [make(index) for index in numbers]
        requests = [self.post(one) for one in pods]
        namespaces = sorted({one.metadata.namespace for one in pods})
        self.bound.clear()
        async with contextlib.AsyncExitStack() as stack:
            for one in namespaces:
                await stack.enter_async_context(alongside(self.follow(one)))
            began = time.monotonic()
            async with asyncio.timeout(within):
                await self.wire.send(requests)
                await self.all_bound(len(pods))
            return time.monotonic() - began


async def run(case: Case) -> Sample:
    """Raises: TimeoutError, RuntimeError (a request was refused, a process did not start)."""
    async with embedded() as (pair, wire):
        world = World(pair, wire)
        async with asyncio.timeout(SETTING_UP):
            scheduler = await prepare(world, case)
        began = pair.server.seconds(), scheduler.seconds()
        async with alongside(churned(world, case.churn)):
            took = await world.place(case.pod, range(case.resident, case.resident + case.measured), MEASURING)
        server, engine = pair.server.seconds() - began[0], scheduler.seconds() - began[1]
        return Sample(case.measured / took, 1e6 * server / case.measured, 1e6 * engine / case.measured, scheduler.megabytes())


async def prepare(world: World, case: Case) -> Process:
    await world.create([HIGH, namespace(BEFORE), namespace(MEASURED, case.team)])
    await world.create([case.node(index) for index in range(case.nodes)])
    await world.create(list(case.there()))
    scheduler = world.schedule(case.profile)
    if case.resident:
        await world.place(case.resident_pod or before(case.pod), range(case.resident), SETTING_UP)
    await quiet(world, scheduler)
    return scheduler


async def quiet(world: World, scheduler: Process, within: float = 30.0) -> None:
    """Wait until both processes have done what is left of the preparations, events and such."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        used = world.pair.server.seconds() + scheduler.seconds()
        await asyncio.sleep(0.3)
        if world.pair.server.seconds() + scheduler.seconds() - used < 0.03:
            return


@contextlib.asynccontextmanager
async def alongside(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Something that goes on meanwhile; when it fails, that is raised at the end."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def churned(world: World, churn: Churn | None) -> None:
    """The case's churn, at its pace, until cancelled."""
    if churn is None:
        return
    began, passing = time.monotonic(), list[Object]()
    for number in range(1_000_000):
        await asyncio.sleep(max(began + number * churn.seconds - time.monotonic(), 0))
        requests = [world.wire.request("DELETE", _path(obj)) for obj in passing] if churn.recreate else []
        passing = churn.make(number)
        requests += [world.report(obj) if isinstance(obj, NodeMetric) else world.post(obj) for obj in passing]
        await world.wire.send(requests, 1)


def _path(obj: Object, *, collection: bool = False) -> str:
    resource = _RESOURCES[type(obj)]
    return resource.path(obj.metadata.namespace if resource.namespaced else "", "" if collection else obj.name)


async def latency(rate: float = 500, seconds: float = 10, warm: int = 500) -> tuple[float, float]:
    """Milliseconds from the moment a create goes out until the watch shows the pod bound: the median, and 99 of 100."""
    async with embedded() as (pair, wire):
        world = World(pair, wire)
        await world.create([namespace(MEASURED), *(big_node(index) for index in range(5000))])
        await quiet(world, world.schedule())
        total = warm + int(rate * seconds)
        sent = [0.0] * total
        pods = [plain(index) for index in range(total)]
        requests = [world.post(one) for one in pods]
        async with alongside(world.follow(MEASURED)), asyncio.timeout(seconds + 60):
            await wire.paced(requests, rate, lambda number: sent.__setitem__(number, time.monotonic()))
            await world.all_bound(total)
        waits = sorted(1000 * (world.bound[one.name] - sent[number]) for number, one in enumerate(pods) if number >= warm)
        return percentile(waits, 50), percentile(waits, 99)


class _Meta(msgspec.Struct):
    name: str


class _Spec(msgspec.Struct, rename="camel"):
    node_name: str = ""


class _Pod(msgspec.Struct):
    metadata: _Meta
    spec: _Spec = msgspec.field(default_factory=_Spec)


class _Event(msgspec.Struct):
    object: _Pod


def measurements() -> Iterator[Measurement]:
    for case in CASES:
        if case.end_to_end:
            yield Measurement(partial(_finish, run, case), _figures(case), seconds=25)
    figures = [
        Figure("end to end, create to bound at a steady 500 pods/s: median", "ms", "", lambda found: found[0]),
        Figure("end to end, create to bound at a steady 500 pods/s: 99th percentile", "ms", "<= 100", lambda found: found[1]),
    ]
    yield Measurement(partial(_finish, latency), figures, seconds=45)


def _figures(case: Case) -> list[Figure]:
    name = f"end to end, {case.title}"
    return [
        Figure(name, "pods/s", f">= {case.end_to_end}", lambda sample: sample.rate),
        Figure(f"{name}: API server's processor time", "us/pod", "", lambda sample: sample.server),
        Figure(f"{name}: scheduler's processor time", "us/pod", "", lambda sample: sample.scheduler),
        Figure(f"{name}: scheduler's memory", "MB", "<= 500", lambda sample: sample.megabytes),
    ]


def _finish(work: Callable[..., Coroutine[None, None, object]], *args: object) -> object:
    return asyncio.run(work(*args))
