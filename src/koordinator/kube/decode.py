"""From wire bytes to typed objects, with a guard per object: one that does not fit its type never hides the others.

The fast path decodes a whole list or watch line at once (about 3 µs a pod). Only when that fails does the slow path go item
by item and say of each bad one what it is and why.
"""

import contextlib
import functools
import gc
import types
from collections.abc import Iterable, Iterator
from typing import Any, Generic, TypeVar

import msgspec

from koordinator.api.meta import Object, Status
from koordinator.api.registry import Resource
from koordinator.kube.errors import Unreadable, from_status
from koordinator.kube.store import Page, Undecodable, WatchEvent

T = TypeVar("T", bound=Object)


class _Meta(msgspec.Struct, rename="camel"):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""


class _Head(msgspec.Struct, rename="camel"):
    """Just who an object is: decodes when the rest does not."""

    kind: str = ""
    metadata: _Meta = msgspec.field(default_factory=_Meta)


class _ListMeta(msgspec.Struct):
    resource_version: str = msgspec.field(default="", name="resourceVersion")
    continue_: str = msgspec.field(default="", name="continue")


class _RawList(msgspec.Struct):
    metadata: _ListMeta = msgspec.field(default_factory=_ListMeta)
    items: list[msgspec.Raw] | None = None


class _RawEvent(msgspec.Struct):
    type: str
    object: msgspec.Raw


def _list_decoder(kind: type[T]) -> msgspec.json.Decoder[Any]:
    items = types.GenericAlias(list, (kind,)) | None
    fields: list[tuple[str, Any, Any]] = [
        ("metadata", _ListMeta, msgspec.field(default_factory=_ListMeta)),
        ("items", items, None),
    ]
    return msgspec.json.Decoder(msgspec.defstruct("List", fields))


def _event_decoder(kind: type[T]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(msgspec.defstruct("Event", [("type", str), ("object", kind)]))


class Decoders(Generic[T]):
    """The decoders of one resource. Made once per type: building a decoder costs more than using it."""

    def __init__(self, resource: Resource[T]) -> None:
        self.resource = resource
        self._one = msgspec.json.Decoder(resource.type)
        self._list = _list_decoder(resource.type)
        self._event = _event_decoder(resource.type)

    def one(self, body: bytes | msgspec.Raw) -> T:
        """Raises: Unreadable, naming object, field and reason."""
        try:
            return self._named(self._one.decode(body))
        except msgspec.DecodeError as err:
            bad = self._undecodable(body, err)
            raise Unreadable(0, "Unreadable", describe(bad)) from None

    def page(self, body: bytes) -> Page[T]:
        try:
            with _gc_paused():
                answer = self._list.decode(body)
        except msgspec.DecodeError:
            return self._guarded_page(body)
        items: list[T] = answer.items or []
        for item in items:
            self._named(item)
        return Page(items, answer.metadata.resource_version, answer.metadata.continue_, [])

    def event(self, line: bytes) -> WatchEvent[T]:
        """One line of a watch stream. Raises: what an ERROR line says (``Gone`` above all), Unreadable if it is no event."""
        try:
            event = self._event.decode(line)
        except msgspec.DecodeError:
            return self._guarded_event(line)
        if event.type == "ERROR":
            return self._guarded_event(line)
        obj = event.object
        version = obj.metadata.resource_version
        return WatchEvent(event.type, None if event.type == "BOOKMARK" else self._named(obj), version)

    def _named(self, obj: T) -> T:
        """List items come without kind and version: fill them in, so that every object knows what it is."""
        if not obj.kind:
            obj.kind, obj.api_version = self.resource.kind, self.resource.api_version
        return obj

    def _guarded_page(self, body: bytes) -> Page[T]:
        try:
            answer = msgspec.json.decode(body, type=_RawList)
        except msgspec.DecodeError as err:
            raise Unreadable(0, "Unreadable", f"the answer to a list of {self.resource.plural} is no list: {err}") from None
        good: list[T] = []
        bad: list[Undecodable] = []
        for raw in answer.items or ():
            obj = self._guarded(raw)
            bad.append(obj) if isinstance(obj, Undecodable) else good.append(obj)
        return Page(good, answer.metadata.resource_version, answer.metadata.continue_, bad)

    def _guarded_event(self, line: bytes) -> WatchEvent[T]:
        try:
            event = msgspec.json.decode(line, type=_RawEvent)
            if event.type == "ERROR":
                raise from_status(msgspec.json.decode(event.object, type=Status))
        except msgspec.DecodeError as err:
            raise Unreadable(0, "Unreadable", f"a line in a watch of {self.resource.plural} is no event: {err}") from None
        version = _head(event.object).metadata.resource_version
        return WatchEvent(event.type, None if event.type == "BOOKMARK" else self._guarded(event.object), version)

    def _guarded(self, raw: msgspec.Raw) -> T | Undecodable:
        try:
            return self._named(self._one.decode(raw))
        except msgspec.DecodeError as err:
            return self._undecodable(raw, err)

    def _undecodable(self, raw: bytes | msgspec.Raw, err: Exception) -> Undecodable:
        meta = _head(raw).metadata
        return Undecodable(self.resource.kind, meta.namespace, meta.name, meta.uid, str(err))


def _head(raw: bytes | msgspec.Raw) -> _Head:
    try:
        return msgspec.json.decode(raw, type=_Head)
    except msgspec.DecodeError:
        return _Head()


def describe(bad: Undecodable) -> str:
    """One sentence for a log line or an error: kind, name, field and reason."""
    name = f"{bad.namespace}/{bad.name}" if bad.namespace else bad.name
    return f"{bad.kind} {name or '(nameless)'} cannot be read: {bad.reason}"


@contextlib.contextmanager
def _gc_paused() -> Iterator[None]:
    """No collections while many objects are born and none dies: three quarters of the time of decoding 20,000 pods."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def decoders(resource: Resource[T]) -> Decoders[T]:
    """The resource's decoders, made at first use."""
    made: Decoders[T] = _made(resource)
    return made


@functools.lru_cache(maxsize=256)
def _made(resource: Resource[Any]) -> Decoders[Any]:
    return Decoders(resource)


def joined(pages: Iterable[Page[T]]) -> Page[T]:
    """One page out of several; the resource version is the first one's, where the snapshot was taken."""
    items: list[T] = []
    bad: list[Undecodable] = []
    version = ""
    for page in pages:
        version = version or page.resource_version
        items += page.items
        bad += page.undecodable
    return Page(items, version, "", bad)
