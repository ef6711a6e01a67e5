"""The workload auditor: keeps a story for every pod that waits, or for every gang, and counts what happens in it.

It hears of pods from their informer, of victims that are off their node from the cluster, of failed attempts from the reporter,
and of preemptions from the plugins that decide them. A plugin for gangs says with ``group_of`` which pods belong together, and
notes down what only it knows (``note``). A replica that does not lead keeps the stories, too, but counts nothing.
"""

import logging
from collections.abc import Callable, Iterable
from typing import NamedTuple

from koordinator.api import priority
from koordinator.api.core import Node, Pod
from koordinator.clock import Clock
from koordinator.kube.metrics import Labels
from koordinator.scheduler.auditor.counted import Counted
from koordinator.scheduler.auditor.options import AuditorOptions
from koordinator.scheduler.auditor.story import Effect, Kind, Metric, Outcome, Story, after, breaches
from koordinator.scheduler.engine.pod import PodInfo, scheduler_name
from koordinator.scheduler.engine.queue import SchedulingQueue
from koordinator.scheduler.engine.queued import QueuedPod
from koordinator.scheduler.metrics import Metrics

log = logging.getLogger(__name__)

_METHODS = {
    Kind.CREATE: ("AddPod", "AddGangGroup"),
    Kind.GATED: ("RecordPodGating", "RecordGangGating"),
    Kind.ADMITTED: ("RecordPodGating", "RecordGangGating"),
    Kind.ALL_ATTEMPTED: ("RecordAttemptPod", "RecordAttemptPod"),
    Kind.SCHEDULED: ("RecordPodScheduleResult", "RecordGangScheduleResult"),
    **dict.fromkeys(
        (Kind.NOMINATED, Kind.VICTIMS_LEAVING, Kind.PREEMPT_FAILURE, Kind.SCHEDULE_FAILURE),
        ("RecordDiagnosis", "RecordDiagnosis"),
    ),
}
_OTHERS, _DELETE = ("RecordPod", "RecordGangGroup"), ("DeletePod", "DeleteGangGroup")
"""What the metric of our own cost calls the work on an event: of a pod, of a gang."""


class Group(NamedTuple):
    """Pods with one story: it ends well when ``min_members`` of them are scheduled."""

    key: str
    min_members: int


class Workload:
    """A pod or a group with its story."""

    __slots__ = ("ended", "gated", "group", "key", "labels", "members", "placed", "story", "victims")

    def __init__(self, key: str, group: Group | None, labels: Labels) -> None:
        self.key, self.group, self.labels = key, group, labels
        self.story = Story()
        self.members: set[str] = set()
        self.gated: set[str] = set()
        self.placed: set[str] = set()
        self.victims: set[str] = set()
        """Uids of pods that are to leave for this workload and are still there."""
        self.ended = False


