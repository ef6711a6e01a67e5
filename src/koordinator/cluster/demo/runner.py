"""Runs the demo's three phases on a cluster and collects what happened.

1. alone: the service under load.
2. unprotected: as many plain processes as there are batch jobs run beside it, with the command of the batch manifest.
3. koordinator: the same work as a Job, sold to by the node, fenced and squeezed by koordlet.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec

from koordinator.api import registry
from koordinator.api.core import Pod
from koordinator.api.resources import BATCH_CPU, BATCH_MEMORY, CPU, amounts
from koordinator.clock import Clock
from koordinator.cluster.demo.manifests import PORT, at_port, free_port
from koordinator.cluster.demo.measure import BatchLine, LoadLine, Phase, Records, Window, parse_cpu, parse_lines, phase
from koordinator.errors import Unavailable
from koordinator.kube.apply import apply, manifests_at
from koordinator.kube.client import Client

NAMESPACE = "demo"
PROC_STAT = Path("/proc/stat")
_PR_SET_PDEATHSIG = 1


class DemoOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``seconds`` is the length of each phase; ``settle`` what is left out of the measurement after each change."""

    manifests: Path
    scratch: Path
    node: str
    seconds: float = 20.0
    settle: float = 3.0
    patience: float = 60.0


class Result(msgspec.Struct, frozen=True):
    phases: list[Phase]
    windows: list[Window]
    records: Records
    node: dict[str, Any]


