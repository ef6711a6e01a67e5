"""Get, list and watch: durable state as the bytes it is stored as, in pages and in streams."""

import asyncio
import base64
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, Self

import msgspec

from koordinator.clock import Clock
from koordinator.cluster.apiserver.calls import Answer, Call
from koordinator.cluster.apiserver.refusals import bad_request, expired, not_found, too_large_version
from koordinator.cluster.apiserver.selectors import EntryTest, entry_test
from koordinator.cluster.apiserver.shapes import shape_of
from koordinator.cluster.apiserver.store import Entry, Store
from koordinator.cluster.apiserver.versions import check_list, check_watch
from koordinator.cluster.apiserver.watch import Watcher

SNAPSHOTS = 32
BOOKMARK_SECONDS = 60.0


class _Snapshot(msgspec.Struct):
    """A list that is being paged through: what is left of it."""

    rv: int
    entries: list[Entry]


class Reader:
    """The reading half of the API."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store, self.clock = store, clock
        self._snapshots: OrderedDict[str, _Snapshot] = OrderedDict()
        self._tokens = 0
        self._reminders: dict[Watcher, Callable[[], None]] = {}

    def get(self, call: Call) -> Answer:
        entry = self.store.get(call.kind.key, call.namespace, call.name)
        if entry is None:
            raise not_found(call.kind.plural, call.kind.group, call.name)
        return Answer(200, shape_of(call, self.clock).one(entry))

    def list(self, call: Call) -> Answer:
        """A collection, or one page of it. Raises: Refused (400, 410, 504)."""
        check_list(call.query)
        snapshot = self._continued(call) if call.query.get("continue") else self._fresh(call)
        limit = call.number("limit") or 0
        entries, token, left = snapshot.entries, "", 0
        if limit and len(entries) > limit:
            entries, rest = entries[:limit], entries[limit:]
            token, left = self._keep(_Snapshot(snapshot.rv, rest)), len(rest)
        return Answer(200, shape_of(call, self.clock).many(entries, _list_meta(snapshot.rv, token, left)))

    def watch(self, call: Call) -> "WatchStream":
        """The stream of a watch. Raises: Refused (400, 410)."""
        shape = shape_of(call, self.clock)
        check_watch(call.query)
        seconds, rv = call.number("timeoutSeconds"), self._start_of(call)
        watcher = Watcher(self.store.collection(call.kind.key), call.namespace, _test(call), shape.event)
        watcher.start(rv)
        bookmarks = call.flag("allowWatchBookmarks")
        if call.flag("sendInitialEvents") and bookmarks:
            watcher.send(shape.bookmark(self.store.rv, initial_end=True))
        self._reminders[watcher] = lambda: watcher.send(shape.bookmark(self.store.rv)) if bookmarks else None
        stream = WatchStream(watcher, lambda: self._reminders.pop(watcher, None))
        if seconds:
            stream.end_after(self.clock.sleep(seconds))
        return stream

    def tick(self) -> None:
        """Tell every watch that wants to know how far the store has come."""
        for remind in list(self._reminders.values()):
            remind()

    def stop(self) -> None:
        for watcher in list(self._reminders):
            watcher.stop()

    def _start_of(self, call: Call) -> int | None:
        """After which change a watch begins; None for everything that there is, then changes."""
        if call.flag("sendInitialEvents"):
            return None
        text = call.query.get("resourceVersion", "")
        if text in ("", "0"):
            return None
        rv = _version(text)
        if rv > self.store.rv:
            raise expired(f"too large resource version: {rv}, current: {self.store.rv}")
        return rv

    def _fresh(self, call: Call) -> _Snapshot:
        """What there is now; or what there was at the version that was asked for exactly. Raises: Refused (410, 504)."""
        test, collection = _test(call), self.store.collection(call.kind.key)
        rv = _version(call.query.get("resourceVersion") or "0")
        if rv > self.store.rv:
            raise too_large_version(rv, self.store.rv)
        exact = call.query.get("resourceVersionMatch") == "Exact"
        entries = collection.at(rv, call.namespace) if exact else collection.entries(call.namespace)
        selected = entries if test is None else [entry for entry in entries if test(entry)]
        return _Snapshot(rv if exact else self.store.rv, selected)

    def _continued(self, call: Call) -> _Snapshot:
        try:
            token = base64.urlsafe_b64decode(call.query["continue"].encode()).decode()
        except ValueError:
            raise bad_request("continue key is not valid") from None
        snapshot = self._snapshots.get(token)
        if snapshot is None:
            raise expired(
                "The provided continue parameter is too old to display a consistent list result. You must start a new list "
                "without the continue parameter."
            )
        return snapshot

    def _keep(self, snapshot: _Snapshot) -> str:
        self._tokens += 1
        token = f"{snapshot.rv}-{self._tokens}"
        self._snapshots[token] = snapshot
        while len(self._snapshots) > SNAPSHOTS:
            self._snapshots.popitem(last=False)
        return base64.urlsafe_b64encode(token.encode()).decode()


class WatchStream:
    """The chunks of one watch. ``aclose`` ends it, however far it has come."""

    def __init__(self, watcher: Watcher, forget: Callable[[], object]) -> None:
        self._watcher, self._forget = watcher, forget
        self._timer: asyncio.Task[None] | None = None

    def end_after(self, time: Coroutine[None, None, None]) -> None:
        async def end() -> None:
            await time
            self._watcher.stop()

        self._timer = asyncio.create_task(end())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        chunk = await self._watcher.next()
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        self._watcher.stop()
        self._forget()
        if self._timer is not None:
            self._timer.cancel()


def _test(call: Call) -> EntryTest | None:
    """The selection of a list or watch: selectors, and the name if the path has one."""
    fields = call.query.get("fieldSelector", "")
    if call.name:
        fields = f"{fields},metadata.name={call.name}" if fields else f"metadata.name={call.name}"
    return entry_test(call.query.get("labelSelector", ""), fields, call.kind.rules.fields)


def _version(text: str) -> int:
    if not text.isdigit() or len(text) > 19:
        raise bad_request(f'Invalid value: "{text}": resourceVersion must be a whole number')
    return int(text)


def _list_meta(rv: int, token: str, left: int) -> dict[str, Any]:
    meta: dict[str, Any] = {"resourceVersion": str(rv)}
    if token:
        meta |= {"continue": token, "remainingItemCount": left}
    return meta
