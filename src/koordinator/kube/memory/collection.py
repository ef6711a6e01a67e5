"""The objects of one resource, its recent past, and whoever waits for news of it.

History is one list that all watches read at their own pace by position: a change costs the same however many watch, and a
watch that falls too far behind finds its position gone.
"""

import asyncio
from bisect import bisect_right
from typing import Any

import msgspec

from koordinator.kube.refusals import expired
from koordinator.kube.semantics.keyed import Entries
from koordinator.kube.semantics.kinds import Traits

Json = dict[str, Any]


class Entry(msgspec.Struct, gc=False):
    """One state of one object, never changed: as plain JSON, and as the type that was last asked for.

    Unknown to the garbage collector, like what it holds ought to be: states are trees.
    """

    obj: Json
    rv: int
    typed: Any
    namespace: str
    name: str

    @classmethod
    def of(cls, obj: Json, rv: int, typed: Any = None) -> "Entry":
        metadata = obj["metadata"]
        return cls(obj, rv, typed, metadata.get("namespace", ""), metadata["name"])

    def renumbered(self, rv: int) -> "Entry":
        """The same state under the version of the change that took it out of a selection."""
        return Entry.of({**self.obj, "metadata": {**self.obj["metadata"], "resourceVersion": str(rv)}}, rv)


class Change(msgspec.Struct, frozen=True, gc=False):
    """``after`` is the last state of the object; ``deleted`` says that it is gone."""

    rv: int
    before: Entry | None
    after: Entry
    deleted: bool

    @property
    def type(self) -> str:
        return "DELETED" if self.deleted else "ADDED" if self.before is None else "MODIFIED"


class Collection(Entries[Entry]):
    """All objects of one resource. ``history`` changes at least are remembered."""

    def __init__(self, key: str, traits: Traits, history: int, rv: int) -> None:
        super().__init__()
        self.key, self.traits = key, traits
        self.changes: list[Change] = []
        self.first = 0  # the position of changes[0], counted from the beginning of time
        self.compacted = rv  # changes up to this version are forgotten
        self.reminders = 0  # how often watches have been asked to say where they are
        self._keep = history
        self._waiting: list[asyncio.Future[None]] = []

    @property
    def end(self) -> int:
        """The position of the next change."""
        return self.first + len(self.changes)

    def apply(self, change: Change) -> None:
        """The change has happened: show it, remember it, wake who waits for it."""
        if change.deleted:
            self.remove(change.after)
        else:
            self.put(change.after)
        self.changes.append(change)
        if len(self.changes) >= 2 * self._keep:
            self.forget(len(self.changes) - self._keep)
        if self._waiting:
            self.wake()

    def forget(self, count: int) -> None:
        """Drop the oldest ``count`` changes."""
        if count > 0:
            self.compacted = self.changes[count - 1].rv
            del self.changes[:count]
            self.first += count

    def position_after(self, rv: int) -> int:
        """Where the changes after ``rv`` begin. Raises: Gone when some of them are forgotten."""
        if rv < self.compacted:
            raise expired(f"too old resource version: {rv} ({self.compacted})")
        return self.first + bisect_right(self.changes, rv, key=_version)

    def at(self, position: int) -> Change:
        """Raises: Gone when the change has been forgotten."""
        if position < self.first:
            raise expired("the watch fell too far behind and was cut off; list again")
        return self.changes[position - self.first]

    async def news(self) -> None:
        """Return at the next change, or when reminded."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    def wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def fork(self) -> "Collection":
        """The same objects with a future, and no past, of their own."""
        copy = Collection(self.key, self.traits, self._keep, self.changes[-1].rv if self.changes else self.compacted)
        copy.spaces = {namespace: dict(space) for namespace, space in self.spaces.items()}
        return copy


def _version(change: Change) -> int:
    return change.rv
