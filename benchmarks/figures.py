"""How a figure is printed: one JSON line, `{"figure", "value", "unit", "goal", "ok"}`."""

import json
import operator
import sys

_RELATIONS = {">=": operator.ge, "<=": operator.le}


def report(figure: str, value: float, unit: str, goal: str = "") -> bool:
    """Print one figure and say whether it meets its goal. ``goal`` is ``">= 500"``, ``"<= 2"`` or empty (for information)."""
    ok = True
    if goal:
        relation, bound = goal.split()
        ok = bool(_RELATIONS[relation](value, float(bound)))
    sys.stdout.write(json.dumps({"figure": figure, "value": round(value, 4), "unit": unit, "goal": goal, "ok": ok}) + "\n")
    sys.stdout.flush()
    return ok
