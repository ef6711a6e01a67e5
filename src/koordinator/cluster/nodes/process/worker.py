"""One pod on this node, from taking it to its last status: carries out what ``plan`` says and reports what became of it.

Every worker is a task of its own that sleeps until a container ends, a probe speaks, the pod changes or a time comes.
"""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine, Iterable
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from koordinator.api import qos
from koordinator.api.meta import parse_time
from koordinator.clock import Clock
from koordinator.cluster.nodes.process.cgroups import Cgroups
from koordinator.cluster.nodes.process.limits import pod_limits
from koordinator.cluster.nodes.process.plan import Board, Outcome, Plan, Record, Waiting, plan
from koordinator.cluster.nodes.process.podspec import ProcessPod, RawPod, is_sidecar
from koordinator.cluster.nodes.process.prepare import Lookups, Machine, prepare
from koordinator.cluster.nodes.process.probes import Prober, Result
from koordinator.cluster.nodes.process.runtime import Attempt, Runtime
from koordinator.cluster.nodes.process.status import Facts, conditions, pod_status
from koordinator.errors import Unavailable

if TYPE_CHECKING:
    import aiohttp

log = logging.getLogger(__name__)

VANISHED_GRACE = 1.0  # for a pod that somebody deleted by force: nobody waits for it any more


class Reports(Protocol):
    """Where a worker's news go. None of these raises for what the API server says."""

    def status(self, pod: RawPod, status: dict[str, Any]) -> None: ...

    def event(self, pod: RawPod, kind: str, reason: str, message: str) -> None: ...

    async def remove(self, pod: RawPod) -> None:
        """Return when the pod's last status is written and the pod is gone from the API."""
        ...


class Tools(msgspec.Struct, frozen=True):
    """What every worker of a node shares."""

    runtime: Runtime
    cgroups: Cgroups
    machine: Machine
    lookups: Lookups
    reports: Reports
    clock: Clock
    http: "aiohttp.ClientSession | None" = None


