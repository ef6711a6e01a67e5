"""Who is where: nodes and the pods on them, kept exact in the columns.

A pod counts on its node from the moment the scheduler assumes it there. The informer later confirms, corrects or removes it.
Every call may come twice or out of order (pod before its node, node gone before its pods): the sums stay those of the pods
that are known to be on the node.
"""

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

from koordinator.api.core import Node
from koordinator.api.resources import Amounts, amounts
from koordinator.scheduler.engine.columns import Change, Columns
from koordinator.scheduler.engine.nominator import Nominator
from koordinator.scheduler.engine.pod import PodInfo

log = logging.getLogger(__name__)


class Placed:
    """A pod on a node. ``assumed`` until the API server's word has come back through the informer."""

    __slots__ = ("assumed", "info", "node")

    def __init__(self, info: PodInfo, node: str, *, assumed: bool) -> None:
        self.info, self.node, self.assumed = info, node, assumed


class ClusterListener(Protocol):
    """A plugin that keeps columns of its own hears of every move, after the engine's columns have changed."""

    def pod_placed(self, info: PodInfo, node: str) -> None: ...

    def pod_updated(self, info: PodInfo, node: str) -> None: ...

    def pod_removed(self, info: PodInfo, node: str) -> None: ...

    def node_set(self, row: int, node: Node, changes: int) -> None: ...

    def node_removed(self, name: str) -> None: ...


T = TypeVar("T")


class NotPossible(Exception):
    """The pod cannot be assumed: it is already on a node."""


