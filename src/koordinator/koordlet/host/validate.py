"""What each cgroup file accepts. Checked before a write, so that a wrong value is our sentence and not the kernel's EINVAL."""

import re
from collections.abc import Callable

from koordinator.api import cpuset

Validator = Callable[[str], str]
"""A value in; the reason why it is wrong out, empty when it is right."""

MAX_INT64 = 2**63 - 1
_INTEGER = re.compile(r"[+-]?[0-9]+\Z")


def anything(_value: str) -> str:
    return ""


def within(low: int, high: int) -> Validator:
    """A base-10 integer in the closed range; ``max`` counts as the largest 64-bit integer."""

    def check(value: str) -> str:
        if value == "max":
            number = MAX_INT64
        elif _INTEGER.match(value):
            number = int(value)
        else:
            return f"{value!r} is not an integer"
        return "" if low <= number <= high else f"{number} is not within {low}..{high}"

    return check


def cpu_list(value: str) -> str:
    try:
        cpuset.parse(value)
    except ValueError as err:
        return str(err)
    return ""


def device_number(low: int, high: int) -> Validator:
    """``major:minor N``. Values of other shapes pass: the kernel knows more of them than we do."""
    check_number = within(low, high)

    def check(value: str) -> str:
        tokens = value.split(" ")
        return check_number(tokens[1]) if len(tokens) == 2 else ""

    return check


def device_settings(count: int, low: int, keys: tuple[str, ...]) -> Validator:
    """``major:minor key=N …`` with ``count`` tokens, of which ``keys`` must be integers from ``low``. Other shapes pass."""
    check_number = within(low, MAX_INT64)

    def check(value: str) -> str:
        tokens = value.split(" ")
        if len(tokens) != count:
            return ""
        settings = dict(token.partition("=")[::2] for token in tokens[1:])
        return next((reason for key in keys if key in settings and (reason := check_number(settings[key]))), "")

    return check


def net_class(value: str) -> str:
    """``0x`` followed by up to eight DECIMAL digits, or a non-negative 32-bit integer."""
    if value.startswith("0x"):
        digits = value[2:]
        return "" if digits.isascii() and digits.isdigit() and int(digits) <= 99_999_999 else f"{value!r} is not a class id"
    return within(0, 2**31 - 1)(value)
