"""What a node may sell: the formula's own properties, and one readable example per rule."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.api.sloconfig.colocation import DEFAULT, ColocationStrategy
from koordinator.api.sloconfig.overlay import overlay
from koordinator.manager.overcommit.arrays import LIMIT
from koordinator.manager.overcommit.batch import Demand, Rules, batch, explain, rule_row, stale

amounts = st.integers(0, LIMIT)
rows = st.tuples(*(amounts for _ in range(12)))
percents = st.integers(0, 1_000)
policies = st.sampled_from(["usage", "request", "maxUsageRequest", "nonsense", None])
strategies = st.builds(
    ColocationStrategy,
    cpu_reclaim_threshold_percent=percents,
    memory_reclaim_threshold_percent=percents,
    cpu_calculate_policy=policies,
    memory_calculate_policy=policies,
    batch_cpu_threshold_percent=st.none() | percents,
    batch_memory_threshold_percent=st.none() | percents,
)


def sold(row, **strategy):
    rules = Rules.of([rule_row(overlay(DEFAULT, ColocationStrategy(**strategy)))])
    return batch(Demand.of([row]), rules)[0].tolist()


def demand(capacity, reserved=0, system=0, request=0, used=0, top=0):
    """The same number for CPU and memory."""
    return [number for number in (capacity, reserved, system, request, used, top) for _ in range(2)]


@given(st.lists(st.tuples(rows, strategies), min_size=1, max_size=5))
def test_rows_do_not_influence_each_other_and_never_go_below_zero(nodes):
    all_demand, all_rules = Demand.of([row for row, _ in nodes]), Rules.of([rule_row(one) for _, one in nodes])
    together = batch(all_demand, all_rules)
    alone = [batch(Demand.of([row]), Rules.of([rule_row(one)]))[0] for row, one in nodes]
    assert together.tolist() == [one.tolist() for one in alone]
    assert (together >= 0).all()


@given(rows, strategies)
def test_never_more_than_what_is_left_of_the_reclaimable_part(row, strategy):
    cpu = batch(Demand.of([row]), Rules.of([rule_row(strategy)]))[0, 0]
    reclaimable = row[0] - int(np.trunc(row[0] * ((100 - strategy.cpu_reclaim_threshold_percent) / 100)))
    assert cpu <= max(reclaimable - row[2], 0)
    if strategy.batch_cpu_threshold_percent is not None:
        assert cpu <= row[0] * (strategy.batch_cpu_threshold_percent / 100) + 1


@given(rows, strategies, st.integers(0, 10**12), st.integers(6, 11))
def test_more_demand_never_sells_more(row, strategy, extra, field):
    more = list(row)
    more[field] = min(more[field] + extra, LIMIT)
    rules = Rules.of([rule_row(strategy)])
    assert (batch(Demand.of([more]), rules) <= batch(Demand.of([row]), rules)).all()


@given(rows, strategies)
def test_the_explanation_adds_up(row, strategy):
    for part in explain(Demand.of([row]), Rules.of([rule_row(strategy)]), 0):
        left = max(part.capacity - part.margin - part.kept - part.high_priority, 0)
        assert part.batch == left or (part.cap_percent >= 0 and part.batch < left)


def test_by_usage_subtracts_margin_system_and_high_priority_use():
    assert sold(demand(100, system=7, used=33), cpu_reclaim_threshold_percent=65) == [25, 25]


def test_the_larger_of_reservation_and_system_use_counts():
    assert sold(demand(100, reserved=20, system=7), cpu_reclaim_threshold_percent=100)[0] == 80


def test_memory_by_request_does_not_look_at_use():
    row = demand(100, reserved=5, system=50, request=30, used=90)
    assert sold(row, memory_calculate_policy="request", memory_reclaim_threshold_percent=100)[1] == 65


def test_cpu_by_request_is_not_offered_and_counts_as_usage():
    row = demand(100, system=10, request=80, used=30)
    assert sold(row, cpu_calculate_policy="request", cpu_reclaim_threshold_percent=100)[0] == 60


def test_a_threshold_of_zero_is_a_real_cap():
    assert sold(demand(100), cpu_reclaim_threshold_percent=100, batch_cpu_threshold_percent=0)[0] == 0


def test_reclaiming_more_than_all_sells_more_than_there_is():
    assert sold(demand(100), cpu_reclaim_threshold_percent=120)[0] == 120


def test_a_node_of_nothing_sells_nothing():
    assert sold(demand(0)) == [0, 0]


@pytest.mark.parametrize(
    ("updated", "is_stale"),
    [
        pytest.param(None, True, id="never reported"),
        pytest.param(1000.0, False, id="exactly as old as allowed"),
        pytest.param(999.9, True, id="older"),
        pytest.param(2000.0, False, id="a little in the future: clocks differ"),
        pytest.param(4000.0, True, id="far in the future: nobody knows how old"),
    ],
)
def test_stale(updated, is_stale):
    assert stale(updated, now=1900.0, minutes=15) is is_stale


def test_the_message_is_the_one_that_people_know():
    row = [100_000, 120 * 10**9, 0, 0, 7_000, 12 * 10**9, 0, 0, 33_000, 33 * 10**9, 0, 0]
    cpu, memory = explain(Demand.of([row]), Rules.of([rule_row(ColocationStrategy(cpu_reclaim_threshold_percent=65))]), 0)
    assert cpu.text == (
        "batchAllocatable[CPU(Milli-Core)]:25000 = nodeCapacity:100000 - nodeSafetyMargin:35000"
        " - systemUsageOrNodeReserved:7000 - podHPUsed:33000"
    )
    assert memory.text.startswith("batchAllocatable[Mem(GB)]:33 = nodeCapacity:120 - nodeSafetyMargin:42 - systemUsage:12")
