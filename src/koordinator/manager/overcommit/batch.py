"""Batch resources of every node: the formulas, over arrays with one row per node (or per NUMA zone).

    batch = capacity − safety margin − max(system usage, reserved) − high-priority pods, never below zero

Columns are CPU and memory; CPU in milli-cores, memory in bytes (zones: milli-bytes, see ``zones``). Source of the formulas:
Koordinator's batchresource plugin.
"""

import enum
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from koordinator.api.sloconfig.colocation import ColocationStrategy
from koordinator.manager.overcommit.arrays import CPU, MEMORY, Array, pairs, percent, scale

NO_CAP = -1
DEGRADED = "degrade node resource because of abnormal nodeMetric, reason: degradedByBatchResource"
DISABLED = "node colocation is disabled in Config, reason: DisableInConfig"


class Policy(enum.IntEnum):
    """What the high-priority pods of a node are taken to need."""

    USAGE = 0
    REQUEST = 1
    MAX_USAGE_REQUEST = 2


_CPU_POLICIES = {"maxUsageRequest": Policy.MAX_USAGE_REQUEST}  # CPU by request is not offered: it counts as usage
_MEMORY_POLICIES = {"maxUsageRequest": Policy.MAX_USAGE_REQUEST, "request": Policy.REQUEST}


class Demand(NamedTuple):
    """What stands against a node's capacity. Every field is int64 (n, 2)."""

    capacity: Array
    reserved: Array
    system: Array
    hp_request: Array
    hp_used: Array
    hp_max: Array

    @classmethod
    def of(cls, rows: npt.ArrayLike) -> Self:
        """From int64 (n, 12): the six fields in order, CPU before memory."""
        return cls(*pairs(rows, len(cls._fields)))


class Rules(NamedTuple):
    """How each node's strategy reads, int64 (n, 2). ``cap_percent`` is NO_CAP where there is none."""

    reclaim_percent: Array
    policy: Array
    cap_percent: Array

    @classmethod
    def of(cls, rows: npt.ArrayLike) -> Self:
        """From int64 (n, 6), as ``rule_row`` gives them."""
        return cls(*pairs(rows, len(cls._fields)))


def rule_row(strategy: ColocationStrategy) -> tuple[int, ...]:
    """One row of ``Rules`` from a merged colocation strategy."""
    return (
        percent(strategy.cpu_reclaim_threshold_percent, 60),
        percent(strategy.memory_reclaim_threshold_percent, 65),
        _CPU_POLICIES.get(strategy.cpu_calculate_policy or "", Policy.USAGE),
        _MEMORY_POLICIES.get(strategy.memory_calculate_policy or "", Policy.USAGE),
        percent(strategy.batch_cpu_threshold_percent, NO_CAP),
        percent(strategy.batch_memory_threshold_percent, NO_CAP),
    )


def stale(updated: float | None, now: float, minutes: int) -> bool:
    """Whether a report is no ground to sell on: never made, older than ``minutes``, or as far in the future (whose clock?)."""
    return updated is None or abs(now - updated) > minutes * 60


def safety_margin(capacity: Array, reclaim_percent: Array) -> Array:
    """What of the capacity is never sold. Negative when more than all of it is to be reclaimed."""
    return scale(capacity, (100 - reclaim_percent) / 100)


def kept(demand: Demand, policy: Array) -> Array:
    """What stays with the system: reservations alone when counting requests, else also what it was seen to use."""
    return np.where(policy == Policy.REQUEST, demand.reserved, np.maximum(demand.system, demand.reserved))


def high_priority(demand: Demand, policy: Array) -> Array:
    """What stays with high-priority pods under each policy."""
    return np.choose(policy, (demand.hp_used, demand.hp_request, demand.hp_max))


def batch(demand: Demand, rules: Rules, unit: tuple[int, int] = (1, 1)) -> Array:
    """Batch CPU and memory of every row.

    Args: ``unit`` is how finely each column is counted; percentages of the capacity are whole units.
    Returns: int64 (n, 2), never negative, never above the cap where one is set.
    Source: Koordinator, batchresource plugin; vectors manager-batch.json.
    """
    whole = demand.capacity // unit
    margin = safety_margin(whole, rules.reclaim_percent) * unit
    left = demand.capacity - margin - kept(demand, rules.policy) - high_priority(demand, rules.policy)
    cap = scale(whole, rules.cap_percent / 100) * unit
    return np.maximum(np.where(rules.cap_percent >= 0, np.minimum(np.maximum(left, 0), cap), left), 0)


class Breakdown(NamedTuple):
    """One node's number for one resource, taken apart: how it came about."""

    resource: str
    batch: int
    capacity: int
    margin: int
    kept: int
    high_priority: int
    cap_percent: int
    policy: Policy

    @property
    def text(self) -> str:
        """Koordinator's own message for this number."""
        cpu = self.resource == "cpu"
        by_request = self.policy is Policy.REQUEST
        kept_label = "nodeReserved" if by_request else "systemUsageOrNodeReserved" if cpu else "systemUsage"
        pods_label = ("podHPUsed", "podHPRequest", "podHPMaxUsedRequest")[self.policy]
        show = int if cpu else _giga
        formula = (
            f"nodeCapacity:{show(self.capacity)} - nodeSafetyMargin:{show(self.margin)}"
            f" - {kept_label}:{show(self.kept)} - {pods_label}:{show(self.high_priority)}"
        )
        if self.cap_percent != NO_CAP:
            formula = f"min(nodeCapacity:{show(self.capacity)} * thresholdRatio:{self.cap_percent / 100:g}, {formula})"
        return f"batchAllocatable[{'CPU(Milli-Core)' if cpu else 'Mem(GB)'}]:{show(self.batch)} = {formula}"


def explain(demand: Demand, rules: Rules, row: int) -> tuple[Breakdown, Breakdown]:
    """Why ``row`` got what it got: CPU, then memory."""
    one = Demand(*(field[row : row + 1] for field in demand))
    rule = Rules(*(field[row : row + 1] for field in rules))
    table = {
        "batch": batch(one, rule),
        "capacity": one.capacity,
        "margin": safety_margin(one.capacity, rule.reclaim_percent),
        "kept": kept(one, rule.policy),
        "high_priority": high_priority(one, rule.policy),
        "cap_percent": rule.cap_percent,
    }

    def breakdown(column: int, name: str) -> Breakdown:
        numbers = {field: int(values[0, column]) for field, values in table.items()}
        return Breakdown(resource=name, policy=Policy(int(rule.policy[0, column])), **numbers)

    return breakdown(CPU, "cpu"), breakdown(MEMORY, "memory")


def _giga(number: int) -> int:
    return -(-number // 10**9)
