"""How hot a node may get: the profile's thresholds, a node's own over them, and the highest usage that still passes."""

import msgspec

from koordinator.api import durations
from koordinator.api.annotations import Malformed
from koordinator.api.scheduling import USAGE_THRESHOLDS, UsageThresholds
from koordinator.scheduler.plugins.load_aware.args import LoadAwareArgs, Percents
from koordinator.scheduler.plugins.load_aware.estimator import round_half_away

UNLIMITED = 2**62


class Limit(msgspec.Struct, frozen=True):
    """Percent per dimension that one class of pods must respect, and which usage counts."""

    percents: tuple[int, ...]
    prod: bool = False
    aggregation: tuple[str, int] | None = None

    @property
    def limits(self) -> bool:
        return any(self.percents)


class Limits(msgspec.Struct, frozen=True):
    """A node's limits for prod pods and for all others."""

    prod: Limit
    other: Limit


def limits_of(args: LoadAwareArgs, annotations: dict[str, str] | None, dimensions: tuple[str, ...]) -> Limits:
    """A node's limits. An annotation that cannot be read counts as absent."""
    custom = USAGE_THRESHOLDS.read(annotations)
    if custom is None or isinstance(custom, Malformed):
        custom = UsageThresholds()
    usage = custom.usage_thresholds or args.usage_thresholds or {}
    prod = custom.prod_usage_thresholds or args.prod_usage_thresholds or {}
    own = custom.aggregated_usage
    configured = args.aggregated
    other = Limit(_percents(usage, dimensions))
    if own is not None and own.usage_thresholds and own.usage_aggregation_type:
        key = (own.usage_aggregation_type, _nanoseconds(own.usage_aggregated_duration))
        other = Limit(_percents(own.usage_thresholds, dimensions), aggregation=key)
    elif configured is not None and configured.usage_thresholds and configured.usage_aggregation_type:
        key = (configured.usage_aggregation_type, _nanoseconds(configured.usage_aggregated_duration))
        other = Limit(_percents(configured.usage_thresholds, dimensions), aggregation=key)
    return Limits(Limit(_percents(prod, dimensions), prod=True) if any(prod.values()) else other, other)


def score_aggregation(args: LoadAwareArgs) -> tuple[str, int] | None:
    """Which aggregated usage scores go by, if any."""
    aggregated = args.aggregated
    if aggregated is None or not aggregated.score_aggregation_type:
        return None
    return aggregated.score_aggregation_type, _nanoseconds(aggregated.score_aggregated_duration)


def _percents(thresholds: Percents, dimensions: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(thresholds.get(name, 0) for name in dimensions)


def _nanoseconds(text: str | None) -> int:
    try:
        return durations.parse(text) if text else 0
    except ValueError:
        return 0


def highest_passing(percent: int, total: int) -> int:
    """The largest usage whose share of ``total``, rounded half away from zero, is at most ``percent``.

    ``UNLIMITED`` when there is no threshold or nothing of the resource. Found from the exact bound, then moved to where the
    floating-point share that the protocol compares really crosses it.
    """
    if percent == 0 or total == 0:
        return UNLIMITED
    used = (2 * percent + 1) * total // 200
    if used >= UNLIMITED:  # no threshold in earnest; and up there floating point is far too coarse to look for it step by step
        return UNLIMITED
    while share(used + 1, total) <= percent:
        used += 1
    while used > 0 and share(used, total) > percent:
        used -= 1
    return used


def share(used: int, total: int) -> int:
    """Percent of a resource in use."""
    return round_half_away(float(used) / float(total) * 100)
