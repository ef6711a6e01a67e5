"""The process node: registers this machine and has one worker per pod that is bound to it.

After a restart, containers that still run are taken over and what belongs to no pod any more is ended.
"""

import asyncio
import fcntl
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from koordinator.api import qos
from koordinator.api.registry import CONFIG_MAPS, SECRETS, Resource
from koordinator.api.resources import CPU, MEMORY
from koordinator.clock import Clock
from koordinator.cluster.nodes.process import cgroups as cgroup
from koordinator.cluster.nodes.process import limits, machine, tls
from koordinator.cluster.nodes.process.admission import NodeView, Refusal, admit
from koordinator.cluster.nodes.process.endpoint import Endpoint, NoLog
from koordinator.cluster.nodes.process.options import ProcessOptions
from koordinator.cluster.nodes.process.plan import Outcome
from koordinator.cluster.nodes.process.podspec import RAW_PODS, ProcessPod, RawPod
from koordinator.cluster.nodes.process.prepare import Machine
from koordinator.cluster.nodes.process.registration import Registration
from koordinator.cluster.nodes.process.reports import StatusWriter
from koordinator.cluster.nodes.process.runtime import Attempt, Runtime
from koordinator.cluster.nodes.process.status import rejected, with_status
from koordinator.cluster.nodes.process.worker import PodWorker, Tools
from koordinator.errors import KoordError, Unavailable
from koordinator.kube.errors import ApiError, NotFound
from koordinator.kube.events import Recorder
from koordinator.kube.informer import Informer
from koordinator.kube.store import Store

log = logging.getLogger(__name__)

RETRY_AFTER = 10.0
CLASSES_EVERY = 10.0
UNREADABLE = "UnexpectedAdmissionError"


