"""What fields mean, for schemas and reference pages: the ``#:`` comment on a field's line, or right above it.

Read from the source only when a schema is asked for, so that types stay plain and decoding pays nothing.
"""

import inspect
import re
import sys
from functools import cache

_CLASS = re.compile(r"class (\w+)\b")
_FIELD = re.compile(r"    (\w+): .*?(?:  #: (.*))?$")
_ABOVE = re.compile(r"    #: (.*)$")


@cache
def field_docs(cls: type) -> dict[str, str]:
    """Attribute → meaning, inherited fields included. Empty where there is no source."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        docs |= _module_docs(base.__module__).get(base.__name__, {})
    return docs


@cache
def _module_docs(name: str) -> dict[str, dict[str, str]]:
    """Class → attribute → meaning, of one of our modules."""
    if not name.startswith("koordinator."):
        return {}
    try:
        lines = inspect.getsource(sys.modules[name]).splitlines()
    except OSError:
        return {}
    found: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    above: list[str] = []
    for line in lines:
        if match := _CLASS.match(line):
            current = found.setdefault(match[1], {})
        if match := _ABOVE.match(line):
            above.append(match[1])
            continue
        if match := _FIELD.match(line):
            text = " ".join([*above, match[2] or ""]).strip()
            if text:
                current[match[1]] = text
        above = []
    return found
