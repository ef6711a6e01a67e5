"""The state of the cluster in memory, the order of changes, and who hears of them.

Two views of every object: writers see the *head* (the last staged state, perhaps still on its way to disk), readers and
watchers see only what is durable. Every change takes the next number of one counter, the resource version; it becomes
visible, is told to watchers and is acknowledged in that order, after its transaction has been committed.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import structlog

from koordinator.clock import Clock
from koordinator.cluster.apiserver.journal import Batch, Journal, Row
from koordinator.cluster.apiserver.refusals import Refused, expired
from koordinator.kube.semantics.keyed import Entries

Json = dict[str, Any]
Fields = Callable[[Json], dict[str, str]]

HISTORY = 50_000
HISTORY_SECONDS = 300.0
_log = structlog.get_logger(__name__)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One state of one object: what clients get (``raw``) and what selectors read. ``id`` is its row on disk."""

    id: int
    rv: int
    namespace: str
    name: str
    uid: str
    raw: bytes
    labels: dict[str, str]
    fields: dict[str, str]

    def decode(self) -> Json:
        """A fresh copy that the caller may change."""
        obj: Json = _decode(self.raw)
        return obj


def plain(type_: str, entry: Entry) -> bytes:
    """An event's line with the whole object."""
    return b'{"type":"%b","object":%b}\n' % (type_.encode(), entry.raw)


class Change:
    """One durable change. ``after`` is the last state of the object; ``deleted`` says that it is gone."""

    __slots__ = ("after", "at", "before", "deleted", "line")

    def __init__(self, before: Entry | None, after: Entry, *, deleted: bool) -> None:
        self.before, self.after, self.deleted = before, after, deleted
        self.line: bytes | None = None
        self.at = 0.0

    @property
    def type(self) -> str:
        return "DELETED" if self.deleted else "ADDED" if self.before is None else "MODIFIED"

    def plain_line(self) -> bytes:
        """The change as watches send it that show whole objects; made once for all of them."""
        line = self.line = plain(self.type, self.after)
        return line


class Collection(Entries[Entry]):
    """All objects of one resource, and its recent past."""

    def __init__(self, resource: str, fields: Fields, compacted: int) -> None:
        super().__init__()
        self.resource, self.fields = resource, fields
        self.history: deque[Change] = deque()
        self.compacted = compacted  # changes up to here are forgotten
        self.listeners: set[Callable[[Change], None]] = set()
        self.cut_off = 0  # watches whose client did not keep up

    def since(self, rv: int) -> list[Change]:
        """Changes after ``rv``. Raises: Refused (410) when some of them are forgotten."""
        if rv < self.compacted:
            raise expired(f"too old resource version: {rv} ({self.compacted})")
        newer: list[Change] = []
        for change in reversed(self.history):
            if change.after.rv <= rv:
                break
            newer.append(change)
        newer.reverse()
        return newer

    def at(self, rv: int, namespace: str = "") -> list[Entry]:
        """Every object as it was after the change ``rv``. Raises: Refused (410) when that is forgotten."""
        undone: dict[tuple[str, str], Entry | None] = {}
        for change in reversed(self.since(rv)):
            undone[change.after.namespace, change.after.name] = change.before
        if not undone:
            return self.entries(namespace)
        there = {(entry.namespace, entry.name): entry for entry in self}
        past = {**there, **undone}
        return [entry for key in sorted(past) if (entry := past[key]) is not None and namespace in ("", key[0])]

    def remember(self, change: Change) -> None:
        self.history.append(change)
        if len(self.history) > HISTORY:
            self.compacted = self.history.popleft().after.rv

    def forget(self, before: float) -> None:
        """Drop history older than the moment ``before``."""
        while self.history and self.history[0].at < before:
            self.compacted = self.history.popleft().after.rv


class _Staged:
    """A change on its way to disk."""

    __slots__ = ("change", "future", "key")

    def __init__(self, key: tuple[str, str, str], change: Change, future: "asyncio.Future[Entry]") -> None:
        self.key, self.change, self.future = key, change, future


