"""A plan for people: a table of what changes, and how each number comes about."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from koordinator.api.resources import BATCH_CPU, BATCH_MEMORY, MID_CPU, MID_MEMORY
from koordinator.manager.overcommit.batch import NO_CAP, Breakdown, Policy
from koordinator.manager.planning import NAMES, NodePlan, Side, totals

_HEAD = ("NODE", "BATCH-CPU", "BATCH-MEMORY", "MID-CPU", "MID-MEMORY")
_GIB = 1 << 30


def table(plans: Sequence[NodePlan]) -> str:
    """One line a node: what it sells under the current configuration → under the proposed one."""
    rows = [_HEAD, *(_row(one.node, one.current.sold, one.proposed.sold) for one in plans)]
    if len(plans) > 1:
        rows.append(_row(f"all {len(plans)}", *totals(plans)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def _row(title: str, before: dict[str, int], after: dict[str, int]) -> tuple[str, ...]:
    return (title, *(_cell(name, before.get(name), after.get(name)) for name in NAMES))


def _cell(name: str, before: int | None, after: int | None) -> str:
    if before == after:
        return _amount(name, after)
    return f"{_amount(name, before)} → {_amount(name, after)}"


def _amount(name: str, number: int | None) -> str:
    if number is None:
        return "-"
    return _memory(number) if name in (BATCH_MEMORY, MID_MEMORY, "memory") else str(number)


def _memory(number: int) -> str:
    return f"{number / _GIB:.2f}".rstrip("0").rstrip(".") + "Gi"


def explanation(one: NodePlan) -> str:
    """How one node's batch numbers come about on both sides."""
    if one.current == one.proposed:
        return "\n".join([f"{one.node}:", *_side("current and proposed", one.current)])
    return "\n".join([f"{one.node}:", *_side("current", one.current), *_side("proposed", one.proposed)])


def _side(title: str, side: Side) -> Iterator[str]:
    if side.why_not:
        yield f"  {title}: sells nothing: {side.why_not}"
        return
    yield f"  {title}:"
    for column, part in enumerate(side.parts):
        yield f"    {_formula(part, side, column)}"
    if side.normalization > 1:
        yield f"    batch-cpu × {side.normalization:.2f} (CPU normalization) = {side.sold[BATCH_CPU]}"
    for name, taken in side.third_party.items():
        yield f"    {name}: {_amount(name, taken)} of it are third parties', {_amount(name, side.sold.get(name))} are left"
    yield f"    mid-cpu {side.sold.get(MID_CPU, 0)}, mid-memory {_memory(side.sold.get(MID_MEMORY, 0))}"


def _formula(part: Breakdown, side: Side, column: int) -> str:
    """``batch = capacity − reserved − system − high-priority − margin`` with its numbers.

    What is reserved covers what the system uses: only what it uses beyond that is taken off again.
    """
    reserved = side.reserved[column]
    system = part.kept - reserved
    used = ("use", "requests", "larger of use and requests")[part.policy]
    beyond = "" if part.policy is Policy.REQUEST else f" − {_amount(part.resource, system)} system beyond that"
    sentence = (
        f"{_amount(part.resource, part.capacity)} capacity − {_amount(part.resource, reserved)} reserved{beyond}"
        f" − {_amount(part.resource, part.high_priority)} high-priority ({used}) − {_amount(part.resource, part.margin)} margin"
    )
    left = part.capacity - part.kept - part.high_priority - part.margin
    notes = [f"{_amount(part.resource, left)}, never below 0"] if left < 0 else []
    if part.cap_percent != NO_CAP:
        notes.append(f"at most {part.cap_percent} % of the capacity")
    note = f" ({'; '.join(notes)})" if notes else ""
    return f"batch-{part.resource} {_amount(part.resource, part.batch)} = {sentence}{note}"


def as_json(plans: Iterable[NodePlan]) -> list[dict[str, Any]]:
    """For programs: every number by its name."""
    return [
        {"node": one.node, "offered": one.offered, "current": _fields(one.current), "proposed": _fields(one.proposed)}
        for one in plans
    ]


def _fields(side: Side) -> dict[str, Any]:
    if side.why_not:
        return {"sold": side.sold, "whyNot": side.why_not}
    parts = {
        f"batch-{part.resource}": {
            "capacity": part.capacity,
            "reserved": reserved,
            "system": system,
            "highPriority": part.high_priority,
            "margin": part.margin,
            "policy": part.policy.name,
            "batch": part.batch,
        }
        for part, reserved, system in zip(side.parts, side.reserved, side.system, strict=True)
    }
    return {"sold": side.sold, "parts": parts, "normalization": side.normalization, "thirdParty": side.third_party}


def whole(plans: Sequence[NodePlan], explained: Iterable[NodePlan]) -> str:
    """Table and explanations."""
    return "\n\n".join([table(plans), *map(explanation, explained)])
