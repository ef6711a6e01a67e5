"""The ranges and pairs that the ConfigMap webhook holds every strategy to, as written, without defaults.

An upper and a lower bound that belong together must be given together: one alone is refused.
"""

from collections.abc import Iterator, Mapping

import msgspec

from koordinator.api.sloconfig.colocation import ColocationStrategy
from koordinator.api.sloconfig.validation import NOT_NEGATIVE, PERCENT, POSITIVE, Problem, Range, wire_fields
from koordinator.api.strategies import (
    CPUQOS,
    CPUBurstStrategy,
    MemoryQOS,
    ResctrlQOS,
    ResourceThresholdStrategy,
    SystemStrategy,
)

_AT_LEAST_ONE = Range(1)
_SWITCH = Range(0, 1)


class Rules(msgspec.Struct, frozen=True):
    """Of one type of strategy: field → range, and (upper, lower) pairs of fields."""

    ranges: Mapping[str, Range]
    pairs: tuple[tuple[str, str], ...] = ()


RULES: Mapping[type[msgspec.Struct], Rules] = {
    ColocationStrategy: Rules(
        {
            "metricAggregateDurationSeconds": _AT_LEAST_ONE,
            "metricReportIntervalSeconds": _AT_LEAST_ONE,
            "cpuReclaimThresholdPercent": NOT_NEGATIVE,
            "memoryReclaimThresholdPercent": NOT_NEGATIVE,
            "degradeTimeMinutes": _AT_LEAST_ONE,
            "updateTimeThresholdSeconds": _AT_LEAST_ONE,
            "resourceDiffThreshold": Range(0, 1, above=True),
            "midCPUThresholdPercent": PERCENT,
            "midMemoryThresholdPercent": PERCENT,
            "midUnallocatedPercent": PERCENT,
            "midStaticCPUReservedPercent": PERCENT,
            "midStaticMemoryReservedPercent": PERCENT,
            "batchCPUThresholdPercent": NOT_NEGATIVE,
            "batchMemoryThresholdPercent": NOT_NEGATIVE,
        }
    ),
    ResourceThresholdStrategy: Rules(
        {
            "cpuSuppressThresholdPercent": PERCENT,
            "cpuSuppressMinPercent": PERCENT,
            "memoryEvictThresholdPercent": PERCENT,
            "memoryEvictLowerPercent": PERCENT,
            "memoryAllocatableEvictThresholdPercent": NOT_NEGATIVE,
            "memoryAllocatableEvictLowerPercent": NOT_NEGATIVE,
            "cpuEvictBESatisfactionUpperPercent": PERCENT,
            "cpuEvictBESatisfactionLowerPercent": PERCENT,
            "cpuEvictBEUsageThresholdPercent": PERCENT,
            "cpuEvictTimeWindowSeconds": POSITIVE,
            "cpuEvictThresholdPercent": PERCENT,
            "cpuEvictLowerPercent": PERCENT,
            "cpuAllocatableEvictThresholdPercent": NOT_NEGATIVE,
            "cpuAllocatableEvictLowerPercent": NOT_NEGATIVE,
            "allocatableEvictPriorityThreshold": Range(0, 7999),
        },
        (
            ("memoryEvictThresholdPercent", "memoryEvictLowerPercent"),
            ("memoryAllocatableEvictThresholdPercent", "memoryAllocatableEvictLowerPercent"),
            ("cpuEvictBESatisfactionUpperPercent", "cpuEvictBESatisfactionLowerPercent"),
            ("cpuEvictThresholdPercent", "cpuEvictLowerPercent"),
            ("cpuAllocatableEvictThresholdPercent", "cpuAllocatableEvictLowerPercent"),
        ),
    ),
    CPUQOS: Rules({"groupIdentity": Range(-1, 2), "schedIdle": _SWITCH}),
    MemoryQOS: Rules(
        {
            "minLimitPercent": PERCENT,
            "lowLimitPercent": PERCENT,
            "throttlingPercent": PERCENT,
            "wmarkRatio": PERCENT,
            "wmarkScalePermill": Range(1, 1000),
            "wmarkMinAdj": Range(-25, 50),
            "pageCacheLimitPercent": PERCENT,
            "priorityEnable": _SWITCH,
            "priority": Range(0, 12),
            "oomKillGroup": _SWITCH,
        }
    ),
    ResctrlQOS: Rules(
        {"catRangeStartPercent": PERCENT, "catRangeEndPercent": PERCENT, "mbaPercent": PERCENT},
        (("catRangeEndPercent", "catRangeStartPercent"),),
    ),
    CPUBurstStrategy: Rules(
        {
            "cpuBurstPercent": Range(1, 10000),
            "cfsQuotaBurstPercent": Range(100),
            "cfsQuotaBurstPeriodSeconds": Range(-1),
            "sharePoolThresholdPercent": PERCENT,
        }
    ),
    SystemStrategy: Rules(
        {
            "minFreeKbytesFactor": POSITIVE,
            "watermarkScaleFactor": Range(0, 400, above=True),
            "memcgReapBackGround": _SWITCH,
            "pageCacheLimitEnabled": _SWITCH,
        }
    ),
}

_NO_RULES = Rules({})


def problems(strategy: msgspec.Struct, path: str) -> Iterator[Problem]:
    """Every field of a strategy, however deep, that breaks its rule; at most one problem per field."""
    rules = next((RULES[base] for base in type(strategy).__mro__ if base in RULES), _NO_RULES)
    uppers = {lower: upper for upper, lower in rules.pairs}
    lowers = dict(rules.pairs)
    values = {name: getattr(strategy, field) for name, field in wire_fields(strategy)}
    for name, value in values.items():
        where = f"{path}.{name}"
        if isinstance(value, msgspec.Struct):
            yield from problems(value, where)
        elif value is None:
            continue
        elif name in rules.ranges and (breach := rules.ranges[name].breach(value)):
            yield Problem(where, value, breach)
        elif name in lowers and not _greater(value, values[lowers[name]]):
            yield Problem(where, value, f"must be greater than {lowers[name]}")
        elif name in uppers and not _greater(values[uppers[name]], value):
            yield Problem(where, value, f"must be less than {uppers[name]}")


def _greater(upper: int | None, lower: int | None) -> bool:
    return upper is not None and lower is not None and upper > lower
