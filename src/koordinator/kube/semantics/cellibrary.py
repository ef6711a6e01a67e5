"""What expressions may call beyond the core language: the library's strings, lists, sets and mathematics, and Kubernetes' own
functions for patterns, quantities, versions, URLs and IP addresses.

``matches`` is the library's own: its time grows with the text, whatever the pattern.

The library has no types of its own for the latter, so they travel as maps with one secret key that only the functions below
look into. Being maps of one normal form they compare equal when they are equal; ``string()`` does not know them.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from functools import lru_cache, total_ordering
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs, urlsplit

from koordinator.api import quantity

Json = dict[str, Any]

_QUANTITY, _SEMVER, _URL, _IP, _CIDR = "@quantity", "@semver", "@url", "@ip", "@cidr"
_NUMBERED = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")
_VERB = re.compile(r"%(?:\.(\d+))?(.)", re.DOTALL)


@lru_cache(maxsize=1)
def functions() -> Mapping[str, Callable[..., Any]]:
    """All of them by name; those of a namespace as ``math.ceil``."""
    import cel
    from cel import stdlib

    context = cel.Context()
    stdlib.add_stdlib_to_context(context)
    return {**context.functions, **_TEXTS, **_QUANTITIES, **_NETWORK}


def version(text: str) -> Json:
    """A semantic version as expressions see it, unchecked."""
    return {_SEMVER: text}


def amount(text: str) -> Json:
    """A quantity as expressions see it. Exact: numbers of the language end at 64 bits, nano-units of memory do not."""
    return {_QUANTITY: str(quantity.parse(text).nano)}


def _held(value: Any, *kinds: str) -> str:
    """What a map of one of ``kinds`` holds. Raises: ValueError."""
    for kind in kinds:
        if isinstance(value, dict) and kind in value:
            text: str = value[kind]
            return text
    raise ValueError(f"no such overload: not {' or '.join(kind.removeprefix('@') for kind in kinds)}")


def _is(make: Callable[[str], Any]) -> Callable[[str], bool]:
    """Whether ``make`` takes a text."""

    def known(text: str) -> bool:
        try:
            make(text)
        except ValueError:
            return False
        return True

    return known


# --- texts and lists ------------------------------------------------------------------------------------------------------


def _find(text: str, pattern: str) -> str:
    found = re.search(pattern, text)
    return found[0] if found else ""


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found = [match[0] for match in re.finditer(pattern, text)]
    return found if limit < 0 else found[:limit]


def _index_of(where: Any, what: Any) -> int:
    if isinstance(where, str):
        return where.find(what)
    return next((index for index, item in enumerate(where) if item == what), -1)


def _last_index_of(where: Any, what: Any) -> int:
    if isinstance(where, str):
        return where.rfind(what)
    return next((index for index in range(len(where) - 1, -1, -1) if where[index] == what), -1)


def _format(template: str, values: list[Any]) -> str:
    """``'%s is %d'.format(['a', 1])``. Raises: ValueError."""
    waiting = iter(values)

    def fill(verb: re.Match[str]) -> str:
        precision, letter = verb[1], verb[2]
        if letter == "%":
            return "%"
        value = next(waiting, None)
        if value is None:
            raise ValueError("format: fewer values than verbs")
        if letter == "s":
            return str(value).lower() if isinstance(value, bool) else str(value)
        if letter not in "dfebxXo":
            raise ValueError(f"format: unrecognized formatting clause {letter!r}")
        return format(value, f".{precision or 6}{letter}" if letter in "fe" else letter)

    return _VERB.sub(fill, template)


_TEXTS: dict[str, Callable[..., Any]] = {
    "find": _find,
    "findAll": _find_all,
    "format": _format,
    "indexOf": _index_of,
    "lastIndexOf": _last_index_of,
    "isSorted": lambda items: all(before <= after for before, after in pairwise(items)),
}


# --- quantities and versions ----------------------------------------------------------------------------------------------


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


def _semver(text: str) -> Json:
    _Version(text)
    return version(text)


def _ordered(value: Any) -> Any:
    """A quantity or a version, to compare. Raises: ValueError."""
    held = _held(value, _QUANTITY, _SEMVER)
    return int(held) if _QUANTITY in value else _Version(held)


def _compare(one: Any, other: Any) -> int:
    first, second = _ordered(one), _ordered(other)
    if type(first) is not type(second):
        raise ValueError("no such overload: a quantity cannot be compared with a version")
    return int(first > second) - int(first < second)


def _nano(value: Any) -> int:
    """Of a quantity or, as in ``memory.add(5)``, of a whole number."""
    return value * quantity.NANO if isinstance(value, int) else int(_held(value, _QUANTITY))


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


def _number(value: Any, place: int) -> int:
    return _Version(_held(value, _SEMVER)).numbers[place]


_QUANTITIES: dict[str, Callable[..., Any]] = {
    "quantity": amount,
    "isQuantity": _is(quantity.parse),
    "semver": _semver,
    "isSemver": _is(_Version),
    "compareTo": _compare,
    "isGreaterThan": lambda one, other: _compare(one, other) > 0,
    "isLessThan": lambda one, other: _compare(one, other) < 0,
    "add": lambda one, other: {_QUANTITY: str(_nano(one) + _nano(other))},
    "sub": lambda one, other: {_QUANTITY: str(_nano(one) - _nano(other))},
    "sign": lambda one: (_nano(one) > 0) - (_nano(one) < 0),
    "asInteger": _whole,
    "isInteger": _is_whole,
    "asApproximateFloat": lambda one: _nano(one) / quantity.NANO,
    "major": lambda one: _number(one, 0),
    "minor": lambda one: _number(one, 1),
    "patch": lambda one: _number(one, 2),
}


# --- URLs and addresses ---------------------------------------------------------------------------------------------------


def _url(text: str) -> Json:
    """An absolute URL, or an absolute path. Raises: ValueError."""
    parts = urlsplit(text)
    if not (text.startswith("/") or (parts.scheme and parts.netloc)):
        raise ValueError(f"URL parse error during conversion from string: {text!r} is neither absolute nor a path")
    return {_URL: text}


def _url_part(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda url: read(urlsplit(_held(url, _URL)))


def _ip(value: Any) -> Json:
    """Of a text, or the address in a CIDR. Raises: ValueError."""
    text = value if isinstance(value, str) else _held(value, _CIDR).partition("/")[0]
    if "%" in text:
        raise ValueError(f"IP Address {text!r} with a zone is not allowed")
    return {_IP: str(ipaddress.ip_address(text))}


def _address(value: Any) -> Any:
    return ipaddress.ip_address(value if isinstance(value, str) else _held(value, _IP))


def _cidr(text: str) -> Json:
    if "/" not in text:
        raise ValueError(f"network address parse error during conversion from string: {text!r}")
    return {_CIDR: str(ipaddress.ip_interface(text))}


def _network(value: Any) -> Any:
    return ipaddress.ip_network(value if isinstance(value, str) else _held(value, _CIDR), strict=False)


def _contains(one: Any, other: Any) -> bool:
    outer, inner = _network(one), _network(other)
    return outer.version == inner.version and bool(inner.subnet_of(outer))


_NETWORK: dict[str, Callable[..., Any]] = {
    "url": _url,
    "isURL": _is(_url),
    "getScheme": _url_part(lambda parts: parts.scheme),
    "getHost": _url_part(lambda parts: parts.netloc.rpartition("@")[2]),
    "getHostname": _url_part(lambda parts: parts.hostname or ""),
    "getPort": _url_part(lambda parts: "" if parts.port is None else str(parts.port)),
    "getEscapedPath": _url_part(lambda parts: parts.path),
    "getQuery": _url_part(lambda parts: parse_qs(parts.query, keep_blank_values=True)),
    "ip": _ip,
    "isIP": _is(_ip),
    "ip.isCanonical": lambda text: _ip(text)[_IP] == text,
    "family": lambda value: _address(value).version,
    "isUnspecified": lambda value: _address(value).is_unspecified,
    "isLoopback": lambda value: _address(value).is_loopback,
    "isLinkLocalUnicast": lambda value: _address(value).is_link_local,
    "isLinkLocalMulticast": lambda value: (
        _address(value) in ipaddress.ip_network("224.0.0.0/24" if _address(value).version == 4 else "ff02::/16")
    ),
    "cidr": _cidr,
    "isCIDR": _is(_cidr),
    "containsIP": lambda value, other: _address(other) in _network(value),
    "containsCIDR": _contains,
    "prefixLength": lambda value: _network(value).prefixlen,
    "masked": lambda value: {_CIDR: str(_network(value))},
}
