"""Entries of one resource by namespace and name: what a collection of the embedded server and one in memory have in common."""

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Keyed(Protocol):
    @property
    def namespace(self) -> str: ...

    @property
    def name(self) -> str: ...


E = TypeVar("E", bound=Keyed)


class Entries(Generic[E]):
    """Empty namespaces are not kept. Objects without a namespace are in the one with the empty name."""

    def __init__(self) -> None:
        self.spaces: dict[str, dict[str, E]] = {}

    def get(self, namespace: str, name: str) -> E | None:
        space = self.spaces.get(namespace)
        return None if space is None else space.get(name)

    def entries(self, namespace: str = "") -> list[E]:
        """Every object in the order of namespace, then name; all namespaces' where none is given."""
        spaces = [self.spaces.get(namespace, {})] if namespace else [self.spaces[key] for key in sorted(self.spaces)]
        return [space[name] for space in spaces for name in sorted(space)]

    def put(self, entry: E) -> None:
        space = self.spaces.get(entry.namespace)
        if space is None:
            space = self.spaces[entry.namespace] = {}
        space[entry.name] = entry

    def remove(self, entry: E) -> None:
        space = self.spaces[entry.namespace]
        del space[entry.name]
        if not space:
            del self.spaces[entry.namespace]

    def __iter__(self) -> Iterator[E]:
        for space in self.spaces.values():
            yield from space.values()

    def __len__(self) -> int:
        return sum(map(len, self.spaces.values()))
