"""What of the annotations that LoadAwareScheduling reads cannot be read. All of it counts as absent."""

from collections.abc import Iterator, Mapping

from koordinator.api.annotations import Malformed
from koordinator.api.nodes import RAW_ALLOCATABLE
from koordinator.api.scheduling import (
    ESTIMATED_AFTER_INITIALIZED,
    ESTIMATED_AFTER_SCHEDULED,
    ESTIMATED_SCALING_FACTORS,
    USAGE_THRESHOLDS,
    AggregatedUsageThresholds,
)
from koordinator.scheduler.plugins.load_aware.args import AGGREGATIONS

Texts = Mapping[str, str] | None


def of_node(annotations: Texts) -> Iterator[str]:
    thresholds = USAGE_THRESHOLDS.read(annotations)
    if isinstance(thresholds, Malformed):
        yield str(thresholds)
    elif thresholds is not None:
        yield from _percents("usageThresholds", thresholds.usage_thresholds)
        yield from _percents("prodUsageThresholds", thresholds.prod_usage_thresholds)
        if thresholds.aggregated_usage is not None:
            yield from _aggregated(thresholds.aggregated_usage)
    raw = RAW_ALLOCATABLE.read(annotations)
    if isinstance(raw, Malformed):
        yield str(raw)


def of_pod(annotations: Texts) -> Iterator[str]:
    for annotation in (ESTIMATED_SCALING_FACTORS, ESTIMATED_AFTER_SCHEDULED, ESTIMATED_AFTER_INITIALIZED):
        found = annotation.read(annotations)
        if isinstance(found, Malformed):
            yield str(found)
        elif isinstance(found, int) and found < 0:
            yield f"{annotation.key}: {found}: must be 0 or more"


def _percents(field: str, percents: Mapping[str, int] | None) -> Iterator[str]:
    for name, percent in (percents or {}).items():
        if not 0 <= percent <= 100:
            yield f"{USAGE_THRESHOLDS.key}: {field}[{name}]: {percent}: must be 0 to 100"


def _aggregated(one: AggregatedUsageThresholds) -> Iterator[str]:
    yield from _percents("aggregatedUsage.usageThresholds", one.usage_thresholds)
    kind = one.usage_aggregation_type
    if kind and kind not in AGGREGATIONS:
        where = f"{USAGE_THRESHOLDS.key}: aggregatedUsage.usageAggregationType"
        yield f"{where}: {kind!r}: must be one of {', '.join(AGGREGATIONS)}"
