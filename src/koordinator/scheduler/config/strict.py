"""YAML or JSON into typed structs, strictly: a field that is unknown, double or of the wrong type is named by its path."""

import re
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from koordinator.api import durations
from koordinator.errors import ConfigInvalid

T = TypeVar("T")

EFFECT = "the scheduler does not start"
_AT = re.compile(r"(.*) - at `\$\.?(.*)`$", re.DOTALL)


def parse(text: str, where: str) -> Any:
    """Plain data. Raises: ConfigInvalid with line and column, also for a key that stands twice."""
    import yaml

    class Loader(yaml.CSafeLoader):
        pass

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
    try:
        return yaml.load(text, Loader)  # noqa: S506 — a SafeLoader
    except yaml.MarkedYAMLError as err:
        mark = err.problem_mark
        place = f"{where}, line {mark.line + 1}, column {mark.column + 1}" if mark else where
        raise ConfigInvalid(place, _line(text, mark), err.problem or "is not YAML", EFFECT) from None
    except yaml.YAMLError as err:
        raise ConfigInvalid(where, text[:40], f"is not YAML ({err})", EFFECT) from None


def _line(text: str, mark: Any) -> str:
    lines = text.splitlines()
    return lines[mark.line].strip()[:80] if mark and mark.line < len(lines) else ""


def _mapping(loader: Any, node: Any) -> dict[Any, Any]:
    import yaml

    seen = set()
    for key, _ in node.value:
        name = loader.construct_object(key)
        if not isinstance(name, str | int | float | bool):
            raise yaml.constructor.ConstructorError(None, None, "a key must be text", key.start_mark)
        if name in seen:
            raise yaml.constructor.ConstructorError(None, None, f"field {name!r} stands twice", key.start_mark)
        seen.add(name)
    plain: dict[Any, Any] = loader.construct_mapping(node, deep=True)
    return plain


def convert(value: Any, type_: type[T], where: str) -> T:
    """Plain data as a struct; ``null`` is "absent". Raises: ConfigInvalid naming the field's path."""
    plain = _without_nulls({} if value is None else value)
    _check(plain, inspect.type_info(type_), where)
    try:
        return msgspec.convert(plain, type_, str_keys=True)
    except msgspec.ValidationError as err:
        match = _AT.match(str(err))
        reason, path = (match[1], match[2]) if match else (str(err), "")
        raise ConfigInvalid(joined(where, path), found(plain, path), f"is of the wrong type: {reason}", EFFECT) from None


def joined(where: str, path: str) -> str:
    return f"{where}.{path}" if where and path else where or path or "configuration"


def found(value: Any, path: str) -> Any:
    """What stands at a path, for the error message; the whole when it cannot be followed."""
    for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path):
        try:
            value = value[name] if name else value[int(index)]
        except (KeyError, IndexError, TypeError):
            break
    return value


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _check(value: Any, info: inspect.Type, where: str) -> None:
    """What msgspec does not look at: unknown fields, and texts that must be durations."""
    if isinstance(info, inspect.Metadata):
        if (info.extra or {}).get("format") == "duration":
            _check_duration(value, where)
        _check(value, info.type, where)
    elif isinstance(info, inspect.UnionType):
        for one in info.types:
            if isinstance(one, inspect.StructType | inspect.ListType | inspect.DictType | inspect.Metadata):
                _check(value, one, where)
    elif isinstance(info, inspect.StructType) and isinstance(value, dict):
        _check_struct(value, info, where)
    elif isinstance(info, inspect.ListType) and isinstance(value, list):
        for index, item in enumerate(value):
            _check(item, info.item_type, f"{where}[{index}]")
    elif isinstance(info, inspect.DictType) and isinstance(value, dict):
        for key, item in value.items():
            _check(item, info.value_type, f"{where}[{key}]")


def _check_struct(value: dict[str, Any], info: inspect.StructType, where: str) -> None:
    known = {field.encode_name: field.type for field in info.fields}
    for name, item in value.items():
        if name not in known:
            near = ", ".join(sorted(known))
            raise ConfigInvalid(joined(where, str(name)), item, f"is not a known field (there are {near})", EFFECT)
        _check(item, known[name], joined(where, name))


def _check_duration(value: Any, where: str) -> None:
    try:
        if isinstance(value, str):
            durations.parse(value)
    except ValueError:
        raise ConfigInvalid(where, value, "must be a duration such as 30s or 1m30s", EFFECT) from None
