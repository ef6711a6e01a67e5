"""The scheduling cycle: one pod at a time, over all nodes, in numbered steps.

It runs synchronously on the thread that owns the columns and never waits: whatever needs the API server happens in the binder
or in the ``outcome`` callbacks. Only HTTP extenders interrupt it: then ``waiting_for`` is what the loop has to await before the
next attempt.
"""

import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from random import Random
from typing import Any, Protocol

from koordinator.api import features
from koordinator.kube.metrics import Histogram
from koordinator.scheduler.engine import notes
from koordinator.scheduler.engine.batch import Batch
from koordinator.scheduler.engine.binding import BindFailed, Binding, obstacle
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.commit import Committer
from koordinator.scheduler.engine.evaluate import Evaluation, Evaluator, Restricted
from koordinator.scheduler.engine.events import ClusterEvent, Happening
from koordinator.scheduler.engine.framework import Code, CycleState, Diagnosis, PluginFailed, Status
from koordinator.scheduler.engine.hooks import BATCH, JOB_REJECTED, Failure, Nominating, Plan, taken_over
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.engine.queue import SchedulingQueue
from koordinator.scheduler.engine.queued import QueuedPod
from koordinator.scheduler.engine.steps import (
    AttemptFailed,
    Judged,
    after_pre_filter,
    before_score,
    named,
    pod_checks,
    post_filter,
    preset,
    transformed,
)
from koordinator.scheduler.engine.waiting import WaitingPods
from koordinator.scheduler.metrics import ATTEMPT_BUCKETS

log = logging.getLogger(__name__)


class Outcome(Protocol):
    """Who tells the world how attempts end (events, conditions, metrics). Must not raise."""

    def assumed(self, binding: Binding) -> None: ...

    def unschedulable(self, pod: QueuedPod, diagnosis: Diagnosis) -> None: ...

    def error(self, pod: QueuedPod, message: str) -> None: ...

    def handled(self, pod: QueuedPod) -> None:
        """The attempt has failed, and a plugin takes care of what is to be said about it."""

    def bound(self, binding: Binding) -> None: ...


class Verdict(Protocol):
    """What HTTP extenders have to say: which nodes they leave (None: all), and points to add."""

    @property
    def nodes(self) -> frozenset[str] | None: ...

    @property
    def scores(self) -> dict[str, int]: ...

    @property
    def reasons(self) -> dict[str, int]: ...


class Extender(Protocol):
    """Somebody outside this process who is asked about every pod that he is interested in."""

    name: str

    def wants(self, pod: PodInfo) -> bool: ...


Ask = Callable[[Sequence[Extender], PodInfo, list[str]], Coroutine[Any, Any, Verdict]]


