"""What to write on a Node for calculated batch resources: status entries and the annotation that remembers the total."""

from collections.abc import Mapping
from typing import Any

import msgspec

from koordinator.api import keys, quantity
from koordinator.api.annotations import Malformed, or_default
from koordinator.api.core import Node
from koordinator.api.nodes import (
    ORIGIN_EXTENDED_ALLOCATABLE,
    THIRD_PARTY_ALLOCATIONS,
    OriginAllocatable,
    normalization_ratio,
    third_party_sum,
)
from koordinator.api.priority import Band
from koordinator.api.resources import BATCH_CPU, BATCH_MEMORY, as_quantity, wire

BATCH = (BATCH_CPU, BATCH_MEMORY)
ORIGIN = keys.ORIGIN_EXTENDED_ALLOCATABLE


class Prepared(msgspec.Struct):
    """Values for capacity and allocatable (None deletes the key), changed annotations, and what could not be read."""

    resources: dict[str, int | None]
    annotations: dict[str, str]
    problem: str = ""


def prepare_batch(calculated: Mapping[str, int | None], annotations: Mapping[str, str] | None, ratio: float = 1.0) -> Prepared:
    """From calculated values (None resets) to what the Node shall say.

    ``annotations`` are the node's own; None when it has none at all, and then the total is not remembered either. ``ratio``
    is the CPU normalisation of this pass; above 1 it multiplies batch CPU, rounded up.
    """
    total = {name: _normalized(name, calculated.get(name), ratio) for name in BATCH}
    result = Prepared(resources=dict(total), annotations={})
    if annotations is not None:
        result.annotations[ORIGIN] = remember(annotations, total)
    if None in total.values():
        return result
    try:
        taken = third_party(annotations or {})
    except ValueError as err:
        result.problem = f"metadata.annotations: {err}"
        return result
    if taken:
        result.resources = {name: max((total[name] or 0) - taken.get(name, 0), 0) for name in BATCH}
    return result


def usable_ratio(annotations: Mapping[str, str] | None) -> float:
    """The CPU normalisation ratio that annotations carry; 1 when there is none or it cannot be read."""
    ratio = normalization_ratio(annotations)
    return 1.0 if isinstance(ratio, Malformed) or ratio <= 0 else ratio


def _normalized(name: str, number: int | None, ratio: float) -> int | None:
    if number is None or name != BATCH_CPU or ratio <= 1:
        return number
    milli = int(float(number * 1000) * ratio)
    return -(-milli // 1000)


def remember(annotations: Mapping[str, str], total: Mapping[str, int | None]) -> str:
    """The origin annotation with ``total`` merged in; a reset is remembered as zero."""
    numbers = {name: number or 0 for name, number in total.items()}
    ours = wire(numbers)
    text = ORIGIN_EXTENDED_ALLOCATABLE.write(OriginAllocatable(resources=ours))
    if annotations.get(ORIGIN) in (text, None):  # the usual case, without decoding
        return text
    origin = or_default(ORIGIN_EXTENDED_ALLOCATABLE.read(annotations), OriginAllocatable())
    return ORIGIN_EXTENDED_ALLOCATABLE.write(OriginAllocatable(resources={**(origin.resources or {}), **ours}))


def third_party(annotations: Mapping[str, str]) -> dict[str, int]:
    """What others have taken out of the batch resources, summed: milli-cores, bytes. Raises: ValueError naming the key."""
    found = THIRD_PARTY_ALLOCATIONS.read(annotations)
    if isinstance(found, Malformed):
        raise ValueError(str(found))  # noqa: TRY004 — data, not a bug
    return {name: one.value for name, one in third_party_sum(found, Band.BATCH).items()} if found else {}


def changed_status(node: Node, prepared: Prepared) -> dict[str, Any]:
    """The merge patch for the node's status, annotations included; empty when the node already says so. Null removes a key."""
    status = {}
    for field, existing in (("capacity", node.status.capacity or {}), ("allocatable", node.status.allocatable or {})):
        if entries := _changed(existing, prepared.resources):
            status[field] = entries
    annotations = {key: text for key, text in prepared.annotations.items() if node.annotations.get(key) != text}
    patch: dict[str, Any] = {"status": status} if status else {}
    if annotations:
        patch["metadata"] = {"annotations": annotations}
    return patch


def _changed(existing: Mapping[str, Any], wanted: Mapping[str, int | None]) -> dict[str, str | None]:
    changes: dict[str, str | None] = {}
    for name, number in wanted.items():
        if number is None:
            if name in existing:
                changes[name] = None
        elif amount_or_none(existing.get(name)) != number:
            changes[name] = str(as_quantity(name, number))
    return changes


def needs_sync(node: Node, resources: Mapping[str, int | None], threshold: float) -> bool:
    """Whether any value has moved by more than ``threshold``, a share of what the node offers now, or is new, or goes."""
    offered = node.status.allocatable or {}
    return any(_differs(offered.get(name), number, threshold) for name, number in resources.items())


def _differs(old: Any, new: int | None, threshold: float) -> bool:
    before = amount_or_none(old)
    if before is None and old is not None:
        return True  # what stands there is no number: replace it
    return quantity.differs(
        None if before is None else quantity.of(before), None if new is None else quantity.of(new), threshold
    )


def amount_or_none(raw: Any) -> int | None:
    """A quantity in whole units; None where there is none, or none that can be read."""
    try:
        return None if raw is None else quantity.value(raw)
    except ValueError:
        return None
