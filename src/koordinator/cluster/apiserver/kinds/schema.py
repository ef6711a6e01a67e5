"""Structural schemas of custom resources: what they prune, which defaults they write, what they refuse.

A schema is compiled once into nodes; an object is completed (pruned, defaulted) and then checked, each in one walk.
"""

import copy
import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from koordinator.api.meta import parse_time
from koordinator.cluster.apiserver.kinds.validations import Old, Validation, broken, compile_all
from koordinator.cluster.apiserver.refusals import FieldError, required, unsupported, wrong

Json = dict[str, Any]
_ABSENT: Any = object()
_EMBEDDED = ("apiVersion", "kind", "metadata")
_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: (
        (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and value.is_integer())
    ),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
}
Check = Callable[[Any], str]
"""Why a value is wrong, or nothing."""


class Node(msgspec.Struct, frozen=True):
    """One compiled schema."""

    type: str = ""
    properties: dict[str, "Node"] = {}
    additional: "Node | None" = None
    items: "Node | None" = None
    required: tuple[str, ...] = ()
    preserve: bool = False
    embedded: bool = False
    nullable: bool = False
    int_or_string: bool = False
    default: Any = _ABSENT
    enum: tuple[Any, ...] | None = None
    checks: tuple[Check, ...] = ()
    all_of: tuple["Node", ...] = ()
    any_of: tuple["Node", ...] = ()
    one_of: tuple["Node", ...] = ()
    not_: "Node | None" = None
    has_defaults: bool = False  # here or below
    rules: tuple[Validation, ...] = ()
    has_rules: bool = False  # here or below
    list_keys: tuple[str, ...] = ()  # by which items of a list are the same item


def compile_schema(schema: Json, *, root: bool = False) -> Node:
    """A schema as nodes. Raises: ValueError when it cannot be read."""
    properties = {name: compile_schema(sub) for name, sub in (schema.get("properties") or {}).items()}
    if root:
        for name in ("metadata", "apiVersion", "kind"):
            properties.pop(name, None)
    additional = schema.get("additionalProperties")
    items = schema.get("items")
    int_or_string = bool(schema.get("x-kubernetes-int-or-string"))
    node = Node(
        type=schema.get("type", ""),
        properties=properties,
        additional=_additional(additional),
        items=compile_schema(items) if isinstance(items, dict) else None,
        required=tuple(schema.get("required") or ()),
        preserve=bool(schema.get("x-kubernetes-preserve-unknown-fields")),
        embedded=bool(schema.get("x-kubernetes-embedded-resource")),
        nullable=bool(schema.get("nullable")),
        int_or_string=int_or_string,
        default=schema.get("default", _ABSENT),
        enum=tuple(schema["enum"]) if "enum" in schema else None,
        checks=tuple(_checks(schema)),
        all_of=() if int_or_string else _several(schema, "allOf"),
        any_of=() if int_or_string else _several(schema, "anyOf"),
        one_of=_several(schema, "oneOf"),
        not_=compile_schema(schema["not"]) if "not" in schema else None,
        rules=compile_all(schema),
        list_keys=tuple(schema.get("x-kubernetes-list-map-keys") or ()),
    )
    below = [*properties.values(), *filter(None, (node.additional, node.items))]
    return msgspec.structs.replace(
        node,
        has_defaults=node.default is not _ABSENT or any(sub.has_defaults for sub in below),
        has_rules=bool(node.rules) or any(sub.has_rules for sub in below),
    )


def _additional(raw: Any) -> Node | None:
    if raw is True:
        return Node(preserve=True)
    return compile_schema(raw) if isinstance(raw, dict) else None


def _several(schema: Json, key: str) -> tuple[Node, ...]:
    return tuple(compile_schema(sub) for sub in schema.get(key) or ())


# Completing


def complete(node: Node, obj: Json, *, kept: tuple[str, ...] = ()) -> None:
    """Prune unknown fields and write defaults, in place. ``kept`` are fields that no schema speaks of."""
    open_ = node.preserve or node.additional is not None
    for name in list(obj):
        if name in kept:
            continue
        child = node.properties.get(name) or node.additional
        if child is None:
            if not open_:
                del obj[name]
            continue
        value = obj[name]
        if value is None and not child.nullable:
            del obj[name]
        else:
            _complete_value(child, value)
    if node.has_defaults:
        _fill(node, obj)


