"""The rules that strategies must keep, as a table, and every breach of them with the path of its field.

Two sets exist on purpose: what a controller refuses to run with (after merging with the defaults), and the stricter one by
which the ConfigMap webhook judges the texts as written.
"""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from koordinator.api import wirejson
from koordinator.api.sloconfig.colocation import ColocationStrategy


class Range(msgspec.Struct, frozen=True):
    """``low`` ≤ value ≤ ``high``; ``above``: the lower end itself is not allowed."""

    low: float
    high: float | None = None
    above: bool = False

    def breach(self, value: float) -> str:
        """The rule as a sentence where ``value`` breaks it, else empty."""
        if self.above and not value > self.low:
            return f"must be greater than {self.low:g}"
        if value < self.low:
            return f"must be {self.low:g} or greater"
        if self.high is not None and value > self.high:
            return f"must be {self.high:g} or less"
        return ""


class Problem(msgspec.Struct, frozen=True):
    """One broken rule: where, what stands there, and the rule."""

    field: str
    value: object
    rule: str

    def __str__(self) -> str:
        return f"{self.field} is {wirejson.encode(self.value)}, {self.rule}"


class Invalid(msgspec.Struct, frozen=True):
    """A configuration that can be read and must not be used."""

    key: str
    problems: tuple[Problem, ...]

    def __str__(self) -> str:
        return f"{self.key}: {'; '.join(map(str, self.problems))}"


PERCENT = Range(0, 100)
NOT_NEGATIVE = Range(0)
POSITIVE = Range(0, above=True)

RUNTIME_COLOCATION: Mapping[str, Range] = {
    "metricAggregateDurationSeconds": POSITIVE,
    "metricReportIntervalSeconds": POSITIVE,
    "cpuReclaimThresholdPercent": NOT_NEGATIVE,
    "memoryReclaimThresholdPercent": NOT_NEGATIVE,
    "degradeTimeMinutes": POSITIVE,
    "updateTimeThresholdSeconds": POSITIVE,
    "resourceDiffThreshold": POSITIVE,
    "midCPUThresholdPercent": PERCENT,
    "midMemoryThresholdPercent": PERCENT,
    "midUnallocatedPercent": PERCENT,
    "midStaticCPUReservedPercent": NOT_NEGATIVE,
    "midStaticMemoryReservedPercent": NOT_NEGATIVE,
    "batchCPUThresholdPercent": NOT_NEGATIVE,
    "batchMemoryThresholdPercent": NOT_NEGATIVE,
}


def colocation_problems(strategy: ColocationStrategy) -> tuple[Problem, ...]:
    """Why a merged co-location strategy must not be used; empty when it may."""
    found = list(range_problems(strategy, RUNTIME_COLOCATION))
    if strategy.metric_memory_collect_policy == "":
        found.append(Problem("metricMemoryCollectPolicy", "", "must not be empty"))
    return tuple(found)


def range_problems(strategy: msgspec.Struct, rules: Mapping[str, Range], path: str = "") -> Iterator[Problem]:
    """Every present number that is out of its range. Absent fields keep every rule."""
    for name, field in wire_fields(strategy):
        value = getattr(strategy, field)
        if value is None or (rule := rules.get(name)) is None:
            continue
        if breach := rule.breach(value):
            yield Problem(f"{path}{name}", value, breach)


def wire_fields(strategy: msgspec.Struct) -> Sequence[tuple[str, str]]:
    """(name on the wire, attribute) of every field."""
    return [(field.encode_name, field.name) for field in msgspec.structs.fields(strategy)]
