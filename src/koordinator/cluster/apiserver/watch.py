"""One watch: which changes it sees, as which lines, and what happens when its client does not keep up."""

import asyncio
from collections.abc import Callable

import msgspec

from koordinator.cluster.apiserver.refusals import expired, status_of
from koordinator.cluster.apiserver.selectors import EntryTest
from koordinator.cluster.apiserver.store import Change, Collection, Entry, plain

QUEUE_LINES = 60_000
QUEUE_BYTES = 128 << 20

Shape = Callable[[str, Entry], bytes]
"""How an event becomes a line: type and object to one JSON line."""


def error_line(status: dict[str, object]) -> bytes:
    return b'{"type":"ERROR","object":%b}\n' % msgspec.json.encode(status)


class Watcher:
    """A bounded queue of lines between the store and one connection. The store never waits for it."""

    def __init__(self, collection: Collection, namespace: str, test: EntryTest | None, shape: Shape = plain) -> None:
        self._collection, self._namespace, self._test, self._shape = collection, namespace, test, shape
        self._everything = test is None and shape is plain  # the common case: one line for all watches
        self._lines: list[bytes] = []
        self._size = 0
        self._wake: asyncio.Future[None] | None = None
        self.closed = False
        self.overrun = False

    def start(self, rv: int | None) -> None:
        """Listen to changes after ``rv``; None sends every present object first. Raises: Refused (410)."""
        if rv is None:
            self._lines.extend(self._shape("ADDED", entry) for entry in self._present())
        else:
            for change in self._collection.since(rv):
                self.offer(change)
                change.line = None
        self._collection.listeners.add(self.offer)

    def stop(self) -> None:
        self._collection.listeners.discard(self.offer)
        self.closed = True
        self._rouse()

    def offer(self, change: Change) -> None:
        """Take one change, if it concerns this watch."""
        entry = change.after
        if self._namespace and entry.namespace != self._namespace:
            return
        if self._everything:
            self.send(change.line or change.plain_line())
            return
        type_ = change.type if self._test is None else self._selected(change, self._test)
        if not type_:
            return
        if self._shape is plain and type_ == change.type:
            line = change.line or change.plain_line()
        elif type_ == "DELETED" and not change.deleted and change.before is not None:
            line = self._shape(type_, _renumbered(change.before, entry.rv))
        else:
            line = self._shape(type_, entry)
        self.send(line)

    def send(self, line: bytes) -> None:
        if self.overrun or self.closed:
            return
        lines = self._lines
        lines.append(line)
        self._size += len(line)
        if self._size > QUEUE_BYTES or len(lines) > QUEUE_LINES:
            self._cut_off()
        if self._wake is not None:
            self._rouse()

    async def next(self) -> bytes:
        """What has come since the last call, at least one line; empty when the watch has ended."""
        while not self._lines:
            if self.closed or self.overrun:
                return b""
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
        chunk = b"".join(self._lines)
        self._lines.clear()
        self._size = 0
        return chunk

    def _present(self) -> list[Entry]:
        test = self._test
        return [entry for entry in self._collection.entries(self._namespace) if test is None or test(entry)]

    def _selected(self, change: Change, test: EntryTest) -> str:
        """The change as seen through the selector: an object may enter or leave the selection by being modified."""
        was = change.before is not None and test(change.before)
        if change.deleted:
            return "DELETED" if was else ""
        if test(change.after):
            return "MODIFIED" if was else "ADDED"
        return "DELETED" if was else ""

    def _cut_off(self) -> None:
        self.overrun = True
        self._collection.cut_off += 1
        self._collection.listeners.discard(self.offer)
        self._lines = [error_line(status_of(expired("the watch fell too far behind and was cut off; list again")))]

    def _rouse(self) -> None:
        if self._wake is not None:
            if not self._wake.done():
                self._wake.set_result(None)
            self._wake = None


def _renumbered(entry: Entry, rv: int) -> Entry:
    """The object as it was, with the resource version of the change that took it out of the selection."""
    obj = entry.decode()
    obj["metadata"]["resourceVersion"] = str(rv)
    return msgspec.structs.replace(entry, rv=rv, raw=msgspec.json.encode(obj))
