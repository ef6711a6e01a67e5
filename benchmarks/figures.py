"""How a figure is measured and printed: one JSON line, `{"figure", "value", "unit", "goal", "ok"}`.

What is measured several times is told as the median, with the number of runs. A measurement that fails counts as missed and
stops no other.
"""

import json
import operator
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

_RELATIONS = {">=": operator.ge, "<=": operator.le}


def report(figure: str, value: float, unit: str, goal: str = "", **more: object) -> bool:
    """Print one figure and say whether it meets its goal. ``goal`` is ``">= 500"``, ``"<= 2"`` or empty (for information)."""
    ok = True
    if goal:
        relation, bound = goal.split()
        ok = bool(_RELATIONS[relation](value, float(bound)))
    _print({"figure": figure, "value": round(value, 4), "unit": unit, "goal": goal, "ok": ok, **more})
    return ok


def _print(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


class Figure(NamedTuple):
    """One number of a measurement's result."""

    name: str
    unit: str
    goal: str
    pick: Callable[[Any], float]


class Measurement(NamedTuple):
    """Something that is done ``runs`` times, or, when that takes long, as often as ``seconds`` allow."""

    run: Callable[[], Any]
    figures: Sequence[Figure]
    runs: int = 5
    seconds: float = 10.0


def single(name: str, unit: str, goal: str, run: Callable[[], float]) -> Measurement:
    """A measurement of one number."""
    return Measurement(run, [Figure(name, unit, goal, float)])


def measure(measurements: Iterable[Measurement], only: str = "", seconds: float | None = None) -> bool:
    """Do those that have a figure whose name contains ``only``; ``seconds`` for each, in place of its own."""
    wanted = [one for one in measurements if any(only in figure.name for figure in one.figures)]
    results = [_measure(one, seconds or one.seconds) for one in wanted]
    return all(results)


def _measure(one: Measurement, seconds: float) -> bool:
    try:
        results = _repeated(one, seconds)
    except Exception as err:  # noqa: BLE001 — the other figures are still worth having
        traceback.print_exc(limit=-2, chain=False)
        reason = f"{type(err).__name__}: {err}"[:300]
        for figure in one.figures:
            _print(
                {"figure": figure.name, "value": None, "unit": figure.unit, "goal": figure.goal, "ok": False, "error": reason}
            )
        return False
    answers = [_tell(figure, results) for figure in one.figures]
    return all(answers)


def _tell(figure: Figure, results: Sequence[Any]) -> bool:
    value = statistics.median(figure.pick(result) for result in results)
    return report(figure.name, value, figure.unit, figure.goal, runs=len(results))


def _repeated(one: Measurement, seconds: float) -> list[Any]:
    began, results = time.monotonic(), [one.run()]
    while len(results) < one.runs and (time.monotonic() - began) * (1 + 1 / len(results)) <= seconds:
        results.append(one.run())
    return results
