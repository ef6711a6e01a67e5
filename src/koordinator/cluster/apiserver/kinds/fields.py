"""The fields of Kubernetes' own kinds, all of them: names, shapes and protobuf numbers, from a generated table.

From the table come msgspec types, made when a kind is first used: converting an object to its type and back checks every
field's shape, drops what the kind does not have, and drops nulls, which is what the real API server's decoding does.
``scripts/generate-kubernetes-fields`` makes the table and says how to read its codes.
"""

from functools import lru_cache
from importlib import resources
from types import GenericAlias
from typing import Annotated, Any

import msgspec

from koordinator.cluster.apiserver.kinds.base import Json, Kind, undecodable
from koordinator.cluster.apiserver.refusals import Refused, bad_request

_Integer = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
_SCALARS: dict[str, Any] = {
    "s": str,
    "i": _Integer,
    "b": bool,
    "y": str,
    "d": float,
    "q": str | _Integer | float,
    "t": str,
    "u": str,
    "x": _Integer | str,
    "r": Any,
}
_UNKNOWN = "Object contains unknown field `"


class Table(msgspec.Struct, frozen=True):
    """``kinds``: apiVersion/kind → message. ``messages``: protobuf number → (JSON name, code)."""

    kinds: dict[str, str]
    messages: dict[str, dict[int, tuple[str, str]]]


@lru_cache(maxsize=1)
def table() -> Table:
    raw = resources.files("koordinator.cluster.apiserver.kinds").joinpath("kubernetes_fields.json").read_bytes()
    return msgspec.json.decode(raw, type=Table)


def conform(kind: Kind, obj: Json, *, strict: bool = False) -> Json:
    """The object with the fields that its kind has. Strict refuses others. Raises: Refused (400)."""
    model = _root(kind.api_version, kind.kind, strict=strict)
    if model is None:
        return obj
    try:
        result: Json = msgspec.to_builtins(msgspec.convert(obj, model))
    except msgspec.ValidationError as err:
        raise _refusal(kind, str(err)) from None
    return result


def _refusal(kind: Kind, why: str) -> Refused:
    if not why.startswith(_UNKNOWN):
        return undecodable(kind, why)
    name, _, where = why.removeprefix(_UNKNOWN).partition("`")
    path = where.removeprefix(" - at `$").removesuffix("`").lstrip(".")
    return unknown_fields(kind, [f"{path}.{name}" if path else name])


def unknown_fields(kind: Kind, paths: list[str]) -> Refused:
    """What strict field validation says."""
    listed = ", ".join(f'unknown field "{path}"' for path in paths)
    return bad_request(
        f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: strict decoding error: {listed}'
    )


@lru_cache(maxsize=256)
def _root(api_version: str, kind: str, *, strict: bool) -> type[msgspec.Struct] | None:
    message = table().kinds.get(f"{api_version}/{kind}")
    if message is None:
        return None
    named: list[tuple[str, Any, Any]] = [("apiVersion", str, ""), ("kind", str, "")]
    return _define(message, named + _members(message, strict=strict), strict=strict)


@lru_cache(maxsize=1024)
def _model(message: str, *, strict: bool) -> type[msgspec.Struct]:
    return _define(message, _members(message, strict=strict), strict=strict)


def _define(message: str, members: list[tuple[str, Any, Any]], *, strict: bool) -> type[msgspec.Struct]:
    return msgspec.defstruct(message, members, omit_defaults=True, forbid_unknown_fields=strict, kw_only=True)


def _members(message: str, *, strict: bool) -> list[tuple[str, Any, Any]]:
    members: list[tuple[str, Any, Any]] = []
    for name, code in table().messages[message].values():
        if code[0] == "=":
            members += _members(code[1:], strict=strict)
        else:
            members.append((name, _type(code, strict=strict) | None, None))
    return members


def _type(code: str, *, strict: bool) -> Any:
    match code[0]:
        case "*":
            return _type(code[1:], strict=strict)
        case "[":
            return GenericAlias(list, _type(code[1:], strict=strict))
        case "{":
            return GenericAlias(dict, (str, _type(code[1:], strict=strict)))
    return _SCALARS[code] if code in _SCALARS else _model(code, strict=strict)
