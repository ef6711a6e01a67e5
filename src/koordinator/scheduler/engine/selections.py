"""Which pods a term means, and finding the terms that mean a pod without trying all of them."""

from collections.abc import Iterable, Mapping
from typing import Generic, NamedTuple, TypeVar

from koordinator.api.selectors import EVERYTHING, IN, NOTHING, Selector

V = TypeVar("V")
Labels = Mapping[str, str]
Pair = tuple[str, str]


class Selection(NamedTuple):
    """Pods of some namespaces (by name, or by the namespace's labels) whose labels fit."""

    namespaces: frozenset[str]
    selector: Selector
    namespace_selector: Selector = NOTHING

    def matches(self, namespace: str, labels: Labels | None, namespace_labels: Labels | None) -> bool:
        return (namespace in self.namespaces or self.namespace_selector.matches(namespace_labels)) and self.selector.matches(
            labels
        )

    @property
    def reads_namespaces(self) -> bool:
        """Whether the answer depends on labels of namespaces."""
        return self.namespace_selector not in (NOTHING, EVERYTHING)

    @property
    def pair(self) -> Pair | None:
        """A label that every pod meant carries, where the selector names one."""
        for requirement in self.selector.requirements:
            if requirement.operator == IN and len(requirement.values) == 1:
                return requirement.key, next(iter(requirement.values))
        return None


class Lookup(Generic[V]):
    """Values by their selection. ``candidates`` leaves out those that a label rules out; the rest is for the caller to try."""

    def __init__(self) -> None:
        self._by_pair: dict[Pair, dict[int, V]] = {}
        self._others: dict[int, V] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, selection: Selection, value: V) -> None:
        self._bucket(selection)[id(value)] = value
        self._size += 1

    def remove(self, selection: Selection, value: V) -> None:
        bucket = self._bucket(selection)
        del bucket[id(value)]
        self._size -= 1
        if not bucket and (pair := selection.pair) is not None:
            del self._by_pair[pair]

    def candidates(self, labels: Labels | None) -> Iterable[V]:
        if self._others:
            yield from self._others.values()
        if self._by_pair and labels:
            for pair in labels.items():
                if (bucket := self._by_pair.get(pair)) is not None:
                    yield from bucket.values()

    def _bucket(self, selection: Selection) -> dict[int, V]:
        pair = selection.pair
        return self._others if pair is None else self._by_pair.setdefault(pair, {})
