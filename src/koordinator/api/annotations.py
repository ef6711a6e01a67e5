"""Labels and annotations as typed accessors.

Absent, readable and unreadable are three values, and the caller decides what each means: one bad object never stops a loop.
"""

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import msgspec

from koordinator.api import wirejson

T = TypeVar("T")


class Malformed(msgspec.Struct, frozen=True):
    """A label or annotation that was there and could not be read. A value, not an exception."""

    key: str
    raw: str
    reason: str

    def __str__(self) -> str:
        return f"{self.key}: {self.raw[:200]!r} cannot be read: {self.reason}"


class Annotation(msgspec.Struct, Generic[T], frozen=True):
    """One JSON annotation. ``blank_is_absent``: the empty text counts as if the annotation were not there."""

    key: str
    type: Any
    blank_is_absent: bool = False

    def read(self, annotations: Mapping[str, str] | None) -> T | Malformed | None:
        """None when absent, Malformed when present and unreadable. Never raises."""
        raw = annotations.get(self.key) if annotations else None
        if raw is None or (self.blank_is_absent and not raw):
            return None
        try:
            return wirejson.decode(raw, self.type)  # type: ignore[no-any-return] # ``type`` is what T stands for
        except ValueError as err:
            return Malformed(self.key, raw, str(err))

    def write(self, value: T) -> str:
        """The text to store under ``key``."""
        return wirejson.encode(value)


class Text(msgspec.Struct, Generic[T], frozen=True):
    """One label or annotation whose text is a number, a boolean or the like. ``parse`` raises ValueError on a bad one."""

    key: str
    parse: Callable[[str], T]
    blank_is_absent: bool = False

    def read(self, texts: Mapping[str, str] | None) -> T | Malformed | None:
        """None when absent, Malformed when present and unreadable. Never raises."""
        raw = texts.get(self.key) if texts else None
        if raw is None or (self.blank_is_absent and not raw):
            return None
        try:
            return self.parse(raw)
        except ValueError as err:
            return Malformed(self.key, raw, str(err))