class ProcessNode:
    """Call ``run``; it ends only by cancellation (or Unavailable when the machine cannot be a node)."""

    def __init__(self, options: ProcessOptions, store: Store, clock: Clock) -> None:
        self.options, self.store, self.clock = options, store, clock
        self.root = f"{options.cgroup_parent}/kubepods"
        self.workers: dict[str, PodWorker] = {}
        self.endpoint = Endpoint(self, self._tokens, clock)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._refused: dict[str, tuple[RawPod, dict[str, Any]]] = {}
        self._admitted: set[str] = set()
        self._burstable = 0
        self._registration = Registration(options, store, clock)
        self._pods = Informer(store, RAW_PODS, clock=clock, field_selector=f"spec.nodeName={options.name}")
        self._events = Recorder(store, "kubelet", clock, host=options.name)

    async def run(self, on_ready: Callable[[], None] = lambda: None) -> None:
        """Be this machine's node. Raises Unavailable when it cannot be."""
        import aiohttp

        self.cgroups = cgroup.detect(self.options.cgroup_root)
        lock = self._lock()
        try:
            async with aiohttp.ClientSession() as http:
                await self._serve(http, on_ready)
        finally:
            os.close(lock)

    async def _serve(self, http: Any, on_ready: Callable[[], None]) -> None:
        options = self.options
        self.reports = StatusWriter(self.store, self._events, self.clock)
        here = _machine(options)
        runtime = Runtime(options.pods_dir, self.cgroups, self.clock)
        self.tools = Tools(runtime, self.cgroups, here, self, self.reports, self.clock, http)
        self._make_classes()
        tls.ensure_token(options.token_file)
        context = tls.server_context(options.pki_dir, options.name, options.address, self.clock)
        await self.endpoint.start(options.address, options.port, context)
        background = [asyncio.create_task(work) for work in (self._events.run(), self._registration.watch())]
        stop_pods = False
        try:
            await self._registration.start(self.endpoint.port)
            registration = self._registration
            loops = (registration.lease_loop(), registration.status_loop(), self._pods_loop(), self._classes_loop())
            background += [asyncio.create_task(work) for work in loops]
            await self._pods.synced()
            await self._clear_leftovers()
            on_ready()
            await asyncio.gather(*background)
        except asyncio.CancelledError:
            stop_pods = options.stop_pods_on_exit
            raise
        finally:  # a failure of ours leaves the pods running: the next start takes them over
            await self._shut_down(background)
            if stop_pods:
                await self._stop_everything()

    # Pods

    async def _pods_loop(self) -> None:
        self._pods.on(added=self._added, updated=self._changed, deleted=self._deleted)
        await self._pods.run()

    def _added(self, raw: RawPod) -> None:
        uid = raw.metadata.uid
        attempts = self.tools.runtime.recover(uid)
        try:
            worker = PodWorker(raw, self.root, self.tools)
        except msgspec.ValidationError as err:
            self._refuse(raw, Refusal(UNREADABLE, f"the pod's spec cannot be read: {err}"))
            return
        worker.adopt(attempts)
        self.workers[uid] = worker
        if attempts and worker.active:
            self._admitted.add(uid)
        self._tasks[uid] = asyncio.create_task(self._work(worker))

    def _changed(self, old: RawPod, raw: RawPod) -> None:
        if old.metadata.uid != raw.metadata.uid:  # deleted and made again between two lists
            self._deleted(old)
            self._added(raw)
        elif (worker := self.workers.get(raw.metadata.uid)) is not None:
            worker.update(raw)
        elif raw.metadata.deletion_timestamp is not None and raw.metadata.uid in self._refused:
            self._tasks[raw.metadata.uid] = asyncio.create_task(self.reports.remove(raw))

    def _deleted(self, raw: RawPod) -> None:
        self._refused.pop(raw.metadata.uid, None)
        if (worker := self.workers.get(raw.metadata.uid)) is not None:
            worker.vanish()

    async def _admit(self, worker: PodWorker) -> None:
        """Take the pod or refuse it for good. One that an earlier agent took is not asked again, nor one that has ended."""
        uid = worker.pod.metadata.uid
        if uid in self._admitted or not worker.active:
            return
        try:
            limits.pod_limits(worker.pod, qos.kube(worker.pod))  # a limit that cannot be read is better refused now
            refusal = self._judge(worker, self._registration.view())
            if refusal is not None:
                refusal = self._judge(worker, await self._registration.fresh_view())
        except ValueError as err:
            refusal = Refusal(UNREADABLE, f"the pod's spec cannot be read: {err}")
        if refusal is None:
            self._admitted.add(uid)
        else:
            self._refuse(worker.raw, refusal)
            worker.outcome = Outcome("Failed", refusal.reason, refusal.message)

    def _judge(self, worker: PodWorker, node: NodeView | None) -> Refusal | None:
        return None if node is None else admit(worker.pod, self._live(), node)

    def _refuse(self, raw: RawPod, why: Refusal) -> None:
        status = rejected(why.reason, why.message, self.clock.now())
        self._refused[raw.metadata.uid] = (raw, status)
        self.reports.status(raw, status)
        self.reports.event(raw, "Warning", why.reason, why.message)

    async def _work(self, worker: PodWorker) -> None:
        """Run a worker to its end; what it cannot cope with is logged and tried again, and never touches other pods."""
        uid = worker.pod.metadata.uid
        await self._admit(worker)
        self._write_burstable_shares()
        while True:
            try:
                await worker.run()
                break
            except KoordError as err:
                self.reports.event(worker.raw, "Warning", "FailedCreatePodContainer", str(err))
                log.warning("pod %s: %s; trying again in %d s", worker.pod.key, err, RETRY_AFTER)
            except Exception:
                log.exception("pod %s: the worker failed; trying again in %d s", worker.pod.key, RETRY_AFTER)
            await self.clock.sleep(RETRY_AFTER)
        self.workers.pop(uid, None)
        self._tasks.pop(uid, None)
        self._admitted.discard(uid)
        self._write_burstable_shares()

    # Cgroups

    def _make_classes(self) -> None:
        """The kubepods directories. Their limits are the node's; the classes share as with the kubelet.

        The cluster's own directory above weighs the same, so that pods compete with the rest of the machine as they would below
        a kubelet's, which has kubepods at the top.
        """
        own = machine.allocatable(self.options)
        memory = own[MEMORY] if MEMORY in self.options.reserved else None
        shares = limits.shares(own[CPU])
        if self.options.cgroup_parent:
            self.cgroups.create(self.options.cgroup_parent, limits.Limits(shares=shares))
        self.cgroups.create(self.root, limits.Limits(shares=shares, memory=memory))
        for name in ("burstable", "besteffort"):
            self.cgroups.create(f"{self.root}/{name}", limits.Limits(shares=limits.MIN_SHARES))

    async def _classes_loop(self) -> None:
        """Pods that end give back their share of the class without anybody's telling."""
        while True:
            await self.clock.sleep(CLASSES_EVERY)
            self._write_burstable_shares()

    def _live(self) -> list[ProcessPod]:
        return [worker.pod for uid, worker in self.workers.items() if uid in self._admitted and worker.active]

    def _write_burstable_shares(self) -> None:
        shares = limits.burstable_shares(pod for pod in self._live() if qos.kube(pod) == qos.BURSTABLE)
        if shares == self._burstable:
            return
        try:
            self.cgroups.write(f"{self.root}/burstable", limits.Limits(shares=shares))
            self._burstable = shares
        except OSError as err:
            log.warning("cgroup %s/burstable: shares not written: %s", self.root, err)

    async def _clear_leftovers(self) -> None:
        """End what an earlier agent left of pods that are gone."""
        runtime, known = self.tools.runtime, set(self.workers)
        for level in (self.root, f"{self.root}/burstable", f"{self.root}/besteffort"):
            for name in self.cgroups.children(level):
                if name.startswith("pod") and name.removeprefix("pod") not in known:
                    await runtime.empty(f"{level}/{name}")
                    await runtime.remove_cgroup(f"{level}/{name}")
        for directory in self.options.pods_dir.iterdir():
            if directory.is_dir() and directory.name not in known:
                runtime.forget_pod(directory.name)

    # Leaving

    async def _shut_down(self, background: list[asyncio.Task[Any]]) -> None:
        for task in [*background, *self._tasks.values()]:
            task.cancel()
        await asyncio.gather(*background, *self._tasks.values(), return_exceptions=True)
        await self.reports.close()
        await self.endpoint.stop()

    async def _stop_everything(self) -> None:
        """SIGTERM to all containers, SIGKILL after ``stop_seconds``, then give back the cgroups."""
        runtime = self.tools.runtime
        records = [record for worker in self.workers.values() for record in worker.board.all if record.attempt is not None]
        running = [record.attempt for record in records if record.attempt is not None and record.running]
        for attempt in running:
            runtime.terminate(attempt)
        if running:
            waits = [asyncio.create_task(runtime.wait(attempt)) for attempt in running]
            _, late = await asyncio.wait(waits, timeout=self.options.stop_seconds)
            await runtime.empty(self.root)
            if late:
                await asyncio.wait(late, timeout=5)
        await runtime.empty(self.options.cgroup_parent)
        if not await runtime.remove_cgroup(self.options.cgroup_parent):
            log.warning("cgroup %s could not be removed", self.options.cgroup_parent)

    # What the endpoint shows

    def pods(self) -> Iterable[dict[str, Any]]:
        shown = [with_status(worker.raw, worker.status) for uid, worker in self.workers.items() if uid not in self._refused]
        return [*shown, *(with_status(raw, status) for raw, status in self._refused.values())]

    def attempt(self, namespace: str, pod: str, container: str, *, previous: bool) -> Attempt:
        found = [w for w in self.workers.values() if (w.pod.namespace, w.pod.name) == (namespace, pod)]
        if not found:
            raise NoLog(404, f'pod "{namespace}/{pod}" is not on this node')
        record = next((record for record in found[-1].board.all if record.name == container), None)
        if record is None:
            raise NoLog(404, f'container "{container}" is not in pod "{pod}"')
        attempt = record.previous if previous else record.attempt
        if attempt is not None:
            return attempt
        if previous:
            raise NoLog(400, f'previous terminated container "{container}" in pod "{pod}" not found')
        why = record.failure.reason if record.failure else "ContainerCreating"
        raise NoLog(400, f'container "{container}" in pod "{pod}" is waiting to start: {why}')

    def configuration(self) -> dict[str, Any]:
        return {
            "kind": "KubeletConfiguration",
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self.options.cgroup_parent}",
            "cpuManagerPolicy": "none",
            "topologyManagerPolicy": "none",
            "maxPods": self.options.max_pods,
            "systemReserved": dict(self.options.reserved),
        }

    def _tokens(self) -> set[str]:
        try:
            return {self.options.token_file.read_text().strip()} - {""}
        except OSError:
            return set()

    # What containers may look up

    async def config_map(self, namespace: str, name: str) -> Mapping[str, str] | None:
        return await self._data(CONFIG_MAPS, namespace, name)

    async def secret(self, namespace: str, name: str) -> Mapping[str, str] | None:
        return await self._data(SECRETS, namespace, name)

    async def _data(self, resource: Resource[Any], namespace: str, name: str) -> Mapping[str, str] | None:
        try:
            return (await self.store.get(resource, name, namespace)).data or {}
        except NotFound:
            return None
        except ApiError as err:
            raise ValueError(f"{resource.kind} {namespace}/{name} cannot be read: {err}") from err

    def _lock(self) -> int:
        """Hold the state directory: two agents on one would fight. Raises Unavailable."""
        self.options.pods_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(self.options.pods_dir / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as err:
            os.close(fd)
            raise Unavailable(f"state directory {self.options.pods_dir}", "another process node uses it") from err
        return fd


def _machine(options: ProcessOptions) -> Machine:
    return Machine(
        node_name=options.name,
        address=options.address,
        path=os.environ.get("PATH", os.defpath),
        uid=os.geteuid(),
        memory=machine.capacity(options)[MEMORY],
        cpu=os.cpu_count() or 1,
        log_bytes=options.log_bytes,
        pids=options.pids_per_container,
    )
