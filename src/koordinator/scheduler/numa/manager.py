"""Whether a pod's CPUs, memory and devices can agree on NUMA zones of a node, and on which; remembered for the cycle.

The plugin that knows the node's zones and policy asks: at Filter with ``judge``, which always asks the providers, because a row
is only judged again when something on it has moved; from then on with ``admit``, which goes by what was agreed.
"""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.framework import Code, CycleState, Status
from koordinator.scheduler.engine.hooks import PHASE, POST_FILTER, Hint, HintProvider
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.numa.hints import HintsOf, Wishes, Zones, gathered
from koordinator.scheduler.numa.merge import Merged, merged

AFFINITIES = "koordinator.sh/topology-affinity-store"
"""Cycle state: the zones agreed on, by node."""
REMEMBERED = 4096


class Question(NamedTuple):
    """May this pod go to this node, as its policy goes?"""

    state: CycleState
    pod: PodInfo
    node: str
    policy: str
    zones: Zones


class TopologyManager:
    """One a profile. ``providers`` in the order in which they were made."""

    def __init__(self, cluster: Cluster, providers: Sequence[HintProvider] = ()) -> None:
        self._cluster, self.providers = cluster, list(providers)
        self._merged: dict[Hashable, Merged] = {}

    def admit(self, question: Question) -> Status | None:
        """Go by what was agreed for the node; agree now if nothing was, or if this is about a cluster that is only supposed."""
        agreed = affinities(question.state).get(question.node)
        if agreed is None or self._supposed(question.state):
            return self.judge(question)
        return self._allocate(question, agreed)

    def judge(self, question: Question) -> Status | None:
        """Ask every provider and let the policy decide."""
        known, supposed = affinities(question.state), self._supposed(question.state)
        if not supposed:
            known.pop(question.node, None)
        told = self._hints(question)
        if isinstance(told, Status):
            return told
        answer = self._merge(question, gathered(told))
        if not answer.admitted:
            return Status(Code.UNSCHEDULABLE, answer.reasons)
        refused = self._allocate(question, answer.hint)
        if refused is None and not supposed:
            known[question.node] = answer.hint
        return refused

    def _supposed(self, state: CycleState) -> bool:
        return self._cluster.rehearsing or state.get(PHASE) == POST_FILTER

    def _hints(self, question: Question) -> list[HintsOf | None] | Status:
        state, pod, node, _, _ = question
        told: list[HintsOf | None] = []
        refused: list[str] = []
        for provider in self.providers:
            answer = provider.hints(state, pod, node)
            if isinstance(answer, Status):
                refused.append(answer.message)
            else:
                told.append(answer)
        return Status(Code.UNSCHEDULABLE, tuple(refused)) if refused else told

    def _allocate(self, question: Question, hint: Hint) -> Status | None:
        state, pod, node, _, _ = question
        for provider in self.providers:
            refused = provider.allocate(state, pod, node, hint)
            if refused is not None:
                return refused
        return None

    def _merge(self, question: Question, wishes: Wishes) -> Merged:
        """Nodes that look alike have the same hints: what comes of them is worked out once."""
        key = question.policy, question.zones, wishes
        known = self._merged.get(key)
        if known is None:
            known = merged(question.policy, wishes, question.zones)
            if len(self._merged) >= REMEMBERED:
                del self._merged[next(iter(self._merged))]
            self._merged[key] = known
        return known


def affinities(state: CycleState) -> dict[str, Hint]:
    """The zones agreed on for a pod, by node."""
    known: dict[str, Hint] = state.setdefault(AFFINITIES, {})
    return known
