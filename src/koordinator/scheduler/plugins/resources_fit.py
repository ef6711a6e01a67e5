"""NodeResourcesFit: a pod goes where what it requests is still free; by default where most would stay free."""

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from koordinator.api.core import Node
from koordinator.api.resources import CPU, EPHEMERAL_STORAGE, MEMORY, PODS, Amounts, amounts
from koordinator.scheduler.engine.columns import Change, Columns, Ints, Rows
from koordinator.scheduler.engine.events import ClusterEvent, Happening, Hint
from koordinator.scheduler.engine.framework import (
    MAX_SCORE,
    UNRESOLVABLE,
    CycleState,
    FilterPlugin,
    PreFilterPlugin,
    PreFilterResult,
    ScorePlugin,
    Verdict,
)
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.engine.remedy import Remedy, figure

_NATIVE = (PODS, CPU, MEMORY, EPHEMERAL_STORAGE)
_MANY_REASONS = 60
"""Beyond so many resources in one cluster the rest share one reason bit (a code has 62)."""


class ResourceWeight(msgspec.Struct, frozen=True):
    name: str
    weight: int = 1


class Point(msgspec.Struct, frozen=True):
    """One point of a utilisation curve: 0..100 percent, 0..10 points."""

    utilization: int
    score: int


class FitArgs(msgspec.Struct, frozen=True, kw_only=True):
    """NodeResourcesFit's arguments, typed. ``strategy`` is LeastAllocated, MostAllocated or RequestedToCapacityRatio."""

    strategy: str = "LeastAllocated"
    resources: tuple[ResourceWeight, ...] = (ResourceWeight(CPU), ResourceWeight(MEMORY))
    shape: tuple[Point, ...] = ()
    ignored_resources: frozenset[str] = frozenset()
    ignored_groups: frozenset[str] = frozenset()


class Asked(NamedTuple):
    """The resources that count for a pod: their columns, weights, and what the pod adds to each."""

    columns: Ints
    weights: Ints
    amounts: Ints


class _Ask(NamedTuple):
    width: int
    need: Ints
    scored: Asked