class Cluster:
    """Nodes, pods on nodes, and the columns that add them up."""

    def __init__(self, columns: Columns | None = None) -> None:
        self.columns = columns or Columns()
        self.pods: dict[str, Placed] = {}
        self.assumed = 0
        self._by_node: dict[str, dict[str, Placed]] = {}
        self._nodes: dict[str, Node] = {}
        self.nominator = Nominator(self.columns)
        self.listeners: list[ClusterListener] = []
        self._hearing = self.listeners
        """Who hears of pods that come and go: all, or in a rehearsal only those that take part in it."""
        self._shared: dict[Any, Any] = {}

    def shared(self, make: "Callable[[Cluster], T]") -> T:
        """What plugins keep together, whatever their profile: made by the first that asks."""
        if make not in self._shared:
            self._shared[make] = make(self)
        known: T = self._shared[make]
        return known

    # -- nodes ---------------------------------------------------------------------------------------------------------

    def set_node(self, node: Node) -> int:
        """Add or update a node; says what moved (``Change`` bits). Raises ValueError on an unreadable quantity."""
        columns = self.columns
        allocatable = amounts(node.status.allocatable)
        changes = 0 if node.name in columns.row_of else Change.ALL
        row = columns.add_node(node.name)
        changes |= self._describe(row, node, allocatable)
        self._nodes[node.name] = node
        if changes & Change.NODE:
            self.nominator.node_added(node.name)
            for placed in self._by_node.get(node.name, {}).values():
                self._count(row, placed.info, 1)
        for listener in self.listeners:
            try:
                listener.node_set(row, node, changes)
            except Exception as err:  # noqa: BLE001 — see there
                _deaf(listener, f"node {node.name}", err)
        return changes

    def _describe(self, row: int, node: Node, allocatable: Amounts) -> int:
        columns, changes = self.columns, 0
        if columns.set_allocatable(row, allocatable):
            changes |= Change.ALLOCATABLE
        if columns.set_labels(row, node.labels):
            changes |= Change.LABELS
        if columns.set_taints(row, node.spec.taints or (), unschedulable=node.spec.unschedulable):
            changes |= Change.TAINTS
        return changes

    def remove_node(self, name: str) -> None:
        """Forget a node. Pods still on it are remembered, and counted again if the node comes back."""
        self._nodes.pop(name, None)
        if self.columns.remove_node(name) is not None:
            for listener in self.listeners:
                try:
                    listener.node_removed(name)
                except Exception as err:  # noqa: BLE001 — see there
                    _deaf(listener, f"node {name}", err)

    def node(self, name: str) -> Node | None:
        return self._nodes.get(name)

    @property
    def nodes(self) -> Mapping[str, Node]:
        return self._nodes

    # -- pods ----------------------------------------------------------------------------------------------------------

    def assume(self, info: PodInfo, node: str) -> None:
        """Count a pod on a node before the API server knows. Raises NotPossible if it is on one already."""
        if info.uid in self.pods:
            raise NotPossible(f"pod {info.key} is already on node {self.pods[info.uid].node}")
        self.assumed += 1
        self._put(Placed(info, node, assumed=True))

    def forget(self, uid: str) -> bool:
        """Take back an assumption; says whether there was one. A confirmed pod stays."""
        placed = self.pods.get(uid)
        if placed is None or not placed.assumed:
            return False
        self._take(placed)
        return True

    def place(self, info: PodInfo, node: str) -> bool:
        """The API server says that the pod is on the node. Says whether this was news (not just a confirmation)."""
        known = self.pods.get(info.uid)
        if known is not None and known.node == node and known.info.template is info.template:
            self._confirm(known)
            before, known.info = known.info.pod.metadata, info
            for listener in self.listeners:
                try:
                    listener.pod_updated(info, node)
                except Exception as err:  # noqa: BLE001 — see there
                    _deaf(listener, f"pod {info.key}", err)
            now = info.pod.metadata
            return before.labels != now.labels or (before.deletion_timestamp is None) != (now.deletion_timestamp is None)
        if known is not None:
            self._take(known)
        self._put(Placed(info, node, assumed=False))
        return True

    def remove(self, uid: str) -> Placed | None:
        """The pod is gone or has ended; says where it was."""
        placed = self.pods.get(uid)
        if placed is not None:
            self._take(placed)
        return placed

    # -- rehearsals ----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def rehearsal(self) -> Iterator[None]:
        """Inside, pods may be taken away and put elsewhere for a question; whoever does must put everything back.

        Listeners with ``dry_runs = False`` hear nothing of it, and the journal forgets it.
        """
        position, hearing = self.columns.position, self._hearing
        self._hearing = [one for one in self.listeners if getattr(one, "dry_runs", True)]
        try:
            yield
        finally:
            self._hearing = hearing
            self.columns.rewind(position)

    @property
    def rehearsing(self) -> bool:
        return self._hearing is not self.listeners

    def withdraw(self, uid: str) -> Placed | None:
        """Take a pod away, for now."""
        placed = self.pods.get(uid)
        if placed is not None:
            assumed = placed.assumed
            self._take(placed)
            placed.assumed = assumed
        return placed

    def lend(self, info: PodInfo, node: str) -> Placed | None:
        """Put a pod on a node, for now. None when it is on one already."""
        if info.uid in self.pods:
            return None
        placed = Placed(info, node, assumed=False)
        self._put(placed)
        return placed

    def restore(self, placed: Placed) -> None:
        """Put back what was withdrawn."""
        self.assumed += placed.assumed
        self._put(placed)

    def pods_on(self, node: str) -> Iterable[Placed]:
        return self._by_node.get(node, {}).values()

    def _confirm(self, placed: Placed) -> None:
        if placed.assumed:
            placed.assumed = False
            self.assumed -= 1

    def _put(self, placed: Placed) -> None:
        info, node = placed.info, placed.node
        self.pods[info.uid] = placed
        self._by_node.setdefault(node, {})[info.uid] = placed
        if (row := self.columns.row_of.get(node)) is not None:
            self._count(row, info, 1)
        for listener in self._hearing:
            try:
                listener.pod_placed(info, node)
            except Exception as err:  # noqa: BLE001 — see there
                _deaf(listener, f"pod {info.key}", err)

    def _take(self, placed: Placed) -> None:
        self._confirm(placed)
        info, node = placed.info, placed.node
        del self.pods[info.uid]
        on_node = self._by_node[node]
        del on_node[info.uid]
        if not on_node:
            del self._by_node[node]
        if (row := self.columns.row_of.get(node)) is not None:
            self._count(row, info, -1)
        for listener in self._hearing:
            try:
                listener.pod_removed(info, node)
            except Exception as err:  # noqa: BLE001 — see there
                _deaf(listener, f"pod {info.key}", err)

    def _count(self, row: int, info: PodInfo, sign: int) -> None:
        columns, template = self.columns, info.template
        vector, nonzero = template.vector(columns), template.nonzero_vector(columns)
        if sign > 0:
            columns.requested[row] += vector
            columns.nonzero[row] += nonzero
        else:
            columns.requested[row] -= vector
            columns.nonzero[row] -= nonzero
        columns.touch(row, Change.REQUESTED | Change.PODS)


def _deaf(listener: ClusterListener, what: str, error: Exception) -> None:
    """A listener has failed. All others must hear of it nonetheless, and who tells must go on."""
    log.error("%s did not take note of %s", getattr(listener, "name", type(listener).__name__), what, exc_info=error)
