"""TaintToleration: keep pods off nodes with taints they do not tolerate, and away from those with PreferNoSchedule ones.

Nodes share few distinct sets of taints, so a pod is asked about each set once; per node only the set's id is looked up.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence

import numpy as np

from koordinator.api.core import Node, Toleration
from koordinator.api.taints import TaintKey, tolerates
from koordinator.scheduler.engine.columns import Bools, Change, Columns, Ints, Rows
from koordinator.scheduler.engine.events import ClusterEvent, Happening, Hint
from koordinator.scheduler.engine.framework import (
    UNRESOLVABLE,
    CycleState,
    FilterPlugin,
    ScorePlugin,
    Verdict,
    default_normalize,
)
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.engine.remedy import Remedy

NO_SCHEDULE, PREFER_NO_SCHEDULE, NO_EXECUTE = "NoSchedule", "PreferNoSchedule", "NoExecute"


def tolerated(tolerations: Iterable[Toleration], taint: TaintKey) -> bool:
    return any(tolerates(toleration, taint) for toleration in tolerations)


def first_untolerated(tolerations: Sequence[Toleration], taints: Sequence[TaintKey]) -> int:
    """Position + 1 of the first taint that keeps the pod away; 0 when none does."""
    for place, taint in enumerate(taints):
        if taint[2] in (NO_SCHEDULE, NO_EXECUTE) and not tolerated(tolerations, taint):
            return place + 1
    return 0


def unloved(tolerations: Sequence[Toleration], taints: Sequence[TaintKey]) -> int:
    """How many PreferNoSchedule taints are not tolerated."""
    fitting = [toleration for toleration in tolerations if toleration.effect in (None, "", PREFER_NO_SCHEDULE)]
    return sum(taint[2] == PREFER_NO_SCHEDULE and not tolerated(fitting, taint) for taint in taints)


class _PerSet:
    """A number for every distinct set of taints, worked out when a set is first met."""

    def __init__(self, of: Callable[[Sequence[TaintKey]], int]) -> None:
        self._of = of
        self._table: Ints = np.zeros(0, dtype=np.int64)

    def __call__(self, nodes: Columns, rows: Rows) -> Ints:
        sets = nodes.taint_sets.values
        if len(self._table) < len(sets):
            fresh = [self._of(taints) for taints in sets[len(self._table) :]]
            self._table = np.concatenate([self._table, np.array(fresh, dtype=np.int64)])
        answer: Ints = self._table[nodes.taint_set[rows]]
        return answer


def tolerates_all(tolerations: Sequence[Toleration], nodes: Columns) -> Bools:
    """Which nodes, of all rows, have no taint that keeps the pod away."""
    free: Bools = _PerSet(lambda taints: first_untolerated(tolerations, taints))(nodes, nodes.rows) == 0
    return free


def _remedy(taint: TaintKey, node: str) -> Remedy:
    """A cordoned node's taint goes when the node is uncordoned, which NodeUnschedulable already asks for."""
    key, value, effect = taint
    if key == "node.kubernetes.io/unschedulable":
        return Remedy("node", f"kubectl uncordon {node}", 0.0)
    return Remedy("toleration", f"tolerate {key}={value}:{effect}" if value else f"tolerate {key}:{effect}")


class TaintToleration(FilterPlugin, ScorePlugin):
    name = "TaintToleration"
    reads = Change.TAINTS
    score_reads = Change.TAINTS
    normalizes = True

    def signature(self, pod: PodInfo) -> Hashable:
        return tuple((t.key, t.operator, t.value, t.effect) for t in pod.pod.spec.tolerations or ())

    def events(self) -> Sequence[tuple[int, Hint | None]]:
        return ((Happening.NODE_ADD | Happening.NODE_TAINT, self._tolerable),)

    @staticmethod
    def _tolerable(pod: PodInfo, event: ClusterEvent) -> bool:
        """The node has no taint, or none any more, that keeps the pod away."""
        if not isinstance(event.new, Node):
            return True
        taints = [(one.key, one.value or "", one.effect) for one in event.new.spec.taints or ()]
        return not first_untolerated(pod.pod.spec.tolerations or (), taints)

    def filter(self, state: CycleState, pod: PodInfo, nodes: Columns, rows: Rows) -> Verdict:
        table = state.get("TaintToleration/filter")
        if table is None:
            tolerations = pod.pod.spec.tolerations or []
            # the reason code is the id of the taint that keeps the pod away, numbered over all taints ever met
            table = state["TaintToleration/filter"] = _PerSet(lambda taints: self._code(tolerations, taints, state))
        verdict: Verdict = table(nodes, rows)
        return verdict

    def _code(self, tolerations: Sequence[Toleration], taints: Sequence[TaintKey], state: CycleState) -> int:
        place = first_untolerated(tolerations, taints)
        if not place:
            return 0
        blamed: list[TaintKey] = state.setdefault("TaintToleration/blamed", [])
        blamed.append(taints[place - 1])
        return UNRESOLVABLE | len(blamed)

    def explain(self, state: CycleState, code: int, nodes: Columns) -> list[str]:
        key, value, _ = state["TaintToleration/blamed"][code - 1]
        return [f"node(s) had untolerated taint {{{key}: {value}}}"]

    def remedies(self, state: CycleState, pod: PodInfo, nodes: Columns, row: int) -> list[Remedy]:
        """Tolerate every taint that keeps pods away, not only the first."""
        tolerations = pod.pod.spec.tolerations or []
        taints = nodes.taint_sets.values[nodes.taint_set.item(row)]
        blocking = [taint for taint in taints if first_untolerated(tolerations, [taint])]
        return [_remedy(taint, nodes.names[row]) for taint in blocking]

    def score(self, state: CycleState, pod: PodInfo, nodes: Columns, rows: Rows) -> Ints:
        table = state.get("TaintToleration/score")
        if table is None:
            tolerations = pod.pod.spec.tolerations or []
            table = state["TaintToleration/score"] = _PerSet(lambda taints: unloved(tolerations, taints))
        scores: Ints = table(nodes, rows)
        return scores

    def bounds(self, raw: Ints, feasible: Bools) -> tuple[int, ...]:
        return (int(raw.max(where=feasible, initial=0)),)

    def normalize(self, raw: Ints, bounds: tuple[int, ...]) -> Ints:
        return default_normalize(raw, bounds[0], reverse=True)
