"""Pods that wait for a node: ready now (active), in a pause (backoff), refused until something changes, or gated.

Guarantees: a pod that was added is always in exactly one of active, backoff, unschedulable, gated, in flight, until it is done
or removed. An event that happens while a pod is in flight is not lost: it is replayed when the pod comes back refused.

Refused pods that no node can tell apart wait as one group (``waitingroom``). An event that can help wakes one of them, the
herald; when it gets a node the next is woken, and so on: what is refused to one would be refused to all, so ten thousand
pending pods of one job cost no more than one at every event.

Time is read from the ``now`` function given; nothing here sleeps.
"""

import itertools
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any

from koordinator.scheduler.engine.events import ClusterEvent, Happening
from koordinator.scheduler.engine.flights import Flights
from koordinator.scheduler.engine.framework import Code, Status
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.engine.queue_hooks import concerns, gate_of, group_of, hints_for, may_help, sort_key
from koordinator.scheduler.engine.queued import Heap, QueuedPod, Timings, Where, held_back
from koordinator.scheduler.engine.waitingroom import Group, WaitingRoom

MAX_UNSCHEDULABLE_CHECK = 30.0
"""Seconds between looks for pods that have waited refused for too long."""


class SchedulingQueue:
    """See the module's guarantees."""

    def __init__(self, now: Callable[[], float], timings: Timings | None = None) -> None:
        self.now = self._now = now
        self.timings = timings or Timings()
        self._pods: dict[str, QueuedPod] = {}
        numbers = itertools.count()
        self._active, self._backoff, self._errors = Heap(numbers), Heap(numbers), Heap(numbers)
        """Pods that pause after an error are kept apart: they are never tried early, however many there are."""
        self._waiting: WaitingRoom[QueuedPod] = WaitingRoom()
        self._gated: dict[tuple[str, Profile], dict[str, QueuedPod]] = {}
        """Gated pods by the plugin that holds them back, and whose it is."""
        self.flights = Flights()
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
        pod = self._active.pop() or self._pop_early()
        return None if pod is None else self._fly(pod)

    def _fly(self, pod: QueuedPod) -> QueuedPod:
        self._move(pod, Where.IN_FLIGHT)
        pod.attempts += 1
        pod.popped_at = self.flights.take_off(pod.info.uid)
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
        group = None if pod.promised else group_of(pod)
        pod.group = uid if group is None else group
        self._waiting.put(pod.group, uid, pod, pod.rejected_by, profile.concerned_by(pod.rejected_by))
        self._entered(pod, "ScheduleAttemptFailure")
        if pod.group == before:
            pod.herald = False
        self._pass_on(pod, before)

    def _missed_something(self, pod: QueuedPod) -> bool:
        """Whether an event that can help has happened during the attempt."""
        if pod.popped_at < 0:
            return True
        events = self.flights.since(pod.popped_at)
        return events is None or any(may_help(pod.info, pod.profile, pod.rejected_by, event) for event in events)

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
        self.flights.note(event)
        for group in self._waiting.concerned(event.kind):
            if event.kind == Happening.ANYTHING:
                for pod in list(group.pods.values()):
                    self._wake(pod, "ClusterEvent")
                continue
            pod = self._pick(group)
            if event.but and event.but == pod.info.uid:
                continue
            if may_help(pod.info, pod.profile, group.rejected_by, event):
                self._send_herald(group, "ClusterEvent")
        for (plugin, profile), pods in list(self._gated.items()):
            hints = hints_for(profile, plugin, event.kind)
            if hints:
                self._try_gates([pod for pod in pods.values() if concerns(pod.info, hints, event)])

    def _try_gates(self, pods: list[QueuedPod]) -> None:
        for pod in pods:
            if gate_of(pod, pod.profile.pre_enqueue) is None:
                self._enqueue(pod, "ClusterEvent")

    def _pick(self, group: Group[QueuedPod]) -> QueuedPod:
        """The one of a group to try first: of those that have waited longest one whose pause is over, if there is one."""
        now = self._now()
        first = list(itertools.islice(group.pods.values(), 32))
        return next((pod for pod in first if self._rested_at(pod) <= now), first[0])

    def _send_herald(self, group: Group[QueuedPod], why: str) -> None:
        """Wake one for all of a group. One that must not enter the queue any more makes room for the next."""
        while group.pods:
            pod = self._pick(group)
            if self._wake(pod, why):
                pod.herald = True
                return

    def _rested_at(self, pod: QueuedPod) -> float:
        """When the pause after the pod's last attempt is over."""
        return pod.since + self.timings.backoff(pod.failed_times)

    def _wake(self, pod: QueuedPod, why: str) -> bool:
        """To be tried again, after its pause if that is not over. False when it must not enter the queue any more."""
        if self._held_again(pod, why):
            return False
        if self._rested_at(pod) <= self._now():
            return self._push_active(pod, why)
        self._push_backoff(pod, why)
        return True

    def flush(self) -> None:
        """Move on whatever time alone moves: pauses that ended, and pods refused more than five minutes ago."""
        now = self._now()
        for pod in itertools.chain(self._errors.pop_until(now), self._backoff.pop_until(now)):
            if not self._held_again(pod, "BackoffComplete"):
                self._push_active(pod, "BackoffComplete")
        if now >= self._next_check:
            self._next_check = now + MAX_UNSCHEDULABLE_CHECK
            for pod in self._waiting.everybody():
                if now - pod.since > self.timings.max_unschedulable:
                    self._wake(pod, "UnschedulableTimeout")

    def next_flush(self) -> float | None:
        """When ``flush`` has something to do next; None when nothing waits for time."""
        pauses: list[float] = [end for heap in (self._errors, self._backoff) if (end := heap.first()) is not None]
        if pauses:
            return min(pauses)
        return self._next_check if self._waiting else None

    # -- places --------------------------------------------------------------------------------------------------------

    def _enqueue(self, pod: QueuedPod, why: str) -> None:
        gate = gate_of(pod, pod.profile.pre_enqueue)
        if gate is None:
            pod.since = self._now()
            self._push_active(pod, why)
        else:
            self._hold(pod, gate, why)

    def _hold(self, pod: QueuedPod, gate: Status, why: str) -> None:
        self._move(pod, Where.GATED)
        pod.gate = gate
        self._gated.setdefault((gate.plugin, pod.profile), {})[pod.info.uid] = pod
        self._entered(pod, why)
        if gate.code is Code.ERROR:
            self.held(pod, gate.message)
        self._pass_on(pod)

    def _held_again(self, pod: QueuedPod, why: str) -> bool:
        """Whether a gate that looks at more than the pod has closed while it waited. Others of its group need not wait then."""
        gate = gate_of(pod, pod.profile.gates_again) if pod.profile.gates_again else None
        if gate is not None:
            self._hold(pod, gate, why)
        return gate is not None

    def _push_active(self, pod: QueuedPod, why: str = "PodUpdate") -> bool:
        key = sort_key(pod)
        if isinstance(key, Status):
            self._hold(pod, key, why)
            return False
        self._move(pod, Where.ACTIVE)
        pod.gate = None
        self._active.push(key, pod)
        self._entered(pod, why)
        self.woken()
        return True

    def _push_backoff(self, pod: QueuedPod, why: str) -> None:
        self._move(pod, Where.BACKOFF)
        (self._errors if pod.errors else self._backoff).push(self._rested_at(pod), pod)
        self._entered(pod, why)
        self.woken()

    def _entered(self, pod: QueuedPod, why: str) -> None:
        key = (pod.where.value, why)
        self.incoming[key] = self.incoming.get(key, 0) + 1

    def _pop_early(self) -> QueuedPod | None:
        """With nothing else to do, a pod need not sit out its pause, unless it waits after an error."""
        while (pod := self._backoff.pop()) is not None:
            if not self._held_again(pod, "BackoffComplete"):
                return pod
        return None

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
            del self._gated[pod.gate.plugin, pod.profile][uid]
        elif pod.where is Where.IN_FLIGHT:
            self.flights.land(uid)


def _described(pod: PodInfo) -> tuple[Any, ...]:
    one = pod.pod
    return one.metadata.labels, one.metadata.annotations, one.status.resource_claim_statuses
