"""Events: what people read in ``kubectl describe``. Recording never waits and never fails; what is too much is counted.

The rules are the Go recorder's: a repeated event becomes a higher ``count`` on the first one; more than ten different messages
of one reason about one object within ten minutes are folded into one; beyond 25 events about one object, one per five minutes.
"""

import asyncio
import contextlib
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

import msgspec

from koordinator.api.meta import Object, format_time
from koordinator.api.registry import EVENTS
from koordinator.clock import Clock
from koordinator.errors import KoordError
from koordinator.kube.errors import AlreadyExists, NotFound, ServerUnavailable, TooManyRequests
from koordinator.kube.retry import Backoff
from koordinator.kube.store import Store

log = logging.getLogger(__name__)

QUEUE_LIMIT = 5_000
CACHE_LIMIT = 4_096
BATCH = 256
SENDERS = 8
"""Events on the wire at a time: few, so that they never crowd out bindings."""
ATTEMPTS = 8
SIMILAR_LIMIT, SIMILAR_SECONDS = 10, 600.0
BURST, REFILL_SECONDS = 25, 300.0
MESSAGE_LIMIT = 1_024
COMBINED = "(combined from similar events): "
BACKOFF = Backoff(base=0.5, limit=20.0)

V = TypeVar("V")


class Subject(msgspec.Struct, frozen=True):
    """What an event is about."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str
    resource_version: str

    @property
    def identity(self) -> tuple[str, ...]:
        return (self.api_version, self.kind, self.namespace, self.name, self.uid)


class Occurrence(msgspec.Struct, frozen=True):
    """Something happened, once."""

    subject: Subject
    type: str
    reason: str
    message: str
    at: float


class Record(msgspec.Struct):
    """One Event object on the server: how often it was seen, and what of that the server knows."""

    name: str
    namespace: str
    occurrence: Occurrence
    first: float
    count: int = 0
    sent: int = 0
    resource_version: str = ""


class _Recent(OrderedDict[Hashable, V], Generic[V]):
    """The least recently used entries fall out."""

    def touch(self, key: Hashable, make: Callable[[], V]) -> V:
        if key not in self:
            self[key] = make()
            if len(self) > CACHE_LIMIT:
                self.popitem(last=False)
        self.move_to_end(key)
        return self[key]


class _Bucket(msgspec.Struct):
    tokens: float
    at: float


class _Similar(msgspec.Struct):
    messages: set[str]
    at: float


class Correlator:
    """Which record an occurrence belongs to. Pure but for its memory; time comes with the occurrences."""

    def __init__(self) -> None:
        self._records: _Recent[Record] = _Recent()
        self._similar: _Recent[_Similar] = _Recent()
        self._buckets: _Recent[_Bucket] = _Recent()
        self._sequence = 0

    def record(self, occurrence: Occurrence) -> Record | None:
        """The record, counted up; None if there is too much about this object."""
        folded = self._too_many_similar(occurrence)
        if not self._allowed(occurrence):
            return None
        message = COMBINED + occurrence.message if folded else occurrence.message
        occurrence = msgspec.structs.replace(occurrence, message=message)
        key = (*occurrence.subject.identity, occurrence.type, occurrence.reason, None if folded else message)
        record = self._records.touch(key, lambda: self._new(occurrence))
        record.count += 1
        record.occurrence = occurrence
        return record

    def _new(self, occurrence: Occurrence) -> Record:
        self._sequence += 1
        subject = occurrence.subject
        unique = f"{int(occurrence.at * 1e6) * 1000 + self._sequence % 1000:x}"
        return Record(f"{subject.name}.{unique}", subject.namespace or "default", occurrence, occurrence.at)

    def _too_many_similar(self, occurrence: Occurrence) -> bool:
        """Whether too many messages of this reason about this object have differed lately."""
        key = (*occurrence.subject.identity, occurrence.type, occurrence.reason)
        similar = self._similar.touch(key, lambda: _Similar(set(), occurrence.at))
        if occurrence.at - similar.at > SIMILAR_SECONDS:
            similar.messages.clear()
        similar.at = occurrence.at
        if occurrence.message in similar.messages:
            return False
        if len(similar.messages) >= SIMILAR_LIMIT:
            return True
        similar.messages.add(occurrence.message)
        return False

    def _allowed(self, occurrence: Occurrence) -> bool:
        bucket = self._buckets.touch(occurrence.subject.identity, lambda: _Bucket(BURST, occurrence.at))
        bucket.tokens = min(BURST, bucket.tokens + (occurrence.at - bucket.at) / REFILL_SECONDS)
        bucket.at = occurrence.at
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True


class Recorder:
    """Record from anywhere on the loop, ``run`` writes behind."""

    def __init__(self, store: Store, component: str, clock: Clock, host: str = "") -> None:
        self._store, self._component, self._clock, self._host = store, component, clock, host
        self._queue: deque[Occurrence] = deque()
        self._correlator = Correlator()
        self._signal = asyncio.Event()
        self._busy = False
        self.dropped = 0
        """Events that were never written: the queue was full, the filter said too much, or the server did not take them."""

    def event(self, obj: Object, type_: str, reason: str, message: str) -> None:
        """Something happened to ``obj``. ``type_`` is Normal or Warning. Never waits, never raises."""
        if len(self._queue) >= QUEUE_LIMIT:
            self.dropped += 1
            return
        self._queue.append(Occurrence(subject_of(obj), type_, reason, message[:MESSAGE_LIMIT], self._clock.now()))
        self._signal.set()

    @property
    def pending(self) -> bool:
        return bool(self._queue) or self._busy

    async def run(self) -> None:
        """Write what was recorded, for ever."""
        while True:
            await self._signal.wait()
            self._signal.clear()
            await self.flush()

    async def flush(self) -> None:
        """Write everything that was recorded up to now."""
        self._busy = True
        try:
            while self._queue:
                await self._write(self._batch())
        finally:
            self._busy = False

    def _batch(self) -> list[Record]:
        """The next records to write, each once however often it was seen."""
        batch: dict[int, Record] = {}
        for _ in range(min(len(self._queue), BATCH)):
            record = self._correlator.record(self._queue.popleft())
            if record is None:
                self.dropped += 1
            else:
                batch[id(record)] = record
        return list(batch.values())

    async def _write(self, batch: list[Record]) -> None:
        todo = iter(batch)

        async def sender() -> None:
            for record in todo:
                await self._write_one(record)

        await asyncio.gather(*[sender() for _ in range(min(SENDERS, len(batch)))])

    async def _write_one(self, record: Record) -> None:
        for attempt in range(ATTEMPTS):
            try:
                await self._send(record)
            except (ServerUnavailable, TooManyRequests) as err:
                log.debug("event %s: %s", record.name, err)
                await self._clock.sleep(BACKOFF.delay(attempt))
            except KoordError as err:
                log.warning("event %s about %s was not accepted: %s", record.occurrence.reason, record.name, err)
                break
            else:
                return
        self.dropped += 1

    async def _send(self, record: Record) -> None:
        count = record.count
        if record.sent:
            last = format_time(record.occurrence.at)
            patch = {"count": count, "lastTimestamp": last, "message": record.occurrence.message}
            try:
                await self._store.patch(EVENTS, record.name, patch, record.namespace)
            except NotFound:  # events live for an hour: begin a new one
                record.sent = 0
                record.name = f"{record.name.rpartition('.')[0]}.{int(self._clock.now() * 1e9):x}"
        if not record.sent:
            with contextlib.suppress(AlreadyExists):  # an attempt whose answer was lost
                await self._store.create(EVENTS, self._object(record), record.namespace)
        record.sent = count

    def _object(self, record: Record) -> dict[str, Any]:
        what, subject = record.occurrence, record.occurrence.subject
        involved = {
            "apiVersion": subject.api_version,
            "kind": subject.kind,
            "namespace": subject.namespace,
            "name": subject.name,
            "uid": subject.uid,
            "resourceVersion": subject.resource_version,
        }
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": record.name, "namespace": record.namespace},
            "involvedObject": {key: value for key, value in involved.items() if value},
            "type": what.type,
            "reason": what.reason,
            "message": what.message,
            "count": record.count,
            "firstTimestamp": format_time(record.first),
            "lastTimestamp": format_time(what.at),
            "source": {"component": self._component} | ({"host": self._host} if self._host else {}),
            "reportingComponent": self._component,
            "reportingInstance": self._host,
        }


def subject_of(obj: Object) -> Subject:
    meta = obj.metadata
    return Subject(obj.api_version, obj.kind, meta.namespace, meta.name, meta.uid, meta.resource_version)
