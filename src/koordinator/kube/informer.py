"""A live copy of a collection: list once, watch from there, tell handlers what changed.

Guarantees: handlers run in order on the loop, after the cache has changed, and nothing that one raises stops the stream. No
reader sees half a list. A missed deletion is made up for after the next list. A version is delivered once. An object that
cannot be read is reported once and keeps its last good state.
Assumptions: handlers are quick and do not await; objects are not changed in place.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple, TypeVar

import msgspec

from koordinator.api.meta import Object
from koordinator.api.registry import Resource
from koordinator.clock import Clock
from koordinator.errors import KoordError
from koordinator.kube.cache import Cache, Change, IndexFn
from koordinator.kube.decode import describe
from koordinator.kube.errors import ApiError, Gone, Unreadable
from koordinator.kube.retry import Backoff
from koordinator.kube.store import Page, Store, Undecodable, WatchEvent

T = TypeVar("T", bound=Object)

log = logging.getLogger(__name__)

BACKOFF = Backoff(base=0.2, factor=2.0, limit=10.0)
STEADY_SECONDS = 5.0
"""A watch that held this long was a good one, though nothing happened in it."""


class Listing(msgspec.Struct, frozen=True):
    """We need the whole collection. ``failures`` in a row since the last success."""

    failures: int = 0


class Watching(msgspec.Struct, frozen=True):
    """We know everything up to ``version``. ``fresh``: from a list, and nothing has been heard since."""

    version: str
    failures: int = 0
    fresh: bool = False


State = Listing | Watching


class _Handlers(NamedTuple, Generic[T]):
    added: Callable[[T], None] | None
    updated: Callable[[T, T], None] | None
    deleted: Callable[[T], None] | None
    unreadable: Callable[[Undecodable], None] | None


class Informer(Generic[T]):
    """The objects of one resource, kept current by ``run``."""

    def __init__(
        self,
        store: Store,
        resource: Resource[T],
        *,
        clock: Clock,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> None:
        self.resource = resource
        self._store, self._clock, self._namespace = store, clock, namespace
        self._selectors = {"label_selector": label_selector, "field_selector": field_selector}
        self._cache: Cache[T] = Cache()
        self._handlers: list[_Handlers[T]] = []
        self._bad: dict[str, Undecodable] = {}
        self._synced = asyncio.Event()
        self._trouble = ""

    def on(
        self,
        added: Callable[[T], None] | None = None,
        updated: Callable[[T, T], None] | None = None,
        deleted: Callable[[T], None] | None = None,
        unreadable: Callable[[Undecodable], None] | None = None,
    ) -> None:
        """Call these on changes. A late comer hears of every object that is already there."""
        handlers = _Handlers(added, updated, deleted, unreadable)
        self._handlers.append(handlers)
        for obj in list(self._cache.items()):
            self._tell(handlers, Change(None, obj))

    def get(self, key: str) -> T | None:
        """The object ``namespace/name`` (or ``name``)."""
        return self._cache.get(key)

    def items(self) -> Iterable[T]:
        return self._cache.items()

    def __len__(self) -> int:
        return len(self._cache)

    def add_index(self, name: str, values: IndexFn[T]) -> None:
        """Keep objects findable by what ``values`` returns for them."""
        self._cache.add_index(name, values)

    def by_index(self, name: str, value: str) -> list[T]:
        return self._cache.by_index(name, value)

    @property
    def unreadable(self) -> list[Undecodable]:
        """Objects that exist and do not fit their type."""
        return list(self._bad.values())

    @property
    def has_synced(self) -> bool:
        return self._synced.is_set()

    async def synced(self) -> None:
        """Return once the first list is in the cache and every handler has heard of it."""
        await self._synced.wait()

    async def run(self) -> None:
        """Keep the cache current for ever. Never ends but by cancellation."""
        state: State = Listing()
        while True:
            state = await self.step(state)

    async def step(self, state: State) -> State:
        """One transition of the machine.

        ::

            Listing   list answered                     → Watching(its version)
            Listing   list failed                       → Listing, after a pause that grows
            Watching  event, bookmark                   (cache and version move on, same step)
            Watching  stream ended after some progress  → Watching(version), at once
            Watching  stream failed or brought nothing  → Watching(version), after a pause that grows
            Watching  410, or a line that is no event   → Listing (a second time in a row: after a pause)
        """
        if isinstance(state, Listing):
            return await self._list(state)
        return await self._watch(state)

    async def _list(self, state: Listing) -> State:
        try:
            page = await self._store.list(self.resource, self._namespace, **self._selectors)
        except KoordError as err:
            await self._pause("list", err, state.failures)
            return Listing(state.failures + 1)
        self._recovered()
        self._replace(page)
        self._synced.set()
        return Watching(page.resource_version, state.failures, fresh=True)

    async def _watch(self, state: Watching) -> State:
        version, started = state.version, self._clock.monotonic()
        trouble: KoordError | None = None
        try:
            async for event in self._store.watch(self.resource, self._namespace, resource_version=version, **self._selectors):
                self._apply(event)
                version = event.resource_version or version
        except KoordError as err:
            trouble = err
        progress = version != state.version or self._clock.monotonic() - started >= STEADY_SECONDS
        failures = 0 if progress else state.failures
        if isinstance(trouble, Gone | Unreadable):
            log.info("watch of %s: %s; listing again", self.resource.plural, trouble)
            if not state.fresh:  # the server is back, and asks for a list: what it did before is no reason to wait
                return Listing(1)
            if failures:
                await self._pause("watch", trouble, failures)
            return Listing(failures + 1)
        if trouble is None and progress:
            self._recovered()
            return Watching(version)
        await self._pause("watch", trouble, failures)
        return Watching(version, failures + 1)

    async def _pause(self, what: str, err: KoordError | None, failures: int) -> None:
        """Wait before the next attempt; say why once, not at every attempt."""
        if err is not None and str(err) != self._trouble:
            self._trouble = str(err)
            log.warning("%s of %s failed, trying again: %s", what, self.resource.plural, err)
        asked = (err.retry_after or 0.0) if isinstance(err, ApiError) else 0.0
        await self._clock.sleep(max(asked, BACKOFF.delay(failures)))

    def _recovered(self) -> None:
        if self._trouble:
            log.info("%s are being followed again", self.resource.plural)
            self._trouble = ""

    def _replace(self, page: Page[T]) -> None:
        """Swap in a whole list, then tell what that changed."""
        bad = {_key(item): item for item in page.undecodable}
        for key in [key for key in self._bad if key not in bad]:
            del self._bad[key]
        changes = self._cache.replace(page.items, keep=bad)
        for item in page.undecodable:
            self._report(item)
        self._tell_all(changes)

    def _apply(self, event: WatchEvent[T]) -> None:
        obj = event.object
        if obj is None:  # a bookmark
            return
        if isinstance(obj, Undecodable):
            self._apply_bad(event.type, obj)
            return
        self._bad.pop(obj.key, None)
        self._tell_all(self._cache.remove(obj.key, obj) if event.type == "DELETED" else self._cache.upsert(obj))

    def _apply_bad(self, event: str, item: Undecodable) -> None:
        if event == "DELETED":
            self._bad.pop(_key(item), None)
            self._tell_all(self._cache.remove(_key(item)))
        else:
            self._report(item)

    def _report(self, item: Undecodable) -> None:
        if self._bad.get(_key(item)) == item:
            return
        self._bad[_key(item)] = item
        log.warning("%s", describe(item))
        for handlers in self._handlers:
            if handlers.unreadable:
                try:
                    handlers.unreadable(item)
                except Exception:  # as in _tell
                    log.exception("a handler failed on unreadable %s %s", item.kind, _key(item))

    def _tell_all(self, changes: list[Change[T]]) -> None:
        for change in changes:
            for handlers in self._handlers:
                self._tell(handlers, change)

    def _tell(self, handlers: _Handlers[T], change: Change[T]) -> None:
        old, new = change.old, change.new
        try:
            if old is None and new is not None and handlers.added:
                handlers.added(new)
            elif old is not None and new is not None and handlers.updated:
                handlers.updated(old, new)
            elif old is not None and new is None and handlers.deleted:
                handlers.deleted(old)
        except Exception:  # the handler's bug stays the handler's: the stream goes on
            obj = new or old
            log.exception("a handler failed on %s %s", self.resource.kind, obj.key if obj else "")


def _key(item: Undecodable) -> str:
    return f"{item.namespace}/{item.name}" if item.namespace else item.name
