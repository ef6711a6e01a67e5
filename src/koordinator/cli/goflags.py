"""Flags as the Go components take them, so that a chart's arguments keep working: ``--name=value``, ``--name value``,
``--switch`` for true, with one dash or two.

A component lists its flags as ``Flag`` values; ``parse`` reads arguments into a dict by name.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from koordinator.api import durations, numbers
from koordinator.errors import KoordError


class Misuse(KoordError):
    """The command was called wrongly: exit code 2."""


class Flag(msgspec.Struct, frozen=True):
    """``read`` turns text into the value and raises ValueError; a switch may stand without a value."""

    name: str
    read: Callable[[str], Any]
    default: Any
    about: str
    switch: bool = False


def words(text: str) -> tuple[str, ...]:
    """``a, b,`` → (a, b)."""
    return tuple(word for word in (part.strip() for part in text.split(",")) if word)


def seconds(text: str) -> float:
    """``1m30s`` → 90.0."""
    return durations.seconds(text)


def text(name: str, default: str, about: str) -> Flag:
    return Flag(name, str, default, about)


def switch(name: str, about: str, *, default: bool = False) -> Flag:
    return Flag(name, numbers.boolean, default, about, switch=True)


def whole(name: str, default: int, about: str) -> Flag:
    return Flag(name, numbers.decimal_int, default, about)


def number(name: str, default: float, about: str) -> Flag:
    return Flag(name, numbers.decimal_float, default, about)


def duration(name: str, default: float, about: str) -> Flag:
    """Seconds, written as 30s or 1h30m."""
    return Flag(name, seconds, default, about)


def many(name: str, default: str, about: str) -> Flag:
    """A list with commas."""
    return Flag(name, words, words(default), about)


_LOGGING = "accepted for compatibility"
LOG_FLAGS = (
    whole("v", 0, "log more: 4 and above is debug"),
    *(switch(name, _LOGGING) for name in ("logtostderr", "alsologtostderr", "add_dir_header", "one_output")),
    *(switch(name, _LOGGING) for name in ("skip_headers", "skip_log_headers", "legacy_stderr_threshold_behavior")),
    *(text(name, "", _LOGGING) for name in ("log_backtrace_at", "log_dir", "log_file", "vmodule", "stderrthreshold")),
    *(text(name, "", _LOGGING) for name in ("log_file_max_size", "log-flush-frequency", "logging-format")),
)
"""What klog takes; ``-`` and ``_`` in names are the same."""


def parse(flags: Sequence[Flag], arguments: Sequence[str], others: list[str] | None = None) -> dict[str, Any]:
    """Values by name, defaults filled in; the last of several wins. Raises Misuse naming the flag.

    Arguments that are no flags are added to ``others``, where there is such a list.
    """
    known = {_plain(flag.name): flag for flag in flags}
    found = {flag.name: flag.default for flag in flags}
    waiting = iter(arguments)
    for argument in waiting:
        if others is not None and not argument.startswith("-"):
            others.append(argument)
            continue
        flag, given = _split(argument, known)
        if given is None:
            given = "true" if flag.switch else next(waiting, None)
        if given is None:
            raise Misuse(f"flag needs an argument: --{flag.name}")
        try:
            found[flag.name] = flag.read(given)
        except ValueError as err:
            raise Misuse(f'invalid argument "{given}" for "--{flag.name}" flag: {err}') from err
    return found


def _split(argument: str, known: Mapping[str, Flag]) -> tuple[Flag, str | None]:
    dashes = len(argument) - len(argument.lstrip("-"))
    name, equals, given = argument[dashes:].partition("=")
    if dashes not in (1, 2) or not name:
        raise Misuse(f"{argument!r} is not a flag; flags are written --name=value")
    flag = known.get(_plain(name))
    if flag is None:
        near = difflib.get_close_matches(_plain(name), known, 1)
        raise Misuse(f"unknown flag: --{name}" + (f"; did you mean --{known[near[0]].name}?" if near else ""))
    return flag, given if equals else None


def _plain(name: str) -> str:
    return name.replace("_", "-")


def usage(flags: Sequence[Flag]) -> str:
    """Every flag with its default, one per paragraph."""
    return "\n".join(_described(flags))


def _described(flags: Sequence[Flag]) -> Iterator[str]:
    for flag in flags:
        default = f" (default {shown(flag.default)})" if flag.default not in ("", (), 0, False) else ""
        yield f"  --{flag.name}\n      {flag.about}{default}"


def shown(value: Any) -> str:
    """A default as it would be written."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
