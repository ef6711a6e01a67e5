"""The part of JSONPath that printer columns use: fields, indexes, ``[*]`` and ``[?(@.a=="b")]``."""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

Step = Callable[[Any], Iterator[Any]]
_TOKEN = re.compile(
    r"""\.(?P<field>(?:[^.\[\\]|\\.)+)
      | \[\?\(\s*@\.(?P<key>[^=\s]+)\s*==\s*["'](?P<value>[^"']*)["']\s*\)\]
      | \[["'](?P<quoted>[^"']+)["']\]
      | \[(?P<index>-?\d+)\]
      | \[(?P<all>\*)\]""",
    re.VERBOSE,
)


def find(path: str, obj: Any) -> list[Any]:
    """Every value at the path. Raises: ValueError when the path cannot be read."""
    values = [obj]
    for step in _steps(path):
        values = [found for value in values for found in step(value)]
    return values


@lru_cache(maxsize=512)
def _steps(path: str) -> tuple[Step, ...]:
    steps, position = [], 0
    while position < len(path):
        match = _TOKEN.match(path, position)
        if match is None:
            raise ValueError(f"{path!r} is not a JSON path that is understood here")
        steps.append(_step(match))
        position = match.end()
    return tuple(steps)


def _step(match: re.Match[str]) -> Step:
    if (field := match["field"] or match["quoted"]) is not None:
        name = re.sub(r"\\(.)", r"\1", field)
        return _all if name == "*" else lambda value: iter([value[name]] if isinstance(value, dict) and name in value else [])
    if match["index"] is not None:
        index = int(match["index"])
        return lambda value: iter(value[index : index + 1 or None] if isinstance(value, list) else [])
    if match["all"]:
        return _all
    key, wanted = match["key"], match["value"]
    return lambda value: (item for item in _all(value) if str(next(iter(find(f".{key}", item)), "")) == wanted)


def _all(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        yield from value
    elif isinstance(value, dict):
        yield from value.values()
