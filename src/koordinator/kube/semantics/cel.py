"""Expressions in the Common Expression Language, wherever Kubernetes takes them: rules of schemas
(``x-kubernetes-validations``), match conditions of webhooks, selectors of devices.

The language comes from a library that is loaded when the first expression is; a program is compiled once. What an expression
may call beyond the core language is in ``cellibrary``. Anything else is refused by name when the expression is stored, and not
when it is first needed: the authorizer, macros with two variables, ``.?`` and ``[?]``.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec

LONGEST = 16 * 1024
_OPERATOR = re.compile(r"\W|^_")
_NATIVE = frozenset(
    {"size", "string", "int", "uint", "double", "bool", "bytes", "timestamp", "duration", "type", "dyn", "has"}
    | {"contains", "startsWith", "endsWith", "matches", "max", "min"}
    | {"getFullYear", "getMonth", "getDayOfYear", "getDayOfMonth", "getDate", "getDayOfWeek"}
    | {"getHours", "getMinutes", "getSeconds", "getMilliseconds"}
)
_OPTIONALS = frozenset({"of", "none", "ofNonZeroValue", "hasValue", "value", "or", "orValue"})
_BOUND = re.compile(r"\.(?:all|exists|exists_one|existsOne|map|filter)\(\s*(\w+)\s*,")
"""A macro that gives its items a name."""


class CelError(ValueError):
    """An expression that cannot be read, or that failed on a value."""


class Program(msgspec.Struct, frozen=True):
    """One expression, compiled. ``variables`` are the names that it reads."""

    source: str
    variables: frozenset[str]
    _run: Callable[[dict[str, Any]], Any]

    def __call__(self, values: dict[str, Any]) -> Any:
        """The value of the expression. Raises: CelError that names the expression."""
        try:
            return self.evaluate(values)
        except CelError as err:
            raise CelError(f"{self.source}: {err}") from None

    def evaluate(self, values: dict[str, Any]) -> Any:
        """The same for callers that name the expression themselves. Raises: CelError."""
        try:
            return self._run(values)
        except KeyError as err:
            raise CelError(f"no such key: {err.args[0] if err.args else err}") from None
        except Exception as err:  # noqa: BLE001 — the library passes on whatever a function raises
            raise CelError(_first_line(err)) from None


@lru_cache(maxsize=4096)
def compile_(expression: str, allowed: frozenset[str], longest: int = LONGEST) -> Program:
    """Compile an expression over the variables ``allowed``. Raises: CelError."""
    import cel

    if len(expression) > longest:
        raise CelError(f"the expression is too long: may not be more than {longest} bytes")
    try:
        program = cel.compile(expression)
    except Exception as err:  # noqa: BLE001 — the library's parser errors have no common base
        raise CelError(f"compilation failed: {_parse_error(err)}") from None
    named = frozenset(program.variables())
    functions = _called({name for name in program.functions() if not _OPERATOR.search(name)}, named)
    spaces = {"optional", *(name.partition(".")[0] for name in functions if "." in name)}
    if strange := sorted(named - allowed - spaces - set(_BOUND.findall(expression))):
        raise CelError(f"compilation failed: undeclared reference to '{strange[0]}'")

    def run(values: dict[str, Any]) -> Any:
        return program.execute(cel.Context(variables=values, functions=functions))

    return Program(expression, named, run)


def _called(names: set[str], variables: frozenset[str]) -> dict[str, Callable[..., Any]]:
    """The functions that an expression needs; the parser takes ``math`` in ``math.ceil`` for a variable. Raises: CelError."""
    from koordinator.kube.semantics.cellibrary import functions

    known, found = functions(), {}
    for name in sorted(names):
        meant = [full for full in (name, *(f"{space}.{name}" for space in variables)) if full in known]
        if not meant and name not in _NATIVE and name not in _OPTIONALS:
            raise CelError(f"compilation failed: undeclared reference to '{name}' (not supported here)")
        found.update({full: known[full] for full in meant})
    return found


def optional(*value: Any) -> Any:
    """An optional value for an expression: with one argument that value, with none none."""
    import cel

    return cel.OptionalValue.of(value[0]) if value else cel.OptionalValue.none()


def _parse_error(err: Exception) -> str:
    """The library repeats the expression before it says what is wrong."""
    return _first_line(str(err).rpartition("ERROR: ")[2])


def _first_line(err: object) -> str:
    return " ".join(str(err).partition("\n")[0].split())[:300]
