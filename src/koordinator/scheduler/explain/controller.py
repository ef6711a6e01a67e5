"""ScheduleExplanation objects: a question that is asked once and answered again whenever the answer changes.

An answer is written when it differs, or once a minute as a sign of life; an object is deleted when its time to live is over.
Working answers out costs time in a large cluster, so each round only takes so many and goes on where the last one ended.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from koordinator.api import durations
from koordinator.api.explanation import (
    DomainExplanation,
    FeasiblePlacement,
    NodeFailedDetail,
    NodeLevelExplanation,
    NodePossibleVictims,
    PossibleVictim,
    ScheduleExplanation,
    ScheduleExplanationSpec,
    ScheduleExplanationStatus,
    in_order,
)
from koordinator.api.meta import format_time, parse_time
from koordinator.api.registry import SCHEDULE_EXPLANATIONS
from koordinator.clock import Clock
from koordinator.kube.errors import ApiError, NotFound
from koordinator.kube.informer import Informer
from koordinator.kube.store import Store
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.explain.answers import Group, PodExplanation
from koordinator.scheduler.explain.explainer import Explainer, NotKnown
from koordinator.scheduler.explain.together import MOST_PODS, Members, attempt, members_of

log = logging.getLogger(__name__)

HEARTBEAT = 50.0
"""Less than the minute after which readers take us for dead."""
ROUND_SECONDS, ROUND_BUDGET = 1.0, 0.02
SHARE = 0.02
"""Of all time so much may go into one question."""
DEFAULT_TTL = 24 * 3600.0
_NO_SUCH_KIND = 60.0


class Explanations:
    """Answers while ``leading()``."""

    def __init__(self, store: Store, explainer: Explainer, clock: Clock, leading: Callable[[], bool]) -> None:
        self._store, self._explainer, self._clock, self._leading = store, explainer, clock, leading
        self._informer: Informer[ScheduleExplanation] = Informer(store, SCHEDULE_EXPLANATIONS, clock=clock)
        self._turn: deque[str] = deque()
        self._rests_until: dict[str, float] = {}
        """Questions that are not asked before that time, by uid: a long answer is not worked out every second."""

    async def run(self) -> None:
        """Answer until cancelled."""
        await self._until_there()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._informer.run())
            await self._informer.synced()
            while True:
                await self._clock.sleep(ROUND_SECONDS)
                if self._leading():
                    await self._round()

    async def _until_there(self) -> None:
        """Wait for the CRD: a cluster without it needs no answers."""
        while True:
            try:
                await self._store.list(SCHEDULE_EXPLANATIONS)
            except NotFound:
                await self._clock.sleep(_NO_SUCH_KIND)
            except ApiError as err:
                log.info("waiting for scheduleexplanations: %s", err)
                await self._clock.sleep(ROUND_SECONDS)
            else:
                return

    async def _round(self) -> None:
        if not self._turn:
            asked_for = list(self._informer.items())
            self._turn.extend(one.key for one in asked_for)
            uids = {one.metadata.uid for one in asked_for}
            self._rests_until = {uid: until for uid, until in self._rests_until.items() if uid in uids}
        until = self._clock.monotonic() + ROUND_BUDGET
        while self._turn and self._clock.monotonic() < until:
            asked = self._informer.get(self._turn.popleft())
            if asked is not None and asked.metadata.deletion_timestamp is None:
                await self._answer(asked)

    async def _answer(self, asked: ScheduleExplanation) -> None:
        name, namespace, now = asked.metadata.name, asked.metadata.namespace, self._clock.now()
        try:
            if expired(asked, now):
                await self._store.delete(SCHEDULE_EXPLANATIONS, name, namespace, uid=asked.metadata.uid)
                return
            began = self._clock.monotonic()
            if began < self._rests_until.get(asked.metadata.uid, began):
                return
            status = status_of(self._explainer, asked.spec)
            ended = self._clock.monotonic()
            self._rests_until[asked.metadata.uid] = ended + min((ended - began) / SHARE, HEARTBEAT / 2)
            if worth_writing(asked.status, status, now):
                await self._write(asked, status, now)
        except NotFound:
            return
        except ApiError as err:
            log.info("explanation %s is not written: %s", asked.key, err)
        except Exception:  # a plugin's bug must not keep other questions from their answers
            log.exception("explanation %s", asked.key)

    async def _write(self, asked: ScheduleExplanation, status: ScheduleExplanationStatus, now: float) -> None:
        body: dict[str, Any] = {"status": msgspec.to_builtins(status)}
        body["status"]["lastUpdateTime"] = format_time(now)
        meta = asked.metadata
        await self._store.patch(SCHEDULE_EXPLANATIONS, meta.name, body, meta.namespace, subresource="status")


def expired(asked: ScheduleExplanation, now: float) -> bool:
    """Whether nobody waits for the answer any more. A ttl that cannot be read counts as the default."""
    created = parse_time(asked.metadata.creation_timestamp)
    try:
        ttl = durations.parse(asked.spec.ttl) / 1e9 if asked.spec.ttl else DEFAULT_TTL
    except ValueError:
        ttl = DEFAULT_TTL
    return created is not None and ttl > 0 and now > created + ttl


def worth_writing(old: ScheduleExplanationStatus, new: ScheduleExplanationStatus, now: float) -> bool:
    """A new answer, or the old one for a minute."""
    written = parse_time(old.last_update_time)
    if written is None or now - written >= HEARTBEAT:
        return True
    return msgspec.structs.replace(old, last_update_time=None) != new


def status_of(explainer: Explainer, spec: ScheduleExplanationSpec) -> ScheduleExplanationStatus:
    """The answer to a question about a pod, job or gang, without its time. Raises PluginFailed."""
    key = spec.question_object_key
    if not key and spec.question_object_template is not None:
        return ScheduleExplanationStatus(failed_message="questionObjectTemplate is not supported: give a questionObjectKey")
    namespace, slash, name = key.partition("/")
    if not slash:
        return ScheduleExplanationStatus(failed_message=f"questionObjectKey {key!r} is not namespace/name")
    try:
        answer = explainer.pod(namespace, name)
    except NotKnown as err:
        members = members_of(explainer.scheduler, key)
        if not members.waiting and not members.placed:
            return ScheduleExplanationStatus(failed_message=f"{key} not found: no job or gang with pods, and {err.args[0]}")
        return _answer(_of_job(explainer, members))
    waits = not answer.node and not answer.fitting
    return _answer(_domain(answer, explainer.prospects(answer.uid) if waits else []))


def _answer(domain: DomainExplanation) -> ScheduleExplanationStatus:
    return ScheduleExplanationStatus(
        schedulable=domain.schedulable,
        schedulable_after_preemption=domain.schedulable_after_preemption,
        failed_message=domain.failed_message,
        detailed_explanation=[domain],
    )


def _domain(answer: PodExplanation, prospects: Sequence[tuple[str, Sequence[PodInfo]]]) -> DomainExplanation:
    """The whole cluster as the one domain."""
    fits = bool(answer.node or answer.fitting)
    node = answer.node or (answer.closest[0].node if answer.fitting else "")
    after = answer.nominated or next((name for name, _ in prospects), "")
    return DomainExplanation(
        schedulable=fits,
        schedulable_after_preemption=fits or bool(after),
        failed_message="" if fits else answer.message,
        schedule_explanation=_explained(answer, node),
        node_possible_victims=[_victims(name, pods) for name, pods in prospects] or None,
        preempt_explanation=NodeLevelExplanation() if fits else _after_preemption(answer, after),
    )


def _of_job(explainer: Explainer, members: Members) -> DomainExplanation:
    """All its pods at the same time."""
    tried = members.waiting[:MOST_PODS]
    trial = attempt(explainer.scheduler, tried)
    message = ""
    if trial.failed is not None:
        why = trial.reason or "; ".join(f"{len(group.nodes)} {group.reason}" for group in trial.groups)
        message = f"pod {trial.failed.info.key}: {len(members.placed) + len(trial.placed)} of its job have a node: {why}"
    elif len(tried) < len(members.waiting):
        message = f"only {len(tried)} of {len(members.waiting)} waiting pods were tried"
    explained = NodeLevelExplanation(
        schedulable=trial.failed is None,
        failed_message=message,
        feasible_scheduling_result=[_placement(pod, node) for pod, node in trial.placed] or None,
        node_failed_details=in_order([_detail(group) for group in trial.groups]) or None,
    )
    fits = trial.failed is None
    return DomainExplanation(
        schedulable=fits, schedulable_after_preemption=fits, failed_message=message, schedule_explanation=explained
    )


def _placement(pod: PodInfo, node: str) -> FeasiblePlacement:
    return FeasiblePlacement(namespace=pod.namespace, name=pod.name, uid=pod.uid, node_name=node)


def _detail(group: Group) -> NodeFailedDetail:
    return NodeFailedDetail(
        failed_plugin=group.plugin,
        reason=group.reason,
        preempt_might_help=group.preempt_might_help,
        failed_nodes=group.nodes,
    )


def _explained(answer: PodExplanation, node: str) -> NodeLevelExplanation:
    """As things stand: on this node, or on none."""
    return NodeLevelExplanation(
        schedulable=bool(node),
        failed_message="" if node else answer.message,
        feasible_scheduling_result=_placed(answer, node),
        node_failed_details=in_order([_detail(group) for group in answer.groups]) or None,
    )


def _after_preemption(answer: PodExplanation, node: str) -> NodeLevelExplanation:
    message = "" if node else "no pods that could make way"
    return NodeLevelExplanation(
        schedulable=bool(node), failed_message=message, feasible_scheduling_result=_placed(answer, node)
    )


def _placed(answer: PodExplanation, node: str) -> list[FeasiblePlacement] | None:
    if not node:
        return None
    return [FeasiblePlacement(namespace=answer.namespace, name=answer.name, uid=answer.uid, node_name=node)]


def _victims(node: str, pods: Sequence[PodInfo]) -> NodePossibleVictims:
    victims = [PossibleVictim(namespace=one.namespace, name=one.name, uid=one.uid) for one in pods]
    return NodePossibleVictims(node_name=node, possible_victims=victims)
