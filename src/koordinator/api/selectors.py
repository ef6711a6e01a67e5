"""Selectors, compiled once and asked often: label selectors as objects, and label and field selectors as text.

A compiled ``Selector`` is asked with a map of labels (or of field values). A compiled selector without requirements matches
everything; "no selector at all" is the caller's case: ``compile_`` gives ``NOTHING`` for it, as the protocol mostly wants.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache

import msgspec

from koordinator.api.meta import LabelSelector
from koordinator.api.numbers import decimal_int

EXISTS = "Exists"
DOES_NOT_EXIST = "DoesNotExist"
IN = "In"
NOT_IN = "NotIn"
GT = "Gt"
LT = "Lt"

_OBJECT_OPERATORS = (IN, NOT_IN, EXISTS, DOES_NOT_EXIST)
_OPERATORS = (*_OBJECT_OPERATORS, GT, LT)
_NAME = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)\Z", re.ASCII)
_PREFIX = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*\Z", re.ASCII)


class Requirement(msgspec.Struct, frozen=True):
    """One condition on one key. ``values`` has one entry for Gt and Lt, none for Exists and DoesNotExist."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value in self.values
            case "NotIn":
                return value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None
            case "Gt" | "Lt":
                return value is not None and _compares(self.operator, value, next(iter(self.values), ""))
        return False


class Selector(msgspec.Struct, frozen=True):
    """All requirements together. ``never`` matches nothing whatever the labels."""

    requirements: tuple[Requirement, ...] = ()
    never: bool = False

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        if self.never:
            return False
        found = labels or {}
        for requirement in self.requirements:  # noqa: SIM110 — half the time of all() with a generator, and this is hot
            if not requirement.matches(found):
                return False
        return True

    @property
    def everything(self) -> bool:
        return not self.never and not self.requirements


EVERYTHING = Selector()
NOTHING = Selector(never=True)


def compile_(selector: LabelSelector | None) -> Selector:
    """A selector to be asked often. None matches nothing, an empty one everything. Raises ValueError naming what is wrong."""
    if selector is None:
        return NOTHING
    found = [Requirement(key, IN, frozenset((value,))) for key, value in (selector.match_labels or {}).items()]
    found += [_checked(one.key, one.operator, one.values or [], _OBJECT_OPERATORS) for one in selector.match_expressions or []]
    return Selector(tuple(found))


def matches(selector: LabelSelector | None, labels: Mapping[str, str]) -> bool:
    """Whether ``labels`` fit, for selectors that are asked once; an unknown operator matches nothing."""
    if selector is None:
        return False
    wanted = selector.match_labels or {}
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        Requirement(one.key, one.operator, frozenset(one.values or ())).matches(labels)
        for one in selector.match_expressions or []
    )


def is_empty(selector: LabelSelector | None) -> bool:
    """Whether the selector has no requirement at all (it would select everything, or nothing when absent)."""
    return selector is None or not (selector.match_labels or selector.match_expressions)


def problem(selector: LabelSelector | None) -> str:
    """What is wrong with a selector, naming the field; empty when nothing is."""
    for index, requirement in enumerate(selector.match_expressions or [] if selector else []):
        where = f"matchExpressions[{index}]"
        match requirement.operator:
            case "In" | "NotIn" if not requirement.values:
                return f"{where}.values: must be given when the operator is {requirement.operator}"
            case "Exists" | "DoesNotExist" if requirement.values:
                return f"{where}.values: must be empty when the operator is {requirement.operator}"
            case "In" | "NotIn" | "Exists" | "DoesNotExist":
                continue
            case other:
                return f"{where}.operator: {other!r} is not one of In, NotIn, Exists, DoesNotExist"
    return ""


@lru_cache(maxsize=1024)
def parse_labels(text: str) -> Selector:
    """The text form ``a=b,c!=d,e in (x,y),f notin (z),g,!h,i>1,j<2``. Empty matches everything. Raises ValueError."""
    return Selector(tuple(_parse_requirement(item) for item in _split_outside_brackets(text)))


