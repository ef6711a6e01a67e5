"""Structural OpenAPI schemas of our types, as CustomResourceDefinitions want them.

Types say what they can; the rest (ranges, enums, defaults, required fields) stands in their annotations, see ``api.meta``.
"""

from typing import Any

import msgspec
from msgspec import inspect

from koordinator.api.fielddocs import field_docs

Schema = dict[str, Any]

QUANTITY_PATTERN = (
    r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
)
_INT_OR_STRING: Schema = {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": True}
_BY_FORMAT: dict[str, Schema] = {
    "quantity": {**_INT_OR_STRING, "pattern": QUANTITY_PATTERN},
    "int-or-string": _INT_OR_STRING,
    "duration": {"type": "string"},
    "date-time": {"type": "string", "format": "date-time"},
    "int32": {"type": "integer", "format": "int32"},
}
_BY_TYPE: dict[type[inspect.Type], Schema] = {
    inspect.StrType: {"type": "string"},
    inspect.BoolType: {"type": "boolean"},
    inspect.IntType: {"type": "integer", "format": "int64"},
    inspect.FloatType: {"type": "number"},
    inspect.AnyType: {"x-kubernetes-preserve-unknown-fields": True},
}


def object_schema(type_: type[msgspec.Struct]) -> Schema:
    """The schema of a whole object. ``metadata`` is the API server's own affair."""
    schema = _struct(inspect.type_info(type_))
    schema["properties"]["metadata"] = {"type": "object"}
    return schema


def _struct(info: inspect.Type) -> Schema:
    assert isinstance(info, inspect.StructType)  # noqa: S101 — for the type checker; callers have looked
    schema: Schema = {"type": "object"}
    if description := _description(info.cls):
        schema["description"] = description
    docs = field_docs(info.cls)
    schema["properties"] = {
        field.encode_name: _documented(schema_of(field.type), docs.get(field.name)) for field in info.fields
    }
    if required := [field.encode_name for field in info.fields if field.required or _is_required(field.type)]:
        schema["required"] = required
    return schema


def _documented(schema: Schema, doc: str | None) -> Schema:
    return {**schema, "description": doc} if doc else schema


def schema_of(info: inspect.Type) -> Schema:
    """The schema of one type. Optional is not stated: absent is always allowed unless the field is required."""
    if isinstance(info, inspect.Metadata):
        known = _BY_FORMAT.get((info.extra or {}).get("format", ""))
        return {**(known if known is not None else schema_of(info.type)), **(info.extra_json_schema or {})}
    if isinstance(info, inspect.UnionType):
        inner = [one for one in info.types if not isinstance(one, inspect.NoneType)]
        return schema_of(inner[0]) if len(inner) == 1 else dict(_INT_OR_STRING)
    if isinstance(info, inspect.StructType):
        return _struct(info)
    if isinstance(info, inspect.ListType):
        return {"type": "array", "items": schema_of(info.item_type)}
    if isinstance(info, inspect.DictType):
        return _map(info)
    return dict(_BY_TYPE[type(info)])


def _map(info: inspect.DictType) -> Schema:
    if isinstance(info.value_type, inspect.AnyType):
        return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {"type": "object", "additionalProperties": schema_of(info.value_type)}


def _is_required(info: inspect.Type) -> bool:
    if isinstance(info, inspect.Metadata):
        return bool((info.extra or {}).get("required")) or _is_required(info.type)
    return isinstance(info, inspect.UnionType) and any(map(_is_required, info.types))


def _description(cls: type) -> str:
    """The class's own docstring as one line, inherited ones left out."""
    own = cls.__dict__.get("__doc__") or ""
    return " ".join(own.replace("``", "").split())
