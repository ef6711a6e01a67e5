"""Device selectors: the Common Expression Language over one device (``driver``, ``attributes``, ``capacity``).

Who stores a selector wants it to be readable, who allocates devices wants its answer; both come here.

Most expressions name the attributes that they read. Then devices that are equal in these share one answer, and forty thousand
devices of one model cost one evaluation.
"""

import re
from collections.abc import Hashable
from functools import lru_cache
from typing import Any

import msgspec

from koordinator.api.dra import Device
from koordinator.kube.semantics import cel, cellibrary

LONGEST = 10 * 1024
"""Kubernetes' limit for the text of an expression."""
MOST_ROUNDS = 200_000
"""Of nested macros over a device: about a second. Kubernetes limits what an expression may cost in a like way."""
_ATTRIBUTES = 32
"""A device has no more attributes and capacities."""
_ANSWERS = 65_536
_READ = re.compile(r"""\bdevice\s*\.\s*(attributes|capacity)\s*\[\s*(["'])([^"']*)\2\s*\]\s*\.\s*([A-Za-z_]\w*)\b(?!\s*\()""")
_DOMAIN = re.compile(r"""\bdevice\s*\.\s*(attributes|capacity)\s*\[\s*(["'])([^"']*)\2\s*\]""")
_DRIVER = re.compile(r"\bdevice\s*\.\s*driver\b")
_DEVICE = re.compile(r"\bdevice\b")
_TEXT = re.compile(r"""\"(?:\\.|[^"\\])*\"|'(?:\\.|[^'\\])*'""")
_PARENTHESIS = re.compile(r"(\.\s*(?:all|exists|exists_one|existsOne|map|filter)\s*)?\(|\)")

Json = dict[str, Any]


class SelectorError(ValueError):
    """An expression that cannot be read, or that failed on a device."""


class Selector:
    """One expression, compiled. Remembers its answers."""

    def __init__(self, program: cel.Program) -> None:
        self.source = source = program.source
        self._program = program
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
        if isinstance(answer, SelectorError):  # a fresh one: whoever raises an exception again makes its traceback longer
            raise SelectorError(str(answer))
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
            answer = self._program.evaluate({"device": _view(driver, device, self._defaults)})
        except ValueError as err:  # of the expression, or a quantity of the device that cannot be read
            return SelectorError(str(err))
        if not isinstance(answer, bool):
            return SelectorError(f"must evaluate to bool, not {type(answer).__name__}")
        return answer


def _reads(source: str) -> tuple[tuple[str, str, str], ...] | None:
    """The attributes that an expression reads, as (kind, domain, name); None when it does more than read such."""
    found = _READ.findall(source)
    if len(_DEVICE.findall(source)) != len(found) + len(_DRIVER.findall(source)):
        return None
    return tuple(dict.fromkeys((kind, domain, name) for kind, _, domain, name in found))


def _rounds(source: str) -> int:
    """How often the innermost macro may go round: over all attributes of a device, or a list in the text, at every level."""
    bare = _TEXT.sub("", source)
    deepest, open_ = 0, list[bool]()
    for found in _PARENTHESIS.finditer(bare):
        if found[0] == ")":
            del open_[-1:]
        else:
            open_.append(found[1] is not None)
            deepest = max(deepest, sum(open_))
    return int(max(_ATTRIBUTES, bare.count(",") + 1) ** deepest)


@lru_cache(maxsize=4096)
def compile_(expression: str) -> Selector | SelectorError:
    """An expression over ``device``, or why it is none."""
    if len(expression) <= LONGEST and _rounds(expression) > MOST_ROUNDS:
        return SelectorError("compilation failed: too many nested macros, evaluating would take too long")
    try:
        return Selector(cel.compile_(expression, frozenset({"device"}), LONGEST))
    except cel.CelError as err:
        return SelectorError(str(err))


def _view(driver: str, device: Device, defaults: tuple[tuple[str, str], ...]) -> Json:
    """The variable ``device``: attributes and capacity by domain, which is the driver's where the name has none."""
    view: Json = {"driver": driver, "attributes": {}, "capacity": {}, "allowMultipleAllocations": False}
    for kind, domain in defaults:
        view[kind].setdefault(domain, {})
    for name, attribute in (device.attributes or {}).items():
        if (found := attribute.value) is not None:
            type_, value = found
            _put(view["attributes"], driver, name, cellibrary.version(value) if type_ == "version" else value)
    for name, capacity in (device.capacity or {}).items():
        _put(view["capacity"], driver, name, cellibrary.amount(str(capacity.value)))
    return view


def _put(held: Json, driver: str, name: str, value: Any) -> None:
    domain, slash, plain = name.partition("/")
    held.setdefault(domain if slash else driver, {})[plain if slash else name] = value
