import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.cluster.demo.measure import (
    BatchLine,
    CpuSample,
    LoadLine,
    Records,
    Window,
    parse_cpu,
    parse_lines,
    percentile,
    phase,
    utilization,
)


def test_idle_and_iowait_are_not_busy():
    sample = parse_cpu("cpu  100 20 30 400 50 6 7 8 9 10\ncpu0 1 2 3\n", now=5.0)
    assert sample == CpuSample(5.0, busy=100 + 20 + 30 + 6 + 7 + 8, total=621)


def test_a_cut_off_line_is_left_out():
    text = '{"time": 1.0, "units": 5}\n{"time": 1.5, "un'
    assert list(parse_lines(text, BatchLine)) == [BatchLine(1.0, 5)]


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (99, 99), (99.9, 100), (100, 100)])
def test_percentiles_are_nearest_rank(percent, expected):
    assert percentile(list(range(1, 101)), percent) == expected


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 100))
def test_a_percentile_is_one_of_the_values(values, percent):
    assert percentile(sorted(values), percent) in values


def test_utilization_is_the_share_between_the_outermost_samples_inside():
    samples = [CpuSample(0, 0, 0), CpuSample(1, 50, 200), CpuSample(2, 150, 400), CpuSample(3, 900, 1000)]
    assert utilization(samples, 1, 2) == 0.5
    assert utilization(samples, 1.5, 2.5) == 0.0


def test_a_phase_counts_only_what_falls_into_its_window():
    records = Records(
        load=[LoadLine(9, [1000.0]), LoadLine(11, [1.0, 3.0], failed=1), LoadLine(12, [2.0])],
        batch=[[BatchLine(9, 100), BatchLine(10, 110), BatchLine(12, 150), BatchLine(13, 190)], [BatchLine(11, 7)]],
        cpu=[CpuSample(10, 0, 0), CpuSample(12, 30, 40)],
    )
    row = phase(Window("alone", 10, 12), records)
    assert (row.requests_per_second, row.p50_ms, row.p99_ms, row.failed_requests) == (1.5, 2.0, 3.0, 1)
    assert row.batch_work == 40
    assert row.cpu_utilization == 0.75
