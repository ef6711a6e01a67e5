"""OpenAPI 2 in the protobuf form that older typed clients ask for (kubectl before 1.27). Only what they read is written.

Field numbers are those of gnostic's OpenAPIv2 message set; there are only two wire shapes, so no library is needed.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from koordinator.cluster.apiserver.kinds.base import Json

MEDIA_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_METHODS = {"get": 2, "put": 3, "post": 4, "delete": 5, "patch": 8}


def document(doc: Json) -> bytes:
    """The whole document."""
    info = _text(1, doc["info"]["title"]) + _text(2, doc["info"]["version"])
    paths = b"".join(_named(2, path, _path_item(item)) for path, item in doc["paths"].items())
    definitions = b"".join(_named(1, name, _schema(schema)) for name, schema in doc["definitions"].items())
    return _text(1, doc["swagger"]) + _field(2, info) + _field(8, paths) + _field(9, definitions)


def _schema(schema: Json) -> bytes:
    parts = [
        _text(1, schema.get("$ref")),
        _text(2, schema.get("format")),
        _text(4, schema.get("description")),
        _any(5, schema["default"]) if "default" in schema else b"",
        *(_text(19, name) for name in schema.get("required") or ()),
        *(_any(20, value) for value in schema.get("enum") or ()),
        _additional(schema.get("additionalProperties")),
        _field(22, _text(1, schema["type"])) if schema.get("type") else b"",
        _field(23, _field(1, _schema(schema["items"]))) if isinstance(schema.get("items"), dict) else b"",
        *(_field(24, _schema(sub)) for sub in schema.get("allOf") or ()),
    ]
    if properties := schema.get("properties"):
        parts.append(_field(25, b"".join(_named(1, name, _schema(sub)) for name, sub in properties.items())))
    return b"".join(parts) + _extensions(31, schema)


def _additional(raw: Any) -> bytes:
    if isinstance(raw, dict):
        return _field(21, _field(1, _schema(raw)))
    return _field(21, b"\x10\x01") if raw is True else b""


def _path_item(item: Json) -> bytes:
    return b"".join(_field(number, _operation(item[method])) for method, number in _METHODS.items() if method in item)


def _operation(operation: Json) -> bytes:
    query = (parameter for parameter in operation.get("parameters") or () if parameter["in"] == "query")
    return b"".join(_field(8, _query_parameter(parameter)) for parameter in query) + _extensions(13, operation)


def _query_parameter(parameter: Json) -> bytes:
    inner = _text(2, "query") + _text(4, parameter["name"]) + _text(6, parameter["type"])
    return _field(1, _field(2, _field(3, inner)))


def _extensions(number: int, of: Json) -> bytes:
    return b"".join(_named(number, key, _yaml(value)) for key, value in of.items() if key.startswith("x-"))


def _any(number: int, value: Any) -> bytes:
    return _field(number, _yaml(value))


def _yaml(value: Any) -> bytes:
    """An ``Any`` message: JSON is YAML too."""
    return _text(2, msgspec.json.encode(value).decode())


def _named(number: int, name: str, value: bytes) -> bytes:
    return _field(number, _text(1, name) + _field(2, value))


def _text(number: int, value: str | None) -> bytes:
    return _field(number, value.encode()) if value else b""


def _field(number: int, value: bytes) -> bytes:
    """One length-delimited field."""
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    return bytes(_digits(number))


def _digits(number: int) -> Iterable[int]:
    while number > 0x7F:
        yield number & 0x7F | 0x80
        number >>= 7
    yield number