class Scheduler:
    """Queue, cluster and profiles put together."""

    def __init__(
        self,
        cluster: Cluster,
        queue: SchedulingQueue,
        profiles: Iterable[Profile],
        outcome: Outcome,
        seed: int | None = None,
        gates: frozenset[str] = features.SCHEDULER.defaults,
    ) -> None:
        self.cluster, self.queue, self.outcome, self.gates = cluster, queue, outcome, gates
        self.profiles = {name: profile for profile in profiles for name in profile.names}
        cluster.nominator.one_pass = "SkipFilterWithNominatedPods" in gates
        self._evaluators = {profile: Evaluator(profile, cluster.columns) for profile in self.profiles.values()}
        self._random = Random(seed)  # noqa: S311 — spreading ties needs no secrecy
        self.submit: Callable[[Binding], None] = lambda _: None
        self.chosen: Callable[[QueuedPod, Evaluation | Restricted, int], None] = lambda *_: None
        """Told of every choice, for explanations: the evaluation is of this moment, what is to be kept must be copied."""
        self.errors = 0
        queue.held = outcome.error
        cluster.nominator.freed = self._promise_ended
        self.waiting = WaitingPods(queue.now, self._permitted, self._permit_refused)
        self._commit = Committer(self)
        self.batch = Batch(self, self._commit)
        self.extenders: Sequence[Extender] = ()
        self.ask_extenders: Ask | None = None
        self.waiting_for: Coroutine[Any, Any, None] | None = None
        nexts = [plugin for profile in self.profiles.values() for plugin in profile.next_pods]
        self._next_pod = next((one for one in reversed(nexts) if one.name == nexts[0].name), None)
        self.next_pod_seconds = Histogram(ATTEMPT_BUCKETS)

    def schedule_one(self) -> bool:
        """One attempt; False when no pod is ready."""
        # 1 the next pod
        pod = self._next()
        if pod is None:
            return False
        self._guarded(pod, lambda: self._attempt(pod))
        return True

    def _guarded(self, pod: QueuedPod, work: Callable[[], None]) -> None:
        try:
            work()
        except PluginFailed as err:
            log.exception("scheduling pod %s", pod.info.key)
            self.fail(pod, str(err))
        except AttemptFailed as err:
            self.fail(pod, str(err))
        except Exception as err:  # a bug that one pod runs into must not stop the others
            log.exception("scheduling pod %s", pod.info.key)
            self.fail(pod, f"internal error: {type(err).__name__}: {err}")

    def _attempt(self, pod: QueuedPod) -> None:
        # 2 is there still something to do?
        if self._settled(pod):
            return
        # 3 what is known of all nodes for pods like this (PreFilter, Filter, Score); nothing at all without nodes
        if not len(self.cluster.columns):
            self.refuse(pod, Diagnosis(nodes=0, pre_filter_message="no nodes available to schedule pods"))
            return
        judged = self._judge(pod)
        if not isinstance(judged, Judged):
            self._ended(pod, judged)
            return
        interested = [one for one in self.extenders if one.wants(pod.info)]
        if interested and self.ask_extenders is not None:
            self.waiting_for = self._extended(pod, judged, self.ask_extenders(interested, pod.info, judged.fitting()))
            return
        self._decide(pod, judged)

    def _decide(self, pod: QueuedPod, judged: Judged) -> None:
        # 4 the best node, ties drawn by lot
        row = judged.row if judged.row is not None else judged.chooser.best(self._random)
        # 5 none: ask the PostFilter plugins, and wait for a change
        if row is None:
            self.refuse(pod, post_filter(pod, judged))
            return
        self.chosen(pod, judged.evaluation, row)
        # 6 count it there at once, 7 let plugins reserve and permit, 8 bind in the background
        self._commit(Binding(pod, judged.state, self.cluster.columns.names[row]))

    async def _extended(self, pod: QueuedPod, judged: Judged, question: Coroutine[Any, Any, Verdict]) -> None:
        """Steps 4 to 8 once the extenders have answered. The cluster may have moved meanwhile, so all is judged again."""
        try:
            verdict = await question
        except Exception as err:  # noqa: BLE001 — whatever an extender does concerns this pod alone
            if self.queue.get(pod.info.uid) is pod:
                log.warning("pod %s: %s", pod.info.key, err)
                self.fail(pod, str(err))
            return
        self._guarded(pod, lambda: self._decide_with(pod, verdict))

    def _decide_with(self, pod: QueuedPod, verdict: Verdict) -> None:
        if self.queue.get(pod.info.uid) is not pod or self._settled(pod):
            return
        judged = self._judge(pod)
        if not isinstance(judged, Judged):
            self._ended(pod, judged)
            return
        if verdict.nodes is not None:
            judged.chooser.restrict(verdict.nodes)
        judged.chooser.add_scores(verdict.scores)
        judged.reasons = verdict.reasons
        if judged.row is not None and not judged.chooser.fits(judged.row):
            judged.row = None
        self._decide(pod, judged)

    def evaluation(self, info: PodInfo, profile: Profile) -> Evaluation | Restricted | Status:
        """What all nodes have to say to a pod at this moment. Raises PluginFailed."""
        return self._evaluators[profile].evaluate(info)

    def forget_evaluations(self, profile: Profile) -> None:
        """The profile judges differently from now on; pods that it has refused are tried again."""
        self._evaluators[profile] = Evaluator(profile, self.cluster.columns)
        self.queue.on_event(ClusterEvent(Happening.ANYTHING))

    # -- the steps -----------------------------------------------------------------------------------------------------

    def _next(self) -> QueuedPod | None:
        if self._next_pod is not None:
            try:
                uid = self._next_pod.next_pod()
            except Exception:
                log.exception('running NextPod of plugin "%s"', self._next_pod.name)
                uid = None
            if uid and (pod := self._taken(uid, self._next_pod.name)) is not None:
                return pod
        return self.queue.pop()

    def _taken(self, uid: str, plugin: str) -> QueuedPod | None:
        began = self.queue.now()
        pod = self.queue.take(uid, plugin)
        self.next_pod_seconds.observe((), self.queue.now() - began)
        return pod

    def _settled(self, pod: QueuedPod) -> bool:
        info = pod.info
        if info.pod.metadata.deletion_timestamp is not None:
            self._drop(pod, "skip schedule deleting pod")
        elif info.uid in self.cluster.pods:
            self.queue.done(info.uid)
        else:
            return False
        return True

    def _judge(self, pod: QueuedPod) -> Judged | Diagnosis | None:
        """PreFilter, Filter and Score, and whether the node is decided already. A Diagnosis when the pod is refused as such,
        None when it has got its node with its whole job.
        """
        state = CycleState()
        judged = self.judged(pod, state)
        if isinstance(judged, Status):
            return self._of_status(judged, state)
        refused = before_score(pod.profile, judged.state, judged.info) or preset(judged, jobs=self.batch.on)
        if isinstance(refused, Plan):
            return self._of_job(pod, refused)
        return judged if refused is None else self._of_status(refused, judged.state)

    def judged(self, pod: QueuedPod, state: CycleState) -> Judged | Status:
        """PreFilter and Filter, with what ``state`` holds already. A Status when they refuse the pod as such."""
        profile = pod.profile
        info = transformed(profile, state, pod.info)
        if isinstance(info, Status):
            return info
        evaluation = self._evaluators[profile].evaluate(info)
        if isinstance(evaluation, Status):
            return evaluation
        state |= evaluation.state
        refused = pod_checks(profile, state, info, self.cluster.columns) or after_pre_filter(profile, state, info, evaluation)
        return refused or Judged(self.cluster, pod, info, state, evaluation)

    def _of_job(self, pod: QueuedPod, plan: Plan) -> Diagnosis | None:
        refused = self.batch.run(pod, plan)
        if refused is None:
            return None
        if refused.code is Code.ERROR:
            raise AttemptFailed(refused.message)
        return self._of_status(named(refused, pod.profile.finders[0]))

    def _ended(self, pod: QueuedPod, how: Diagnosis | None) -> None:
        """Nothing is left to decide for the pod."""
        if how is not None:
            self.refuse(pod, how)

    def _of_status(self, status: Status, state: CycleState | None = None) -> Diagnosis:
        """A PreFilter refusal concerns all nodes alike. Raises PluginFailed when it was an error."""
        if status.code is Code.ERROR:
            raise PluginFailed(status.plugin, "PreFilter", RuntimeError(status.message))
        noted = None if state is None else state.get(notes.KEY)
        return Diagnosis(len(self.cluster.columns), plugins={status.plugin}, pre_filter_message=status.message, notes=noted)

    # -- ends ----------------------------------------------------------------------------------------------------------

    def refuse(self, pod: QueuedPod, diagnosis: Diagnosis, status: Status | None = None, node: str = "") -> None:
        """No node now: wait for an event that can help. ``status`` when one plugin ended it, ``node`` if one was chosen."""
        failure = Failure(diagnosis.message, frozenset(diagnosis.plugins))
        promised_now = _promised_now(pod.info, diagnosis, status, node)
        if promised_now is not None:
            self.cluster.nominator.nominate(pod.info, promised_now)
        if self._handled(pod, failure):
            return
        promised = bool(self.cluster.nominator.node_of(pod.info.uid))
        self.queue.requeue(pod, diagnosis.plugins, promised=promised)
        self.outcome.unschedulable(pod, diagnosis)
        self._after_error(pod, failure)

    def fail(self, pod: QueuedPod, message: str) -> None:
        """Something went wrong: try again after a pause."""
        self.errors += 1
        failure = Failure(message, error=True)
        if self._handled(pod, failure):
            return
        self.cluster.nominator.forget(pod.info.uid)
        self.queue.requeue(pod, error=True)
        self.outcome.error(pod, message)
        self._after_error(pod, failure)

    def _handled(self, pod: QueuedPod, failure: Failure) -> bool:
        for plugin in pod.profile.error_handlers:
            try:
                if plugin.before_error(pod.info, failure):
                    self.queue.requeue(pod, failure.plugins, error=failure.error)
                    self.outcome.handled(pod)
                    self._after_error(pod, failure)
                    return True
            except Exception:  # the pod must go back to the queue, whatever a handler does
                log.exception('error handler of plugin "%s" for pod %s', plugin.name, pod.info.key)
        return False

    def _after_error(self, pod: QueuedPod, failure: Failure) -> None:
        for plugin in pod.profile.error_handlers:
            try:
                if plugin.after_error(pod.info, failure):
                    return
            except Exception:  # as above
                log.exception('error handler of plugin "%s" for pod %s', plugin.name, pod.info.key)

    def _drop(self, pod: QueuedPod, message: str) -> None:
        self.queue.done(pod.info.uid)
        self.cluster.nominator.forget(pod.info.uid)
        self.outcome.error(pod, message)

    def bound(self, binding: Binding) -> None:
        """The API server has taken the binding."""
        pod, state, node = binding
        self.queue.done(pod.info.uid)
        for plugin in pod.profile.post_binds:
            try:
                plugin.post_bind(state, pod.info, node)
            except Exception:  # the pod is bound, whatever the plugin thinks of it
                log.exception('running PostBind plugin "%s" for pod %s', plugin.name, pod.info.key)
        self.outcome.bound(binding)
        if BATCH in state:
            self.batch.bound(state[BATCH])

    def bind_failed(self, binding: Binding, failure: BindFailed) -> None:
        """The API server, or a plugin on the way to it, said no: forget, make room for others, try again."""
        pod = binding.pod
        self._commit.undo(binding)
        if failure.gone:
            self._drop(pod, f"binding rejected: {failure.reason}")
        else:
            self.fail(pod, f"binding rejected: {failure.reason}")
        if BATCH in binding.state:
            self.batch.bind_failed(binding, failure)

    def obstacle(self, pod: QueuedPod) -> BindFailed | None:
        """What has happened to a pod since its node was chosen, so that it must not be bound."""
        if "DynamicSchedulerCheck" not in self.gates:
            return None
        if self.queue.get(pod.info.uid) is not pod:
            return BindFailed("pod is gone", gone=True)
        return obstacle(pod)

    def _permitted(self, binding: Binding) -> None:
        if not self.batch.permitted(binding):
            self.submit(binding)

    def _permit_refused(self, binding: Binding, status: Status) -> None:
        """A plugin has rejected a waiting pod, or has not answered in time."""
        if self.batch.rejected(binding, status):
            return
        self._commit.undo(binding)
        if self.queue.get(binding.pod.info.uid) is binding.pod:
            self._guarded(binding.pod, lambda: self._commit.refused(binding.pod, status, binding.node))

    # -- what informers tell -------------------------------------------------------------------------------------------

    def wants(self, name: str) -> bool:
        """Whether pods of this scheduler name are ours."""
        return name in self.profiles

    def add_pending(self, info: PodInfo, name: str) -> None:
        pod = self.queue.add(info, self.profiles[name])
        promised = info.pod.status.nominated_node_name or ""
        if promised and info.uid not in self.cluster.pods and not self.cluster.nominator.node_of(info.uid):
            self.cluster.nominator.nominate(pod.info, promised)

    def gone(self, uid: str) -> None:
        """A pod is deleted, bound by somebody else or not ours any more: it waits for nothing."""
        self.queue.remove(uid)
        self.cluster.nominator.forget(uid)
        self.waiting.reject(uid, "", "the pod is gone")

    def _promise_ended(self, node: str, info: PodInfo) -> None:
        """Unless the pod has taken it, what was promised is room for others: nothing else would tell them."""
        placed = self.cluster.pods.get(info.uid)
        if placed is None or placed.node != node:
            self.tell(ClusterEvent(Happening.POD_DELETE, node, old=info.pod, but=info.uid))

    def tell(self, event: ClusterEvent) -> None:
        self.queue.on_event(event)

    def tick(self) -> None:
        """What time alone moves: pods that have waited long enough at Permit."""
        self.waiting.tick()


def _promised_now(pod: PodInfo, diagnosis: Diagnosis, status: Status | None, node: str) -> str | None:
    """The node to promise the pod, empty to take a promise back; None leaves it as it is."""
    if status is None:
        return diagnosis.nominated
    wanted = Nominating("noop") if diagnosis.nominated is None else Nominating("override", diagnosis.nominated)
    sole = next(iter(diagnosis.plugins)) if len(diagnosis.plugins) == 1 else ""
    code = "Unschedulable" if status.code is Code.UNSCHEDULABLE else status.code.name
    found = taken_over(wanted, code, status.plugin, sole, node)
    if found.mode == "noop" and status.plugin == JOB_REJECTED:  # it had gone when the pod got its node
        return pod.pod.status.nominated_node_name or None
    return found.node if found.mode == "override" else None
