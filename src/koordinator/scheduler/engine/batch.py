"""A whole job in one attempt: all its pods get the nodes that a planner has named, or none does.

Behind the gate EnableInlineBatchSchedule. A FindOneNode plugin answers for one pod of a job with a ``Plan``; its pods go
through PreFilter, Filter, assume and Reserve node by node, then through Permit one after the other, then to the binder. Nothing
else is scheduled meanwhile, so a job that fails leaves no trace: nobody has seen what it held for a moment.

Guarantees: no node gets more than it has; a job that fails keeps nothing; a failure puts back only the pod that was popped, its
siblings are still where they waited; a sibling that succeeds is in flight like any other pod, so that a bind that fails
brings it back. PostFilter never runs: a job preempts nobody.
"""

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING

from koordinator.scheduler.engine.binding import BindFailed, Binding
from koordinator.scheduler.engine.cluster import NotPossible
from koordinator.scheduler.engine.framework import Code, CycleState, PluginFailed, Status
from koordinator.scheduler.engine.hooks import BATCH, IGNORED_NOMINATIONS, PLACEMENT_HINT, PlacementHint, Plan
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.engine.queued import QueuedPod, held_back
from koordinator.scheduler.metrics import Metrics

if TYPE_CHECKING:
    from koordinator.scheduler.engine.commit import Committer
    from koordinator.scheduler.engine.cycle import Scheduler

SNAPSHOT_GATE = "EnableBatchScheduleNodeSnapshot"
FAILED = "job batch schedule failed"
SCHEDULE_FAILURE, PERMIT_FAILURE = "batch_schedule_failure", "batch_permit_failure"


class BatchStats:
    """What is counted."""

    def __init__(self, metrics: Metrics) -> None:
        counter, histogram = metrics.counter, metrics.histogram
        self.duration = histogram("inline_batch_schedule_duration_seconds", "Placing one job.", ("result",))
        self.by_node = histogram("batch_algorithm_by_node_duration_seconds", "Placing a job's pods on one node.")
        self.by_pod = histogram("batch_algorithm_by_pod_duration_seconds", "Placing one pod of a job.")
        text = "Jobs of which some pods were bound and some were not."
        self.partial_jobs = counter("batch_partial_bind_jobs_total", text)
        self.partial_pods = counter("batch_partial_bind_pods_total", "Pods of such jobs, by what became of them.", ("status",))
        text = "Pods of jobs that could not be bound."
        self.bind_failures = counter("batch_bind_failures_total", text, ("reason", "phase"))
        text = "Pods that had a node for a moment, until their job failed."
        self.cleanups = counter("batch_assumed_pods_cleanup_total", text, ("reason",))

    def bind_failed(self, failure: BindFailed) -> None:
        self.bind_failures.add(("pre_bind_error" if failure.phase == "PreBind" else "bind_error", failure.phase))

    def partly_bound(self, bound: int, failed: int) -> None:
        self.partial_jobs.add(())
        self.partial_pods.add(("success",), bound)
        self.partial_pods.add(("failure",), failed)


class Job:
    """Pods of one plan on their way to the API server. In each one's cycle state, so that no hook starts a job within a job."""

    __slots__ = ("bound", "failed", "left")

    def __init__(self) -> None:
        self.left = self.bound = self.failed = 0


class _Member:
    """One pod of the plan. ``failure`` says what was wrong; empty when it is assumed, or left out."""

    __slots__ = ("binding", "failure", "info", "node", "waits")

    def __init__(self, info: PodInfo, node: str) -> None:
        self.info, self.node = info, node
        self.binding: Binding | None = None
        self.failure = ""
        self.waits = False

    @property
    def who(self) -> str:
        return f"{self.info.key}/{self.info.uid}"

    @property
    def where(self) -> str:
        return f"{self.info.key}@{self.node}"


