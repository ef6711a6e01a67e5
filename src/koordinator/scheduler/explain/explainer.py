"""Answers about one pod or one node, worked out when asked."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from koordinator.scheduler.engine.choose import Chooser
from koordinator.scheduler.engine.cluster import Placed
from koordinator.scheduler.engine.cycle import Scheduler
from koordinator.scheduler.engine.framework import Status
from koordinator.scheduler.engine.pod import PodInfo, scheduler_name
from koordinator.scheduler.engine.queued import QueuedPod, Where
from koordinator.scheduler.engine.remedy import Remedy, figure
from koordinator.scheduler.engine.steps import run
from koordinator.scheduler.explain.answers import Group, Held, NodeExplanation, PodExplanation, Waiting
from koordinator.scheduler.explain.attempts import Attempts
from koordinator.scheduler.explain.judge import Judged
from koordinator.scheduler.explain.sampling import nodes_to_find

SHOWN_NODES = 10
SHOWN_PODS = 20


class NotKnown(LookupError):
    """The scheduler has never heard of the pod or node."""


class Explainer:
    """``now`` is the queue's clock (monotonic)."""

    def __init__(self, scheduler: Scheduler, now: Callable[[], float]) -> None:
        self.scheduler, self._now = scheduler, now
        queue = scheduler.queue
        self.attempts = Attempts(now, lambda: not queue.counts[Where.ACTIVE])
        self.percentages: Mapping[str, int] = {}
        """By profile the percentageOfNodesToScore that somebody has set."""

    # -- pods ----------------------------------------------------------------------------------------------------------

    def pod(self, namespace: str, name: str) -> PodExplanation:
        """Raises NotKnown."""
        key = f"{namespace}/{name}"
        queued = next((pod for pod in self.scheduler.queue if pod.info.key == key), None)
        placed = next((one for one in list(self.scheduler.cluster.pods.values()) if one.info.key == key), None)
        if placed is not None:
            return self._placed(placed, queued)
        if queued is not None:
            return self._queued(queued)
        raise NotKnown(
            f"pod {key} is not known: it does not exist, has ended, cannot be read, or belongs to another scheduler "
            f"(ours: {', '.join(self.scheduler.profiles)})"
        )

    def _placed(self, placed: Placed, queued: QueuedPod | None) -> PodExplanation:
        info = placed.info
        answer = PodExplanation(namespace=info.namespace, name=info.name, uid=info.uid, state="bound", node=placed.node)
        if (waiting := self.scheduler.waiting.get(info.uid)) is not None:
            answer.state, answer.message = "permit", f"waits for the word of {', '.join(waiting.deadlines)}"
        elif placed.assumed:
            answer.state = "binding"
        answer.nodes = len(self.scheduler.cluster.columns)
        answer.decision = self.attempts.decision(info.uid)
        answer.sample = self._sample(scheduler_name(info.pod), answer)
        if queued is not None:
            answer.scheduler, answer.attempts = queued.profile.name, queued.attempts
        elif answer.decision is not None:
            answer.attempts = answer.decision.attempt
        return answer

    def _queued(self, queued: QueuedPod) -> PodExplanation:
        info, now = queued.info, self._now()
        answer = PodExplanation(namespace=info.namespace, name=info.name, uid=info.uid, state=queued.where.value)
        answer.scheduler, answer.attempts = queued.profile.name, queued.attempts
        answer.waiting_seconds = now - queued.added_at
        answer.message = queued.last_message
        answer.nominated = self.scheduler.cluster.nominator.node_of(info.uid)
        if queued.gate is not None:
            answer.message = queued.gate.message
            answer.remedies = self._advice(queued, queued.gate.plugin)
        elif queued.attempts and queued.where in (Where.BACKOFF, Where.UNSCHEDULABLE):
            answer.last_attempt_seconds = now - queued.since
        self._judge(answer, queued)
        return answer

    def _judge(self, answer: PodExplanation, queued: QueuedPod) -> None:
        answer.nodes = len(self.scheduler.cluster.columns)
        if not answer.nodes:
            return
        answer.sample = self._sample(queued.profile.name, answer)
        judged = self.judged(queued)
        if isinstance(judged, Status):
            answer.groups = [Group(plugin=judged.plugin, reason=judged.message, preempt_might_help=False, nodes=[])]
            answer.remedies += self._advice(queued, judged.plugin)
            return
        answer.fitting = len(judged.fitting)
        answer.groups = judged.groups()
        answer.closest = judged.best(SHOWN_NODES) if answer.fitting else judged.objections(SHOWN_NODES)

    def _sample(self, scheduler: str, answer: PodExplanation) -> int | None:
        percentage = self.percentages.get(scheduler)
        if percentage is None:
            return None
        nodes = answer.decision.nodes if answer.decision is not None else answer.nodes
        most = nodes_to_find(nodes, percentage)
        return most if most < nodes else None

    @staticmethod
    def _advice(queued: QueuedPod, plugin: str) -> list[Remedy]:
        refusing = queued.profile.plugins.get(plugin)
        return refusing.advice(queued.info) if refusing is not None else []

    def judged(self, queued: QueuedPod) -> Judged | Status:
        """A pod against all nodes now; a Status when PreFilter refuses it before any node is looked at. Raises PluginFailed."""
        evaluation = self.scheduler.evaluation(queued.info, queued.profile)
        return evaluation if isinstance(evaluation, Status) else Judged(evaluation)

    def prospects(self, uid: str) -> list[tuple[str, Sequence[PodInfo]]]:
        """Where evicting whom would make room for a waiting pod that fits nowhere, best first. Raises PluginFailed."""
        scheduler, queued = self.scheduler, self.scheduler.queue.get(uid)
        if queued is None:
            return []
        evaluation = scheduler.evaluation(queued.info, queued.profile)
        if isinstance(evaluation, Status):
            return []
        diagnosis = Chooser(scheduler.cluster, queued.profile, queued.info, evaluation, {}).diagnose()
        for plugin in queued.profile.post_filters:
            if found := run(plugin, "PostFilter", plugin.prospects, queued.info, diagnosis):
                return list(found)
        return []

    # -- nodes ---------------------------------------------------------------------------------------------------------

    def node(self, name: str) -> NodeExplanation:
        """Raises NotKnown."""
        cluster = self.scheduler.cluster
        node, row = cluster.node(name), cluster.columns.row_of.get(name)
        if node is None or row is None:
            raise NotKnown(f"node {name} is not known")
        pods = sorted(cluster.pods_on(name), key=lambda one: one.info.key)
        taints = cluster.columns.taint_sets.values[cluster.columns.taint_set.item(row)]
        answer = NodeExplanation(
            name=name,
            unschedulable=node.spec.unschedulable,
            taints=[f"{key}={value}:{effect}" for key, value, effect in taints],
            labels=dict(node.labels),
            resources=list(self._held(row)),
            pods=[one.info.key for one in pods],
            assumed=[one.info.key for one in pods if one.assumed],
            waiting=[],
            notes=self._notes(name),
        )
        self._waiting(answer, row)
        return answer

    def _notes(self, node: str) -> list[str]:
        profiles = dict.fromkeys(self.scheduler.profiles.values())
        told = [line for profile in profiles for plugin in profile.plugins.values() for line in plugin.about_node(node)]
        return list(dict.fromkeys(told))

    def _held(self, row: int) -> Iterator[Held]:
        columns = self.scheduler.cluster.columns
        has, used = columns.allocatable[row].tolist(), columns.requested[row].tolist()
        for index, name in enumerate(columns.resources.values):
            if has[index] or used[index]:
                yield Held(
                    name=name,
                    allocatable=figure(name, has[index]),
                    requested=figure(name, used[index]),
                    free=figure(name, max(has[index] - used[index], 0)),
                )

    def _waiting(self, answer: NodeExplanation, row: int) -> None:
        """One pending pod of each template: its siblings hear the same."""
        seen: set[int] = set()
        for queued in self.scheduler.queue:
            if queued.where is Where.IN_FLIGHT or queued.gate is not None:
                continue
            if id(queued.info.template) in seen or len(seen) >= SHOWN_PODS:
                answer.not_shown += 1
                continue
            seen.add(id(queued.info.template))
            judged = self.judged(queued)
            if isinstance(judged, Judged):
                answer.waiting.append(Waiting(pod=queued.info.key, refusals=judged.of_node(row)))
