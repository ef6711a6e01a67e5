"""Request bodies in Kubernetes' protobuf: what typed Go clients, newer kubectl among them, send. Answers stay JSON.

The field numbers come from the table of ``kinds.fields``; the wire format has four shapes, so no library is needed. Unknown
fields are skipped, as protobuf does.
"""

import base64
import datetime as dt
import struct
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from koordinator.cluster.apiserver.kinds.fields import table
from koordinator.cluster.apiserver.refusals import bad_request, unsupported_media

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
_DEPTH = 64


def to_json(body: bytes) -> bytes:
    """The same object as JSON. Raises: Refused (400, 415)."""
    if not body.startswith(_MAGIC):
        raise bad_request("the body is not Kubernetes protobuf: its first four bytes are not k8s\\0")
    try:
        envelope = dict(_fields(memoryview(body)[4:]))
        meta = {number: bytes(value).decode() for number, value in _fields(envelope[1])}
        api_version, kind = meta[1], meta[2]
        message = table().kinds.get(f"{api_version}/{kind}")
        if message is None:
            raise unsupported_media(f"{kind} of {api_version} is not known in protobuf here; send JSON")
        obj = _message(message, envelope.get(2, b""), 0)
    except (KeyError, ValueError, IndexError, TypeError, AttributeError, struct.error, OverflowError) as err:
        raise bad_request(f"the body is not readable protobuf: {err!r}") from None
    return msgspec.json.encode({"apiVersion": api_version, "kind": kind, **obj})


def _fields(data: Any) -> Iterator[tuple[int, Any]]:
    """Number and raw value of every field."""
    position, end = 0, len(data)
    while position < end:
        tag, position = _varint(data, position)
        wire = tag & 7
        value: Any
        if wire == 0:
            value, position = _varint(data, position)
        elif wire == 2:
            size, position = _varint(data, position)
            if position + size > end:
                raise ValueError("a field is longer than its message")
            value, position = data[position : position + size], position + size
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            value, position = bytes(data[position : position + size]), position + size
        else:
            raise ValueError(f"wire type {wire}")
        yield tag >> 3, value


def _varint(data: Any, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("a number is too long")


def _message(name: str, data: Any, depth: int) -> dict[str, Any]:
    if depth > _DEPTH:
        raise ValueError("nested too deeply")
    shape = table().messages[name]
    result: dict[str, Any] = {}
    for number, raw in _fields(data):
        if number in shape:
            _put(result, *shape[number], raw, depth)
    return result


def _put(into: dict[str, Any], name: str, code: str, raw: Any, depth: int) -> None:
    """Add one field to a JSON object."""
    match code[0]:
        case "=":
            into.update(_message(code[1:], raw, depth + 1))
        case "[":
            into.setdefault(name, []).append(_value(code[1:], raw, depth))
        case "{":
            entry = dict(_fields(raw))
            key = bytes(entry.get(1, b"")).decode()
            into.setdefault(name, {})[key] = _value(code[1:], entry.get(2, b""), depth)
        case "*":
            into[name] = _value(code[1:], raw, depth)
        case _:
            value = _value(code, raw, depth)
            if value is not None and value != "" and (value or isinstance(value, dict)):
                into[name] = value


def _value(code: str, raw: Any, depth: int) -> Any:
    convert = _SCALARS.get(code)
    return convert(raw) if convert is not None else _message(code, raw, depth + 1)


def _integer(raw: int) -> int:
    """A signed 64-bit number."""
    return raw - (1 << 64) if raw >= 1 << 63 else raw


def _float(raw: bytes) -> float:
    number: float = struct.unpack("<d", raw)[0]
    return number


def _quantity(raw: Any) -> str:
    return next((bytes(value).decode() for number, value in _fields(raw) if number == 1), "0")


def _time(raw: Any, *, micro: bool = False) -> str | None:
    parts = {number: _integer(value) for number, value in _fields(raw)}
    if not parts:
        return None
    moment = dt.datetime.fromtimestamp(parts.get(1, 0), tz=dt.UTC)
    if not micro:
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + f".{parts.get(2, 0) // 1000:06}Z"


def _int_or_string(raw: Any) -> int | str:
    parts = dict(_fields(raw))
    return bytes(parts.get(3, b"")).decode() if parts.get(1) else _integer(parts.get(2, 0))


def _raw_json(raw: Any) -> Any:
    content = next((bytes(value) for number, value in _fields(raw) if number == 1), b"")
    return msgspec.json.decode(content) if content else None


_SCALARS: dict[str, Callable[[Any], Any]] = {
    "s": lambda raw: bytes(raw).decode(),
    "i": _integer,
    "b": bool,
    "y": lambda raw: base64.b64encode(raw).decode(),
    "d": _float,
    "q": _quantity,
    "t": _time,
    "u": lambda raw: _time(raw, micro=True),
    "x": _int_or_string,
    "r": _raw_json,
}
