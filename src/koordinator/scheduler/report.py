"""How attempts end, told to the world: events, the PodScheduled condition, metrics.

A pod that stays pending for the same reason is told about once, not at every attempt. Nothing here holds up a bind: conditions
are patched by few workers, and events of bound pods wait until the binder has time.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from koordinator.api.core import Pod
from koordinator.api.meta import Object, format_time
from koordinator.api.registry import PODS
from koordinator.clock import Clock
from koordinator.kube.errors import ApiError, Conflict, NotFound
from koordinator.kube.events import Recorder
from koordinator.kube.store import PatchType, Store
from koordinator.scheduler import reservation_event
from koordinator.scheduler.engine.binding import Binding
from koordinator.scheduler.engine.framework import Diagnosis
from koordinator.scheduler.engine.pod import is_reserve_pod
from koordinator.scheduler.engine.queued import QueuedPod
from koordinator.scheduler.metrics import Metrics
from koordinator.scheduler.monitor import Monitor

if TYPE_CHECKING:
    from koordinator.scheduler.auditor.auditor import Auditor
    from koordinator.scheduler.debug.trace import Trace

log = logging.getLogger(__name__)

UNSCHEDULABLE, SCHEDULER_ERROR = "Unschedulable", "SchedulerError"
_NOTE_BYTES = 1024
_PATCHERS, _TRIES = 4, 3
_EVENT_PAUSE, _EVENTS_WAIT, _EVENTS_AT_ONCE = 0.1, 3.0, 1000


class Reporter:
    """An ``Outcome``."""

    def __init__(self, store: Store, recorder: Recorder, clock: Clock, metrics: Metrics) -> None:
        self._store, self._recorder, self._clock, self.metrics = store, recorder, clock, metrics
        self._patches: dict[str, tuple[QueuedPod, str, str]] = {}
        self._to_patch: asyncio.Queue[str] = asyncio.Queue()
        self._scheduled: deque[tuple[float, Pod, str]] = deque()
        self.monitor = Monitor(clock.monotonic)
        self.trace: Trace | None = None
        self.auditor: Auditor | None = None
        self.promised: Callable[[str], str] = lambda _: ""
        """The node that a pod has been promised, by its uid."""
        self.started = 0.0
        """When the attempt under way began; set by the loop."""

    # -- Outcome -------------------------------------------------------------------------------------------------------

    def assumed(self, binding: Binding) -> None:
        pod = binding.pod
        self.metrics.attempt(pod.profile.name, "scheduled", self._clock.monotonic() - self.started)
        self.monitor.started(pod.info.uid, pod.info.key, pod.profile.name, self.started or None)

    def bound(self, binding: Binding) -> None:
        now = self._clock.monotonic()
        pod = binding.pod
        self.metrics.bound(pod.attempts, now - pod.added_at)
        if not is_reserve_pod(pod.info.pod):
            self._scheduled.append((now, pod.info.pod, binding.node))
        self._patches.pop(pod.info.uid, None)
        self.monitor.ended(pod.info.uid)

    def unschedulable(self, pod: QueuedPod, diagnosis: Diagnosis) -> None:
        self.metrics.attempt(pod.profile.name, "unschedulable", self._clock.monotonic() - self.started)
        self._refused(pod, UNSCHEDULABLE, diagnosis.message)
        self.monitor.ended(pod.info.uid)
        if self.auditor is not None:
            self.auditor.failed(pod, diagnosis.post_filter_message)
        if self.trace is not None and self.trace.wanted:
            self.trace.refused(pod, diagnosis)

    def error(self, pod: QueuedPod, message: str) -> None:
        self.metrics.attempt(pod.profile.name, "error", self._clock.monotonic() - self.started)
        self._refused(pod, SCHEDULER_ERROR, message)
        self.monitor.ended(pod.info.uid)
        if self.auditor is not None:
            self.auditor.failed(pod, "")

    def handled(self, pod: QueuedPod) -> None:
        self.metrics.watch.end(pod.profile.name)
        self.monitor.ended(pod.info.uid)
        if self.auditor is not None:
            self.auditor.failed(pod, "")

    # -- pods that cannot be read --------------------------------------------------------------------------------------

    def warn(self, obj: Object, event: str, text: str) -> None:
        log.warning("%s %s: %s", obj.kind or type(obj).__name__, obj.key, text)
        self._recorder.event(obj, "Warning", event, _note(text))

    def unreadable(self, pod: Pod, reason: str) -> None:
        log.warning("pod %s cannot be read: %s", pod.key, reason)
        self._recorder.event(pod, "Warning", "FailedScheduling", _note(f"pod cannot be read: {reason}"))

    # ------------------------------------------------------------------------------------------------------------------

    def _refused(self, pod: QueuedPod, reason: str, message: str) -> None:
        obj, promised = pod.info.pod, self.promised(pod.info.uid)
        news = promised != (obj.status.nominated_node_name or "")
        if message == pod.last_message:
            if news:
                self._write_soon(pod, reason, message)
            return
        pod.last_message = message
        self._recorder.event(obj, "Warning", "FailedScheduling", _note(message))
        if reservation_event.wanted(obj) and (told := reservation_event.message(message)) is not None:
            self._recorder.event(obj, "Warning", reservation_event.REASON, _note(told))
        if obj.metadata.deletion_timestamp is None and (news or not _says(obj, reason, message)):
            self._write_soon(pod, reason, message)

    def _write_soon(self, pod: QueuedPod, reason: str, message: str) -> None:
        if pod.info.uid not in self._patches:
            self._to_patch.put_nowait(pod.info.uid)
        self._patches[pod.info.uid] = (pod, reason, message)

    async def run(self) -> None:
        """Patch conditions and let go of events until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(_PATCHERS):
                tasks.create_task(self._patch())
            tasks.create_task(self._release())
            tasks.create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            await self._clock.sleep(self.monitor.period)
            self.monitor.look()

    async def _patch(self) -> None:
        while True:
            uid = await self._to_patch.get()
            wanted = self._patches.pop(uid, None)
            if wanted is not None:
                await self._write_or_tell_again(*wanted)

    async def _write_or_tell_again(self, queued: QueuedPod, reason: str, message: str) -> None:
        pod = queued.info.pod
        try:
            for _ in range(_TRIES):
                try:
                    await self._write(pod, reason, message)
                except Conflict:
                    pod = await self._store.get(PODS, pod.name, pod.namespace)
                    if pod.metadata.uid != queued.info.uid or pod.spec.node_name:
                        return
                else:
                    return
        except NotFound:
            return
        except ApiError as err:
            queued.last_message = ""
            log.info("condition of pod %s not written: %s", pod.key, err)

    async def _write(self, pod: Pod, reason: str, message: str) -> None:
        """Only on the version that we know: a pod bound meanwhile must not be called unschedulable. Raises: Conflict."""
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": reason,
            "message": message,
            "lastProbeTime": None,
            "lastTransitionTime": _since(pod) or format_time(self._clock.now()),
        }
        known = {"uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version}
        status: dict[str, Any] = {"conditions": [condition]}
        promised = self.promised(pod.metadata.uid)
        if promised != (pod.status.nominated_node_name or ""):
            status["nominatedNodeName"] = promised or None
        await self._store.patch(
            PODS,
            pod.name,
            {"metadata": known, "status": status},
            pod.namespace,
            type=PatchType.STRATEGIC,
            subresource="status",
        )

    async def _release(self) -> None:
        """Hand events of bound pods to the recorder when no bind has been finished for a moment, or they have waited long."""
        while True:
            await self._clock.sleep(_EVENT_PAUSE)
            self.release()

    def release(self) -> None:
        now = self._clock.monotonic()
        if not self._scheduled or self._recorder.pending:
            return
        if now - self._scheduled[-1][0] >= _EVENT_PAUSE or now - self._scheduled[0][0] >= _EVENTS_WAIT:
            self._hand_over()

    def _hand_over(self) -> None:
        for _ in range(min(len(self._scheduled), _EVENTS_AT_ONCE)):
            _, pod, node = self._scheduled.popleft()
            self._recorder.event(pod, "Normal", "Scheduled", f"Successfully assigned {pod.key} to {node}")

    async def drain(self) -> None:
        """Write every event that is still held back: the process ends."""
        while self._scheduled or self._recorder.pending:
            self._hand_over()
            await self._recorder.flush()


def _says(pod: Pod, reason: str, message: str) -> bool:
    """Whether the pod's condition already tells this."""
    return any(
        one.type == "PodScheduled" and one.status == "False" and one.reason == reason and one.message == message
        for one in pod.status.conditions or ()
    )


def _since(pod: Pod) -> str | None:
    """Since when the pod has been unscheduled, if its condition says so: a new reason does not move that time."""
    for one in pod.status.conditions or ():
        if one.type == "PodScheduled" and one.status == "False":
            return one.last_transition_time
    return None


def _note(text: str) -> str:
    """At most 1024 bytes, never half a character."""
    encoded = text.encode()
    return text if len(encoded) <= _NOTE_BYTES else encoded[:_NOTE_BYTES].decode(errors="ignore")
