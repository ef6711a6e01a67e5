"""Plugins that look at one node at a time, for people who want to write twenty lines and not think in columns.

A class with ``filter_node(pod, node)`` or ``score_node(pod, node)`` (and, if it likes, ``reserve``, ``unreserve``, ``permit``)
becomes a plugin. It is asked again for a node only when something on that node has changed.
"""

from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np

from koordinator.api.core import Node, Pod
from koordinator.api.resources import Amounts
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.columns import Columns, Ints, Rows
from koordinator.scheduler.engine.framework import (
    Code,
    CycleState,
    FilterPlugin,
    PermitPlugin,
    Plugin,
    PreFilterPlugin,
    PreFilterResult,
    ReservePlugin,
    ScorePlugin,
    Status,
    Verdict,
)
from koordinator.scheduler.engine.handle import Handle
from koordinator.scheduler.engine.pod import PodInfo

_REFUSED = "node(s) didn't satisfy plugin(s) [{}]"


class NodeView:
    """One node as such a plugin sees it. CPU is in milli-CPU, memory in bytes, everything else in its own unit."""

    __slots__ = ("_cluster", "name")

    def __init__(self, cluster: Cluster, name: str) -> None:
        self._cluster, self.name = cluster, name

    @property
    def object(self) -> Node:
        node = self._cluster.node(self.name)
        if node is None:
            raise LookupError(f"node {self.name} is gone")
        return node

    @property
    def labels(self) -> Mapping[str, str]:
        return self.object.labels

    @property
    def annotations(self) -> Mapping[str, str]:
        return self.object.metadata.annotations or {}

    @property
    def pods(self) -> list[Pod]:
        """The pods on the node, those included that we have just decided to put there."""
        return [placed.info.pod for placed in self._cluster.pods_on(self.name)]

    @property
    def allocatable(self) -> Amounts:
        return self._row(self._cluster.columns.allocatable)

    @property
    def requested(self) -> Amounts:
        return self._row(self._cluster.columns.requested)

    @property
    def free(self) -> Amounts:
        return {name: amount - self.requested.get(name, 0) for name, amount in self.allocatable.items()}

    def _row(self, column: Ints) -> Amounts:
        columns = self._cluster.columns
        row = column[columns.row_of[self.name]].tolist()
        return {name: row[index] for index, name in enumerate(columns.resources.values) if index < len(row)}


def is_per_node(type_: type[Any]) -> bool:
    return any(hasattr(type_, hook) for hook in ("filter_node", "score_node", "reserve", "permit"))


def adapted(name: str, type_: type[Any]) -> type[Plugin]:
    """A plugin class, made with ``(handle, the user's object)``, with just the extension points that the user's class has."""
    bases = [base for hook, base in _HOOKS if hasattr(type_, hook)]
    return type(f"{type_.__name__}Plugin", (*bases, _PerNode), {"name": name})


class _PerNode(Plugin):
    def __init__(self, handle: Handle, inner: Any) -> None:
        self.inner, self._cluster = inner, handle.cluster
        self._messages: dict[str, int] = {}
        self._texts: list[str] = [""]

    def individual(self, pod: PodInfo) -> Hashable:
        """Nobody knows what of the pod the user's code reads: all that differs between pods of one template."""
        meta = pod.pod.metadata
        labels, annotations = meta.labels or {}, meta.annotations or {}
        return tuple(sorted(labels.items())), tuple(sorted(annotations.items()))

    def each(self, nodes: Columns, rows: Rows, ask: Callable[[NodeView], int]) -> Ints:
        """One number per row; 0 for rows without a node."""
        where = np.arange(nodes.size)[rows] if isinstance(rows, slice) else rows
        alive = nodes.alive
        return np.array([ask(NodeView(self._cluster, nodes.names[row])) if alive[row] else 0 for row in where], dtype=np.int64)

    def code(self, answer: Any) -> int:
        """True or None is yes; False is no; a text is no, and why."""
        if answer is None or answer is True:
            return 0
        text = answer if isinstance(answer, str) else _REFUSED.format(self.name)
        if text not in self._messages:
            self._messages[text] = len(self._texts)
            self._texts.append(text)
        return self._messages[text]


class _PreFilter(PreFilterPlugin, _PerNode):
    """``pre_filter(pod)``: None, a text that refuses the pod everywhere, or the names of the only nodes worth looking at."""

    def pre_filter(self, state: CycleState, pod: PodInfo, nodes: Columns) -> PreFilterResult | None:
        answer = self.inner.pre_filter(pod.pod)
        if isinstance(answer, str):
            return PreFilterResult(Status(Code.UNSCHEDULABLE_AND_UNRESOLVABLE, (answer,)))
        return None if answer is None else PreFilterResult(nodes=frozenset(answer))


class _Filter(FilterPlugin, _PerNode):
    def filter(self, state: CycleState, pod: PodInfo, nodes: Columns, rows: Rows) -> Verdict:
        return self.each(nodes, rows, lambda node: self.code(self.inner.filter_node(pod.pod, node)))

    def explain(self, state: CycleState, code: int, nodes: Columns) -> list[str]:
        return [self._texts[code]]


class _Score(ScorePlugin, _PerNode):
    """Points from 0 to 100; what lies outside is cut."""

    def score(self, state: CycleState, pod: PodInfo, nodes: Columns, rows: Rows) -> Ints:
        points = self.each(nodes, rows, lambda node: int(self.inner.score_node(pod.pod, node)))
        return np.clip(points, 0, 100)


class _Reserve(ReservePlugin, _PerNode):
    def reserve(self, state: CycleState, pod: PodInfo, node: str) -> Status | None:
        answer = self.inner.reserve(pod.pod, node)
        return None if self.code(answer) == 0 else Status(Code.UNSCHEDULABLE, (self._texts[self.code(answer)],))

    def unreserve(self, state: CycleState, pod: PodInfo, node: str) -> None:
        if hasattr(self.inner, "unreserve"):
            self.inner.unreserve(pod.pod, node)


class _Permit(PermitPlugin, _PerNode):
    """``permit(pod, node)``: as filter_node; a number is how many seconds to wait for somebody's word."""

    def permit(self, state: CycleState, pod: PodInfo, node: str) -> Status | None:
        answer = self.inner.permit(pod.pod, node)
        if isinstance(answer, int | float) and not isinstance(answer, bool):
            return Status(Code.WAIT, timeout_seconds=float(answer))
        return None if self.code(answer) == 0 else Status(Code.UNSCHEDULABLE, (self._texts[self.code(answer)],))


_HOOKS: tuple[tuple[str, type[Plugin]], ...] = (
    ("pre_filter", _PreFilter),
    ("filter_node", _Filter),
    ("score_node", _Score),
    ("reserve", _Reserve),
    ("permit", _Permit),
)
