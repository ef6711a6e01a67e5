import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.koordlet.observe import aggregate
from koordinator.koordlet.observe.series import CONTAINER_CPU, NODE_CPU, POD_CPU, MetricStore


@given(steps=st.lists(st.integers(1, 5_000), max_size=400), retention=st.integers(1, 600), back=st.integers(0, 700))
def test_a_window_holds_exactly_the_points_in_it_as_long_as_they_are_retained(steps, retention, back):
    store, now, points = MetricStore(retention), 0, []
    for number, step in enumerate(steps):
        now += step
        store.append(now, [(NODE_CPU, "", float(number))])
        points.append((now, float(number)))
    start = max(now - min(back, retention) * 1000, 0)
    window = store.window(NODE_CPU, "", start, now)
    assert list(zip(window.times.tolist(), window.values.tolist(), strict=True)) == [p for p in points if p[0] >= start]


def test_a_point_that_is_not_later_than_the_last_is_dropped():
    store = MetricStore()
    for time_ms in (1000, 1000, 500, 2000):
        store.append(time_ms, [(NODE_CPU, "", float(time_ms))])
    assert store.window(NODE_CPU, "", 0, 9999).times.tolist() == [1000, 2000]


def test_series_without_samples_for_a_retention_are_dropped():
    store = MetricStore(pods=10)
    store.append(1_000, [(POD_CPU, "gone", 1.0)])
    store.append(20_000, [(POD_CPU, "here", 1.0)])
    assert store.expire(20_000) == 1
    assert len(store) == 1
    assert len(store.window(POD_CPU, "gone", 0, 99_999)) == 0


def test_the_latest_value_counts_only_while_it_is_fresh():
    store = MetricStore()
    store.append(1_000, [(NODE_CPU, "", 0.5)])
    assert store.latest(NODE_CPU, "", 1_000) == 0.5
    assert store.latest(NODE_CPU, "", 1_001) is None
    assert store.latest(NODE_CPU, "other", 0) is None


@given(values=st.lists(st.floats(0, 1e12), min_size=1, max_size=300))
def test_percentiles_are_elements_in_order(values):
    array = np.array(values)
    found = [aggregate.aggregate(array, kind) for kind in ("p50", "p90", "p95", "p99")]
    assert found == sorted(found)
    assert set(found) <= set(values)


@pytest.mark.parametrize("kind", aggregate.TYPES)
def test_nothing_has_no_aggregate(kind):
    with pytest.raises(ValueError, match="no points"):
        aggregate.aggregate(np.empty(0), kind)


def test_each_level_keeps_what_its_readers_need():
    store = MetricStore(node=600, pods=120, containers=20)
    for second in range(1, 1201):
        store.append(second * 1000, [(NODE_CPU, "", 1.0), (POD_CPU, "u", 1.0), (CONTAINER_CPU, "c", 1.0)])
    for kind, subject, least, most in ((NODE_CPU, "", 600, 1024), (POD_CPU, "u", 120, 256), (CONTAINER_CPU, "c", 20, 64)):
        assert least <= len(store.window(kind, subject, 0, 10**9)) <= most


def test_longer_windows_are_kept_from_the_moment_that_somebody_asks_for_them():
    store = MetricStore(node=10, pods=10)
    store.keep(node=300, pods=10)
    for second in range(1, 401):
        store.append(second * 1000, [(NODE_CPU, "", 1.0)])
    assert len(store.window(NODE_CPU, "", 101_000, 400_000)) == 300


def test_after_the_clock_was_set_back_samples_count_again():
    store = MetricStore()
    for time_ms in (5_000_000, 5_001_000, 1_000_000, 1_001_000):
        store.append(time_ms, [(NODE_CPU, "", 1.0)])
    assert store.window(NODE_CPU, "", 0, 10**9).times.tolist() == [1_000_000, 1_001_000]
    assert store.latest(NODE_CPU, "", 1_001_000) == 1.0
