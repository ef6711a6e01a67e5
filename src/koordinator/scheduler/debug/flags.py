"""Switches that can be turned while the scheduler runs: ``PUT /debug/flags/NAME``."""

import logging
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from koordinator.api import numbers

_CHATTY = 4
"""From this verbosity on the scheduler logs what it logs only for debugging."""


class Flags(msgspec.Struct):
    """``top_scores``: log the score table of so many nodes per placed pod. ``filters``: log every refusal of every node.
    ``diagnosis``: log why pods were refused as JSON, ``diagnosis_blocking``: before the next pod is looked at.
    """

    top_scores: int = 0
    filters: bool = False
    diagnosis: bool = False
    diagnosis_blocking: bool = False
    verbosity: int = 0

    @property
    def watching(self) -> bool:
        return bool(self.top_scores or self.filters or self.diagnosis)


class _Flag(NamedTuple):
    field: str
    called: str
    read: Callable[[str], int | bool]


FLAGS: Mapping[str, _Flag] = {
    "v": _Flag("verbosity", "klog.logging.verbosity", numbers.decimal_int),
    "s": _Flag("top_scores", "debugTopNScores", numbers.decimal_int),
    "f": _Flag("filters", "debugFilterFailure", numbers.boolean),
    # these two have always answered under the name of the one above, and scripts compare
    "d": _Flag("diagnosis", "debugFilterFailure", numbers.boolean),
    "db": _Flag("diagnosis_blocking", "debugFilterFailure", numbers.boolean),
}


def put(flags: Flags, name: str, text: str) -> tuple[int, str]:
    """Set one flag; the HTTP status and text to answer with."""
    flag = FLAGS.get(name)
    if flag is None:
        return 404, f"no flag {name}"
    try:
        value = flag.read(text.strip())
    except ValueError as err:
        return 400, f"failed set {flag.called} {text.strip()}: {err}"
    setattr(flags, flag.field, value)
    if name == "v":
        logging.getLogger("koordinator").setLevel(logging.DEBUG if flags.verbosity >= _CHATTY else logging.INFO)
    said = str(value).lower() if isinstance(value, bool) else str(value)
    return 200, f"successfully set {flag.called} to {said}"


def page(flags: Flags) -> str:
    """What there is to set, with its present value."""
    rows = "".join(
        f"<tr><td><a href='{name}'>{name}</a></td><td>{flag.field}</td><td>{getattr(flags, flag.field)}</td></tr>"
        for name, flag in FLAGS.items()
    )
    return f"<html><head><title>/debug/flags/</title></head><body><table>{rows}</table></body></html>"