class NodeResourcesFit(PreFilterPlugin, FilterPlugin, ScorePlugin):
    name = "NodeResourcesFit"
    reads = Change.ALLOCATABLE | Change.REQUESTED
    score_reads = Change.ALLOCATABLE | Change.REQUESTED

    _nodes: Columns | None = None
    """The columns, once a pod has been seen."""

    def __init__(self, args: FitArgs | None = None) -> None:
        self.args = args or FitArgs()
        self._scorer = _scorer(self.args)

    def ignore(self, names: frozenset[str]) -> None:
        """Leave resources to somebody else."""
        self.args = msgspec.structs.replace(self.args, ignored_resources=self.args.ignored_resources | names)

    def signature(self, pod: PodInfo) -> Hashable:
        return tuple(sorted(pod.template.nonzero.items())), tuple(sorted(pod.template.requests.items()))

    def events(self) -> Sequence[tuple[int, Hint | None]]:
        kinds = Happening.POD_DELETE | Happening.POD_UPDATE
        return ((kinds, self._has_room_now), (Happening.NODE_ADD | Happening.NODE_ALLOCATABLE, self._empty_node_would_do))

    def _has_room_now(self, pod: PodInfo, event: ClusterEvent) -> bool:
        """A pod that has left a node helps only if there is enough room on that node now."""
        nodes = self._nodes
        if nodes is None or not event.node:
            return True
        row = nodes.row_of.get(event.node)
        if row is None:
            return False
        need = pod.template.vector(nodes)
        short = (need > nodes.allocatable[row] - nodes.requested[row]) & (need > 0)
        return not short.any() or all(self._ignored(nodes.resources.values[index]) for index in np.flatnonzero(short))

    def _empty_node_would_do(self, pod: PodInfo, event: ClusterEvent) -> bool:
        """A node event helps only if the node were large enough with nothing else on it."""
        if not isinstance(event.new, Node):
            return True
        has = amounts(event.new.status.allocatable)
        return all(number <= has.get(name, 0) for name, number in pod.template.requests.items() if not self._ignored(name))

    def pre_filter(self, state: CycleState, pod: PodInfo, nodes: Columns) -> PreFilterResult | None:
        self._nodes = nodes
        state[self.name] = self._ask(pod, nodes)
        return None

    def _ask(self, pod: PodInfo, nodes: Columns) -> _Ask:
        scored = asked(self.args.resources, pod.template.nonzero, nodes)
        need = {name: number for name, number in pod.template.requests.items() if not self._ignored(name)}
        return _Ask(nodes.width, nodes.vector(need), scored)

    def needs(self, state: CycleState, pod: PodInfo, nodes: Columns) -> Ints:
        """What the pod must find free on a node, as a row of the columns."""
        return self._current(state, pod, nodes).need

    def _ignored(self, name: str) -> bool:
        if name in _NATIVE:
            return False
        group, slash, _ = name.partition("/")
        return name in self.args.ignored_resources or (bool(slash) and group in self.args.ignored_groups)

    def _current(self, state: CycleState, pod: PodInfo, nodes: Columns) -> _Ask:
        ask: _Ask = state[self.name]
        if ask.width != nodes.width:
            ask = state[self.name] = self._ask(pod, nodes)
        return ask

    def filter(self, state: CycleState, pod: PodInfo, nodes: Columns, rows: Rows) -> Verdict:
        """One reason bit per resource that is short."""
        need = self._current(state, pod, nodes).need
        allocatable = nodes.allocatable[rows]
        short = (need > allocatable - nodes.requested[rows]) & (need > 0)
        if not np.count_nonzero(short):  # mostly asked of a single row, where any() takes several times as long
            return np.zeros(len(allocatable), dtype=np.int64)
        codes = short @ _bits(nodes.width)
        codes[(need > allocatable).any(axis=1)] |= UNRESOLVABLE
        return codes

    def explain(self, state: CycleState, code: int, nodes: Columns) -> list[str]:
        names = [name for bit, name in enumerate(nodes.resources.values) if code >> min(bit, _MANY_REASONS) & 1]
        return ["Too many pods" if name == PODS else f"Insufficient {name}" for name in names]

    def remedies(self, state: CycleState, pod: PodInfo, nodes: Columns, row: int) -> list[Remedy]:
        """Ask for no more than is free; for each resource that is short."""
        need = self._current(state, pod, nodes).need.tolist()
        has, used = nodes.allocatable[row].tolist(), nodes.requested[row].tolist()
        names = nodes.resources.values
        return [
            _remedy(names[index], wanted, has[index], used[index])
            for index, wanted in enumerate(need)
            if 0 < wanted > has[index] - used[index]
        ]

    def score(self, state: CycleState, pod: PodInfo, nodes: Columns, rows: Rows) -> Ints:
        scored = self._current(state, pod, nodes).scored
        capacity, wanted = totals(nodes.nonzero, scored, nodes, rows)
        return self._scorer(capacity, wanted, scored.weights)


def _remedy(name: str, wanted: int, has: int, used: int) -> Remedy:
    if name == PODS:
        return Remedy("node", "one pod less on the node", 2.0, f"pods: {used} of {has}")
    free = max(has - used, 0)
    short, have = (
        figure(name, wanted - free),
        f"{name}: needs {figure(name, wanted)}, {figure(name, free)} of {figure(name, has)} free",
    )
    if not free:
        return Remedy("request" if has == 0 else "node", f"{short} more {name} on the node", 2.0, have)
    return Remedy(
        "request", f"request {figure(name, free)} {name} instead of {figure(name, wanted)}", (wanted - free) / wanted, have
    )


def _bits(width: int) -> Ints:
    return np.left_shift(np.int64(1), np.minimum(np.arange(width), _MANY_REASONS))


