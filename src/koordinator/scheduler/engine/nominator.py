"""Which pods have been promised which node: room was made for them there, and it must not go to a lesser pod meanwhile."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from koordinator.scheduler.engine.columns import Bools, Column, Columns, Ints
from koordinator.scheduler.engine.namelog import NameLog
from koordinator.scheduler.engine.pod import PodInfo


class Nominator:
    """Nominations by pod and by node, and as columns: what promised pods would take, by their priority."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._taken: dict[int, Column] = {}
        self._promises = columns.column(np.int32)
        self._node_of: dict[str, str] = {}
        self._pods: dict[str, dict[str, PodInfo]] = {}
        self.log = NameLog()
        """The nodes whose promises have changed."""

    def __len__(self) -> int:
        return len(self._node_of)

    def node_of(self, uid: str) -> str:
        """The node promised to a pod; empty for none."""
        return self._node_of.get(uid, "")

    @property
    def nodes(self) -> Iterable[str]:
        return self._pods.keys()

    def nominate(self, info: PodInfo, node: str) -> None:
        """Promise a node, in place of the one promised before. An empty name takes the promise back."""
        if self._node_of.get(info.uid, "") == node and (not node or self._pods[node][info.uid] is info):
            return
        self.forget(info.uid)
        if node:
            self._node_of[info.uid] = node
            self._pods.setdefault(node, {})[info.uid] = info
            self._count(node, info, 1)
            self.log.add(node)

    def forget(self, uid: str) -> None:
        """The pod is bound, assumed or gone."""
        node = self._node_of.pop(uid, "")
        if not node:
            return
        pods = self._pods[node]
        self._count(node, pods.pop(uid), -1)
        if not pods:
            del self._pods[node]
        self.log.add(node)

    def on(self, node: str) -> Iterable[PodInfo]:
        return self._pods.get(node, {}).values()

    def standing(self, node: str, pod: PodInfo) -> list[PodInfo]:
        """The pods promised the node that count when ``pod`` asks for it: not itself, and none of lower priority."""
        return [other for other in self._pods.get(node, {}).values() if other.priority >= pod.priority and other.uid != pod.uid]

    # -- as columns ----------------------------------------------------------------------------------------------------

    def promised(self, rows: int) -> Bools:
        """Per row, of the first ``rows``, whether somebody has been promised the node."""
        return self._promises.values[:rows] > 0

    def taken(self, pod: PodInfo, rows: NDArray[np.intp]) -> Ints:
        """Per row and resource what pods take that are promised the node and come before ``pod`` there."""
        total: Ints = np.zeros((len(rows), self._columns.width), dtype=np.int64)
        for priority, column in self._taken.items():
            if priority >= pod.priority:
                total += column.values[rows]
        own = self.node_of(pod.uid)
        if own:
            total[rows == self._columns.row_of.get(own, -1)] -= pod.template.vector(self._columns)
        return total

    def node_added(self, name: str) -> None:
        """A node is (again) there, its row empty."""
        for info in self._pods.get(name, {}).values():
            self._count(name, info, 1)

    def _count(self, node: str, info: PodInfo, sign: int) -> None:
        row = self._columns.row_of.get(node)
        if row is None:
            return
        column = self._taken.get(info.priority)
        if column is None:
            column = self._taken[info.priority] = self._columns.resource_column()
        column.values[row] += sign * info.template.vector(self._columns)
        self._promises.values[row] += sign
