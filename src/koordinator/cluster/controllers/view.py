"""What a controller knows: the informer's objects, never older than its own writes.

A watch lags behind the answers to our own requests. A controller that creates three pods and looks again before the watch has
brought them would create three more. So answers go into the same cache, and what the watch brings later is taken only if newer.

Guarantees: an object that we created is seen until it is known to be gone; one that we deleted is never seen alive again.
Assumption: resource versions of one collection are numbers that grow (true of etcd's and of the embedded server's).
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from koordinator.api.meta import LabelSelector, Object, format_time
from koordinator.api.registry import Resource
from koordinator.clock import Clock
from koordinator.kube.cache import Cache, Change
from koordinator.kube.errors import ApiError, NotFound
from koordinator.kube.store import Store

T = TypeVar("T", bound=Object)
T_co = TypeVar("T_co", bound=Object, covariant=True)

DOUBT_SECONDS = 30.0
"""An object that we created and that the watch has not shown after this long is looked up."""
REMEMBERED_GONE = 10_000


class Source(Protocol[T_co]):
    """The part of an informer that a view listens to."""

    def on(
        self,
        added: Callable[[T_co], None] | None = None,
        updated: Callable[[T_co, T_co], None] | None = None,
        deleted: Callable[[T_co], None] | None = None,
    ) -> None: ...


class View(Generic[T]):
    """The objects of one resource. Handlers hear of every change once, whoever brought it first."""

    def __init__(self, resource: Resource[T], source: Source[T], clock: Clock) -> None:
        self.resource, self._clock = resource, clock
        self._cache: Cache[T] = Cache()
        self._handlers: list[Callable[[T | None, T | None], None]] = []
        self._doomed: set[str] = set()
        self._unconfirmed: dict[str, tuple[str, float]] = {}
        self._gone: deque[str] = deque(maxlen=REMEMBERED_GONE)
        self._gone_set: set[str] = set()
        source.on(added=self._shown, updated=lambda _, new: self._shown(new), deleted=self._removed)

    def on(self, handler: Callable[[T | None, T | None], None]) -> None:
        """Call ``handler(old, new)`` on every change; either may be None."""
        self._handlers.append(handler)

    def add_index(self, name: str, values: Callable[[T], Iterable[str]]) -> None:
        self._cache.add_index(name, values)

    def get(self, key: str) -> T | None:
        return self._cache.get(key)

    def items(self) -> list[T]:
        return list(self._cache.items())

    def by_index(self, name: str, value: str) -> list[T]:
        return self._cache.by_index(name, value)

    def wrote(self, obj: T) -> None:
        """The API server answered our create or patch with this object."""
        uid = obj.metadata.uid
        if uid in self._gone_set:
            return
        if self._cache.get(obj.key) is None:
            self._unconfirmed[uid] = (obj.key, self._clock.monotonic())
        self._take(obj)

    def doomed(self, key: str, uid: str) -> None:
        """The API server accepted our deletion: from now on the object is at best on its way out."""
        held = self._cache.get(key)
        if held is None or held.metadata.uid != uid:
            return
        self._doomed.add(uid)
        ending = self._ending(held)
        self._cache.remove(key)
        self._cache.upsert(ending)
        self._tell([Change(held, ending)])

    def lost(self, key: str, uid: str) -> None:
        """The API server said that this object is not there."""
        self._unconfirmed.pop(uid, None)
        self._doomed.discard(uid)
        held = self._cache.get(key)
        if held is not None and held.metadata.uid == uid:
            self._remember_gone(uid)
            self._tell(self._cache.remove(key))

    async def settle_doubts(self, store: Store) -> None:
        """Look up what we created and the watch never showed: it may have come and gone while the watch was broken."""
        now = self._clock.monotonic()
        for uid, (key, since) in list(self._unconfirmed.items()):
            if now - since < DOUBT_SECONDS:
                continue
            namespace, _, name = key.rpartition("/")
            try:
                found = await store.get(self.resource, name, namespace)
            except NotFound:
                self.lost(key, uid)
            except ApiError:
                continue  # not now; the next round asks again
            else:
                self._looked_up(key, uid, found.metadata.uid)

    def _looked_up(self, key: str, uid: str, found: str) -> None:
        if found != uid:
            self.lost(key, uid)
        elif uid in self._unconfirmed:
            self._unconfirmed[uid] = (key, self._clock.monotonic())

    def _shown(self, obj: T) -> None:
        self._unconfirmed.pop(obj.metadata.uid, None)
        self._take(obj)

    def _take(self, obj: T) -> None:
        held = self._cache.get(obj.key)
        if held is not None and version(held) > version(obj):
            return
        if obj.metadata.uid in self._doomed and not obj.metadata.deletion_timestamp:
            obj = self._ending(obj)
        self._tell(self._cache.upsert(obj))

    def _removed(self, obj: T) -> None:
        uid = obj.metadata.uid
        self._unconfirmed.pop(uid, None)
        self._doomed.discard(uid)
        self._remember_gone(uid)
        held = self._cache.get(obj.key)
        if held is not None and held.metadata.uid == uid:
            self._tell(self._cache.remove(obj.key, obj))

    def _remember_gone(self, uid: str) -> None:
        if len(self._gone) == self._gone.maxlen:
            self._gone_set.discard(self._gone[0])
        self._gone.append(uid)
        self._gone_set.add(uid)

    def _ending(self, obj: T) -> T:
        stamp = format_time(self._clock.now())
        return msgspec.structs.replace(obj, metadata=msgspec.structs.replace(obj.metadata, deletion_timestamp=stamp))

    def _tell(self, changes: list[Change[T]]) -> None:
        for change in changes:
            for handler in self._handlers:
                handler(change.old, change.new)


def version(obj: Object) -> int:
    text = obj.metadata.resource_version
    return int(text) if text.isascii() and text.isdigit() else 0


def owner_uid(obj: Object) -> list[str]:
    """Index: the uid of the controlling owner."""
    return [owner.uid] if (owner := obj.owner) is not None else []


def ownerless_in(obj: Object) -> list[str]:
    """Index, for objects without a controlling owner: the namespace, and the namespace with each label."""
    if obj.owner is not None:
        return []
    return [obj.namespace, *(_labelled(obj.namespace, key, value) for key, value in obj.labels.items())]


def _labelled(namespace: str, key: str, value: str) -> str:
    return f"{namespace}|{key}={value}"


def orphans(view: View[T], index: str, namespace: str, selector: LabelSelector | None) -> list[T]:
    """Objects of ``index`` that ``selector`` may select: a namespace full of bare pods is not looked through each time."""
    pair = next(iter((selector.match_labels or {}).items()), None) if selector is not None else None
    return view.by_index(index, _labelled(namespace, *pair) if pair is not None else namespace)


def namespace_of(obj: Any) -> list[str]:
    """Index: the namespace."""
    return [obj.namespace]