class Batch:
    """One per scheduler."""

    def __init__(self, scheduler: "Scheduler", commit: "Committer") -> None:
        self._scheduler, self._commit = scheduler, commit
        self.on = "EnableInlineBatchSchedule" in scheduler.gates
        self.stats = BatchStats(Metrics())
        self._holding: dict[str, Status | None] = {}
        """Pods between Permit and the end of their job, with the status of those that were rejected meanwhile."""

    def run(self, trigger: QueuedPod, plan: Plan) -> Status | None:
        """Schedule the job of which ``trigger`` was popped. None when all its pods are on their way."""
        began = self._scheduler.queue.now()
        wrong = _mistake(trigger, plan)
        refused = Status(Code.ERROR, (wrong,)) if wrong else self._run(trigger, plan)
        self.stats.duration.observe(("failure" if refused else "success",), self._scheduler.queue.now() - began)
        return refused

    def _run(self, trigger: QueuedPod, plan: Plan) -> Status | None:
        job, members = Job(), [_Member(info, plan.nodes[info.key]) for info in plan.pods]
        try:
            refused = self._place_all(members, job) or self._permit(members)
        except Exception:
            self._clean_up(members, PERMIT_FAILURE if self._holding else SCHEDULE_FAILURE)
            raise
        if refused:
            self._clean_up(members, PERMIT_FAILURE if self._holding else SCHEDULE_FAILURE)
            return Status(Code.UNSCHEDULABLE, (refused,))
        self._bind(trigger, members, job)
        return None

    # -- one node after the other -----------------------------------------------------------------------------------------

    def _place_all(self, members: list[_Member], job: Job) -> str:
        """Every pod on its node. What was wrong; empty when all are there."""
        uids = frozenset(one.info.uid for one in members)
        for node, group in itertools.groupby(sorted(members, key=lambda one: (one.node, one.info.name)), lambda one: one.node):
            self._on_node(node, list(group), job, uids)
        return told(members) if any(one.failure for one in members) else ""

    def _on_node(self, node: str, members: list[_Member], job: Job, uids: frozenset[str]) -> None:
        now = self._scheduler.queue.now
        began = now()
        fresh, failure = SNAPSHOT_GATE in self._scheduler.gates, ""
        for member in members:
            if self._left_out(member):
                continue
            if not failure:
                started = now()
                state: CycleState = {BATCH: job, IGNORED_NOMINATIONS: uids, PLACEMENT_HINT: _hint(node, restore=fresh)}
                failure, fresh = self._place(member, state), False
                self.stats.by_pod.observe((), now() - started)
            member.failure = failure
        self.stats.by_node.observe((), now() - began)

    def _left_out(self, member: _Member) -> bool:
        return member.info.pod.metadata.deletion_timestamp is not None or member.info.uid in self._scheduler.cluster.pods

    def _place(self, member: _Member, state: CycleState) -> str:
        """PreFilter, Filter, assume, Reserve. What was wrong; empty when the pod has its place."""
        pod = self._scheduler.queue.get(member.info.uid)
        if pod is None or held_back(pod, self._planner(pod)):
            held = pod.gate.message if pod is not None and pod.gate is not None else "it does not wait to be scheduled"
            return f"pre-filter failed for pod {member.who}, {held}"
        binding = Binding(pod, state, member.node)
        return self._judged(member, binding) or self._assumed(member, binding)

    @staticmethod
    def _planner(pod: QueuedPod) -> str:
        """The plugin that plans jobs may also be the one that keeps all but one pod of a job out of the queue."""
        return next((plugin.name for plugin in pod.profile.finders), "")

    def _judged(self, member: _Member, binding: Binding) -> str:
        hint = binding.state[PLACEMENT_HINT]
        try:
            judged = self._scheduler.judged(binding.pod, binding.state)
        except PluginFailed as err:
            return f"pre-filter failed for pod {member.who}, {err}"
        binding.state[PLACEMENT_HINT] = hint  # whatever the pod's own annotation says
        if isinstance(judged, Status):
            return f"pre-filter failed for pod {member.who}, {judged.message}"
        only = judged.evaluation.compiled.only
        if only is not None and member.node not in only:
            return f"node {member.node} is pre-filter out for pod {member.who}"
        reasons = judged.chooser.objections(member.node)
        return self._text("filter", member, ", ".join(reasons)) if reasons else ""

    def _assumed(self, member: _Member, binding: Binding) -> str:
        try:
            info = self._commit.prepared(binding)
        except PluginFailed as err:
            return self._text("filter", member, str(err))
        if isinstance(info, Status):
            return self._text("filter", member, info.message)
        try:
            self._scheduler.cluster.assume(info, binding.node)
        except NotPossible as err:
            return self._text("assume", member, str(err))
        try:
            refused = self._commit.reserve(binding)
            failure = refused.message if refused is not None else ""
        except PluginFailed as err:
            failure = str(err)
        if failure:
            self._commit.release(binding)
            return self._text("reserve", member, failure)
        member.binding = binding
        return ""

    @staticmethod
    def _text(step: str, member: _Member, message: str) -> str:
        return f"{step} pod {member.who} on node {member.node} failed, err: {message}"

    # -- all or nothing -----------------------------------------------------------------------------------------------------

    def _permit(self, members: Iterable[_Member]) -> str:
        """Permit, one after the other. What was wrong; empty when all may go: those that still wait have been vouched for by
        the last one, which does not.
        """
        waiting, last = self._scheduler.waiting, None
        for member in members:
            if member.binding is None:
                continue
            timeouts: dict[str, float] = {}
            self._holding[member.info.uid] = None
            try:
                status = self._commit.permit(member.binding, timeouts)
            except PluginFailed as err:
                return f"permit failed for pod {member.where}: {err}"
            if status is not None:
                return f"permit failed for pod {member.where}: {status.message}"
            if timeouts:
                waiting.add(member.binding, timeouts)
            last = member
        for member in members:
            rejected = self._holding.get(member.info.uid)
            if rejected is not None:
                return f"permit failed for pod {member.where}: {rejected.message}"
        if last is not None and last.info.uid in waiting:
            count = sum(one.info.uid in waiting for one in members)
            return f"inline batch permit did not complete: {count} pods are still waiting after all pods were permitted"
        return ""

    def permitted(self, binding: Binding) -> bool:
        """A plugin lets a waiting pod go. Whether its job decides when."""
        return binding.pod.info.uid in self._holding

    def rejected(self, binding: Binding, status: Status) -> bool:
        """A plugin rejects a waiting pod. Whether its job takes care of that."""
        held = binding.pod.info.uid in self._holding
        if held:
            self._holding[binding.pod.info.uid] = status
        return held

    def _let_go(self) -> None:
        for uid in self._holding:
            self._scheduler.waiting.drop(uid)
        self._holding.clear()

    def _clean_up(self, members: list[_Member], why: str) -> None:
        self._let_go()
        for member in reversed(members):
            if member.binding is not None:
                self._commit.release(member.binding)
                self.stats.cleanups.add((why,))

    # -- on the way to the API server ----------------------------------------------------------------------------------

    def _bind(self, trigger: QueuedPod, members: list[_Member], job: Job) -> None:
        """Siblings become pods in flight, whatever they waited for; then all go to the binder."""
        self._let_go()
        bindings = [one.binding for one in members if one.binding is not None]
        job.left = len(bindings)
        queue = self._scheduler.queue
        for binding in bindings:
            if binding.pod is not trigger:
                queue.take(binding.pod.info.uid, self._planner(binding.pod))
            self._commit.settled(binding)
        for binding in bindings:
            self._scheduler.submit(binding)

    def bound(self, job: Job) -> None:
        job.bound += 1
        self._one_less(job)

    def bind_failed(self, binding: Binding, failure: BindFailed) -> None:
        """One of a job could not be bound while others were: it is tried again at once, the first time."""
        job: Job = binding.state[BATCH]
        job.failed += 1
        self.stats.bind_failed(failure)
        if binding.pod.errors <= 1:
            self._scheduler.queue.activate(binding.pod.info.uid)
        self._one_less(job)

    def _one_less(self, job: Job) -> None:
        job.left -= 1
        if not job.left and job.bound and job.failed:
            self.stats.partly_bound(job.bound, job.failed)


