"""Device selectors: the Common Expression Language over one device (``driver``, ``attributes``, ``capacity``).

Who stores a selector wants it to be readable, who allocates devices wants its answer; both come here. The language comes from a
library that is loaded when the first expression is. It has no types of its own for quantities and versions, so these travel as
maps with one secret key, which only the functions below look into.

Most expressions name the attributes that they read. Then devices that are equal in these share one answer, and forty thousand
devices of one model cost one evaluation.
"""

import re
from collections.abc import Callable, Hashable, Mapping
from functools import lru_cache, total_ordering
from typing import Any

import msgspec

from koordinator.api import quantity
from koordinator.api.dra import Device

LONGEST = 10 * 1024
"""Kubernetes' limit for the text of an expression."""
_QUANTITY, _SEMVER = "@quantity", "@semver"
_ANSWERS = 65_536
_READ = re.compile(r"""\bdevice\s*\.\s*(attributes|capacity)\s*\[\s*(["'])([^"']*)\2\s*\]\s*\.\s*([A-Za-z_]\w*)\b(?!\s*\()""")
_DOMAIN = re.compile(r"""\bdevice\s*\.\s*(attributes|capacity)\s*\[\s*(["'])([^"']*)\2\s*\]""")
_DRIVER = re.compile(r"\bdevice\s*\.\s*driver\b")
_DEVICE = re.compile(r"\bdevice\b")
_OPERATOR = re.compile(r"\W|^_")
_NUMBERED = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")
_NATIVE = frozenset(
    {"size", "string", "int", "uint", "double", "bool", "bytes", "timestamp", "duration", "type", "dyn", "has"}
    | {"contains", "startsWith", "endsWith", "matches", "max", "min"}
)

Json = dict[str, Any]


class SelectorError(ValueError):
    """An expression that cannot be read, or that failed on a device."""


class Selector:
    """One expression, compiled. Remembers its answers."""

    def __init__(self, source: str, run: Callable[[Json], Any]) -> None:
        self.source, self._run = source, run
        self._reads = _reads(source)
        domains = [(kind, domain) for kind, _, domain in _DOMAIN.findall(source)]
        self._defaults = () if re.search(r"\bin\s+device\b", source) else tuple(dict.fromkeys(domains))
        self._answers: dict[Hashable, bool | SelectorError] = {}

    def matches(self, driver: str, device: Device) -> bool:
        """Raises: SelectorError."""
        key = self._key(driver, device)
        answer = None if key is None else self._answers.get(key)
        if answer is None:
            answer = self._evaluate(driver, device)
            if key is not None:
                if len(self._answers) >= _ANSWERS:
                    self._answers.clear()
                self._answers[key] = answer
        if isinstance(answer, SelectorError):
            raise answer
        return answer

    def _key(self, driver: str, device: Device) -> Hashable:
        """What the expression reads of the device; None when that cannot be told from its text."""
        if self._reads is None:
            return None
        found: list[Hashable] = [driver]
        for kind, domain, name in self._reads:
            held = (device.attributes if kind == "attributes" else device.capacity) or {}
            value = held.get(f"{domain}/{name}")
            if value is None and domain == driver:
                value = held.get(name)
            found.append(None if value is None else msgspec.json.encode(value))
        return tuple(found)

    def _evaluate(self, driver: str, device: Device) -> bool | SelectorError:
        try:
            answer = self._run({"device": _view(driver, device, self._defaults)})
        except KeyError as err:
            return SelectorError(f"no such key: {err.args[0] if err.args else err}")
        except Exception as err:  # noqa: BLE001 — the library passes on whatever a function raises
            return SelectorError(_shortly(err))
        if not isinstance(answer, bool):
            return SelectorError(f"must evaluate to bool, not {type(answer).__name__}")
        return answer


def _reads(source: str) -> tuple[tuple[str, str, str], ...] | None:
    """The attributes that an expression reads, as (kind, domain, name); None when it does more than read such."""
    found = _READ.findall(source)
    if len(_DEVICE.findall(source)) != len(found) + len(_DRIVER.findall(source)):
        return None
    return tuple(dict.fromkeys((kind, domain, name) for kind, _, domain, name in found))


@lru_cache(maxsize=4096)
def compile_(expression: str) -> Selector | SelectorError:
    """An expression over ``device``, or why it is none."""
    import cel

    if len(expression) > LONGEST:
        return SelectorError(f"too long: may not be more than {LONGEST} bytes")
    try:
        program = cel.compile(expression)
    except Exception as err:  # noqa: BLE001 — the library's parser errors have no common base
        return SelectorError(_parse_error(err))
    known = _functions()
    called = [name for name in program.functions() if not _OPERATOR.search(name)]
    named = set(program.variables())
    for name in called:
        if name not in known and name not in _NATIVE:
            return SelectorError(f"undeclared reference to '{name}'")
    if "device" not in named and (strange := sorted(named - {"device"})):
        return SelectorError(f"undeclared reference to '{strange[0]}'")
    functions = {name: known[name] for name in called if name in known}

    def run(values: Json) -> Any:
        return program.execute(cel.Context(variables=values, functions=functions))

    return Selector(expression, run)


