"""JSON inside annotations and ConfigMaps, read and written as every component of the protocol does.

Readers match field names exactly or else ignoring case, ignore unknown fields, take ``null`` for "absent", merge duplicate
objects and refuse a wrong type anywhere. Writers are compact, keep the declared field order, sort map keys and escape ``<>&``.
Objects that come from the API server need none of this: they are decoded by msgspec alone.
"""

import json
import math
from collections.abc import Callable, Hashable
from functools import cache
from typing import Any, NoReturn

import msgspec
from msgspec import inspect

from koordinator.api import durations, quantity
from koordinator.api.meta import format_time, parse_time

_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_ABSENT = object()

_ZEROS: dict[type[inspect.Type], Any] = {
    inspect.StructType: {},
    inspect.DictType: {},
    inspect.ListType: [],
    inspect.StrType: "",
    inspect.IntType: 0,
    inspect.FloatType: 0.0,
    inspect.BoolType: False,
}

_Fitter = Callable[[Any], Any]


class _Pairs(list[tuple[str, Any]]):
    """A JSON object before duplicate names are resolved."""


def decode(raw: str, type_: Any) -> Any:
    """Read ``raw`` as ``type_``. A top-level ``null`` reads as the empty value. Raises ValueError with the reason."""
    try:
        parsed = json.loads(raw, object_pairs_hook=_Pairs, parse_constant=_refuse_constant, parse_float=_finite)
        fitted = _fitter(type_)(parsed)
        return msgspec.convert(_empty(type_) if fitted is _ABSENT else fitted, type_, str_keys=True)
    except RecursionError as err:
        raise ValueError("nested too deeply") from err
    except msgspec.ValidationError as err:
        raise ValueError(str(err)) from err


def encode(value: Any) -> str:
    """The protocol's text form of a struct, list, map or scalar."""
    text = msgspec.json.encode(value, order="deterministic").decode()
    for character, escape in _ESCAPES.items():
        text = text.replace(character, escape)
    return text


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:80]} is out of range")
    return number


def _empty(type_: Any) -> Any:
    return [] if isinstance(inspect.type_info(type_), inspect.ListType) else {}


@cache
def _fitter(type_: Hashable) -> _Fitter:
    return _fitter_of(inspect.type_info(type_), {})


def _fitter_of(info: inspect.Type, known: dict[Any, _Fitter]) -> _Fitter:
    """A function that brings parsed JSON into the shape that msgspec accepts for this type."""
    if isinstance(info, inspect.Metadata):
        check = _CHECKS.get((info.extra or {}).get("format", ""))
        return check or _fitter_of(info.type, known)
    if isinstance(info, inspect.StructType):
        return _struct_fitter(info, known)
    if isinstance(info, inspect.ListType):
        item = _item_fitter(info.item_type, known)
        return lambda value: _fit_list(value, item)
    if isinstance(info, inspect.DictType):
        item = _item_fitter(info.value_type, known)
        return lambda value: _fit_map(value, item)
    if isinstance(info, inspect.UnionType):
        inner = [one for one in info.types if not isinstance(one, inspect.NoneType)]
        return _fitter_of(inner[0], known) if len(inner) == 1 else _plain
    return _INT64 if isinstance(info, inspect.IntType) else _plain


def _item_fitter(info: inspect.Type, known: dict[Any, _Fitter]) -> _Fitter:
    """As ``_fitter_of``, for items of lists and maps: there ``null`` is the empty value, nothing can be left out."""
    fit, zero = _fitter_of(info, known), _zero(info)
    return lambda value: zero if (fitted := fit(value)) is _ABSENT else fitted


def _zero(info: inspect.Type) -> Any:
    if isinstance(info, inspect.Metadata):
        return {"quantity": "0", "duration": "0s"}.get((info.extra or {}).get("format", ""))
    return next((zero for kind, zero in _ZEROS.items() if isinstance(info, kind)), None)


def _struct_fitter(info: inspect.StructType, known: dict[Any, _Fitter]) -> _Fitter:
    if (found := known.get(info.cls)) is not None:
        return found
    exact: dict[str, _Fitter] = {}
    folded: dict[str, str] = {}

    def fit(value: Any) -> Any:
        if not isinstance(value, _Pairs):
            return _ABSENT if value is None else _plain(value)
        result: dict[str, Any] = {}
        for name, item in _merged(value, exact, folded).items():
            if (fitted := exact[name](item)) is not _ABSENT:
                result[name] = fitted
        return result

    known[info.cls] = fit
    for field in info.fields:
        exact[field.encode_name] = _fitter_of(field.type, known)
        folded.setdefault(field.encode_name.casefold(), field.encode_name)
    return fit


def _merged(pairs: _Pairs, exact: dict[str, _Fitter], folded: dict[str, str]) -> dict[str, Any]:
    """The known fields: later values win, later objects are merged into earlier ones."""
    result: dict[str, Any] = {}
    for key, item in pairs:
        name = key if key in exact else folded.get(key.casefold())
        if name is None:
            continue
        before = result.get(name)
        result[name] = _Pairs([*before, *item]) if isinstance(before, _Pairs) and isinstance(item, _Pairs) else item
    return result


def _fit_list(value: Any, item: _Fitter) -> Any:
    if not isinstance(value, list) or isinstance(value, _Pairs):
        return _ABSENT if value is None else _plain(value)
    return [item(one) for one in value]


def _fit_map(value: Any, item: _Fitter) -> Any:
    if not isinstance(value, _Pairs):
        return _ABSENT if value is None else _plain(value)
    return {_unpair(key): item(one) for key, one in value}


def _plain(value: Any) -> Any:
    """Free-form JSON as ordinary dicts and lists."""
    if value is None:
        return _ABSENT
    return _unpair(value)


def _unpair(value: Any) -> Any:
    if isinstance(value, _Pairs):
        return {_unpair(key): _unpair(item) for key, item in value}
    if isinstance(value, list):
        return [_unpair(item) for item in value]
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return value


def _quantity(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return _plain(value)
    return str(quantity.read(value))


def _duration(value: Any) -> Any:
    if not isinstance(value, str):
        return _plain(value)
    return durations.to_text(durations.parse(value))


def _time(value: Any) -> Any:
    if not isinstance(value, str):
        return _plain(value)
    if (seconds := parse_time(value)) is None:
        raise ValueError(f"{value[:80]!r} is not an RFC 3339 time")
    return format_time(seconds)


def _integer(bits: int) -> _Fitter:
    limit = 1 << bits - 1

    def check(value: Any) -> Any:
        if isinstance(value, int) and not -limit <= value < limit:
            raise ValueError(f"{value} does not fit {bits} bits")
        return _plain(value)

    return check


_INT64 = _integer(64)
_CHECKS: dict[str, _Fitter] = {"quantity": _quantity, "duration": _duration, "date-time": _time, "int32": _integer(32)}
