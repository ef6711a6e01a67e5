"""Objects of further kinds that plugins look at: claims, volumes, namespaces, services. Watched once, whatever the profiles."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from koordinator.api.meta import Object
from koordinator.api.registry import Resource
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.framework import WatchPlugin

T = TypeVar("T", bound=Object)


class Kept(WatchPlugin, Generic[T]):
    """All objects of one kind, by key. ``version`` moves with every change."""

    name = "the scheduler"

    def __init__(self, resource: Resource[T], happening: int) -> None:
        self.resource = resource  # type: ignore[misc]  # one class for all kinds
        self.happening = happening  # type: ignore[misc]
        self.items: dict[str, T] = {}
        self.version = 0
        self.hearing: list[Callable[[T, bool], None]] = []
        """Called with an object and whether it is there. May raise ValueError when it cannot be read."""
        self._watched: dict[str, set[asyncio.Event]] = {}

    def get(self, key: str) -> T | None:
        return self.items.get(key)

    @contextlib.contextmanager
    def watching(self, keys: Iterable[str]) -> Iterator[asyncio.Event]:
        """Inside, the event is set whenever one of these objects has come, changed or gone."""
        event, keys = asyncio.Event(), tuple(keys)
        for key in keys:
            self._watched.setdefault(key, set()).add(event)
        try:
            yield event
        finally:
            for key in keys:
                self._watched[key].discard(event)
                if not self._watched[key]:
                    del self._watched[key]

    def tell(self, key: str) -> None:
        """Wake who watches this object: something that belongs to it has changed."""
        for event in self._watched.get(key, ()):
            event.set()

    def object_set(self, obj: T) -> None:
        self.version += 1
        self.items[obj.key] = obj
        self.tell(obj.key)
        for hear in self.hearing:
            hear(obj, True)

    def object_deleted(self, obj: T) -> None:
        self.version += 1
        self.tell(obj.key)
        if self.items.pop(obj.key, None) is not None:
            for hear in self.hearing:
                hear(obj, False)


class Objects:
    """What is kept of a cluster besides nodes and pods."""

    def __init__(self, cluster: Cluster) -> None:
        self.kept: dict[str, Kept[Any]] = {}

    def of(self, resource: Resource[T], happening: int = 0) -> Kept[T]:
        """The objects of a kind, watched from start-up on because a plugin asked. ``happening``: the event that changes are."""
        known = self.kept.get(resource.plural)
        if known is None:
            known = self.kept[resource.plural] = Kept(resource, happening)
        known.happening |= happening  # type: ignore[misc]
        return known