def _view(driver: str, device: Device, defaults: tuple[tuple[str, str], ...]) -> Json:
    """The variable ``device``: attributes and capacity by domain, which is the driver's where the name has none."""
    view: Json = {"driver": driver, "attributes": {}, "capacity": {}, "allowMultipleAllocations": False}
    for kind, domain in defaults:
        view[kind].setdefault(domain, {})
    for name, attribute in (device.attributes or {}).items():
        if (found := attribute.value) is not None:
            type_, value = found
            _put(view["attributes"], driver, name, {_SEMVER: value} if type_ == "version" else value)
    for name, capacity in (device.capacity or {}).items():
        _put(view["capacity"], driver, name, _quantity(str(capacity.value)))
    return view


def _put(held: Json, driver: str, name: str, value: Any) -> None:
    domain, slash, plain = name.partition("/")
    held.setdefault(domain if slash else driver, {})[plain if slash else name] = value


def _parse_error(err: Exception) -> str:
    """The library repeats the expression before it says what is wrong."""
    return " ".join(str(err).rpartition("ERROR: ")[2].partition("\n")[0].split())[:300]


def _shortly(err: Exception) -> str:
    return " ".join(str(err).partition("\n")[0].split())[:300]


# --- functions -----------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _functions() -> Mapping[str, Callable[..., Any]]:
    """Beyond the core language: the library's strings, lists and sets, and Kubernetes' quantities and versions."""
    import cel
    from cel import stdlib

    context = cel.Context()
    stdlib.add_stdlib_to_context(context)
    return {**context.functions, **_OWN}


def _quantity(text: str) -> Json:
    """Exact: numbers of the language end at 64 bits, nano-units of memory do not."""
    return {_QUANTITY: str(quantity.parse(text).nano)}


def _is_quantity(text: str) -> bool:
    try:
        quantity.parse(text)
    except ValueError:
        return False
    return True


@total_ordering
class _Version:
    """Semantic versioning's order."""

    def __init__(self, text: str) -> None:
        found = _NUMBERED.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is not a semantic version")
        self.numbers = int(found[1]), int(found[2]), int(found[3])
        parts = found[4].split(".") if found[4] else []
        self._order = (
            self.numbers,
            not parts,
            [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts],
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Version) and self._order == other._order

    def __hash__(self) -> int:
        return hash(self.numbers)

    def __lt__(self, other: "_Version") -> bool:
        return self._order < other._order


def _is_semver(text: str) -> bool:
    return _NUMBERED.fullmatch(text) is not None


def _semver(text: str) -> Json:
    _Version(text)
    return {_SEMVER: text}


def _read(value: Any) -> Any:
    """A quantity or a version, to compare and calculate with. Raises: ValueError."""
    if isinstance(value, dict) and _QUANTITY in value:
        return int(value[_QUANTITY])
    if isinstance(value, dict) and _SEMVER in value:
        return _Version(value[_SEMVER])
    raise ValueError("no such overload: neither a quantity nor a version")


def _compare(one: Any, other: Any) -> int:
    first, second = _read(one), _read(other)
    if type(first) is not type(second):
        raise ValueError("no such overload: a quantity cannot be compared with a version")
    return int(first > second) - int(first < second)


def _nano(value: Any) -> int:
    """Of a quantity or, as in ``memory.add(5)``, of a whole number."""
    return value * quantity.NANO if isinstance(value, int) else int(_read(value))


def _whole(value: Any) -> int:
    nano = _nano(value)
    if nano % quantity.NANO or abs(nano // quantity.NANO) >= 2**63:
        raise ValueError("cannot convert value to integer")
    return nano // quantity.NANO


def _is_whole(value: Any) -> bool:
    try:
        _whole(value)
    except ValueError:
        return False
    return True


_OWN: dict[str, Callable[..., Any]] = {
    "quantity": _quantity,
    "isQuantity": _is_quantity,
    "semver": _semver,
    "isSemver": _is_semver,
    "compareTo": _compare,
    "isGreaterThan": lambda one, other: _compare(one, other) > 0,
    "isLessThan": lambda one, other: _compare(one, other) < 0,
    "add": lambda one, other: {_QUANTITY: str(_nano(one) + _nano(other))},
    "sub": lambda one, other: {_QUANTITY: str(_nano(one) - _nano(other))},
    "sign": lambda one: (_nano(one) > 0) - (_nano(one) < 0),
    "asInteger": _whole,
    "isInteger": _is_whole,
    "asApproximateFloat": lambda one: _nano(one) / quantity.NANO,
    "major": lambda one: _read(one).numbers[0],
    "minor": lambda one: _read(one).numbers[1],
    "patch": lambda one: _read(one).numbers[2],
    "matches": lambda text, pattern: re.search(pattern, text) is not None,
}