def unknown(node: Node, obj: Json, path: str = "", *, kept: tuple[str, ...] = ()) -> Iterator[str]:
    """The paths that completing would prune."""
    prefix = f"{path}." if path else ""
    for name, value in obj.items():
        if name in kept:
            continue
        child = node.properties.get(name) or node.additional
        if child is None:
            if not node.preserve:
                yield prefix + name
            continue
        items = value if isinstance(value, list) else [value]
        inner = child.items if isinstance(value, list) else child
        for index, item in enumerate(items):
            if isinstance(item, dict) and inner is not None and (inner.type == "object" or inner.properties):
                where = f"{prefix}{name}[{index}]" if isinstance(value, list) else prefix + name
                yield from unknown(inner, item, where, kept=_EMBEDDED if inner.embedded else ())


def _complete_value(node: Node, value: Any) -> None:
    if isinstance(value, dict):
        if node.embedded:
            complete(node, value, kept=_EMBEDDED)
        elif node.type == "object" or node.properties or node.additional is not None:
            complete(node, value)
    elif isinstance(value, list) and node.items is not None:
        for item in value:
            _complete_value(node.items, item)


def _fill(node: Node, obj: Json) -> None:
    for name, child in node.properties.items():
        if child.default is not _ABSENT and name not in obj:
            obj[name] = copy.deepcopy(child.default)
            _complete_value(child, obj[name])


# Checking


def errors(node: Node, value: Any, path: str) -> Iterator[FieldError]:
    """What is wrong with a completed value."""
    if value is None and node.nullable:
        return
    if (problem := _type_error(node, value, path)) is not None:
        yield problem
        return
    if node.enum is not None and value not in node.enum:
        yield unsupported(path, value, node.enum)
    for check in node.checks:
        if why := check(value):
            yield wrong(path, value, f"{path} in body {why}")
    if isinstance(value, dict):
        yield from _object_errors(node, value, path)
    elif isinstance(value, list) and node.items is not None:
        for index, item in enumerate(value):
            yield from errors(node.items, item, f"{path}[{index}]")
    if node.all_of or node.any_of or node.one_of or node.not_:
        yield from _combined_errors(node, value, path)


def _type_error(node: Node, value: Any, path: str) -> FieldError | None:
    if node.int_or_string:
        fits = isinstance(value, str) or _TYPES["integer"](value)
        expected = "integer,string"
    elif node.type:
        fits, expected = _TYPES.get(node.type, lambda _: True)(value), node.type
    else:
        return None
    if fits:
        return None
    found = _type_name(value)
    return FieldError(
        path, "FieldValueTypeInvalid", f'Invalid value: "{found}": {path} in body must be of type {expected}: "{found}"'
    )


def _type_name(value: Any) -> str:
    if value is None:
        return "null"
    return next(
        (name for name in ("boolean", "integer", "number", "string", "array", "object") if _TYPES[name](value)), "unknown"
    )


def _object_errors(node: Node, value: Json, path: str) -> Iterator[FieldError]:
    prefix = f"{path}." if path else ""
    for name in node.required:
        if name not in value:
            yield required(f"{prefix}{name}")
    if node.properties or node.additional is not None:
        for name, item in value.items():
            child = node.properties.get(name) or node.additional
            if child is not None:
                yield from errors(child, item, f"{prefix}{name}")


def rule_errors(node: Node, value: Any, path: str, old: Old = None) -> Iterator[FieldError]:
    """What rules in CEL say of a value that fits its schema; with ``old``, those that compare it with what was."""
    if not node.has_rules or value is None:
        return
    yield from broken(node.rules, value, path, old)
    before = old[0] if old else None
    prefix = f"{path}." if path else ""
    if isinstance(value, dict):
        for name, item in value.items():
            child = node.properties.get(name) or node.additional
            was = (before[name],) if isinstance(before, dict) and name in before else ()
            if child is not None:
                yield from rule_errors(child, item, f"{prefix}{name}", None if old is None else was)
    elif isinstance(value, list) and node.items is not None:
        for index, item in enumerate(value):
            was = () if old is None else _same_item(node, item, before)
            yield from rule_errors(node.items, item, f"{path}[{index}]", None if old is None else was)


