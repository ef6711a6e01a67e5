"""What nodes carry about co-location: own strategies, CPU normalization, amplification, third parties' allocations."""

import math
from collections.abc import Mapping

from koordinator.api import keys, numbers, quantity
from koordinator.api.annotations import Annotation, Malformed, Text, Texts
from koordinator.api.core import Quantities
from koordinator.api.meta import Struct

NO_RATIO = -1.0
RATIO_TOLERANCE = 0.01


class OriginAllocatable(Struct):
    """What the node would offer, before third parties' allocations are taken off."""

    resources: Quantities | None = None  #: Batch amounts.


class ThirdPartyAllocation(Struct):
    """What another resource manager (Hadoop YARN) has given out on the node."""

    name: str = ""  #: The other resource manager.
    priority: str = ""  #: Priority band that it uses.
    resources: Quantities | None = None  #: What it has given out.


class ThirdPartyAllocations(Struct):
    allocations: list[ThirdPartyAllocation] | None = None  #: By resource manager.


def _ratio(text: str) -> float:
    """A number above 0."""
    ratio = numbers.decimal_float(text)
    if not math.isfinite(ratio) or ratio <= 0:
        raise ValueError(f"{text!r} is not a ratio above 0")
    return ratio


CPU_NORMALIZATION_RATIO = Text(
    keys.CPU_NORMALIZATION_RATIO, _ratio, "Node annotation", "Speed of the node's CPUs against the reference, two decimals."
)
CPU_NORMALIZATION_ENABLED = Text(
    keys.CPU_NORMALIZATION_ENABLED, numbers.boolean, "Node label", "Overrides the cluster's setting for this node."
)
AMPLIFICATION_RATIOS: Annotation[dict[str, float]] = Annotation(
    keys.RESOURCE_AMPLIFICATION_RATIO, dict[str, float], "Node annotation", "Ratio of offered to real amounts by resource."
)
RAW_ALLOCATABLE: Annotation[Quantities] = Annotation(
    keys.RAW_ALLOCATABLE, Quantities, "Node annotation", "Written by the node webhook: allocatable before amplification."
)
ORIGIN_EXTENDED_ALLOCATABLE: Annotation[OriginAllocatable] = Annotation(
    keys.ORIGIN_EXTENDED_ALLOCATABLE, OriginAllocatable, "Node annotation", "Batch amounts before third parties' allocations."
)
THIRD_PARTY_ALLOCATIONS: Annotation[ThirdPartyAllocations] = Annotation(
    keys.THIRD_PARTY_ALLOCATIONS, ThirdPartyAllocations, "Node annotation", "Allocations of other resource managers."
)


def normalization_ratio(annotations: Texts | None) -> float | Malformed:
    """The node's ratio, -1 when it has none."""
    found = CPU_NORMALIZATION_RATIO.read(annotations)
    return NO_RATIO if found is None else found


def write_normalization_ratio(ratio: float) -> str:
    """Exactly two decimals."""
    return f"{ratio:.2f}"


def ratios_differ(old: float, new: float) -> bool:
    """Whether two ratios differ by more than rounding."""
    return old > new + RATIO_TOLERANCE or old < new - RATIO_TOLERANCE


def write_amplification_ratios(ratios: Mapping[str, float]) -> str:
    """JSON numbers with two decimals, sorted by resource."""
    return "{" + ",".join(f'"{name}":{ratio:.2f}' for name, ratio in sorted(ratios.items())) + "}"


def third_party_sum(allocations: ThirdPartyAllocations, priority: str) -> dict[str, quantity.Quantity]:
    """What third parties hold of one priority band, by resource. Raises ValueError on a bad quantity."""
    total: dict[str, quantity.Quantity] = {}
    for allocation in allocations.allocations or []:
        if allocation.priority != priority:
            continue
        for name, text in (allocation.resources or {}).items():
            one = quantity.read(text)
            total[name] = total[name] + one if name in total else one
    return total


def with_allocation(allocations: ThirdPartyAllocations, one: ThirdPartyAllocation) -> ThirdPartyAllocations:
    """``one`` in the place of the allocation of its name, or after all others."""
    kept = list(allocations.allocations or [])
    for index, existing in enumerate(kept):
        if existing.name == one.name:
            kept[index] = one
            return ThirdPartyAllocations(allocations=kept)
    return ThirdPartyAllocations(allocations=[*kept, one])
