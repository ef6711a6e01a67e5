"""Whom to evict on one node, and which node to take: the rules, on plain values.

A node's victims are found by taking all pods of lower priority away and giving back as many as still fit, the most important
first; pods whose eviction would violate a disruption budget are given back before all others.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec

from koordinator.api import selectors
from koordinator.api.core import PodDisruptionBudget
from koordinator.api.meta import parse_time
from koordinator.scheduler.engine.pod import PodInfo

_LIFT = 1 << 31
"""Added to every priority in sums, so that one more victim never makes a sum smaller."""


class Victims(NamedTuple):
    """The pods to evict on a node, the most important first, and how many of them a budget protects."""

    pods: tuple[PodInfo, ...]
    violations: int


class Cost(NamedTuple):
    """What evicting on a node costs; the smallest is taken. Compared field by field."""

    violations: int
    highest: int
    """Priority of the most important victim."""
    total: int
    number: int
    late: float
    """Minus the start of the longest-running pod among the most important: the later it started the better."""


def cost(victims: Victims, now: float) -> Cost:
    pods = victims.pods
    highest = pods[0].priority
    started = min(started_at(pod, now) for pod in pods if pod.priority == highest)
    return Cost(victims.violations, highest, sum(pod.priority + _LIFT for pod in pods), len(pods), -started)


def started_at(pod: PodInfo, now: float) -> float:
    """When the kubelet took the pod on; now when it has not yet."""
    started = parse_time(pod.pod.status.start_time)
    return now if started is None else started


def by_importance(pods: Iterable[PodInfo], now: float) -> list[PodInfo]:
    """Higher priority first; among equals who has run longer."""
    return sorted(pods, key=lambda pod: (-pod.priority, started_at(pod, now)))


def spare(
    candidates: Sequence[PodInfo], protected: Callable[[Sequence[PodInfo]], list[bool]], fits_with: Callable[[PodInfo], bool]
) -> Victims:
    """Who of the candidates (by importance, all taken away) has to go after all.

    ``fits_with`` gives one pod back; when the preemptor does not fit any more it takes it away again and says False.
    """
    guarded = protected(candidates)
    first = [pod for pod, kept in zip(candidates, guarded, strict=True) if kept]
    others = [pod for pod, kept in zip(candidates, guarded, strict=True) if not kept]
    violating = [pod for pod in first if not fits_with(pod)]
    evicted = {pod.uid for pod in violating} | {pod.uid for pod in others if not fits_with(pod)}
    return Victims(tuple(pod for pod in candidates if pod.uid in evicted), len(violating))


class Budget(msgspec.Struct, frozen=True):
    """A PodDisruptionBudget, its selector compiled."""

    namespace: str
    selector: selectors.Selector
    allowed: int
    disrupted: frozenset[str]

    def covers(self, pod: PodInfo) -> bool:
        """Pods that are being disrupted already are no longer counted."""
        labels = pod.pod.metadata.labels or {}
        return (
            self.namespace == pod.namespace
            and pod.name not in self.disrupted
            and bool(labels)
            and self.selector.matches(labels)
        )


def budget_of(obj: PodDisruptionBudget) -> Budget | None:
    """None for a budget without a selector, or with an empty one: it covers nothing here. Raises ValueError."""
    selector = obj.spec.selector
    if selector is None or not (selector.match_labels or selector.match_expressions):
        return None
    return Budget(
        obj.metadata.namespace,
        selectors.compile_(selector),
        obj.status.disruptions_allowed,
        frozenset(obj.status.disrupted_pods or ()),
    )


def violating(pods: Sequence[PodInfo], budgets: Sequence[Budget]) -> list[bool]:
    """Per pod, in the order of importance, whether evicting it and all before it breaks some budget."""
    left = [budget.allowed for budget in budgets]
    answer = []
    for pod in pods:
        broken = False
        for index, budget in enumerate(budgets):
            if budget.covers(pod):
                left[index] -= 1
                broken |= left[index] < 0
        answer.append(broken)
    return answer