def _same_item(node: Node, item: Any, before: Any) -> tuple[Any, ...]:
    """What a list's item was, if the list says how its items are told apart."""
    if not node.list_keys or not isinstance(before, list) or not isinstance(item, dict):
        return ()
    wanted = [item.get(key) for key in node.list_keys]
    found = (was for was in before if isinstance(was, dict) and [was.get(key) for key in node.list_keys] == wanted)
    return next(((was,) for was in found), ())


def _combined_errors(node: Node, value: Any, path: str) -> Iterator[FieldError]:
    for sub in node.all_of:
        yield from errors(sub, value, path)
    if node.any_of and not any(_fits(sub, value) for sub in node.any_of):
        yield wrong(path, value, f"{path} in body must validate at least one schema (anyOf)")
    if node.one_of and sum(_fits(sub, value) for sub in node.one_of) != 1:
        yield wrong(path, value, f"{path} in body must validate one and only one schema (oneOf)")
    if node.not_ is not None and _fits(node.not_, value):
        yield wrong(path, value, f"{path} in body must not validate the schema (not)")


def _fits(node: Node, value: Any) -> bool:
    return next(errors(node, value, ""), None) is None


def _checks(schema: Json) -> Iterator[Check]:
    for key, make in _CHECKS.items():
        if schema.get(key) is not None:
            yield make(schema[key], schema)
    if (format_ := schema.get("format")) in _FORMATS:
        yield _FORMATS[format_]


def _pattern(pattern: str, _: Json) -> Check:
    try:
        compiled = re.compile(pattern)
    except re.error as err:
        raise ValueError(f"pattern {pattern!r} cannot be read: {err}") from None
    return lambda value: "" if not isinstance(value, str) or compiled.search(value) else f"should match '{pattern}'"


def _limit(is_wrong: Callable[[Any, Any], bool], text: str, of: type | tuple[type, ...]) -> Callable[[Any, Json], Check]:
    def make(bound: Any, _: Json) -> Check:
        return lambda value: text.format(bound) if _is_a(value, of) and is_wrong(value, bound) else ""

    return make


def _is_a(value: Any, of: type | tuple[type, ...]) -> bool:
    return isinstance(value, of) and not isinstance(value, bool)


def _minimum(bound: Any, schema: Json) -> Check:
    if schema.get("exclusiveMinimum"):
        return lambda value: f"should be greater than {bound}" if _is_a(value, (int, float)) and value <= bound else ""
    return lambda value: f"should be greater than or equal to {bound}" if _is_a(value, (int, float)) and value < bound else ""


def _maximum(bound: Any, schema: Json) -> Check:
    if schema.get("exclusiveMaximum"):
        return lambda value: f"should be less than {bound}" if _is_a(value, (int, float)) and value >= bound else ""
    return lambda value: f"should be less than or equal to {bound}" if _is_a(value, (int, float)) and value > bound else ""


_CHECKS: dict[str, Callable[[Any, Json], Check]] = {
    "pattern": _pattern,
    "minimum": _minimum,
    "maximum": _maximum,
    "minLength": _limit(lambda value, bound: len(value) < bound, "should be at least {} chars long", str),
    "maxLength": _limit(lambda value, bound: len(value) > bound, "should be at most {} chars long", str),
    "minItems": _limit(lambda value, bound: len(value) < bound, "should have at least {} items", list),
    "maxItems": _limit(lambda value, bound: len(value) > bound, "should have at most {} items", list),
    "minProperties": _limit(lambda value, bound: len(value) < bound, "should have at least {} properties", dict),
    "maxProperties": _limit(lambda value, bound: len(value) > bound, "should have at most {} properties", dict),
    "multipleOf": _limit(lambda value, bound: value % bound != 0, "should be a multiple of {}", (int, float)),
}


def _int_range(bits: int) -> Check:
    edge = 1 << (bits - 1)
    return lambda value: f"must be of type int{bits}" if _is_a(value, int) and not -edge <= value < edge else ""


def _date_time(value: Any) -> str:
    return "must be of type date-time" if isinstance(value, str) and parse_time(value) is None else ""


_FORMATS: dict[str, Check] = {"int32": _int_range(32), "int64": _int_range(64), "date-time": _date_time}