def _mistake(trigger: QueuedPod, plan: Plan) -> str:
    """What is wrong with a plan; empty when nothing is."""
    if not plan.pods:
        return "no pods to schedule"
    for info in plan.pods:
        if not plan.nodes.get(info.key):
            return f"batch schedule plan missing node for pod {info.key}"
    if all(info.uid != trigger.info.uid for info in plan.pods):
        return f"batch schedule plan does not contain pod {trigger.info.key}"
    return ""


def _hint(node: str, *, restore: bool) -> PlacementHint:
    """``restore``: whether reservations are to be worked out afresh for the node."""
    extensions = {"NodeNUMAResource": {}, "DeviceShare": {}, "Reservation": {"skipRestoreNodeInfo": not restore}}
    return PlacementHint((node,), extensions)


def told(members: Iterable[_Member]) -> str:
    """Why the job failed, in one line: the first pod that did, and who had a place beside it."""
    assumed = sorted((one for one in members if one.binding is not None), key=lambda one: one.info.key)
    failed = sorted((one for one in members if one.failure), key=lambda one: one.info.key)
    text = f"job failed due to {FAILED}, assumed {len(assumed)} pods, failed {len(failed)} pods"
    if failed:
        first = failed[0]
        text += f", first failed pod {first.where} failed due to {first.failure}"
        beside = [one.info.key for one in assumed if one.node == first.node]
        if beside:
            text += f", assumed pods on node {first.node}: {', '.join(beside)}"
    return text
