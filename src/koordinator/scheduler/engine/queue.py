"""Pods that wait for a node: ready now (active), in a pause (backoff), refused until something changes, or gated.

Guarantees: a pod that was added is always in exactly one of active, backoff, unschedulable, gated, in flight, until it is done
or removed. An event that happens while a pod is in flight is not lost: it is replayed when the pod comes back refused.

Time is read from the ``now`` function given; nothing here sleeps.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Any

from koordinator.scheduler.engine.events import ClusterEvent, Happening
from koordinator.scheduler.engine.framework import Status
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.engine.profile import Profile

INITIAL_BACKOFF, MAX_BACKOFF = 1.0, 10.0
MAX_UNSCHEDULABLE_SECONDS = 300.0
MAX_UNSCHEDULABLE_CHECK = 30.0


class Where(Enum):
    ACTIVE = "active"
    BACKOFF = "backoff"
    UNSCHEDULABLE = "unschedulable"
    GATED = "gated"
    IN_FLIGHT = "in flight"


class QueuedPod:
    """A pod with its story in the queue."""

    __slots__ = (
        "added_at",
        "attempts",
        "concerned_by",
        "entry",
        "errors",
        "failures",
        "gate",
        "info",
        "last_message",
        "popped_at",
        "profile",
        "rejected_by",
        "since",
        "where",
    )

    def __init__(self, info: PodInfo, profile: Profile, now: float) -> None:
        self.info, self.profile = info, profile
        self.added_at = self.since = now
        self.popped_at = 0
        """Number of the first event that is to be replayed if this attempt fails."""
        self.attempts = self.failures = self.errors = 0
        self.where = Where.ACTIVE
        self.rejected_by: frozenset[str] = frozenset()
        self.concerned_by = Happening.ANYTHING
        """Union of the event kinds that the refusing plugins registered for."""
        self.gate: Status | None = None
        self.entry = -1
        """The heap entry that counts; others are left-overs."""
        self.last_message = ""

    @property
    def backoff(self) -> float:
        """How long the pause after the last attempt is."""
        times = max(self.failures, self.errors, 1)
        return min(INITIAL_BACKOFF * 2.0 ** min(times - 1, 10), MAX_BACKOFF)


class SchedulingQueue:
    """See the module's guarantees."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._pods: dict[str, QueuedPod] = {}
        self._active: list[tuple[Any, int, QueuedPod]] = []
        self._backoff: list[tuple[float, int, QueuedPod]] = []
        self._waiting: dict[int, dict[str, QueuedPod]] = {}
        """Refused pods by the kinds of events that concern them, so that other events cost nothing."""
        self._sequence = itertools.count()
        self._in_flight: dict[str, int] = {}
        self._events: deque[ClusterEvent] = deque()
        self._first_event = 0
        self._next_check = 0.0
        self.counts = dict.fromkeys(Where, 0)
        self.woken: Callable[[], object] = lambda: None
        """Called when ``pop`` may have something that it had not before."""
        self.incoming: dict[tuple[str, str], int] = {}
        """How many pods entered which queue for which reason, for the metrics."""

    def __len__(self) -> int:
        return len(self._pods)

    def __contains__(self, uid: str) -> bool:
        return uid in self._pods

    def get(self, uid: str) -> QueuedPod | None:
        return self._pods.get(uid)

    def __iter__(self) -> Iterator[QueuedPod]:
        return iter(list(self._pods.values()))

    # -- in and out ----------------------------------------------------------------------------------------------------

    def add(self, info: PodInfo, profile: Profile) -> QueuedPod:
        """A pod that is to be scheduled. Adding it again is an update."""
        known = self._pods.get(info.uid)
        if known is not None:
            self.update(info)
            return known
        pod = self._pods[info.uid] = QueuedPod(info, profile, self._now())
        self.counts[pod.where] += 1
        self._enqueue(pod, "PodAdd")
        return pod

    def update(self, info: PodInfo) -> None:
        """A waiting pod has changed. A change of what scheduling reads, or of its gates, is worth another attempt."""
        pod = self._pods.get(info.uid)
        if pod is None:
            return
        before, pod.info = pod.info, info
        relevant = before.template is not info.template
        if pod.where is Where.GATED and relevant:
            self._enqueue(pod, "PodUpdate")
        elif pod.where is Where.UNSCHEDULABLE and relevant:
            self._wake(pod, "PodUpdate")
        elif pod.where is Where.ACTIVE and before.priority != info.priority:
            self._push_active(pod)

    def remove(self, uid: str) -> QueuedPod | None:
        """The pod is gone, bound by somebody else, or no longer ours."""
        pod = self._pods.pop(uid, None)
        if pod is not None:
            self._leave(pod)
            pod.entry = -1
        return pod

    def pop(self) -> QueuedPod | None:
        """The next pod to schedule, now in flight. None when no pod is ready."""
        pod = self._pop_active() or self._pop_early()
        if pod is None:
            return None
        self._move(pod, Where.IN_FLIGHT)
        pod.attempts += 1
        pod.popped_at = self._first_event + len(self._events)
        self._in_flight[pod.info.uid] = pod.popped_at
        return pod

    def done(self, uid: str) -> None:
        """The pod is bound; it leaves the queue."""
        self.remove(uid)

    def requeue(self, pod: QueuedPod, rejected_by: Iterable[str] = (), *, error: bool = False) -> None:
        """An attempt failed: the pod waits for an event that can help, or, after an error, only for its pause to end."""
        uid = pod.info.uid
        if self._pods.get(uid) is not pod or pod.where is not Where.IN_FLIGHT:
            return
        pod.since = self._now()
        pod.rejected_by = frozenset(rejected_by)
        pod.concerned_by = pod.profile.concerned_by(pod.rejected_by)
        pod.failures, pod.errors = (0, pod.errors + 1) if error else (pod.failures + 1, 0)
        missed = list(itertools.islice(self._events, pod.popped_at - self._first_event, None))
        if error or any(self._may_help(pod, event) for event in missed):
            self._push_backoff(pod, "ScheduleAttemptFailure")
        else:
            self._move(pod, Where.UNSCHEDULABLE)
            self._waiting.setdefault(pod.concerned_by, {})[uid] = pod
            self._entered(pod, "ScheduleAttemptFailure")

    # -- waking --------------------------------------------------------------------------------------------------------

    def on_event(self, event: ClusterEvent) -> None:
        """Something happened: wake the waiting pods that it may help, and remember it for those in flight."""
        if self._in_flight:
            self._events.append(event)
        for kinds, pods in list(self._waiting.items()):
            if kinds & event.kind:
                for pod in [pod for pod in pods.values() if self._may_help(pod, event)]:
                    self._wake(pod, "ClusterEvent")

    def _may_help(self, pod: QueuedPod, event: ClusterEvent) -> bool:
        if event.but and event.but == pod.info.uid:
            return False
        if not pod.rejected_by or event.kind == Happening.ANYTHING:
            return True
        hints = pod.profile.hints
        for plugin in pod.rejected_by:
            for kinds, hint in hints.get(plugin, ()):
                if kinds & event.kind and (hint is None or _hinted(hint, pod.info, event)):
                    return True
        return False

    def _wake(self, pod: QueuedPod, why: str) -> None:
        if pod.since + pod.backoff > self._now():
            self._push_backoff(pod, why)
        else:
            self._push_active(pod, why)

    def flush(self) -> None:
        """Move on whatever time alone moves: pauses that ended, and pods refused more than five minutes ago."""
        now = self._now()
        while self._backoff and (not self._counts(self._backoff[0]) or self._backoff[0][0] <= now):
            entry = heapq.heappop(self._backoff)
            if self._counts(entry):
                self._push_active(entry[2], "BackoffComplete")
        if now >= self._next_check:
            self._next_check = now + MAX_UNSCHEDULABLE_CHECK
            waiting = [pod for pods in self._waiting.values() for pod in pods.values()]
            for pod in waiting:
                if now - pod.since > MAX_UNSCHEDULABLE_SECONDS:
                    self._wake(pod, "UnschedulableTimeout")

    def next_flush(self) -> float | None:
        """When ``flush`` has something to do next; None when nothing waits for time."""
        while self._backoff and not self._counts(self._backoff[0]):
            heapq.heappop(self._backoff)
        if self._backoff:
            return self._backoff[0][0]
        return self._next_check if self._waiting else None

    # -- places --------------------------------------------------------------------------------------------------------

    def _enqueue(self, pod: QueuedPod, why: str) -> None:
        pod.gate = next(filter(None, (plugin.pre_enqueue(pod.info) for plugin in pod.profile.pre_enqueue)), None)
        if pod.gate is None:
            pod.since = self._now()
            self._push_active(pod, why)
        else:
            self._move(pod, Where.GATED)
            self._entered(pod, why)

    def _push_active(self, pod: QueuedPod, why: str = "PodUpdate") -> None:
        self._move(pod, Where.ACTIVE)
        pod.entry = next(self._sequence)
        heapq.heappush(self._active, (pod.profile.sort_key(pod.info, pod.since), pod.entry, pod))
        self._entered(pod, why)
        self.woken()

    def _push_backoff(self, pod: QueuedPod, why: str) -> None:
        self._move(pod, Where.BACKOFF)
        pod.entry = next(self._sequence)
        heapq.heappush(self._backoff, (pod.since + pod.backoff, pod.entry, pod))
        self._entered(pod, why)
        self.woken()

    def _entered(self, pod: QueuedPod, why: str) -> None:
        key = (pod.where.value, why)
        self.incoming[key] = self.incoming.get(key, 0) + 1

    def _pop_active(self) -> QueuedPod | None:
        while self._active:
            entry = heapq.heappop(self._active)
            if entry[1] == entry[2].entry:
                return entry[2]
        return None

    def _pop_early(self) -> QueuedPod | None:
        """With nothing else to do, a pod need not sit out its pause, unless it waits after an error."""
        kept, found = [], None
        while self._backoff and found is None:
            entry = heapq.heappop(self._backoff)
            if not self._counts(entry):
                continue
            if entry[2].errors:
                kept.append(entry)
            else:
                found = entry[2]
        for entry in kept:
            heapq.heappush(self._backoff, entry)
        return found

    @staticmethod
    def _counts(entry: tuple[Any, int, QueuedPod]) -> bool:
        return entry[1] == entry[2].entry and entry[2].where is Where.BACKOFF

    def _move(self, pod: QueuedPod, where: Where) -> None:
        self._leave(pod)
        pod.where = where
        pod.entry = -1
        self.counts[where] += 1

    def _leave(self, pod: QueuedPod) -> None:
        self.counts[pod.where] -= 1
        uid = pod.info.uid
        if pod.where is Where.UNSCHEDULABLE:
            pods = self._waiting[pod.concerned_by]
            del pods[uid]
            if not pods:
                del self._waiting[pod.concerned_by]
        elif pod.where is Where.IN_FLIGHT:
            self._in_flight.pop(uid, None)
            self._forget_events()

    def _forget_events(self) -> None:
        """Drop the events that every pod in flight is younger than."""
        oldest = next(iter(self._in_flight.values()), None)
        if oldest is None:
            self._first_event += len(self._events)
            self._events.clear()
            return
        while self._first_event < oldest and self._events:
            self._events.popleft()
            self._first_event += 1


def _hinted(hint: Callable[[PodInfo, ClusterEvent], bool], pod: PodInfo, event: ClusterEvent) -> bool:
    try:
        return hint(pod, event)
    except Exception:  # noqa: BLE001 — a plugin's bug must not make a pod wait for ever
        return True
