"""Mid resources of every node: what services reserve and, by prediction or by decree, will not use for long.

Arrays have one row per node and the columns CPU (milli-cores) and memory (bytes).
"""

from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from koordinator.api.sloconfig.colocation import ColocationStrategy
from koordinator.manager.overcommit.arrays import Array, pairs, percent, scale

DEGRADED = "degrade node Mid resource because of abnormal nodeMetric, reason: degradedByMidResource"
STATIC = "static"
UNKNOWN = -1


class MidDemand(NamedTuple):
    """int64 (n, 2). ``used`` is the whole node's usage, UNKNOWN where it was not reported."""

    capacity: Array
    reclaimable: Array
    used: Array
    kept: Array
    prod_request: Array

    @classmethod
    def of(cls, rows: npt.ArrayLike) -> Self:
        """From int64 (n, 10): the five fields in order, CPU before memory."""
        return cls(*pairs(rows, len(cls._fields)))


class MidRules(NamedTuple):
    """int64 (n, 2). ``static_percent`` is UNKNOWN where the amount is predicted."""

    cap_percent: Array
    unallocated_percent: Array
    static_percent: Array

    @classmethod
    def of(cls, rows: npt.ArrayLike) -> Self:
        """From int64 (n, 6), as ``mid_rule_row`` gives them."""
        return cls(*pairs(rows, len(cls._fields)))


def mid_rule_row(strategy: ColocationStrategy) -> tuple[int, ...]:
    """One row of ``MidRules`` from a merged colocation strategy."""
    static = strategy.mid_reclaim_mode == STATIC
    unallocated = percent(strategy.mid_unallocated_percent, 0)
    return (
        percent(strategy.mid_cpu_threshold_percent, 100),
        percent(strategy.mid_memory_threshold_percent, 100),
        unallocated,
        unallocated,
        percent(strategy.mid_static_cpu_reserved_percent, 0) if static else UNKNOWN,
        percent(strategy.mid_static_memory_reserved_percent, 0) if static else UNKNOWN,
    )


def mid(demand: MidDemand, rules: MidRules) -> Array:
    """Mid CPU and memory of every row: int64 (n, 2), never negative, never above the cap.

    Source: Koordinator, midresource plugin; vectors manager-mid.json.
    """
    amount = np.where(rules.static_percent >= 0, scale(demand.capacity, rules.static_percent / 100), _predicted(demand, rules))
    return np.maximum(np.minimum(amount, scale(demand.capacity, rules.cap_percent / 100)), 0)


def _predicted(demand: MidDemand, rules: MidRules) -> Array:
    """What prediction says is idle, as far as it is idle now, and a share of what nobody has requested."""
    known = (demand.used >= 0).all(axis=1, keepdims=True)
    unused = np.where(known, demand.capacity - demand.used, 0)
    idle = np.maximum(np.minimum(demand.reclaimable, unused), 0)
    unallocated = np.maximum(demand.capacity - demand.kept - demand.prod_request, 0)
    return idle + scale(unallocated, rules.unallocated_percent / 100)
