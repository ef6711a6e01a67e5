"""Labels and annotations as typed accessors.

Absent, readable and unreadable are three values, and the caller decides what each means: one bad object never stops a loop.
Every key of the protocol has one accessor; ``api.catalogue`` lists them all, and the reference pages are made from that.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, Generic, TypeVar

import msgspec

from koordinator.api import wirejson

T = TypeVar("T")
Texts = Mapping[str, str]


class Malformed(msgspec.Struct, frozen=True):
    """A label or annotation that was there and could not be read. A value, not an exception."""

    key: str
    raw: str
    reason: str

    def __str__(self) -> str:
        return f"{self.key}: {self.raw[:200]!r} cannot be read: {self.reason}"


class As(StrEnum):
    """What an empty text, or a bare ``null``, stands for."""

    ERROR = "error"
    ABSENT = "absent"
    EMPTY = "empty"


class Annotation(msgspec.Struct, Generic[T], frozen=True):
    """One annotation whose text is JSON. ``finish`` completes or refuses (ValueError) what was read."""

    key: str
    type: Any
    on: str = ""
    doc: str = ""
    blank: As = As.ERROR
    null: As = As.EMPTY
    finish: Callable[[T], T] | None = None

    def read(self, annotations: Texts | None) -> T | Malformed | None:
        """None when absent, Malformed when present and unreadable. Never raises."""
        raw = annotations.get(self.key) if annotations else None
        if raw is None or (not raw and self.blank is As.ABSENT):
            return None
        try:
            return self._parsed(raw)
        except ValueError as err:
            return Malformed(self.key, raw, str(err))

    def read_or_empty(self, annotations: Texts | None) -> T | Malformed:
        """As ``read``, with an empty value for an absent annotation."""
        found = self.read(annotations)
        return self.empty() if found is None else found

    def empty(self) -> T:
        """The value of an empty object or list."""
        return wirejson.decode("null", self.type)  # type: ignore[no-any-return] # ``type`` is what T stands for

    def write(self, value: T) -> str:
        """The text to store under ``key``."""
        return wirejson.encode(value)

    def _parsed(self, raw: str) -> T | None:
        if not raw and self.blank is As.EMPTY:
            return self.empty()
        if self.null is not As.EMPTY and raw.strip() == "null":
            if self.null is As.ABSENT:
                return None
            raise ValueError("null says nothing")
        value: T = wirejson.decode(raw, self.type)
        return self.finish(value) if self.finish else value


class Text(msgspec.Struct, Generic[T], frozen=True):
    """One label or annotation whose text is a number, a boolean or the like. ``parse`` raises ValueError on a bad one."""

    key: str
    parse: Callable[[str], T]
    on: str = ""
    doc: str = ""
    blank_is_absent: bool = False

    def read(self, texts: Texts | None) -> T | Malformed | None:
        """None when absent, Malformed when present and unreadable. Never raises."""
        raw = texts.get(self.key) if texts else None
        if raw is None or (self.blank_is_absent and not raw):
            return None
        try:
            return self.parse(raw)
        except ValueError as err:
            return Malformed(self.key, raw, str(err))


class Flag(msgspec.Struct, frozen=True):
    """One label or annotation that is on or off. On means exactly ``on_text``, or, for ``by_presence``, any text."""

    key: str
    on: str = ""
    doc: str = ""
    on_text: str = "true"
    by_presence: bool = False

    def read(self, texts: Texts | None) -> bool:
        raw = texts.get(self.key) if texts else None
        return raw is not None and (self.by_presence or raw == self.on_text)


class Choice(msgspec.Struct, frozen=True):
    """One label or annotation with a handful of words. Every other text, and none, is ``default``."""

    key: str
    values: tuple[str, ...]
    default: str = ""
    on: str = ""
    doc: str = ""

    def read(self, texts: Texts | None) -> str:
        raw = texts.get(self.key) if texts else None
        return raw if raw in self.values else self.default


class Plain(msgspec.Struct, frozen=True):
    """One label or annotation with a free text."""

    key: str
    on: str = ""
    doc: str = ""

    def read(self, texts: Texts | None) -> str:
        """The text, empty when absent."""
        return (texts.get(self.key) or "") if texts else ""


Accessor = Annotation[Any] | Text[Any] | Flag | Choice | Plain


def or_default(value: T | Malformed | None, default: T) -> T:
    """``value`` where it could be read, else ``default``: for readers to whom absent and unreadable are the same."""
    return default if value is None or isinstance(value, Malformed) else value
