"""How objects are written into answers: as they are, as table rows, or as metadata only. Chosen by the Accept header."""

from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from koordinator.clock import Clock
from koordinator.cluster.apiserver import tables
from koordinator.cluster.apiserver.calls import Call, View
from koordinator.cluster.apiserver.kinds.base import Json, Kind
from koordinator.cluster.apiserver.store import Entry, plain
from koordinator.cluster.apiserver.watch import Shape as EventShape

_encode = msgspec.json.encode


class Shape(Protocol):
    """One way to write objects."""

    event: EventShape

    def one(self, entry: Entry) -> bytes: ...

    def many(self, entries: list[Entry], meta: Json) -> bytes: ...

    def bookmark(self, rv: int, *, initial_end: bool = False) -> bytes: ...


def shape_of(call: Call, clock: Clock) -> Shape:
    """What the client asked for; whole objects when it asks for nothing that we know."""
    accept = call.accept
    if "as=" in accept:
        for part in accept.split(","):
            if "as=Table" in part and "json" in part:
                return _Table(call, clock)
            if "as=PartialObjectMetadata" in part and "json" in part:
                return _Metadata(call.kind)
            if part.strip() == "application/json":
                break
    return _Whole(call.kind) if call.view is None else _Viewed(call.view)


class _Whole:
    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self.event: EventShape = plain

    def one(self, entry: Entry) -> bytes:
        return entry.raw

    def many(self, entries: list[Entry], meta: Json) -> bytes:
        kind = self._kind
        head = b'{"kind":"%b","apiVersion":"%b","metadata":%b,"items":['
        start = head % (kind.list_name.encode(), kind.api_version.encode(), _encode(meta))
        return b"".join((start, b",".join([entry.raw for entry in entries]), b"]}\n"))

    def bookmark(self, rv: int, *, initial_end: bool = False) -> bytes:
        return _bookmark(self._kind.kind, self._kind.api_version, rv, initial_end=initial_end)


class _Viewed(_Whole):
    """Objects as another kind knows them."""

    def __init__(self, view: View) -> None:
        super().__init__(view.kind)
        self._outward = view.outward
        self.event = self._event

    def one(self, entry: Entry) -> bytes:
        return self._outward(entry.raw)

    def many(self, entries: list[Entry], meta: Json) -> bytes:
        return super().many([msgspec.structs.replace(entry, raw=self.one(entry)) for entry in entries], meta)

    def _event(self, type_: str, entry: Entry) -> bytes:
        return b'{"type":"%b","object":%b}\n' % (type_.encode(), self.one(entry))


class _Metadata:
    """PartialObjectMetadata, for clients that only need to know what there is."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self.event: EventShape = self._event

    def one(self, entry: Entry) -> bytes:
        return _encode(tables.partial(entry.decode()))

    def many(self, entries: list[Entry], meta: Json) -> bytes:
        items = [tables.partial(entry.decode()) for entry in entries]
        envelope = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": meta, "items": items}
        return _encode(envelope)

    def bookmark(self, rv: int, *, initial_end: bool = False) -> bytes:
        return _bookmark("PartialObjectMetadata", "meta.k8s.io/v1", rv, initial_end=initial_end)

    def _event(self, type_: str, entry: Entry) -> bytes:
        return b'{"type":"%b","object":%b}\n' % (type_.encode(), self.one(entry))


class _Table:
    """Rows for ``kubectl get``."""

    def __init__(self, call: Call, clock: Clock) -> None:
        self._kind, self._clock = call.kind, clock
        self._shown: Callable[[bytes], bytes] = call.shown if call.kind.versions > 1 else bytes
        self._include = call.query.get("includeObject", "Metadata")
        self.event: EventShape = self._event

    def one(self, entry: Entry) -> bytes:
        return _encode(self._table([entry], {"resourceVersion": str(entry.rv)}))

    def many(self, entries: list[Entry], meta: Json) -> bytes:
        return _encode(self._table(entries, meta))

    def bookmark(self, rv: int, *, initial_end: bool = False) -> bytes:
        table = self._table([], {"resourceVersion": str(rv)})
        marked = _bookmark_object(self._kind.kind, self._kind.api_version, rv, initial_end=initial_end)
        table["rows"] = [{"cells": ["" for _ in table["columnDefinitions"]], "object": marked}]
        return b'{"type":"BOOKMARK","object":%b}\n' % _encode(table)

    def _event(self, type_: str, entry: Entry) -> bytes:
        return b'{"type":"%b","object":%b}\n' % (type_.encode(), self.one(entry))

    def _table(self, entries: list[Entry], meta: Json) -> Json:
        objects = [msgspec.json.decode(self._shown(entry.raw)) for entry in entries]
        return tables.table(self._kind, objects, self._clock.now(), meta, self._include)


def _bookmark(kind: str, api_version: str, rv: int, *, initial_end: bool) -> bytes:
    marked = _bookmark_object(kind, api_version, rv, initial_end=initial_end)
    return b'{"type":"BOOKMARK","object":%b}\n' % _encode(marked)


def _bookmark_object(kind: str, api_version: str, rv: int, *, initial_end: bool) -> Json:
    metadata: dict[str, Any] = {"resourceVersion": str(rv), "creationTimestamp": None}
    if initial_end:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
    return {"kind": kind, "apiVersion": api_version, "metadata": metadata}