@lru_cache(maxsize=1024)
def parse_fields(text: str) -> Selector:
    """The text form ``spec.nodeName=n1,status.phase!=Failed``. Empty matches everything. Raises ValueError."""
    return Selector(tuple(_parse_field(item) for item in _split_escaped(text)))


def _checked(key: str, operator: str, values: list[str], operators: tuple[str, ...] = _OPERATORS) -> Requirement:
    if operator not in operators:
        raise ValueError(f'"{operator}" is not a valid label selector operator')
    _check_key(key)
    if operator in (IN, NOT_IN) and not values:
        raise ValueError(f"{key}: for 'in', 'notin' operators, values set can't be empty")
    if operator in (EXISTS, DOES_NOT_EXIST) and values:
        raise ValueError(f"{key}: values set must be empty for exists and does not exist")
    if operator in (GT, LT) and (len(values) != 1 or not re.fullmatch(r"[+-]?[0-9]{1,18}", values[0])):
        raise ValueError(f"{key}: for 'Gt', 'Lt' operators, exactly one integer value is required")
    for value in values:
        if value and (len(value) > 63 or not _NAME.match(value)):
            raise ValueError(f"{key}: {value[:80]!r} is not a valid label value")
    return Requirement(key, operator, frozenset(values))


def _check_key(key: str) -> None:
    prefix, slash, name = key.rpartition("/")
    if len(name) > 63 or not _NAME.match(name) or (slash and (len(prefix) > 253 or not _PREFIX.match(prefix))):
        raise ValueError(f"{key[:80]!r} is not a valid label key")


def _compares(operator: str, value: str, bound: str) -> bool:
    try:
        number, limit = decimal_int(value), decimal_int(bound)
    except ValueError:
        return False
    return number > limit if operator == GT else number < limit


def _split_outside_brackets(text: str) -> list[str]:
    items = [item.strip() for item in re.split(r",(?![^(]*\))", text)]
    if items == [""]:
        return []
    if "" in items:
        raise ValueError(f"{text[:200]!r} is not a label selector: an item is empty")
    return items


def _parse_requirement(item: str) -> Requirement:
    for shape, build in _FORMS:
        if match := shape.fullmatch(item):
            return build(match)
    raise ValueError(f"{item[:200]!r} is not a label selector requirement")


def _set_based(match: re.Match[str]) -> Requirement:
    values = [value.strip() for value in match[3].split(",")]
    return _checked(match[1], IN if match[2] == "in" else NOT_IN, values)


def _equality(match: re.Match[str]) -> Requirement:
    operator = {"=": IN, "==": IN, "!=": NOT_IN, ">": GT, "<": LT}[match[2]]
    return _checked(match[1], operator, [match[3]])


_FORMS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Requirement]], ...] = (
    (re.compile(r"!\s*([^\s!=<>(),]+)"), lambda match: _checked(match[1], DOES_NOT_EXIST, [])),
    (re.compile(r"([^\s!=<>(),]+)"), lambda match: _checked(match[1], EXISTS, [])),
    (re.compile(r"([^\s!=<>(),]+)\s+(in|notin)\s*\(([^()]*)\)"), _set_based),
    (re.compile(r"([^\s!=<>(),]+)\s*(==|!=|=|>|<)\s*([^\s!=<>(),]*)"), _equality),
)


def _split_escaped(text: str) -> list[str]:
    return [item for item in re.findall(r"(?:[^,\\]|\\.)+", text) if item.strip()]


def _parse_field(item: str) -> Requirement:
    match = re.fullmatch(r"\s*([^\s=!\\]+)\s*(==|!=|=)((?:[^=\\]|\\.)*)", item)
    if match is None:
        raise ValueError(f"invalid selector: {item[:200]!r}; can't understand {item[:200]!r}")
    value = re.sub(r"\\([,=\\])", r"\1", match[3])
    return Requirement(match[1], NOT_IN if match[2] == "!=" else IN, frozenset((value,)))
