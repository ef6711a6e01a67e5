"""Can all pods of a job or gang be placed at the same time? Tried one after the other, then undone."""

from collections.abc import Sequence
from typing import NamedTuple

from koordinator.api.gang import gang_name
from koordinator.scheduler.engine.compile import Compiled
from koordinator.scheduler.engine.cycle import Scheduler
from koordinator.scheduler.engine.evaluate import totals
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.engine.queued import QueuedPod
from koordinator.scheduler.explain.answers import Group
from koordinator.scheduler.explain.judge import Verdicts

MOST_PODS = 20
"""So many waiting pods are tried: the scheduler stands still meanwhile."""


class Members(NamedTuple):
    """A job's pods that the scheduler knows."""

    waiting: list[QueuedPod]
    placed: dict[str, str]
    """Key → node."""


class Trial(NamedTuple):
    """``placed``: pod → node. ``failed``: the first pod without one, and why."""

    placed: list[tuple[PodInfo, str]]
    failed: QueuedPod | None = None
    groups: Sequence[Group] = ()
    reason: str = ""


def members_of(scheduler: Scheduler, key: str) -> Members:
    """The pods of ``namespace/name``: of the workload that controls them, or of their gang. Commas part gangs of one group."""
    wanted = frozenset(key.split(","))
    namespaces = {one.partition("/")[0] for one in wanted}

    def belongs(pod: PodInfo) -> bool:
        return pod.namespace in namespaces and not wanted.isdisjoint(names_of(pod))

    placed = {one.info.key: one.node for one in list(scheduler.cluster.pods.values()) if belongs(one.info)}
    waiting = [pod for pod in scheduler.queue if pod.info.key not in placed and belongs(pod.info)]
    return Members(sorted(waiting, key=lambda pod: (-pod.info.priority, pod.info.key)), placed)


def names_of(pod: PodInfo) -> set[str]:
    owner, gang = pod.pod.owner, gang_name(pod.pod)
    return {f"{pod.namespace}/{name}" for name in (owner.name if owner is not None else "", gang) if name}


def attempt(scheduler: Scheduler, pods: Sequence[QueuedPod]) -> Trial:
    """Place the pods, each on the node that is best for it then. The cluster is as before afterwards. Raises PluginFailed."""
    placed: list[tuple[PodInfo, str]] = []
    cluster = scheduler.cluster
    with cluster.rehearsal():
        try:
            for pod in pods:
                compiled = Compiled(pod.profile, pod.info, cluster.columns)
                if compiled.status is not None:
                    return Trial(placed, pod, reason=compiled.status.message)
                verdicts = Verdicts(compiled, cluster.columns)
                if not len(verdicts.fitting):
                    return Trial(placed, pod, verdicts.groups())
                node = _best(verdicts)
                cluster.lend(pod.info, node)
                placed.append((pod.info, node))
        finally:
            for info, _ in reversed(placed):
                cluster.withdraw(info.uid)
    return Trial(placed)


def _best(verdicts: Verdicts) -> str:
    scores = totals(verdicts.compiled, verdicts.columns, verdicts.fitting)
    name: str = verdicts.columns.names[verdicts.fitting[int(scores.argmax())]]
    return name
