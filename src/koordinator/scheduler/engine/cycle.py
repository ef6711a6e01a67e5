"""The scheduling cycle: one pod at a time, over all nodes, in numbered steps.

It runs synchronously on the thread that owns the columns and never waits: whatever needs the API server happens in the binder
or in the ``outcome`` callbacks.
"""

import logging
from collections.abc import Callable, Iterable
from random import Random
from typing import Protocol

from koordinator.scheduler.engine.binding import BindFailed, Binding
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.evaluate import Evaluation, Evaluator, Restricted
from koordinator.scheduler.engine.events import ClusterEvent, Happening
from koordinator.scheduler.engine.framework import Code, CycleState, Diagnosis, PluginFailed, Status
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.engine.queue import QueuedPod, SchedulingQueue

log = logging.getLogger(__name__)


class Outcome(Protocol):
    """Who tells the world how attempts end (events, conditions, metrics). Must not raise."""

    def assumed(self, binding: Binding) -> None: ...

    def unschedulable(self, pod: QueuedPod, diagnosis: Diagnosis) -> None: ...

    def error(self, pod: QueuedPod, message: str) -> None: ...

    def bound(self, binding: Binding) -> None: ...


class Scheduler:
    """Queue, cluster and profiles put together."""

    def __init__(
        self, cluster: Cluster, queue: SchedulingQueue, profiles: Iterable[Profile], outcome: Outcome, seed: int | None = None
    ) -> None:
        self.cluster, self.queue, self.outcome = cluster, queue, outcome
        self.profiles = {name: profile for profile in profiles for name in profile.names}
        self._evaluators = {id(profile): Evaluator(profile, cluster.columns) for profile in self.profiles.values()}
        self._random = Random(seed)  # noqa: S311 — spreading ties needs no secrecy
        self.submit: Callable[[Binding], None] = lambda _: None
        self.chosen: Callable[[QueuedPod, Evaluation | Restricted, int], None] = lambda *_: None
        """Told of every choice, for explanations: the evaluation is of this moment, what is to be kept must be copied."""
        self.errors = 0

    def schedule_one(self) -> bool:
        """One attempt; False when no pod is ready."""
        # 1 the next pod
        pod = self.queue.pop()
        if pod is None:
            return False
        try:
            self._attempt(pod)
        except PluginFailed as err:
            log.exception("scheduling pod %s", pod.info.key)
            self._fail(pod, str(err))
        except Exception as err:  # a bug that one pod runs into must not stop the others
            log.exception("scheduling pod %s", pod.info.key)
            self._fail(pod, f"internal error: {type(err).__name__}: {err}")
        return True

    def _attempt(self, pod: QueuedPod) -> None:
        # 2 is there still something to do?
        if self._settled(pod):
            return
        # 3 what is known of all nodes for pods like this (PreFilter, Filter, Score); nothing at all without nodes
        if not len(self.cluster.columns):
            self._refuse(pod, Diagnosis(nodes=0, pre_filter_message="no nodes available to schedule pods"))
            return
        evaluation = self._evaluators[id(pod.profile)].evaluate(pod.info)
        if isinstance(evaluation, Status):
            self._refuse(pod, self._of_status(evaluation))
            return
        state: CycleState = dict(evaluation.state)
        refusal = self._pod_checks(pod, state)
        if refusal is not None:
            self._refuse(pod, refusal)
            return
        # 4 the best node, ties drawn by lot
        row = evaluation.choose(self._random)
        # 5 none: ask the PostFilter plugins, and wait for a change
        if row is None:
            self._refuse(pod, self._post_filter(pod, state, evaluation))
            return
        self.chosen(pod, evaluation, row)
        # 6 count it there at once, 7 let plugins reserve and permit, 8 bind in the background
        self._commit(Binding(pod, state, self.cluster.columns.names[row]))

    def evaluation(self, info: PodInfo, profile: Profile) -> Evaluation | Restricted | Status:
        """What all nodes have to say to a pod at this moment. Raises PluginFailed."""
        return self._evaluators[id(profile)].evaluate(info)

    # -- the steps -----------------------------------------------------------------------------------------------------

    def _settled(self, pod: QueuedPod) -> bool:
        info = pod.info
        if info.pod.metadata.deletion_timestamp is not None:
            self._drop(pod, "skip schedule deleting pod")
        elif info.uid in self.cluster.pods:
            self.queue.done(info.uid)
        else:
            return False
        return True

    def _pod_checks(self, pod: QueuedPod, state: CycleState) -> Diagnosis | None:
        for plugin in pod.profile.pod_checks:
            try:
                result = plugin.pre_filter(state, pod.info, self.cluster.columns)
            except Exception as err:
                raise PluginFailed(plugin.name, "PreFilter", err) from err
            if result is not None and result.status is not None and result.status.code is not Code.SKIP:
                return self._of_status(Status(result.status.code, result.status.reasons, plugin.name))
        return None

    def _of_status(self, status: Status) -> Diagnosis:
        """A PreFilter refusal concerns all nodes alike. Raises PluginFailed when it was an error."""
        if status.code is Code.ERROR:
            raise PluginFailed(status.plugin, "PreFilter", RuntimeError(status.message))
        return Diagnosis(len(self.cluster.columns), plugins={status.plugin}, pre_filter_message=status.message)

    def _post_filter(self, pod: QueuedPod, state: CycleState, evaluation: Evaluation | Restricted) -> Diagnosis:
        diagnosis = evaluation.diagnose()
        messages = []
        for plugin in pod.profile.post_filters:
            try:
                nominated, status = plugin.post_filter(state, pod.info, diagnosis)
            except Exception as err:
                raise PluginFailed(plugin.name, "PostFilter", err) from err
            messages.append(status.message)
            if nominated is not None or not status.rejected:
                break
        diagnosis.post_filter_message = ", ".join(filter(None, messages))
        return diagnosis

    def _commit(self, binding: Binding) -> None:
        pod, _, node = binding
        self.cluster.assume(pod.info, node)
        try:
            refused = self._reserve(binding) or self._permit(binding)
        except PluginFailed:
            self._undo(binding)
            raise
        if refused is None:
            self.outcome.assumed(binding)
            self.submit(binding)
            return
        self._undo(binding)
        if refused.code is Code.ERROR:
            self._fail(pod, f'running plugin "{refused.plugin}": {refused.message}')
        else:
            message = refused.message
            self._refuse(pod, Diagnosis(len(self.cluster.columns), {message: 1}, {refused.plugin}))

    def _reserve(self, binding: Binding) -> Status | None:
        pod, state, node = binding
        for plugin in pod.profile.reserves:
            try:
                status = plugin.reserve(state, pod.info, node)
            except Exception as err:
                raise PluginFailed(plugin.name, "Reserve", err) from err
            if status is not None:
                return Status(status.code, status.reasons, plugin.name)
        return None

    def _permit(self, binding: Binding) -> Status | None:
        pod, state, node = binding
        for plugin in pod.profile.permits:
            try:
                status = plugin.permit(state, pod.info, node)
            except Exception as err:
                raise PluginFailed(plugin.name, "Permit", err) from err
            if status is not None:
                return Status(status.code, status.reasons, plugin.name)
        return None

    # -- ends ----------------------------------------------------------------------------------------------------------

    def _refuse(self, pod: QueuedPod, diagnosis: Diagnosis) -> None:
        self.queue.requeue(pod, diagnosis.plugins)
        self.outcome.unschedulable(pod, diagnosis)

    def _fail(self, pod: QueuedPod, message: str) -> None:
        self.errors += 1
        self.queue.requeue(pod, error=True)
        self.outcome.error(pod, message)

    def _drop(self, pod: QueuedPod, message: str) -> None:
        self.queue.done(pod.info.uid)
        self.outcome.error(pod, message)

    def _undo(self, binding: Binding) -> None:
        pod, state, node = binding
        for plugin in reversed(pod.profile.reserves):
            try:
                plugin.unreserve(state, pod.info, node)
            except Exception:  # the pod must be forgotten all the same, or its room is lost for ever
                log.exception('running Unreserve of plugin "%s" for pod %s', plugin.name, pod.info.key)
        if self.cluster.forget(pod.info.uid):
            self.queue.on_event(ClusterEvent(Happening.POD_DELETE, node, old=pod.info.pod, but=pod.info.uid))

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

    def bind_failed(self, binding: Binding, failure: BindFailed) -> None:
        """The API server, or a plugin on the way to it, said no: forget, make room for others, try again."""
        pod = binding.pod
        self._undo(binding)
        if failure.gone:
            self._drop(pod, f"binding rejected: {failure.reason}")
        else:
            self._fail(pod, f"binding rejected: {failure.reason}")

    # -- what informers tell -------------------------------------------------------------------------------------------

    def wants(self, name: str) -> bool:
        """Whether pods of this scheduler name are ours."""
        return name in self.profiles

    def add_pending(self, info: PodInfo, name: str) -> None:
        self.queue.add(info, self.profiles[name])

    def tell(self, event: ClusterEvent) -> None:
        self.queue.on_event(event)
