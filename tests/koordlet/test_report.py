import pytest

from koordinator.api.registry import NODE_METRICS
from koordinator.api.slo import AggregatePolicy, MetricCollectPolicy, NodeMetricSpec
from koordinator.koordlet.observe import report
from koordinator.koordlet.observe.report import Policy, Reporter, Source
from koordinator.koordlet.observe.series import NODE_CPU, NODE_MEMORY, MetricStore
from koordinator.kube.errors import Forbidden
from koordlet.fakes import FakeStore


def source(*, samples=True):
    store = MetricStore()
    if samples:
        store.append(1_000_000, [(NODE_CPU, "", 1.5), (NODE_MEMORY, "", 1024.0)])
    return Source(store, 1000.0, Policy())


@pytest.fixture
def store():
    made = FakeStore()
    made.put(NODE_METRICS, {"metadata": {"name": "n1"}, "spec": {"kept": True}})
    return made


async def test_what_has_no_samples_any_more_does_not_keep_its_last_numbers(store, clock, notices):
    reporter = Reporter(store, "n1", clock, notices)
    for samples in (True, False):
        assert await reporter.report(source(samples=samples))
    status = store.objects["nodemetrics", "n1"]["status"]
    assert status["nodeMetric"]["nodeUsage"] == {}
    assert store.objects["nodemetrics", "n1"]["spec"] == {"kept": True}


async def test_a_missing_nodemetric_is_no_error_and_a_refusal_is_said_once(store, clock, notices, caplog):
    assert not await Reporter(store, "n2", clock, notices).report(source())
    assert not caplog.records
    store.down = Forbidden(403, "Forbidden", "nodemetrics is forbidden")
    reporter = Reporter(store, "n1", clock, notices)
    for _ in range(3):
        assert not await reporter.report(source())
    assert [record.message for record in caplog.records] == [
        "NodeMetric n1 cannot be written: nodemetrics is forbidden; trying again every 1 s"
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (MetricCollectPolicy(report_interval_seconds=1, aggregate_duration_seconds=1), Policy(60.0, 30.0)),
        (
            MetricCollectPolicy(node_aggregate_policy=AggregatePolicy(durations=["1m", "soon", "-5m"])),
            Policy(durations=(60.0,)),
        ),
        (None, Policy()),
    ],
)
def test_a_policy_is_lifted_to_the_floor_and_cleaned(given, expected):
    assert report.policy(NodeMetricSpec(metric_collect_policy=given)) == expected