class Store:
    """Memory over a journal. All methods run in the event loop's thread."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self.rv = 0  # the last visible change
        self._last = 0  # the last number given out
        self._journal, self._clock = journal, clock
        self._collections: dict[str, Collection] = {}
        self._heads: dict[tuple[str, str, str], Entry | None] = {}
        self._staged: list[_Staged] = []
        self._writing = False
        self._unloaded: dict[str, list[Row]] = {}
        self._tail: asyncio.Future[Entry] | None = None  # the last write that was staged
        self._idle: asyncio.Future[None] | None = None  # somebody waits for the last write
        self._taps: list[Callable[[str, Change], None]] = []

    def open(self) -> None:
        """Read everything from disk. Objects of a resource appear when it is registered."""
        self.rv, rows = self._journal.load()
        self._last = self.rv
        for row in rows:
            self._unloaded.setdefault(row.resource, []).append(row)
        self._journal.start(asyncio.get_running_loop())

    def register(self, resource: str, fields: Fields) -> Collection:
        """Make a resource known; what disk holds of it becomes visible."""
        if resource in self._collections:
            return self._collections[resource]
        collection = self._collections[resource] = Collection(resource, fields, self.rv)
        for row in self._unloaded.pop(resource, ()):
            if row.value is not None:
                collection.put(_entry(row.id, _decode(row.value), row.value, fields))
        return collection

    def collection(self, resource: str) -> Collection:
        return self._collections[resource]

    def find(self, resource: str) -> Collection | None:
        """A collection that may not be there."""
        return self._collections.get(resource)

    def collections(self) -> Iterable[Collection]:
        return self._collections.values()

    def tap(self, listener: Callable[[str, Change], None]) -> None:
        """Hear of every durable change of every resource (the server's own bookkeeping)."""
        self._taps.append(listener)

    def get(self, resource: str, namespace: str, name: str) -> Entry | None:
        """The durable state."""
        return self._collections[resource].get(namespace, name)

    def head(self, resource: str, namespace: str, name: str) -> Entry | None:
        """The state that the next write starts from."""
        try:
            return self._heads[resource, namespace, name]
        except KeyError:
            return self._collections[resource].get(namespace, name)

    def write(self, resource: str, before: Entry | None, obj: Json, *, delete: bool = False) -> "asyncio.Future[Entry]":
        """Stage the next state of an object; the future completes once it is durable and visible.

        ``before`` must be the object's head (None creates). With ``delete``, ``obj`` is its last state.
        """
        loop = asyncio.get_running_loop()
        self._last += 1
        rv = self._last
        obj["metadata"]["resourceVersion"] = str(rv)
        entry = _entry(rv if before is None else before.id, obj, _encode(obj), self._collections[resource].fields)
        key = (resource, entry.namespace, entry.name)
        self._heads[key] = None if delete else entry
        staged = _Staged(key, Change(before, entry, deleted=delete), loop.create_future())
        if not self._staged and not self._writing:
            loop.call_soon(self._flush)
        self._staged.append(staged)
        self._tail = staged.future
        return staged.future

    async def settled(self) -> None:
        """Return once everything staged so far can be read: whoever is told of a state must find it."""
        if self._tail is not None and not self._tail.done():
            await asyncio.wait([self._tail])

    def tick(self) -> None:
        """Forget old history."""
        oldest = self._clock.monotonic() - HISTORY_SECONDS
        for collection in self._collections.values():
            collection.forget(oldest)

    async def close(self) -> None:
        """Wait until everything staged is on disk."""
        if self._staged or self._writing:
            self._idle = asyncio.get_running_loop().create_future()
            await self._idle
        self._journal.close()

    def _flush(self) -> None:
        if self._writing or not self._staged:
            return
        staged, self._staged = self._staged, []
        self._writing = True
        rows = [_row(item) for item in staged]
        last = staged[-1].change.after.rv
        self._journal.write(Batch(rows, last, lambda err: self._written(staged, err)))

    def _written(self, staged: list[_Staged], err: BaseException | None) -> None:
        self._writing = False
        if err is None:
            self._show(staged)
        else:
            self._lost(staged, err)
        self._flush()
        if self._idle is not None and not self._writing and not self._idle.done():
            self._idle.set_result(None)

    def _lost(self, staged: list[_Staged], err: BaseException) -> None:
        """The disk refused: nothing of this batch, nor of what was staged on top of it, has happened."""
        refusal = Refused(500, "InternalError", f"the change could not be written to disk: {err}")
        failed, self._staged = staged + self._staged, []
        self._heads.clear()
        for item in failed:
            if not item.future.done():
                item.future.set_exception(refusal)
                item.future.exception()  # a request that has gone away is nobody's mistake

    def _show(self, staged: list[_Staged]) -> None:
        now = self._clock.monotonic()
        for item in staged:
            change, key = item.change, item.key
            change.at = now
            collection = self._collections[key[0]]
            if not change.deleted:
                collection.put(change.after)
            elif change.before is not None:
                collection.remove(change.before)
            if self._heads.get(key, collection) is (None if change.deleted else change.after):
                del self._heads[key]
            self.rv = change.after.rv
            collection.remember(change)
            self._tell(collection, change)
        for item in staged:
            if not item.future.done():
                item.future.set_result(item.change.after)

    def _tell(self, collection: Collection, change: Change) -> None:
        """Tell everybody. One listener's mistake must not cost the others, or the store, this change."""
        for listener in tuple(collection.listeners):
            try:
                listener(change)
            except Exception:  # noqa: BLE001 — logged
                _log.exception("a watch cannot take a change", resource=collection.resource, name=change.after.name)
        change.line = None
        for tap in self._taps:
            try:
                tap(collection.resource, change)
            except Exception:  # noqa: BLE001 — logged
                _log.exception("the server cannot take a change", resource=collection.resource, name=change.after.name)


def _row(item: _Staged) -> Row:
    change = item.change
    return Row(change.after.id, item.key[0], None if change.deleted else change.after.raw)


def _entry(row_id: int, obj: Json, raw: bytes, fields: Fields) -> Entry:
    metadata = obj["metadata"]
    return Entry(
        row_id,
        int(metadata["resourceVersion"]),
        metadata.get("namespace", ""),
        metadata["name"],
        metadata["uid"],
        raw,
        metadata.get("labels") or {},
        fields(obj),
    )
