"""One watch: where it stands in the history of its collection, and which changes it sees as what."""

from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from koordinator.api.meta import Object
from koordinator.clock import Clock
from koordinator.kube.memory.collection import Change, Collection, Entry
from koordinator.kube.refusals import expired
from koordinator.kube.semantics.selection import Test
from koordinator.kube.store import Undecodable, WatchEvent

T = TypeVar("T", bound=Object)

BOOKMARK_SECONDS = 60.0
BOOKMARK_CHANGES = 1_000
"""A watch that sees none of so many changes in a row is told how far they have come."""


class Position:
    """A reader of a collection's history."""

    def __init__(self, collection: Collection, namespace: str, test: Test | None, clock: Clock) -> None:
        self.collection, self._namespace, self._test, self._clock = collection, namespace, test, clock
        self._at = 0
        self._unseen = 0  # changes passed over since the last event
        self._reminders = collection.reminders
        self._last = clock.monotonic()

    def start(self, rv: int, current: int) -> list[Entry]:
        """Stand after ``rv``; 0 stands at the end and returns what there is. Raises: Gone."""
        if rv > current:
            raise expired(f"too large resource version: {rv}, current: {current}")
        if rv:
            self._at = self.collection.position_after(rv)
            return []
        self._at = self.collection.end
        entries = self.collection.entries(self._namespace)
        return [entry for entry in entries if self._test is None or self._test(entry.obj)]

    def next(self) -> tuple[str, Entry, int] | None:
        """The next change that this watch sees; None when there is none yet. Raises: Gone."""
        collection = self.collection
        while self._at < collection.end:
            change = collection.at(self._at)
            self._at += 1
            if seen := self._seen(change):
                self._moved()
                return (*seen, change.rv)
            self._unseen += 1
        return None

    def bookmark_due(self) -> bool:
        """Whether to say how far the store has come."""
        waited = self._clock.monotonic() - self._last >= BOOKMARK_SECONDS
        due = self._reminders != self.collection.reminders or (self._unseen and waited) or self._unseen >= BOOKMARK_CHANGES
        if due:
            self._moved()
        return bool(due)

    def _moved(self) -> None:
        self._unseen, self._last, self._reminders = 0, self._clock.monotonic(), self.collection.reminders

    def _seen(self, change: Change) -> tuple[str, Entry] | None:
        """The change as seen through the selection: objects enter and leave it by being modified."""
        before, after = change.before, change.after
        if self._namespace and after.namespace != self._namespace:
            return None
        if self._test is None:
            return change.type, after
        was = before is not None and self._test(before.obj)
        if not change.deleted and self._test(after.obj):
            return ("MODIFIED" if was else "ADDED"), after
        if not was or before is None:
            return None
        return "DELETED", after if change.deleted else before.renumbered(change.rv)


async def stream(
    position: Position, rv: int, current: Callable[[], int], typed: Callable[[Entry], T | Undecodable]
) -> AsyncIterator[WatchEvent[T]]:
    """The events of a watch. Raises: Gone."""
    for entry in position.start(rv, current()):
        yield WatchEvent("ADDED", typed(entry), entry.obj["metadata"]["resourceVersion"])
    while True:
        found: Any = position.next()
        if found is not None:
            type_, entry, version = found
            yield WatchEvent(type_, typed(entry), str(version))
        elif position.bookmark_due():
            yield WatchEvent("BOOKMARK", None, str(current()))
        else:
            await position.collection.news()
