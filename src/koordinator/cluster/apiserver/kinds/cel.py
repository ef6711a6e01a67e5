"""Rules in the Common Expression Language: of schemas (``x-kubernetes-validations``) and of webhooks (``matchConditions``).

The language comes from a library that is loaded when the first expression is; a program is compiled once. Beside the core
language there are the string, list, set and math functions of other implementations, and Kubernetes' own that work on plain
values. What needs types of its own (quantities, URLs, IP addresses, the authorizer, optionals) is refused by name when the
expression is stored.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Any

import msgspec

_COST_LIMIT = 16 * 1024
_OPERATOR = re.compile(r"\W|^_")
_NATIVE = frozenset(
    {"size", "string", "int", "uint", "double", "bool", "bytes", "timestamp", "duration", "type", "dyn", "has"}
    | {"contains", "startsWith", "endsWith", "matches", "max", "min"}
    | {"getFullYear", "getMonth", "getDayOfYear", "getDayOfMonth", "getDate", "getDayOfWeek"}
    | {"getHours", "getMinutes", "getSeconds", "getMilliseconds"}
)


class CelError(ValueError):
    """An expression that cannot be read, or that failed on a value."""


class Program(msgspec.Struct, frozen=True):
    """One expression, compiled."""

    source: str
    variables: frozenset[str]
    _run: Callable[[dict[str, Any]], Any]

    def __call__(self, values: dict[str, Any]) -> Any:
        """The value of the expression. Raises: CelError."""
        try:
            return self._run(values)
        except Exception as err:  # noqa: BLE001 — the library passes on whatever a function raises
            raise CelError(f"{self.source}: {_shortly(err)}") from None


@lru_cache(maxsize=4096)
def compile_(expression: str, allowed: frozenset[str]) -> Program:
    """Compile an expression over some variables. Raises: CelError."""
    import cel

    if len(expression) > _COST_LIMIT:
        raise CelError("the expression is too long")
    try:
        program = cel.compile(expression)
    except Exception as err:  # noqa: BLE001 — the library's parser errors have no common base
        raise CelError(f"compilation failed: {_shortly(err)}") from None
    known = _functions()
    called = [name for name in program.functions() if not _OPERATOR.search(name)]
    functions = {name: known[name] for name in called if name in known}
    if unknown := [name for name in called if name not in known and name not in _NATIVE]:
        raise CelError(f"compilation failed: undeclared reference to '{unknown[0]}' (not supported here)")
    named = frozenset(program.variables())
    roots = named & _ROOTS
    if strange := sorted(roots - allowed):
        raise CelError(f"compilation failed: undeclared reference to '{strange[0]}'")

    def run(values: dict[str, Any]) -> Any:
        return program.execute(cel.Context(variables=values, functions=functions))

    return Program(expression, named, run)


_ROOTS = frozenset(
    {"self", "oldSelf", "object", "oldObject", "request", "namespaceObject", "authorizer", "params", "variables"}
)


def _shortly(err: Exception) -> str:
    return " ".join(str(err).partition("\n")[0].split())[:300]


@lru_cache(maxsize=1)
def _functions() -> Mapping[str, Callable[..., Any]]:
    """Beyond the core language."""
    import cel
    from cel import stdlib

    context = cel.Context()
    stdlib.add_stdlib_to_context(context)
    return {**context.functions, **_OWN}


def _matches(text: str, pattern: str) -> bool:
    return re.search(pattern, text) is not None


def _find(text: str, pattern: str) -> str:
    found = re.search(pattern, text)
    return found[0] if found else ""


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found = [match[0] for match in re.finditer(pattern, text)]
    return found if limit < 0 else found[:limit]


def _is_sorted(items: list[Any]) -> bool:
    return all(before <= after for before, after in pairwise(items))


def _last_index_of(where: Any, what: Any) -> int:
    if isinstance(where, str):
        return where.rfind(what)
    return next((index for index in range(len(where) - 1, -1, -1) if where[index] == what), -1)


def _index_of(where: Any, what: Any) -> int:
    if isinstance(where, str):
        return where.find(what)
    return next((index for index, item in enumerate(where) if item == what), -1)


_OWN: dict[str, Callable[..., Any]] = {
    "matches": _matches,
    "find": _find,
    "findAll": _find_all,
    "isSorted": _is_sorted,
    "indexOf": _index_of,
    "lastIndexOf": _last_index_of,
}
