"""Durations in the protocol's text form, ``1h30m`` or ``1.5s``, as integer nanoseconds."""

import re

NANOSECOND = 1
MICROSECOND = 1_000
MILLISECOND = 1_000_000
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE

_UNITS = {
    "ns": NANOSECOND,
    "us": MICROSECOND,
    "µs": MICROSECOND,  # U+00B5, the micro sign
    "μs": MICROSECOND,  # U+03BC, the letter mu
    "ms": MILLISECOND,
    "s": SECOND,
    "m": MINUTE,
    "h": HOUR,
}
_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_LIMIT = 1 << 63


def parse(text: str) -> int:
    """Nanoseconds. Raises ValueError."""
    body = text[1:] if text[:1] in ("+", "-") else text
    if body == "0":
        return 0
    total = position = 0
    while match := _PART.match(body, position):
        total += _part(text, match)
        position = match.end()
    if position != len(body) or not body:
        raise ValueError(f"{text[:80]!r} is not a duration such as 30s or 1h30m")
    if text[0] == "-":
        total = -total
    if not -_LIMIT <= total < _LIMIT:
        raise ValueError(f"{text[:80]!r} is longer than 292 years")
    return total


def seconds(text: str) -> float:
    """Seconds. Raises ValueError."""
    return parse(text) / SECOND


def to_text(nanoseconds: int) -> str:
    """The shortest usual text: ``1h0m0s``, ``1.5s``, ``300ms``, ``0s``."""
    if nanoseconds == 0:
        return "0s"
    sign, rest = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if rest < SECOND:
        unit, size = next((u, s) for u, s in (("ms", MILLISECOND), ("µs", MICROSECOND), ("ns", 1)) if rest >= s)
        return f"{sign}{_decimal(rest, size)}{unit}"
    hours, rest = divmod(rest, HOUR)
    minutes, rest = divmod(rest, MINUTE)
    text = f"{_decimal(rest, SECOND)}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    if hours:
        text = f"{hours}h{text}"
    return sign + text


def _part(text: str, match: re.Match[str]) -> int:
    whole, fraction, unit = match[1], match[2] or "", _UNITS[match[3]]
    if not (whole or fraction) or len(whole) > 19:
        raise ValueError(f"{text[:80]!r} is not a duration such as 30s or 1h30m")
    digits = fraction[:18]
    return int(whole or "0") * unit + int(digits or "0") * unit // int("1" + "0" * len(digits))


def _decimal(number: int, unit: int) -> str:
    whole, fraction = divmod(number, unit)
    if not fraction:
        return str(whole)
    width = len(str(unit)) - 1
    return f"{whole}.{fraction:0{width}d}".rstrip("0")