class PodWorker:
    """Call ``update`` with every change, ``vanish`` when the pod is gone from the API; ``run`` ends when nothing is left."""

    def __init__(self, raw: RawPod, root: str, tools: Tools) -> None:
        """``root`` is the ``kubepods`` directory. Raises msgspec.ValidationError when the spec does not fit its type."""
        self.raw, self.pod, self.tools = raw, raw.typed(), tools
        self.cgroup = pod_cgroup(root, self.pod)
        began = parse_time(raw.status.get("startTime")) or tools.clock.now()
        spec = self.pod.spec
        self.board = Board([Record(c) for c in spec.init_containers or []], [Record(c) for c in spec.containers], began)
        self.status: dict[str, Any] = {}
        # A pod that has ended is never run again, even when this node has lost its records.
        self.outcome = Outcome(raw.status["phase"]) if raw.status.get("phase") in ("Succeeded", "Failed") else None
        self._vanished = False
        self._wake = asyncio.Event()
        self._watches: dict[str, list[asyncio.Task[None]]] = {}
        self._next = Plan()

    @property
    def clock(self) -> Clock:
        return self.tools.clock

    @property
    def active(self) -> bool:
        """Whether the pod still counts against the node."""
        return self.outcome is None

    def adopt(self, attempts: dict[str, list[Attempt]]) -> None:
        """Take over what an earlier agent started."""
        for record in self.board.all:
            found = attempts.get(record.name, [])
            if found:
                record.attempt = found[-1]
                record.previous = found[-2] if len(found) > 1 else None
                record.ready = record.exit is not None and record.exit.code == 0 and record in self.board.init

    def update(self, raw: RawPod) -> None:
        """The spec of a running pod does not change in what we use; its deletion and annotations do."""
        self.raw = raw
        self.pod.metadata = raw.metadata
        self._wake.set()

    def vanish(self) -> None:
        self._vanished = True
        self._wake.set()

    async def run(self) -> None:
        """Until the pod is gone. Raises Unavailable when its cgroup cannot be made, ValueError for an unreadable quantity."""
        try:
            if self.outcome is None:
                self.tools.cgroups.create(self.cgroup, pod_limits(self.pod, qos.kube(self.pod)))
                self._resume()
                await self._live()
                began = self.clock.now()
                await self._stop(self.board.main, began)
                await self._stop(list(reversed(self.board.init)), began)
                await self._close()
            await self._linger()
        finally:
            for tasks in self._watches.values():
                for task in tasks:
                    task.cancel()

    def previous_status(self) -> list[dict[str, Any]]:
        known = self.status.get("conditions") or self.raw.status.get("conditions")
        return list(known or [])

    # Living

    def _resume(self) -> None:
        for record in self.board.all:
            if record.running:
                self._attend(record)
            elif record.attempt is not None and record.exit is not None:
                self._hold(record, self.tools.runtime.clear(record.attempt))

    async def _live(self) -> None:
        while not self._leaving():
            self._next = plan(self.pod, self.board, self.clock.now())
            if self._next.outcome is not None:
                return
            for name in self._next.start:
                await self._start(self.board.record(name))
            if self._next.start:
                continue
            self._announce_waiting()
            self._report()
            await self._pause(self._next.wake)

    def _leaving(self) -> bool:
        return self._vanished or self.raw.metadata.deletion_timestamp is not None

    async def _start(self, record: Record) -> None:
        launch = await prepare(self.pod, record.spec, self.tools.machine, self.tools.lookups)
        if isinstance(launch, Waiting):
            self._refuse(record, launch)
            return
        last, now = record.attempt, self.clock.now()
        number = 0 if last is None else last.number + 1
        if last is not None:
            record.count_restart(now)
        try:
            started = await self.tools.runtime.start(self.pod.metadata.uid, record.name, number, launch, self.cgroup)
        except Unavailable as err:
            self._refuse(record, Waiting("CreateContainerError", str(err)))
            return
        if record.previous is not None:
            self.tools.runtime.forget(record.previous)
        record.previous, record.attempt, record.failure = last, started, None
        self._announce_start(record)
        self._attend(record)

    def _refuse(self, record: Record, why: Waiting) -> None:
        if record.failure != why:
            self._event("Warning", "Failed", f"Error: {why.message}")
        record.refuse(why, self.clock.now())

    def _attend(self, record: Record) -> None:
        """Wait for the container's end and run its probes."""
        spec = record.spec
        record.started = spec.startup_probe is None
        record.ready = record.started and spec.readiness_probe is None and record not in self._init_steps()
        assert record.attempt is not None  # noqa: S101 — it has just been set
        self._hold(record, self._wait(record, record.attempt))
        if record.exit is None and self.tools.http is not None:
            self._begin_probes(record, Prober(spec, record.attempt, self.tools.http, self.clock))

    def _init_steps(self) -> list[Record]:
        return [record for record in self.board.init if not is_sidecar(record.spec)]

    def _hold(self, record: Record, work: Coroutine[Any, Any, None]) -> None:
        tasks = self._watches.setdefault(record.name, [])
        tasks[:] = [task for task in tasks if not task.done()]
        task = asyncio.create_task(work)
        task.add_done_callback(self._complain)
        tasks.append(task)

    def _complain(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (problem := task.exception()) is not None:
            log.error("pod %s: %r", self.pod.key, problem, exc_info=problem)
            self._wake.set()

    async def _wait(self, record: Record, attempt: Attempt) -> None:
        end = await self.tools.runtime.wait(attempt)
        for task in self._watches.get(record.name, []):
            if task is not asyncio.current_task():
                task.cancel()
        record.ready = end.code == 0 and record in self._init_steps()
        record.started = False
        self._wake.set()

    def _begin_probes(self, record: Record, prober: Prober) -> None:
        spec = record.spec
        if spec.startup_probe is not None:
            self._hold(record, prober.watch(spec.startup_probe, lambda result: self._on_startup(record, prober, result)))
        else:
            self._begin_steady_probes(record, prober)

    def _begin_steady_probes(self, record: Record, prober: Prober) -> None:
        spec = record.spec
        if spec.readiness_probe is not None:
            self._hold(record, prober.watch(spec.readiness_probe, lambda result: self._on_readiness(record, result)))
        if spec.liveness_probe is not None:
            self._hold(record, prober.watch(spec.liveness_probe, lambda result: self._on_liveness(record, "Liveness", result)))

    def _on_startup(self, record: Record, prober: Prober, result: Result) -> bool:
        if not result.passed:
            return self._on_liveness(record, "Startup", result)
        record.started = True
        record.ready = record.spec.readiness_probe is None
        self._begin_steady_probes(record, prober)
        self._wake.set()
        return False

    def _on_readiness(self, record: Record, result: Result) -> bool:
        if record.ready != result.passed:
            record.ready = result.passed
            self._wake.set()
        if not result.passed:
            self._event("Warning", "Unhealthy", f"Readiness probe failed: {result.message}")
        return True

    def _on_liveness(self, record: Record, which: str, result: Result) -> bool:
        if result.passed:
            return True
        self._event("Warning", "Unhealthy", f"{which} probe failed: {result.message}")
        message = f"Container {record.name} failed {which.lower()} probe, will be restarted"
        self._event("Normal", "Killing", message)
        self._hold(record, self._replace(record))
        return False

    async def _replace(self, record: Record) -> None:
        """End an unhealthy container; the plan decides whether another follows."""
        attempt = record.attempt
        if attempt is None:
            return
        self.tools.runtime.terminate(attempt)
        await self.clock.sleep(self.pod.grace_seconds)
        await self.tools.runtime.kill(attempt)

    # Leaving

    async def _stop(self, records: Iterable[Record], began: float) -> None:
        """SIGTERM, then SIGKILL to everything in the container's cgroup when the grace period is over."""
        running = [record for record in records if record.running]
        for record in running:
            self._event("Normal", "Killing", f"Stopping container {record.name}")
            self._terminate(record)
        while any(record.running for record in running):
            until = began + self._grace()
            if self.clock.now() >= until:
                break
            await self._pause(until)
        for record in running:
            if record.attempt is not None and record.running:
                await self.tools.runtime.kill(record.attempt)
                await self.tools.runtime.wait(record.attempt)

    def _terminate(self, record: Record) -> None:
        if record.attempt is not None:
            self.tools.runtime.terminate(record.attempt)

    def _grace(self) -> float:
        return VANISHED_GRACE if self._vanished else self.pod.grace_seconds

    async def _close(self) -> None:
        """Everything has ended: give the cgroup back and say how."""
        await self.tools.runtime.empty(self.cgroup)
        if not await self.tools.runtime.remove_cgroup(self.cgroup):
            log.warning(
                "pod %s: cgroup %s could not be removed; it is tried again at the next start", self.pod.key, self.cgroup
            )
        self._next = Plan(outcome=self._next.outcome or self._last_words())
        self.outcome = self._next.outcome
        self._report()

    async def _linger(self) -> None:
        """Keep the logs until the pod may go."""
        while not self._leaving():
            await self._pause(None)
        if not self._vanished:
            await self.tools.reports.remove(self.raw)
        self.tools.runtime.forget_pod(self.pod.metadata.uid)

    def _last_words(self) -> Outcome:
        """How a pod that was deleted ended: well only when every main container did."""
        return Outcome("Succeeded" if all(r.exit is not None and r.exit.code == 0 for r in self.board.main) else "Failed")

    # Telling

    def _report(self) -> None:
        now = self.clock.now()
        status = pod_status(self.pod, self.board, self._next, Facts(self.tools.machine.address, now))
        status["conditions"] = conditions(self.board, self._next.outcome, self.previous_status(), now)
        if status != self.status:
            self.status = status
            if not self._vanished:
                self.tools.reports.status(self.raw, status)

    def _event(self, kind: str, reason: str, message: str) -> None:
        self.tools.reports.event(self.raw, kind, reason, message)

    def _announce_start(self, record: Record) -> None:
        if record.exit is None:
            self._event("Normal", "Started", f"Started container {record.name}")
        else:
            self._event("Warning", "Failed", f"Error: {record.exit.message}")

    def _announce_waiting(self) -> None:
        for name, why in self._next.waiting.items():
            if why.reason == "CrashLoopBackOff":
                self._event("Warning", "BackOff", f"Back-off restarting failed container {name} in pod {self.pod.name}")

    async def _pause(self, until: float | None) -> None:
        """Sleep until something happens or the time comes."""
        waiters: list[asyncio.Task[Any]] = [asyncio.create_task(self._wake.wait())]
        if until is not None:
            waiters.append(asyncio.create_task(self._sleep(until)))
        try:
            await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiters:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*waiters, return_exceptions=True)
        self._wake.clear()

    async def _sleep(self, until: float) -> None:
        await self.clock.sleep(max(until - self.clock.now(), 0))


def pod_cgroup(root: str, pod: ProcessPod) -> str:
    """Where the kubelet puts a pod of this QoS class."""
    middle = {qos.BURSTABLE: "/burstable", qos.BEST_EFFORT: "/besteffort"}.get(qos.kube(pod), "")
    return f"{root}{middle}/pod{pod.metadata.uid}"