def asked(resources: Sequence[ResourceWeight], requests: Amounts, nodes: Columns) -> Asked:
    """Which of the configured resources count: cpu, memory and ephemeral-storage always, others only when asked for."""
    chosen = [one for one in resources if one.name in _NATIVE or requests.get(one.name)]
    columns = [nodes.resource(one.name) for one in chosen]
    return Asked(
        np.array(columns, dtype=np.intp),
        np.array([one.weight for one in chosen], dtype=np.int64),
        np.array([requests.get(one.name, 0) for one in chosen], dtype=np.int64),
    )


def totals(used: Ints, scored: Asked, nodes: Columns, rows: Rows) -> tuple[Ints, Ints]:
    """Per row and resource the capacity, and what would be requested with the pod on it."""
    capacity = _picked(nodes.allocatable[rows], scored.columns)
    return capacity, _picked(used[rows], scored.columns) + scored.amounts


def _picked(table: Ints, columns: Ints) -> Ints:
    """Some columns; of a single row, which is what most pods ask for, by the way that is quick to begin with."""
    picked: Ints = table.take(columns, axis=1) if len(table) == 1 else table[:, columns]
    return picked


Scorer = Callable[[Ints, Ints, Ints], Ints]
"""capacity (n, r), wanted (n, r), weights (r) → score (n)"""


def _scorer(args: FitArgs) -> Scorer:
    if args.strategy == "LeastAllocated":
        return least_allocated
    if args.strategy == "MostAllocated":
        return most_allocated
    if args.strategy == "RequestedToCapacityRatio":
        return ratio_scorer(args.shape)
    raise ValueError(
        f"scoringStrategy.type is {args.strategy!r}, must be LeastAllocated, MostAllocated or RequestedToCapacityRatio"
    )


def least_allocated(capacity: Ints, wanted: Ints, weights: Ints) -> Ints:
    """The share that stays free. A resource that would not fit scores 0; one that the node lacks does not count."""
    free = np.maximum(capacity - wanted, 0)
    return _weighted(free * MAX_SCORE // np.maximum(capacity, 1), capacity, weights)


def most_allocated(capacity: Ints, wanted: Ints, weights: Ints) -> Ints:
    """The share that would be taken."""
    return _weighted(np.minimum(wanted, capacity) * MAX_SCORE // np.maximum(capacity, 1), capacity, weights)


def _weighted(scores: Ints, capacity: Ints, weights: Ints) -> Ints:
    if np.count_nonzero(capacity) == capacity.size:  # as all(), in a third of its time for a single row
        weighted: Ints = scores @ weights // max(int(weights.sum()), 1)
        return weighted
    counted = (capacity > 0) * weights
    answer: Ints = (scores * counted).sum(axis=1) // np.maximum(counted.sum(axis=1), 1)
    return answer


def ratio_scorer(shape: Sequence[Point]) -> Scorer:
    """Points on a piecewise linear curve over utilisation; resources on the curve's zero do not count."""
    at = np.array([point.utilization for point in shape], dtype=np.int64)
    points = np.array([point.score * 10 for point in shape], dtype=np.int64)

    def score(capacity: Ints, wanted: Ints, weights: Ints) -> Ints:
        used = np.where((capacity <= 0) | (wanted > capacity), 100, wanted * 100 // np.maximum(capacity, 1))
        values = np.where(capacity > 0, _on_curve(used, at, points), 0)
        counted = (values > 0) * weights
        total = np.maximum(counted.sum(axis=1), 1)
        rounded = np.floor((values * counted).sum(axis=1) / total + 0.5)
        answer: Ints = rounded.astype(np.int64)
        return answer

    return score


def _on_curve(used: Ints, at: Ints, points: Ints) -> Ints:
    """Integer interpolation, truncating toward zero, flat outside the curve."""
    right = np.clip(np.searchsorted(at, used, side="left"), 1, max(len(at) - 1, 1))
    if len(at) == 1:
        return np.full_like(used, points[0])
    x0, x1, y0, y1 = at[right - 1], at[right], points[right - 1], points[right]
    rise = (y1 - y0) * (np.clip(used, at[0], at[-1]) - x0)
    answer: Ints = y0 + np.sign(rise) * (np.abs(rise) // (x1 - x0))
    return answer
