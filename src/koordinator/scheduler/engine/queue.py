"""Pods that wait for a node: ready now (active), in a pause (backoff), refused until something changes, or gated.

Guarantees: a pod that was added is always in exactly one of active, backoff, unschedulable, gated, in flight, until it is done
or removed. An event that happens while a pod is in flight is not lost: it is replayed when the pod comes back refused.

Refused pods that no node can tell apart wait as one group (``waitingroom``). An event that can help wakes one of them, the
herald; when it gets a node the next is woken, and so on: what is refused to one would be refused to all, so ten thousand
pending pods of one job cost no more than one at every event.

Time is read from the ``now`` function given; nothing here sleeps.
"""

import heapq
import itertools
import logging
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from enum import Enum
from typing import Any

import msgspec

from koordinator.scheduler.engine.events import ClusterEvent, Happening
from koordinator.scheduler.engine.framework import Code, Plugin, PluginFailed, PreEnqueuePlugin, Status
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.engine.waitingroom import Group, WaitingRoom

log = logging.getLogger(__name__)

INITIAL_BACKOFF, MAX_BACKOFF = 1.0, 10.0
MAX_UNSCHEDULABLE_SECONDS = 300.0
MAX_UNSCHEDULABLE_CHECK = 30.0
MOST_EVENTS = 50_000
"""So many events are kept for replay. A pod in flight for longer is taken to have missed one that helps."""


class Where(Enum):
    ACTIVE = "active"
    BACKOFF = "backoff"
    UNSCHEDULABLE = "unschedulable"
    GATED = "gated"
    IN_FLIGHT = "in flight"

    __hash__ = object.__hash__  # members are single objects; Enum's own hash is a Python call on the hot path