class Demo:
    """One run. ``say`` gets a line at every step."""

    def __init__(self, options: DemoOptions, client: Client, clock: Clock, say: Callable[[str], None]) -> None:
        self._options = options
        self._client = client
        self._clock = clock
        self._say = say
        self._port = free_port()
        self._manifests = {manifest.title: at_port(manifest, self._port) for manifest in manifests_at(options.manifests)}
        self._records = Records(load=[], batch=[], cpu=[])
        self._windows: list[Window] = []

    async def run(self) -> Result:
        """All three phases. Raises Unavailable when something does not come up in time, with what is known of why."""
        sampler = asyncio.create_task(self._sample_cpu())
        try:
            await self._start_service()
            await self._measure("alone", "the service alone")
            async with self._plain_batch():
                await self._measure("unprotected", "the service beside plain batch processes")
            await self._start_batch()
            await self._measure("koordinator", "the service beside the same batch work under Koordinator")
            await self._collect()
        finally:
            sampler.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sampler
        return Result(
            [phase(window, self._records) for window in self._windows], self._windows, self._records, await self._node()
        )

    async def _start_service(self) -> None:
        if self._port != PORT:
            self._say(f"port {PORT} is taken: the service listens on {self._port}")
        for title, manifest in self._manifests.items():
            if title not in ("job/batch", "pod/load"):
                await apply(self._client, manifest)
        await self._until(lambda: self._pods_ready("web", 1), "the service to be ready")
        await apply(self._client, self._manifests["pod/load"])
        await self._until(lambda: self._pods_ready("load", 1), "the load generator to run")
        self._say("deployed the service (LS, reserves 1.2 cores) and its load generator")

    async def _measure(self, name: str, what: str) -> None:
        await self._clock.sleep(self._options.settle)
        self._say(f"measuring {what}, {self._options.seconds:.0f} s")
        start = self._clock.now()
        await self._clock.sleep(self._options.seconds)
        self._windows.append(Window(name, start, self._clock.now()))

    @contextlib.asynccontextmanager
    async def _plain_batch(self) -> AsyncIterator[None]:
        job = self._manifests["job/batch"]
        container = job.body["spec"]["template"]["spec"]["containers"][0]
        logs = [self._options.scratch / f"plain-batch-{number}.log" for number in range(job.body["spec"]["parallelism"])]
        processes = [_start([*container["command"], *container["args"]], log) for log in logs]
        try:
            yield
        finally:
            for process in processes:
                process.kill()
                process.wait()
        self._records.batch += [_batch_lines(log.read_text()) for log in logs]

    async def _start_batch(self) -> None:
        await self._until(self._sells, f"node {self._options.node} to sell the batch-cpu that the Job asks for")
        job = self._manifests["job/batch"]
        await apply(self._client, job)
        await self._until(lambda: self._pods_ready("batch", job.body["spec"]["parallelism"]), "the batch pods to run")
        self._say(f"submitted the same work as a Job of {job.body['spec']['parallelism']} BE pods; all run")

    async def _sells(self) -> bool:
        """Whether the node publishes enough batch-cpu for the Job."""
        job = self._manifests["job/batch"].body["spec"]
        wanted = job["parallelism"] * amounts(job["template"]["spec"]["containers"][0]["resources"]["requests"])[CPU]
        node = await self._client.get(registry.NODES, self._options.node)
        sold = amounts(node.status.allocatable)
        if sold.get(BATCH_CPU, 0) < wanted:
            return False
        memory = sold.get(BATCH_MEMORY, 0) / 2**30
        self._say(f"node {node.name} sells {sold[BATCH_CPU]}m batch-cpu, {memory:.1f}Gi batch-memory: reserved, and not used")
        return True

    async def _collect(self) -> None:
        self._records.load = [line for line in parse_lines(await self._log("load"), LoadLine) if isinstance(line, LoadLine)]
        for pod in await self._pods("batch"):
            self._records.batch.append(_batch_lines(await self._log(pod.name)))

    async def _log(self, pod: str) -> str:
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}/log"
        return "\n".join([line.decode(errors="replace") async for line in self._client.lines(path)])

    async def _node(self) -> dict[str, Any]:
        node = await self._client.get(registry.NODES, self._options.node)
        return {"name": node.name, "cpus": os.cpu_count(), "allocatable": node.status.allocatable}

    async def _pods(self, app: str) -> list[Pod]:
        return (await self._client.list(registry.PODS, NAMESPACE, label_selector=f"app={app}")).items

    async def _pods_ready(self, app: str, count: int) -> bool:
        pods = await self._pods(app)
        for pod in pods:
            if pod.status.phase == "Failed":
                raise Unavailable(f"pod {pod.key}", f"{pod.status.reason}: {pod.status.message}", "see its log")
        return sum(_ready(pod) for pod in pods) >= count

    async def _until(self, condition: Callable[[], Any], what: str) -> None:
        deadline = self._clock.monotonic() + self._options.patience
        while not await condition():
            if self._clock.monotonic() > deadline:
                known = await self._known()
                raise Unavailable("demo", f"waited {self._options.patience:.0f} s for {what}", known)
            await self._clock.sleep(0.1)

    async def _known(self) -> str:
        pods = (await self._client.list(registry.PODS, NAMESPACE)).items
        events = (await self._client.list(registry.EVENTS, NAMESPACE)).items
        sold = amounts((await self._client.get(registry.NODES, self._options.node)).status.allocatable).get(BATCH_CPU, 0)
        lines = [f"the node sells {sold}m batch-cpu (other work on the machine lowers that)"]
        lines += [f"pod {pod.name} is {pod.status.phase}" for pod in pods]
        lines += [
            f"{event.involved_object.name}: {event.reason}: {event.message}" for event in events if event.type == "Warning"
        ]
        return "; ".join(lines)

    async def _sample_cpu(self) -> None:
        while True:
            text = PROC_STAT.read_text()  # noqa: ASYNC240 — memory of the kernel's, it never blocks
            self._records.cpu.append(parse_cpu(text, self._clock.now()))
            await self._clock.sleep(0.5)


def _start(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    """A process that ends with this one, however this one ends: it would burn a core for ever.

    Each has a session of its own, as services of a machine have: the kernel's autogroups would otherwise weigh all of them
    together as one.
    """
    libc = ctypes.CDLL(None)

    def die_with_parent() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    with log.open("wb") as file:
        return subprocess.Popen(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 — no other threads here that could hold a lock
        )


def _batch_lines(text: str) -> list[BatchLine]:
    return [line for line in parse_lines(text, BatchLine) if isinstance(line, BatchLine)]


def _ready(pod: Pod) -> bool:
    return any(condition.type == "Ready" and condition.status == "True" for condition in pod.status.conditions or [])
