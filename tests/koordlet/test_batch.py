import pytest

from koordinator.api.podqos import ContainerResources
from koordinator.koordlet.enforce.batch import (
    BatchResource,
    Rule,
    Values,
    amounts,
    container_values,
    extended,
    pod_values,
)
from koordinator.koordlet.enforce.decision import Skip
from koordinator.koordlet.observe.strategy import Thresholds
from koordinator.koordlet.view import Tier, View
from koordlet.trees import BE, CONTAINER, GIB, batch_pod, node, pod, view_of

TIER = Tier("kubepods/besteffort", -1)
POD = "kubepods/besteffort/podu1"
SPEC = "node.koordinator.sh/extended-resource-spec"


def look(*pods, thresholds=None, annotations=None):
    return View(pods=[view_of(one) for one in pods], thresholds=thresholds, node=node(annotations=annotations), tier=TIER)


def wanted(decision):
    return {(write.group, write.file): write.value for write in decision}


@pytest.fixture
def strategy(notices):
    return BatchResource(notices)


def test_pod_and_container_get_what_the_kubelet_would_give_for_real_cpu(strategy):
    assert wanted(strategy.round(look(batch_pod(cpu="1500", memory="1Gi")))) == {
        ("kubepods/besteffort", "cpu.shares"): "2",
        (POD, "cpu.shares"): "1536",
        (POD, "cpu.cfs_quota_us"): "150000",
        (POD, "memory.limit_in_bytes"): str(GIB),
        (f"{POD}/{CONTAINER}", "cpu.shares"): "1536",
        (f"{POD}/{CONTAINER}", "cpu.cfs_quota_us"): "150000",
        (f"{POD}/{CONTAINER}", "memory.limit_in_bytes"): str(GIB),
    }


def test_under_suppression_by_quota_the_pods_have_none_of_their_own(strategy):
    found = wanted(strategy.round(look(batch_pod(), thresholds=Thresholds(True, 65, None, "cfsQuota"))))
    assert {value for (_, file), value in found.items() if file == "cpu.cfs_quota_us"} == {"-1"}


def test_the_annotation_speaks_when_the_spec_does_not(strategy):
    spec = '{"containers":{"main":{"requests":{"kubernetes.io/batch-cpu":"500"},"limits":{"kubernetes.io/batch-cpu":"500"}}}}'
    found = wanted(strategy.round(look(pod(labels=BE, annotations={SPEC: spec}))))
    assert (found[POD, "cpu.shares"], found[POD, "cpu.cfs_quota_us"], found[POD, "memory.limit_in_bytes"]) == (
        "512",
        "50000",
        "-1",
    )


@pytest.mark.parametrize("raw", ["{", '{"containers":{"main":{"requests":{"kubernetes.io/batch-cpu":"lots"}}}}', '"x"'])
def test_a_malformed_annotation_leaves_the_pod_alone_and_is_said_once(strategy, raw, caplog):
    view = look(pod(labels=BE, annotations={SPEC: raw}), batch_pod(name="other", uid="u2"))
    for _ in range(3):
        found = wanted(strategy.round(view))
        assert (POD, "cpu.shares") not in found
        assert ("kubepods/besteffort/podu2", "cpu.shares") in found
    assert [record.message.split(":")[0] for record in caplog.records] == ["pod default/batch"]


def test_pods_that_are_not_labelled_be_or_have_ended_are_left_alone(strategy):
    ended = batch_pod(phase="Succeeded")
    service = pod(name="web", uid="u9", labels={"koordinator.sh/qosClass": "LS"})
    assert strategy.round(look(ended, service, pod(name="plain", uid="u8"))) == Skip("no BE pods")


def test_a_container_without_id_yet_waits_while_its_pod_is_served(strategy):
    assert {group for group, _ in wanted(strategy.round(look(batch_pod(container_id=""))))} == {"kubepods/besteffort", POD}


def test_an_empty_annotation_never_means_a_memory_limit_of_zero(strategy):
    found = wanted(strategy.round(look(pod(labels=BE, annotations={SPEC: '{"containers":{}}'}))))
    assert set(found) == {("kubepods/besteffort", "cpu.shares")}


@pytest.mark.parametrize("ratio", ["fast", "inf", "-2"])
def test_a_ratio_that_is_none_is_said_and_moves_no_quota(strategy, caplog, ratio):
    plain = strategy.round(look(batch_pod(cpu="1000")))
    view = look(batch_pod(cpu="1000"), annotations={"node.koordinator.sh/cpu-normalization-ratio": ratio})
    assert strategy.round(view) == plain
    assert len(caplog.records) == 1


def test_on_faster_machines_quotas_shrink_by_the_ratio(strategy):
    view = look(batch_pod(cpu="1000"), annotations={"node.koordinator.sh/cpu-normalization-ratio": "1.2"})
    assert wanted(strategy.round(view))[POD, "cpu.cfs_quota_us"] == "83334"


def test_one_unlimited_container_leaves_the_pod_unlimited():
    limited, open_ = amounts({}, {"kubernetes.io/batch-cpu": "1", "kubernetes.io/batch-memory": 5}), amounts({}, {})
    assert pod_values({"a": limited, "b": open_}, Rule()) == Values(2, -1, -1)
    assert container_values(limited, Rule()) == Values(2, 1000, 5)


def test_the_spec_wins_over_the_annotation():
    both = batch_pod(annotations={SPEC: '{"containers":{"main":{"requests":{"kubernetes.io/batch-cpu":"1"}}}}'})
    assert extended(both)["main"].request_cpu == 1000
    assert ContainerResources().requests is None