class QueuedPod:
    """A pod with its story in the queue."""

    __slots__ = (
        "added_at",
        "attempts",
        "entry",
        "errors",
        "failures",
        "gate",
        "group",
        "herald",
        "info",
        "last_message",
        "popped_at",
        "profile",
        "promised",
        "rejected_by",
        "since",
        "where",
    )

    def __init__(self, info: PodInfo, profile: Profile, now: float) -> None:
        self.info, self.profile = info, profile
        self.added_at = self.since = now
        self.popped_at = 0
        """Number of the first event that is to be replayed if this attempt fails; negative: it is to be repeated anyway."""
        self.attempts = self.failures = self.errors = 0
        self.where = Where.ACTIVE
        self.rejected_by: frozenset[str] = frozenset()
        self.group: Hashable = None
        """Who waits with it, while it waits refused."""
        self.promised = self.herald = False
        """``herald``: woken for all its group; its fate decides whether the next is woken."""
        self.gate: Status | None = None
        self.entry = -1
        """The heap entry that counts; others are left-overs."""
        self.last_message = ""

    @property
    def failed_times(self) -> int:
        return max(self.failures, self.errors, 1)


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds."""

    initial_backoff: float = INITIAL_BACKOFF
    max_backoff: float = MAX_BACKOFF
    max_unschedulable: float = MAX_UNSCHEDULABLE_SECONDS

    def backoff(self, times: int) -> float:
        """How long the pause after so many failures in a row is."""
        return min(self.initial_backoff * 2.0 ** min(times - 1, 30), self.max_backoff)


class SchedulingQueue:
    """See the module's guarantees."""

    def __init__(self, now: Callable[[], float], timings: Timings | None = None) -> None:
        self.now = self._now = now
        self.timings = timings or Timings()
        self._pods: dict[str, QueuedPod] = {}
        self._active: list[tuple[Any, int, QueuedPod]] = []
        self._backoff: list[tuple[float, int, QueuedPod]] = []
        self._waiting: WaitingRoom[QueuedPod] = WaitingRoom()
        self._gated: dict[str, dict[str, QueuedPod]] = {}
        """Gated pods by the plugin that holds them back."""
        self._sequence = itertools.count()
        self._in_flight: dict[str, int] = {}
        self._events: deque[ClusterEvent] = deque()
        self._first_event = 0
        self._next_check = 0.0
        self.counts = dict.fromkeys(Where, 0)
        self.woken: Callable[[], object] = lambda: None
        """Called when ``pop`` may have something that it had not before."""
        self.held: Callable[[QueuedPod, str], object] = lambda *_: None
        """Told when a pod is kept out because a plugin failed that was asked whether it may enter, or where."""
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
        relevant = before.template is not info.template or _described(before) != _described(info)
        if pod.where is Where.GATED and relevant:
            self._enqueue(pod, "PodUpdate")
        elif pod.where is Where.UNSCHEDULABLE and relevant:
            self._wake(pod, "PodUpdate")
        elif pod.where is Where.ACTIVE and before.priority != info.priority:
            self._push_active(pod)
        elif pod.where is Where.IN_FLIGHT and relevant:
            pod.popped_at = -1  # what the attempt has judged is not this pod any more

    def remove(self, uid: str) -> QueuedPod | None:
        """The pod is gone, bound by somebody else, or no longer ours."""
        pod = self._pods.pop(uid, None)
        if pod is not None:
            self._leave(pod)
            pod.entry = -1
            self._pass_on(pod)
        return pod

    def take(self, uid: str, key: str = "") -> QueuedPod | None:
        """A certain pod, now in flight, wherever it waits. None when it is not here, in flight already, or gated.

        ``key`` names the plugin that asks: it may open its own gate.
        """
        pod = self._pods.get(uid)
        if pod is None or pod.where is Where.IN_FLIGHT or held_back(pod, key):
            return None
        taken = self._fly(pod)
        taken.gate = None
        return taken

    def pop(self) -> QueuedPod | None:
        """The next pod to schedule, now in flight. None when no pod is ready."""
        pod = self._pop_active() or self._pop_early()
        return None if pod is None else self._fly(pod)

    def _fly(self, pod: QueuedPod) -> QueuedPod:
        self._move(pod, Where.IN_FLIGHT)
        pod.attempts += 1
        pod.popped_at = self._first_event + len(self._events)
        self._in_flight[pod.info.uid] = pod.popped_at
        return pod

    def placed(self, pod: QueuedPod) -> None:
        """The pod has a node, though it is not bound yet: perhaps there is one for the next of its group."""
        self._pass_on(pod)

    def activate(self, uid: str) -> None:
        """A plugin knows that now is the time to try this pod, whatever it waits for."""
        pod = self._pods.get(uid)
        if pod is not None and pod.where in (Where.BACKOFF, Where.UNSCHEDULABLE, Where.GATED):
            self._enqueue(pod, "ForceActivate")

    def done(self, uid: str) -> None:
        """The pod is bound; it leaves the queue."""
        self.remove(uid)

    def requeue(self, pod: QueuedPod, rejected_by: Iterable[str] = (), *, error: bool = False, promised: bool = False) -> None:
        """An attempt failed: the pod waits for an event that can help, or, after an error, only for its pause to end.

        A pod that has been promised a node is unlike all others: it waits alone.
        """
        if self._pods.get(pod.info.uid) is not pod or pod.where is not Where.IN_FLIGHT:
            return
        pod.since, pod.promised = self._now(), promised
        pod.rejected_by = frozenset(rejected_by)
        pod.failures, pod.errors = (0, pod.errors + 1) if error else (pod.failures + 1, 0)
        if error:
            self._push_backoff(pod, "ScheduleAttemptFailure")
            self._pass_on(pod)
        elif self._missed_something(pod):
            self._push_backoff(pod, "ScheduleAttemptFailure")  # and is a herald still, if it was one
        else:
            self._wait(pod)

    def _wait(self, pod: QueuedPod) -> None:
        """Refused: until an event can help. The others of its group need not be tried, they would be refused as well."""
        self._move(pod, Where.UNSCHEDULABLE)
        uid, profile, before = pod.info.uid, pod.profile, pod.group
        group = None if pod.promised else self._group(pod)
        pod.group = uid if group is None else group
        self._waiting.put(pod.group, uid, pod, pod.rejected_by, profile.concerned_by(pod.rejected_by))
        self._entered(pod, "ScheduleAttemptFailure")
        if pod.group == before:
            pod.herald = False
        self._pass_on(pod, before)

    @staticmethod
    def _group(pod: QueuedPod) -> Hashable:
        try:
            return pod.profile.group(pod.info, pod.rejected_by)
        except PluginFailed:  # that cannot tell whom the pod is like: it waits alone
            return None

    def _missed_something(self, pod: QueuedPod) -> bool:
        """Whether an event that can help has happened during the attempt."""
        start = pod.popped_at - self._first_event
        return (
            pod.popped_at < 0
            or start < 0
            or any(
                self._may_help(pod.info, pod.profile, pod.rejected_by, event)
                for event in itertools.islice(self._events, start, None)
            )
        )

    def _pass_on(self, pod: QueuedPod, group: Hashable = None) -> None:
        """What woke this pod may be good for the next of its group, too."""
        if pod.herald:
            pod.herald = False
            waiting = self._waiting.get(pod.group if group is None else group)
            if waiting is not None:
                self._send_herald(waiting, "ClusterEvent")

    # -- waking --------------------------------------------------------------------------------------------------------

    def on_event(self, event: ClusterEvent) -> None:
        """Something happened: wake the waiting pods that it may help, and remember it for those in flight."""
        if self._in_flight:
            self._events.append(event)
            if len(self._events) > MOST_EVENTS:
                self._events.popleft()
                self._first_event += 1
        for group in self._waiting.concerned(event.kind):
            if event.kind == Happening.ANYTHING:
                for pod in list(group.pods.values()):
                    self._wake(pod, "ClusterEvent")
                continue
            pod = self._pick(group)
            if event.but and event.but == pod.info.uid:
                continue
            if self._may_help(pod.info, pod.profile, group.rejected_by, event):
                self._send_herald(group, "ClusterEvent")
        for pods in [pods for plugin, pods in self._gated.items() if plugin]:
            self._try_gates([pod for pod in pods.values() if self._concerns_gate(pod, event)])

    def _concerns_gate(self, pod: QueuedPod, event: ClusterEvent) -> bool:
        held_by = pod.gate.plugin if pod.gate is not None else ""
        hints = pod.profile.hints.get(held_by, ())
        return any(kinds & event.kind and (hint is None or _hinted(hint, pod.info, event)) for kinds, hint in hints)

    def _try_gates(self, pods: list[QueuedPod]) -> None:
        for pod in pods:
            if self._gate(pod, pod.profile.pre_enqueue) is None:
                self._enqueue(pod, "ClusterEvent")

    def _pick(self, group: Group[QueuedPod]) -> QueuedPod:
        """The one of a group to try first: of those that have waited longest one whose pause is over, if there is one."""
        now = self._now()
        first = list(itertools.islice(group.pods.values(), 32))
        return next((pod for pod in first if self._rested_at(pod) <= now), first[0])

    def _send_herald(self, group: Group[QueuedPod], why: str) -> None:
        pod = self._pick(group)
        pod.herald = True
        self._wake(pod, why)

    @staticmethod
    def _may_help(pod: PodInfo, profile: Profile, rejected_by: frozenset[str], event: ClusterEvent) -> bool:
        if event.but and event.but == pod.uid:
            return False
        if not rejected_by or event.kind == Happening.ANYTHING:
            return True
        hints = profile.hints
        for plugin in rejected_by:
            for kinds, hint in hints.get(plugin, ()):
                if kinds & event.kind and (hint is None or _hinted(hint, pod, event)):
                    return True
        return False

    def _rested_at(self, pod: QueuedPod) -> float:
        """When the pause after the pod's last attempt is over."""
        return pod.since + self.timings.backoff(pod.failed_times)

    def _wake(self, pod: QueuedPod, why: str) -> None:
        if self._held_again(pod, why):
            return
        if self._rested_at(pod) > self._now():
            self._push_backoff(pod, why)
        else:
            self._push_active(pod, why)

    def flush(self) -> None:
        """Move on whatever time alone moves: pauses that ended, and pods refused more than five minutes ago."""
        now = self._now()
        while self._backoff and (not self._counts(self._backoff[0]) or self._backoff[0][0] <= now):
            entry = heapq.heappop(self._backoff)
            if self._counts(entry) and not self._held_again(entry[2], "BackoffComplete"):
                self._push_active(entry[2], "BackoffComplete")
        if now >= self._next_check:
            self._next_check = now + MAX_UNSCHEDULABLE_CHECK
            for pod in self._waiting.everybody():
                if now - pod.since > self.timings.max_unschedulable:
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
        gate = self._gate(pod, pod.profile.pre_enqueue)
        if gate is None:
            pod.since = self._now()
            self._push_active(pod, why)
        else:
            self._hold(pod, gate, why)

    def _hold(self, pod: QueuedPod, gate: Status, why: str) -> None:
        self._move(pod, Where.GATED)
        pod.gate = gate
        self._gated.setdefault(gate.plugin, {})[pod.info.uid] = pod
        self._entered(pod, why)
        if gate.code is Code.ERROR:
            self.held(pod, gate.message)
        self._pass_on(pod)

    def _held_again(self, pod: QueuedPod, why: str) -> bool:
        """Whether a gate that looks at more than the pod has closed while it waited. Others of its group need not wait then."""
        gate = self._gate(pod, pod.profile.gates_again) if pod.profile.gates_again else None
        if gate is not None:
            self._hold(pod, gate, why)
        return gate is not None

    @staticmethod
    def _gate(pod: QueuedPod, gates: Iterable[PreEnqueuePlugin]) -> Status | None:
        """What holds a pod back before it may enter the queue. A plugin that fails holds it back, too: nothing else is safe."""
        for plugin in gates:
            try:
                gate = plugin.pre_enqueue(pod.info)
            except Exception as err:  # noqa: BLE001 — whatever a plugin does concerns this pod alone
                return _failure(plugin, "PreEnqueue", err, pod)
            if gate is not None:
                return Status(gate.code, gate.reasons, plugin.name)
        return None

    def _push_active(self, pod: QueuedPod, why: str = "PodUpdate") -> None:
        sort = pod.profile.queue_sort
        try:
            key = sort.sort_key(pod.info, pod.since)
        except Exception as err:  # noqa: BLE001 — as above
            self._hold(pod, _failure(sort, "QueueSort", err, pod), why)
            return
        self._move(pod, Where.ACTIVE)
        pod.gate = None
        pod.entry = next(self._sequence)
        heapq.heappush(self._active, (key, pod.entry, pod))
        self._entered(pod, why)
        self.woken()

    def _push_backoff(self, pod: QueuedPod, why: str) -> None:
        self._move(pod, Where.BACKOFF)
        pod.entry = next(self._sequence)
        heapq.heappush(self._backoff, (self._rested_at(pod), pod.entry, pod))
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
            elif not self._held_again(entry[2], "BackoffComplete"):
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
            self._waiting.take(pod.group, uid)
        elif pod.where is Where.GATED and pod.gate is not None:
            del self._gated[pod.gate.plugin][uid]
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


def held_back(pod: QueuedPod, key: str = "") -> bool:
    """Whether a gate holds the pod back that the plugin ``key`` cannot open."""
    return pod.where is Where.GATED and not (pod.gate is not None and key and pod.gate.plugin == key)


def _described(pod: PodInfo) -> tuple[Any, ...]:
    one = pod.pod
    return one.metadata.labels, one.metadata.annotations, one.status.resource_claim_statuses


def _failure(plugin: Plugin, point: str, error: Exception, pod: QueuedPod) -> Status:
    """What keeps a pod out because a plugin failed; the log gets a traceback once."""
    text = str(PluginFailed(plugin.name, point, error))
    if pod.gate is None or pod.gate.message != text:
        log.error("%s, for pod %s", text, pod.info.key, exc_info=error)
    return Status(Code.ERROR, (text,), plugin.name)


def _hinted(hint: Callable[[PodInfo, ClusterEvent], bool], pod: PodInfo, event: ClusterEvent) -> bool:
    try:
        return hint(pod, event)
    except Exception:  # noqa: BLE001 — a plugin's bug must not make a pod wait for ever
        return True
