"""Where refused pods wait: in groups that share their fate, found by the kinds of events that concern them."""

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

P = TypeVar("P")


class Group(Generic[P]):
    """Pods that would be refused together, in the order in which they came, and what would concern them.

    ``rejected_by`` is that of the last one refused: what has refused it would now refuse the others, too.
    """

    __slots__ = ("concerned_by", "key", "pods", "rejected_by")

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.pods: dict[str, P] = {}
        self.rejected_by: frozenset[str] = frozenset()
        self.concerned_by = 0


class WaitingRoom(Generic[P]):
    """Groups by key, and again by the union of event kinds, so that an event that concerns nobody costs nothing."""

    def __init__(self) -> None:
        self._groups: dict[Hashable, Group[P]] = {}
        self._by_kinds: dict[int, dict[Hashable, Group[P]]] = {}

    def __bool__(self) -> bool:
        return bool(self._groups)

    def get(self, key: Hashable) -> Group[P] | None:
        return self._groups.get(key)

    def put(self, key: Hashable, uid: str, pod: P, rejected_by: frozenset[str], concerned_by: int) -> None:
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(key)
        elif group.concerned_by != concerned_by:
            self._unlist(group)
        group.rejected_by, group.concerned_by = rejected_by, concerned_by
        group.pods[uid] = pod
        self._by_kinds.setdefault(concerned_by, {})[key] = group

    def take(self, key: Hashable, uid: str) -> None:
        group = self._groups[key]
        del group.pods[uid]
        if not group.pods:
            del self._groups[key]
            self._unlist(group)

    def concerned(self, kind: int) -> list[Group[P]]:
        """The groups that an event of this kind may concern."""
        return [group for kinds, groups in self._by_kinds.items() if kinds & kind for group in groups.values()]

    def everybody(self) -> Iterator[P]:
        return iter([pod for group in self._groups.values() for pod in group.pods.values()])

    def _unlist(self, group: Group[P]) -> None:
        groups = self._by_kinds[group.concerned_by]
        del groups[group.key]
        if not groups:
            del self._by_kinds[group.concerned_by]
