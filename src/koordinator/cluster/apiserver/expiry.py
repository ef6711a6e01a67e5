"""Events do not stay for ever: an hour after their last change they are deleted."""

from collections import OrderedDict

from koordinator.clock import Clock
from koordinator.cluster.apiserver.store import Change, Store

TTL_SECONDS = 3600.0
_EVENTS = "events"


class EventExpiry:
    """Remembers when every event was last written, oldest first."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._written: OrderedDict[tuple[str, str], float] = OrderedDict()

    def start(self) -> None:
        """Events from before a restart get a whole hour more."""
        now = self._clock.monotonic()
        for entry in self._store.collection(_EVENTS):
            self._written[entry.namespace, entry.name] = now
        self._store.tap(self._changed)

    def _changed(self, resource: str, change: Change) -> None:
        if resource != _EVENTS:
            return
        key = (change.after.namespace, change.after.name)
        self._written.pop(key, None)
        if not change.deleted:
            self._written[key] = self._clock.monotonic()

    def tick(self) -> None:
        """Delete what is due."""
        due = self._clock.monotonic() - TTL_SECONDS
        while self._written and next(iter(self._written.values())) < due:
            (namespace, name), _ = self._written.popitem(last=False)
            head = self._store.head(_EVENTS, namespace, name)
            if head is not None:
                self._store.write(_EVENTS, head, head.decode(), delete=True)
