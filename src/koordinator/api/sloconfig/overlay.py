"""Laying one strategy over another: what the top one says wins, what it leaves out comes from below.

Objects are merged field by field and maps key by key; lists of plain values are replaced; a list of objects takes the top
one's length, and each of its objects is laid over the one at the same place below. Empty texts, lists and maps say nothing.
"""

from functools import cache
from typing import Any, TypeVar

import msgspec

S = TypeVar("S", bound=msgspec.Struct)

_EMPTY: tuple[Any, ...] = (None, "", [], {})


def overlay(base: S, top: msgspec.Struct | None) -> S:
    """``top`` over ``base``, neither changed. ``top`` may have more fields than ``base``; they do not count."""
    if top is None:
        return base
    changes: dict[str, Any] = {}
    for name, always in _plan(type(base)):
        value = getattr(top, name)
        if always or isinstance(value, msgspec.Struct) or value not in _EMPTY:
            changes[name] = _merged(getattr(base, name), value)
    return msgspec.structs.replace(base, **changes)


@cache
def _plan(type_: type[msgspec.Struct]) -> tuple[tuple[str, bool], ...]:
    """Field names, and whether the field is written even when it has its default and so always counts as said."""
    return tuple((field.name, _always_written(field.default_factory)) for field in msgspec.structs.fields(type_))


def _always_written(factory: Any) -> bool:
    return factory is not msgspec.NODEFAULT and not isinstance(factory, type)


def _merged(below: Any, above: Any) -> Any:
    if isinstance(below, msgspec.Struct) and isinstance(above, msgspec.Struct):
        return overlay(below, above)
    if isinstance(below, dict) and isinstance(above, dict):
        return {**below, **above}
    if isinstance(below, list) and isinstance(above, list):
        return [_merged_item(below, index, item) for index, item in enumerate(above)]
    return above


def _merged_item(below: list[Any], index: int, item: Any) -> Any:
    if index < len(below) and isinstance(item, msgspec.Struct):
        return overlay(below[index], item)
    return item
