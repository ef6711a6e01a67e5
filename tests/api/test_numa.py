import pytest

from koordinator.api import keys, numa
from koordinator.api.annotations import Malformed

GIB = 2**30
ALLOCATABLE = {"cpu": 8000, "memory": 16 * GIB, "kubernetes.io/batch-cpu": 3000}


def reserved(text):
    return {keys.NODE_RESERVATION: text}


@pytest.mark.parametrize(
    ("text", "cpu", "memory"),
    [
        pytest.param('{"resources":{"cpu":"2","memory":"4Gi"}}', 6000, 12 * GIB, id="resources"),
        pytest.param('{"resources":{"cpu":"2"},"reservedCPUs":"0-3"}', 4000, 16 * GIB, id="ids-win"),
        pytest.param('{"resources":{"cpu":"20"}}', 0, 16 * GIB, id="never-below-zero"),
        pytest.param('{"resources":{"cpu":"2"},"applyPolicy":"ReservedCPUsOnly"}', 8000, 16 * GIB, id="ids-only"),
        pytest.param('{"reservedCPUs":"x"}', 8000, 16 * GIB, id="unreadable-ids"),
        pytest.param("{", 8000, 16 * GIB, id="unreadable"),
        pytest.param("", 8000, 16 * GIB, id="empty"),
        pytest.param("null", 8000, 16 * GIB, id="null"),
        pytest.param("{}", 8000, 16 * GIB, id="nothing-kept"),
    ],
)
def test_allocatable_without_what_the_node_keeps(text, cpu, memory):
    trimmed = numa.trimmed_allocatable(ALLOCATABLE, reserved(text))
    assert (trimmed["cpu"], trimmed["memory"], trimmed["kubernetes.io/batch-cpu"]) == (cpu, memory, 3000)


def test_trimming_adds_batch_names():
    assert numa.trimmed_allocatable({"cpu": 1000}, reserved('{"resources":{"cpu":"1"}}')) == {
        "cpu": 0,
        "kubernetes.io/batch-cpu": 0,
        "kubernetes.io/batch-memory": 0,
    }


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ('{"resources":{"cpu":"1500m"}}', ("", 2)),
        ('{"resources":{"cpu":"-1"}}', ("", 0)),
        ("{", ("", 0)),
        ('{"reservedCPUs":"junk"}', ("junk", 0)),
    ],
)
def test_reserved_cpus(text, cpus):
    assert numa.reserved_cpus(reserved(text)) == cpus


@pytest.mark.parametrize(
    ("label", "kubelet", "policy"),
    [
        (None, None, "None"),
        ("FullPCPUsOnly", None, "FullPCPUsOnly"),
        ("SpreadByPCPUs", '{"policy":"none","options":{"full-pcpus-only":"true"}}', "SpreadByPCPUs"),
        ("SpreadByPCPUs", '{"policy":"static","options":{"full-pcpus-only":"true"}}', "FullPCPUsOnly"),
        ("SpreadByPCPUs", "{", "SpreadByPCPUs"),
    ],
)
def test_bind_policy_of_a_node(label, kubelet, policy):
    labels = {keys.CPU_BIND_POLICY: label} if label else {}
    annotations = {keys.KUBELET_CPU_MANAGER_POLICY: kubelet} if kubelet else {}
    assert numa.node_bind_policy(labels, annotations) == policy


def test_zone_ids():
    assert numa.Zone(name="node-10").id == 10
    assert numa.Zone(name="socket-0").id is None
    assert numa.Zone(name="node-x").id is None


def test_pinned_pods_may_be_null():
    assert numa.POD_CPU_ALLOCS.read({keys.POD_CPU_ALLOCS: "null"}) == []
    assert isinstance(numa.POD_CPU_ALLOCS.read({keys.POD_CPU_ALLOCS: ""}), Malformed)


def test_the_key_of_a_cpu_model():
    assert numa.CPUBasicInfo(cpu_model="X", hyper_thread_enabled=True).key == "X_true_false"


def test_zero_ids_are_written():
    assert (
        numa.CPU_TOPOLOGY.write(numa.CPUTopology(detail=[numa.CPUInfo()]))
        == '{"detail":[{"id":0,"core":0,"socket":0,"node":0}]}'
    )
