"""NodeAffinity: nodeSelector and required node affinity filter, preferred terms score."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from koordinator.api.core import NodeAffinity as Wanted
from koordinator.api.core import NodeSelectorRequirement, NodeSelectorTerm, PodSpec, PreferredSchedulingTerm
from koordinator.scheduler.engine.columns import Change, Columns, Ints, Rows
from koordinator.scheduler.engine.events import ClusterEvent, Happening, Hint
from koordinator.scheduler.engine.framework import (
    SKIP,
    UNRESOLVABLE,
    Code,
    CycleState,
    FilterPlugin,
    PreFilterPlugin,
    PreFilterResult,
    PreScorePlugin,
    ScorePlugin,
    Status,
    Verdict,
)
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.engine.remedy import Remedy
from koordinator.scheduler.plugins.selectors import NAME_FIELD, Match, all_of, labels_equal, requirement, term, terms

_ENFORCED, _PODS = 1, 2
_REASONS = {
    _ENFORCED: "node(s) didn't match scheduler-enforced node affinity",
    _PODS: "node(s) didn't match Pod's node affinity/selector",
}


class _Ask(NamedTuple):
    enforced: Match | None
    required: Match | None
    preferred: list[tuple[int, Match]]


class NodeAffinity(PreFilterPlugin, FilterPlugin, PreScorePlugin, ScorePlugin):
    """``added`` is an affinity that the profile puts on every pod."""

    name = "NodeAffinity"
    reads = Change.LABELS
    score_reads = Change.LABELS
    normalizes = True

    def __init__(self, added: Wanted | None = None) -> None:
        self.added = added
        self._mine = object()
        """The key of our notes on templates. Other arguments bring another."""
        self._nodes: Columns | None = None  # once a pod has been seen

    def signature(self, pod: PodInfo) -> Hashable:
        affinity = node_affinity(pod.pod.spec)
        selector = pod.pod.spec.node_selector
        return tuple(sorted(selector.items())) if selector else (), msgspec.msgpack.encode(affinity) if affinity else b""

    def events(self) -> Sequence[tuple[int, Hint | None]]:
        return ((Happening.NODE_ADD | Happening.NODE_LABEL, self._matches),)

    def _matches(self, pod: PodInfo, event: ClusterEvent) -> bool:
        """The node is one of those that the pod wants."""
        nodes = self._nodes
        if nodes is None or not event.node:
            return True
        row = nodes.row_of.get(event.node)
        if row is None:
            return False
        return all(match(nodes, slice(row, row + 1))[0] for match in self._wanted(pod, nodes))

    def _wanted(self, pod: PodInfo, nodes: Columns) -> list[Match]:
        known: list[Match] | None = pod.template.notes.get(self._mine)
        if known is None:
            own = pods_own(pod.pod.spec, node_affinity(pod.pod.spec), nodes)
            known = pod.template.notes[self._mine] = [*_required(self.added, nodes), *([own] if own else [])]
        return known

    def pre_filter(self, state: CycleState, pod: PodInfo, nodes: Columns) -> PreFilterResult | None:
        self._nodes = nodes
        affinity = node_affinity(pod.pod.spec)
        enforced = _required(self.added, nodes)
        ask = state[self.name] = _Ask(
            all_of(enforced) if enforced else None,
            pods_own(pod.pod.spec, affinity, nodes),
            [(weight, term(one, nodes)) for weight, one in _preferences(affinity, self.added)],
        )
        if ask.enforced is None and ask.required is None:
            return PreFilterResult(SKIP)
        names = only_names(_terms(affinity))
        if names is not None and not names:
            conflict = Status(Code.UNSCHEDULABLE_AND_UNRESOLVABLE, ("pod affinity terms conflict",))
            return PreFilterResult(conflict)
        return PreFilterResult(nodes=names) if names is not None else None

    def filter(self, state: CycleState, pod: PodInfo, nodes: Columns, rows: Rows) -> Verdict:
        ask: _Ask = state[self.name]
        codes = np.zeros(len(nodes.alive[rows]), dtype=np.int64)
        if ask.required is not None:
            codes[~ask.required(nodes, rows)] = UNRESOLVABLE | _PODS
        if ask.enforced is not None:
            codes[~ask.enforced(nodes, rows)] = UNRESOLVABLE | _ENFORCED
        return codes

    def explain(self, state: CycleState, code: int, nodes: Columns) -> list[str]:
        return [_REASONS[code]]

    def remedies(self, state: CycleState, pod: PodInfo, nodes: Columns, row: int) -> list[Remedy]:
        """Labels that the node would need: of the selector all, of the terms those of the one that lacks least."""
        spec, here = pod.pod.spec, nodes.labels_of(row)
        wanted = [(key, f"{key}={value}") for key, value in (spec.node_selector or {}).items() if here.get(key) != value]
        for affinity in (node_affinity(spec), self.added):
            alternatives = [_unmet(one, nodes, row) for one in _terms(affinity) or ()]
            fewest = min(map(len, alternatives), default=0)
            wanted += next((one for one in alternatives if len(one) == fewest), [])
        return [
            Remedy("affinity", f"do not require {text}", have=f"label {key}: {here.get(key, 'absent')!s}")
            for key, text in wanted
        ]

    def pre_score(self, state: CycleState, pod: PodInfo, nodes: Columns) -> Status | None:
        return None if state[self.name].preferred else SKIP

    def score(self, state: CycleState, pod: PodInfo, nodes: Columns, rows: Rows) -> Ints:
        total = np.zeros(len(nodes.alive[rows]), dtype=np.int64)
        for weight, match in state[self.name].preferred:
            total += match(nodes, rows) * np.int64(weight)
        return total


def node_affinity(spec: PodSpec) -> Wanted | None:
    return spec.affinity.node_affinity if spec.affinity is not None else None


def _terms(affinity: Wanted | None) -> list[NodeSelectorTerm] | None:
    required = affinity.required_during_scheduling_ignored_during_execution if affinity is not None else None
    return required.node_selector_terms if required is not None else None


def _unmet(wanted: NodeSelectorTerm, nodes: Columns, row: int) -> list[tuple[str, str]]:
    """The label and the text of each requirement that a node does not meet."""
    here = slice(row, row + 1)
    columns = [(one, nodes.label(one.key)) for one in wanted.match_expressions or ()]
    columns += [(one, nodes.node_names) for one in wanted.match_fields or () if one.key == NAME_FIELD]
    return [(one.key, _text(one)) for one, column in columns if not requirement(one, column)(nodes, here)[0]]


def _text(wanted: NodeSelectorRequirement) -> str:
    values = f" [{' '.join(wanted.values)}]" if wanted.values else ""
    return f"{wanted.key} {wanted.operator}{values}"


def _required(affinity: Wanted | None, nodes: Columns) -> list[Match]:
    wanted = _terms(affinity)
    return [terms(wanted, nodes)] if wanted is not None else []


def pods_own(spec: PodSpec, affinity: Wanted | None, nodes: Columns) -> Match | None:
    """Which nodes the pod's nodeSelector and required affinity allow; None when they say nothing."""
    matches = [labels_equal(spec.node_selector, nodes)] if spec.node_selector else []
    matches += _required(affinity, nodes)
    return all_of(matches) if matches else None


def _preferences(*affinities: Wanted | None) -> list[tuple[int, NodeSelectorTerm]]:
    """Preferred terms that say something: terms of weight 0 and empty ones do not."""
    preferred: list[PreferredSchedulingTerm] = []
    for affinity in affinities:
        if affinity is not None:
            preferred += affinity.preferred_during_scheduling_ignored_during_execution or []
    return [
        (one.weight, one.preference)
        for one in preferred
        if one.weight and (one.preference.match_expressions or one.preference.match_fields)
    ]


def only_names(wanted: list[NodeSelectorTerm] | None) -> frozenset[str] | None:
    """The node names that a required affinity boils down to, where every term names nodes; None when it does not."""
    if not wanted:
        return None
    union: set[str] = set()
    for one in wanted:
        named = [set(field.values or ()) for field in one.match_fields or () if _names_nodes(field.key, field.operator)]
        if not named:
            return None
        union |= set.intersection(*named)
    return frozenset(union)


def _names_nodes(key: str, operator: str) -> bool:
    return key == NAME_FIELD and operator == "In"