class Auditor:
    """A ``ClusterListener``. ``ours`` says whether pods of a scheduler name are looked after by this scheduler."""

    dry_runs = False

    def __init__(
        self,
        clock: Clock,
        ours: Callable[[str], bool],
        queue: SchedulingQueue,
        options: AuditorOptions,
        metrics: Metrics | None = None,
    ) -> None:
        self._clock, self._ours, self._queue, self._limits = clock, ours, queue, options.thresholds
        self._label_keys = tuple(key for _, key in options.labels)
        self.counted = Counted(metrics or Metrics(), tuple(name for name, _ in options.labels))
        self.leading: Callable[[], bool] = lambda: True
        self.group_of: Callable[[Pod], Group | None] = lambda _: None
        self._workloads: dict[str, Workload] = {}
        self._of_pod: dict[str, Workload] = {}
        self._victims: dict[str, set[str]] = {}
        """Workloads that wait for a pod to leave, by its uid."""
        self._told: dict[str, int] = {}
        """The last attempt of a pod that has been noted, by its uid."""

    def __len__(self) -> int:
        return len(self._workloads)

    # -- what the informer of pods tells -------------------------------------------------------------------------------

    def pod_set(self, pod: Pod) -> None:
        uid = pod.metadata.uid
        workload = self._of_pod.get(uid)
        if pod.spec.node_name:
            if workload is not None:
                self._placed(workload, uid)
        elif pod.terminated or not self._ours(scheduler_name(pod)):
            self._leave(pod)
        elif pod.metadata.deletion_timestamp is None:
            self._waits(workload or self._joined(pod), pod)

    def pod_changed(self, _: Pod, pod: Pod) -> None:
        self.pod_set(pod)

    def pod_deleted(self, pod: Pod) -> None:
        self._leave(pod)

    def _joined(self, pod: Pod) -> Workload:
        group, meta = self.group_of(pod), pod.metadata
        key = group.key if group is not None else f"{meta.namespace}/{meta.name}/{meta.uid}"
        workload = self._workloads.get(key)
        if workload is None:
            workload = self._workloads[key] = Workload(key, group, self._labels(pod))
            self._note(workload, Kind.CREATE)
        self._of_pod[meta.uid] = workload
        workload.members.add(meta.uid)
        if group is not None and len(workload.members) == group.min_members:
            self._note(workload, Kind.MIN_MEMBER)
        return workload

    def _labels(self, pod: Pod) -> Labels:
        return (priority.raw(pod).value, *(pod.labels.get(key, "") for key in self._label_keys))

    def _waits(self, workload: Workload, pod: Pod) -> None:
        """Notes when the first of a workload's pods is held back, and when none is any more."""
        before = bool(workload.gated)
        if pod.spec.scheduling_gates:
            workload.gated.add(pod.metadata.uid)
        else:
            workload.gated.discard(pod.metadata.uid)
        if bool(workload.gated) != before:
            self._note(workload, Kind.ADMITTED if before else Kind.GATED)

    def _placed(self, workload: Workload, uid: str) -> None:
        self._told.pop(uid, None)
        workload.placed.add(uid)
        needed = 1 if workload.group is None else workload.group.min_members
        if not workload.ended and len(workload.placed) >= needed:
            self._note(workload, Kind.SCHEDULED)
            self._end(workload, Outcome.SCHEDULED if workload.group is None else Outcome.GANG_SCHEDULED)
        if workload.group is None:
            self._forget(workload, uid)

    def _leave(self, pod: Pod) -> None:
        """The pod is gone, has ended, or is no longer ours."""
        uid = pod.metadata.uid
        workload = self._of_pod.get(uid)
        if workload is not None:
            if not workload.ended and len(workload.members) == 1:
                self._end(workload, Outcome.DELETED if workload.group is None else Outcome.GANG_DELETED)
            self._forget(workload, uid)

    def _forget(self, workload: Workload, uid: str) -> None:
        del self._of_pod[uid]
        self._told.pop(uid, None)
        for uids in (workload.members, workload.gated, workload.placed):
            uids.discard(uid)
        if not workload.members:
            self._expect(workload, ())
            del self._workloads[workload.key]

    # -- what the scheduler tells --------------------------------------------------------------------------------------

    def failed(self, pod: QueuedPod, preempting: str) -> None:
        """An attempt came to nothing. ``preempting`` is what PostFilter had to say; empty when it was not asked.

        Told of the same attempt again, or after a plugin has told of it, this does nothing.
        """
        info = pod.info
        told = self._told.get(info.uid) == pod.attempts
        workload = None if told or info.pod.metadata.deletion_timestamp is not None else self._tells(info)
        if workload is not None:
            self._note(workload, Kind.PREEMPT_FAILURE if preempting else Kind.SCHEDULE_FAILURE)

    def nominated(self, pod: PodInfo, victims: Iterable[PodInfo]) -> None:
        """A plugin has decided to evict these for the pod."""
        workload = self._tells(pod)
        if workload is not None:
            self._note(workload, Kind.NOMINATED)
            self._expect(workload, [victim.uid for victim in victims])
            if not workload.victims:
                self._note(workload, Kind.VICTIMS_GONE)

    def victims_leaving(self, pod: PodInfo) -> None:
        """The attempt found victims of an earlier one still there."""
        workload = self._tells(pod)
        if workload is not None:
            self._note(workload, Kind.VICTIMS_LEAVING)

    def undecided(self, pod: PodInfo) -> None:
        """The attempt is neither a preemption nor a failure yet: somebody else is being asked."""
        self._tells(pod)

    def not_leaving(self, pod: PodInfo) -> None:
        """Victims could not be evicted: the promise is broken."""
        workload = self._of_pod.get(pod.uid)
        if workload is not None:
            self._expect(workload, ())
            self._note(workload, Kind.PREEMPT_FAILURE)

    def note(self, key: str, kind: Kind) -> None:
        """What only the plugin for gangs can know of the group ``key``."""
        workload = self._workloads.get(key)
        if workload is not None and not workload.ended:
            self._note(workload, kind)

    def _tells(self, pod: PodInfo) -> Workload | None:
        """The workload of a pod whose attempt is being told about."""
        workload, queued = self._of_pod.get(pod.uid), self._queue.get(pod.uid)
        if workload is not None and queued is not None:
            self._told[pod.uid] = queued.attempts
        return workload

    # -- victims -------------------------------------------------------------------------------------------------------

    def _expect(self, workload: Workload, victims: Iterable[str]) -> None:
        for uid in workload.victims:
            waiting = self._victims.get(uid)
            if waiting is not None:
                waiting.discard(workload.key)
                if not waiting:
                    del self._victims[uid]
        workload.victims = set(victims)
        for uid in workload.victims:
            self._victims.setdefault(uid, set()).add(workload.key)

    def pod_removed(self, info: PodInfo, node: str) -> None:
        for key in self._victims.pop(info.uid, ()):
            workload = self._workloads[key]
            workload.victims.discard(info.uid)
            if not workload.victims and not workload.ended:
                self._note(workload, Kind.VICTIMS_GONE)

    def pod_placed(self, info: PodInfo, node: str) -> None: ...

    def pod_updated(self, info: PodInfo, node: str) -> None: ...

    def node_set(self, row: int, node: Node, changes: int) -> None: ...

    def node_removed(self, name: str) -> None: ...

    # -- stories -------------------------------------------------------------------------------------------------------

    def _note(self, workload: Workload, kind: Kind) -> None:
        began = self._clock.monotonic()
        workload.story, effects = after(workload.story, kind, began)
        if not self.leading():
            return
        for effect in effects:
            self.counted.take(effect, workload.labels)
        for text in breaches(workload.story, kind, effects, self._limits):
            log.warning("workloadauditor: ALERT: %s %s: %s", "pod" if workload.group is None else "gang", workload.key, text)
        self._spent(workload, _METHODS.get(kind, _OTHERS), began)

    def _end(self, workload: Workload, outcome: Outcome) -> None:
        began = self._clock.monotonic()
        workload.ended = True
        self._expect(workload, ())
        if not self.leading():
            return
        for kind, count in workload.story.counts.items():
            self.counted.take(Effect(Metric.EVENTS, count), (*workload.labels, kind.value, outcome.value))
        if outcome in (Outcome.DELETED, Outcome.GANG_DELETED):
            self._spent(workload, _DELETE, began)

    def _spent(self, workload: Workload, method: tuple[str, str], began: float) -> None:
        self.counted.calls.observe((method[workload.group is not None],), self._clock.monotonic() - began)
