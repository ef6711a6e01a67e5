"""Which pods have been promised which node: room was made for them there, and it must not go to a lesser pod meanwhile."""

from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from koordinator.scheduler.engine.columns import Bools, Column, Columns, Ints
from koordinator.scheduler.engine.namelog import NameLog
from koordinator.scheduler.engine.pod import PodInfo


class _Promises:
    """By pod and by node. ``yields``: by how much a pod's priority must be below that of a promised one to come after it."""

    def __init__(self, yields: int) -> None:
        self.yields = yields
        self.node_of: dict[str, str] = {}
        self.pods: dict[str, dict[str, PodInfo]] = {}

    def put(self, info: PodInfo, node: str) -> None:
        self.node_of[info.uid] = node
        self.pods.setdefault(node, {})[info.uid] = info

    def take(self, uid: str) -> tuple[str, PodInfo] | None:
        node = self.node_of.pop(uid, "")
        if not node:
            return None
        pods = self.pods[node]
        info = pods.pop(uid)
        if not pods:
            del self.pods[node]
        return node, info

    def on(self, node: str) -> Iterable[PodInfo]:
        return self.pods.get(node, {}).values()

    def before(self, node: str, pod: PodInfo) -> list[PodInfo]:
        least = pod.priority + self.yields
        return [other for other in self.on(node) if other.priority >= least and other.uid != pod.uid]


class Nominator:
    """Nominations by pod and by node, and as columns: what promised pods would take, by their priority.

    Promises of other schedulers to their pods can be told, too: those count only against pods of lower priority.
    """

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._taken: dict[int, Column] = {}
        """By priority; kept as long as there are promises of that priority (``_standing``)."""
        self._standing: Counter[int] = Counter()
        self._promises = columns.column(np.int32)
        self._ours, self._others = _Promises(yields=0), _Promises(yields=1)
        self.any = False
        """Whether there are promises; read for every pod."""
        self.one_pass = False
        """Whether a pod that fits beside the promised ones is not asked to fit without them as well."""
        self.freed: Callable[[str, PodInfo], object] = lambda *_: None
        """Told of each promise of ours that has ended: node and pod."""
        self.log = NameLog()
        """The nodes whose promises have changed."""

    def __len__(self) -> int:
        return len(self._ours.node_of) + len(self._others.node_of)

    def node_of(self, uid: str) -> str:
        """The node promised to a pod of ours; empty for none."""
        return self._ours.node_of.get(uid, "")

    def elsewhere(self, uid: str) -> str:
        """The node that another scheduler has promised to a pod of its own; empty for none."""
        return self._others.node_of.get(uid, "")

    @property
    def nodes(self) -> Iterable[str]:
        return self._ours.pods.keys() | self._others.pods.keys()

    def nominate(self, info: PodInfo, node: str) -> None:
        """Promise a node, in place of the one promised before. An empty name takes the promise back."""
        self._put(self._ours, info, node)

    def nominated_elsewhere(self, info: PodInfo, node: str) -> None:
        """Another scheduler has promised a node to its pod."""
        self._put(self._others, info, node)

    def _put(self, book: _Promises, info: PodInfo, node: str) -> None:
        if book.node_of.get(info.uid, "") == node and (not node or book.pods[node][info.uid] is info):
            return
        before = self._take(info.uid)
        if node:
            book.put(info, node)
            self._standing[info.priority - book.yields] += 1
            self.any = True
            self._count(book, node, info, 1)
            self.log.add(node)
        if before is not None and before[0] != node:
            self.freed(*before)

    def forget(self, uid: str) -> None:
        """The pod is bound, assumed or gone."""
        before = self._take(uid)
        if before is not None:
            self.freed(*before)

    def _take(self, uid: str) -> tuple[str, PodInfo] | None:
        """Which of our promises has ended so."""
        ours = None
        for book in (self._ours, self._others):
            taken = book.take(uid)
            if taken is not None:
                ours = taken if book is self._ours else ours
                self._count(book, *taken, -1)
                self._end(taken[1].priority - book.yields)
                self.log.add(taken[0])
                self.any = len(self) > 0
        return ours

    def _end(self, priority: int) -> None:
        self._standing[priority] -= 1
        if not self._standing[priority]:
            del self._standing[priority]
            column = self._taken.pop(priority, None)
            if column is not None:
                self._columns.drop(column)

    def on(self, node: str) -> Iterable[PodInfo]:
        """Our pods that have been promised the node."""
        return self._ours.on(node)

    def standing(self, node: str, pod: PodInfo) -> list[PodInfo]:
        """The pods promised the node that count when ``pod`` asks for it: not itself, and none of lower priority."""
        return [*self._ours.before(node, pod), *self._others.before(node, pod)]

    # -- as columns ----------------------------------------------------------------------------------------------------

    def promised(self, rows: int) -> Bools:
        """Per row, of the first ``rows``, whether somebody has been promised the node."""
        return self._promises.values[:rows] > 0

    def promised_on(self, row: int) -> bool:
        return self.any and bool(self._promises.values[row] > 0)

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
        for book in (self._ours, self._others):
            for info in book.on(name):
                self._count(book, name, info, 1)

    def _count(self, book: _Promises, node: str, info: PodInfo, sign: int) -> None:
        row = self._columns.row_of.get(node)
        if row is None:
            return
        priority = info.priority - book.yields
        column = self._taken.get(priority)
        if column is None:
            column = self._taken[priority] = self._columns.resource_column()
        column.values[row] += sign * info.template.vector(self._columns)
        self._promises.values[row] += sign
