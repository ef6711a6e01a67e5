"""Reading objects: what is absurd or unreadable never raises, and is said with the field's name."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.api.core import Node, Pod
from koordinator.api.slo import NodeMetricStatus
from koordinator.manager.overcommit import inputs

texts = st.text(max_size=8) | st.sampled_from(["1", "-1", "2Gi", "NaN", "1e30", "0x10", "", "99E"])
quantities = st.dictionaries(st.sampled_from(["cpu", "memory"]), texts | st.floats() | st.integers())


def metric(system, pods=()):
    status = {
        "updateTime": "2026-01-01T00:00:00Z",
        "nodeMetric": {"systemUsage": {"resources": system}},
        "podsMetric": [{"namespace": "ns", "name": name, "podUsage": {"resources": usage}} for name, usage in pods],
    }
    return msgspec.convert(status, NodeMetricStatus)


def pod(name, phase="Running", priority=9500, cpu="1", labels=None):
    containers = [{"name": "c", "resources": {"requests": {"cpu": cpu, "memory": "1000"}}}]
    spec = {"nodeName": "n", "priority": priority, "containers": containers}
    metadata = {"namespace": "ns", "name": name, "labels": labels or {}}
    return inputs.pod_share(msgspec.convert({"metadata": metadata, "spec": spec, "status": {"phase": phase}}, Pod))


@given(quantities, quantities)
def test_whatever_a_report_says_reading_it_gives_usable_numbers_or_none(system, usage):
    report = inputs.reported(metric(system, [("a", usage)]))
    assert all(0 <= number <= inputs.LIMIT for number in (*report.system, *report.pods["ns/a"].usage))
    assert report.usable or report.problems


@given(quantities, quantities)
def test_whatever_a_node_says_its_row_is_not_negative(capacity, allocatable):
    node = msgspec.convert({"status": {"capacity": capacity, "allocatable": allocatable}}, Node, strict=False)
    assert all(number >= 0 for number in inputs.demand_row(inputs.node_share(node), [], inputs.Reported()))


def test_an_unreadable_usage_makes_the_report_unusable_and_names_the_field():
    report = inputs.reported(metric({"cpu": "1"}, [("a", {"cpu": "NaN"})]))
    assert not report.usable
    assert report.problems[0].startswith("status.podsMetric[0].podUsage.resources.cpu is 'NaN': ")


def test_negative_usage_counts_as_none():
    report = inputs.reported(metric({"cpu": "-5", "memory": "7"}))
    assert report.usable
    assert report.system == (0, 7)
    assert "negative" in report.problems[0]


def test_a_pod_without_a_measurement_counts_its_request():
    row = inputs.demand_row(inputs.NodeShare(), [pod("a")], inputs.Reported())
    assert row[6:] == (1000, 1000, 1000, 1000, 0, 0)


def test_a_measured_pod_counts_what_it_uses():
    report = inputs.reported(metric({}, [("a", {"cpu": "300m", "memory": "2000"})]))
    assert inputs.demand_row(inputs.NodeShare(), [pod("a")], report)[6:] == (1000, 1000, 300, 2000, 1000, 2000)


def test_an_exclusive_pod_keeps_its_cores_whatever_it_uses():
    report = inputs.reported(metric({}, [("a", {"cpu": "300m", "memory": "500"})]))
    row = inputs.demand_row(inputs.NodeShare(), [pod("a", labels={"koordinator.sh/qosClass": "LSE"})], report)
    assert row[8:10] == (1000, 500)


def test_batch_pods_do_not_count_whether_measured_or_not():
    report = inputs.reported(metric({}, [("a", {"cpu": "1"})]))
    pods = [pod("a", priority=5500), pod("b", priority=3500)]
    assert inputs.demand_row(inputs.NodeShare(), pods, report)[6:] == (0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize("pods", [[], [pod("a", phase="Succeeded")]], ids=["unknown", "finished"])
def test_use_of_a_pod_that_is_not_there_counts_until_it_is_no_longer_measured(pods):
    report = inputs.reported(metric({}, [("a", {"cpu": "300m"})]))
    assert inputs.demand_row(inputs.NodeShare(), pods, report)[8] == 300


def test_a_pod_whose_request_cannot_be_read_says_so():
    share = pod("a", cpu="1 core")
    assert share.request == (0, 0)
    assert share.problem.startswith("spec.containers[*].resources.requests.cpu: '1 core'")


@pytest.mark.parametrize(
    ("annotation", "reserved"),
    [
        ('{"resources":{"cpu":"1500m","memory":"1Ki"}}', (1500, 1024)),
        ('{"resources":{"cpu":"8"},"reservedCPUs":"0-1"}', (2000, 0)),
        ('{"reservedCPUs":"a-b"}', (0, 0)),
        ("{bad", (0, 0)),
        (None, (0, 0)),
    ],
)
def test_annotated_reservation(annotation, reserved):
    annotations = {} if annotation is None else {"node.koordinator.sh/reservation": annotation}
    assert inputs.annotated_reservation(annotations) == reserved
