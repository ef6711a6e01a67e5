"""Objects as caches shall see them."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.api import keys, transform
from koordinator.api.core import Container, Node, NodeStatus, Pod, PodSpec, ResourceRequirements
from koordinator.api.device import Device, DeviceInfo, DeviceSpec
from koordinator.api.meta import ObjectMeta
from koordinator.api.quota import ElasticQuota, ElasticQuotaSpec

ALL = frozenset(("PriorityTransformer", "PreemptionPolicyTransformer", "ReplaceResourcesTransformer"))
RENAMED = [
    ("koordinator.sh/batch-cpu", "kubernetes.io/batch-cpu"),
    ("koordinator.sh/batch-memory", "kubernetes.io/batch-memory"),
    *((f"kubernetes.io/{name}", f"koordinator.sh/{name}") for name in ("rdma", "fpga", "gpu")),
    *((f"kubernetes.io/{name}", f"koordinator.sh/{name}") for name in ("gpu-core", "gpu-memory", "gpu-memory-ratio")),
]


def pod(requests=None, limits=None, *, labels=None, annotations=None, **spec):
    asked = ResourceRequirements(requests=requests, limits=limits)
    meta = ObjectMeta(name="p", namespace="default", labels=labels, annotations=annotations)
    return Pod(metadata=meta, spec=PodSpec(**{"containers": [Container(name="c", resources=asked)], **spec}))


def seen(one, *gates):
    for change in transform.pod_transforms(frozenset(gates)):
        one = change(one)
    return one


def requests(one):
    return one.spec.containers[0].resources.requests


@pytest.mark.parametrize(("old", "new"), RENAMED)
def test_old_names_become_those_of_today_everywhere_in_a_pod(old, new):
    asked = ResourceRequirements(requests={old: "5"}, limits={old: "6", "cpu": "1"})
    one = seen(pod({old: "1"}, {old: "2"}, init_containers=[Container(name="i", resources=asked)], overhead={old: "7"}))
    assert (requests(one), one.spec.containers[0].resources.limits) == ({new: "1"}, {new: "2"})
    init = one.spec.init_containers[0].resources
    assert (init.requests, init.limits, one.spec.overhead) == ({new: "5"}, {new: "6", "cpu": "1"}, {new: "7"})


def test_an_old_name_beside_the_new_one_stays():
    both = {"koordinator.sh/batch-cpu": "1", "kubernetes.io/batch-cpu": "2"}
    assert requests(seen(pod(both))) == both


def test_allocated_devices_are_renamed_and_all_else_in_the_annotation_kept():
    given = '{"gpu":[{"minor":1,"resources":{"kubernetes.io/gpu-core":"50"},"unknown":{"a":1}}],"rdma":null}'
    one = seen(pod(annotations={keys.DEVICE_ALLOCATED: given, "other": "x"}))
    wanted = {"gpu": [{"minor": 1, "resources": {"koordinator.sh/gpu-core": "50"}, "unknown": {"a": 1}}], "rdma": None}
    assert msgspec.json.decode(one.annotations[keys.DEVICE_ALLOCATED]) == wanted
    assert one.annotations["other"] == "x"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"kubernetes.io/":1}', '{"gpu":["kubernetes.io/"]}', '"kubernetes.io/"'])
def test_an_annotation_that_cannot_be_read_stays(text):
    one = pod(annotations={keys.DEVICE_ALLOCATED: text})
    assert seen(one) is one


@pytest.mark.parametrize(
    ("label", "spec", "effective", "noted"),
    [
        (None, "a", "a", None),
        ("b", "a", "b", "a"),
        ("a", "a", "a", None),
        ("", "a", "", "a"),
    ],
)
def test_the_label_stands_in_for_the_scheduler_name(label, spec, effective, noted):
    one = seen(pod(labels={} if label is None else {keys.SCHEDULER_NAME: label}, scheduler_name=spec))
    assert (one.spec.scheduler_name, one.annotations.get(keys.ORIGINAL_SCHEDULER_NAME)) == (effective, noted)


@pytest.mark.parametrize(
    ("labels", "priority", "effective"),
    [
        ({keys.PRIORITY_CLASS: "koord-prod"}, None, 9500),
        ({keys.PRIORITY_CLASS: "koord-mid"}, 0, 7500),
        ({keys.PRIORITY_CLASS: "koord-batch"}, None, 5500),
        ({keys.PRIORITY_CLASS: "koord-free"}, None, 3500),
        ({keys.PRIORITY_CLASS: "koord-free"}, 42, 42),
        ({keys.QOS_CLASS: "BE"}, None, 5500),
    ],
)
def test_a_priority_follows_from_the_band_where_the_gate_says_so(labels, priority, effective):
    one = pod(labels=labels, priority=priority)
    assert seen(one, "PriorityTransformer").spec.priority == effective
    assert seen(one).spec.priority == priority


def test_the_preemption_policy_is_that_of_the_label_or_never_where_the_gate_says_so():
    gate = "PreemptionPolicyTransformer"
    labelled = pod(labels={keys.PREEMPTION_POLICY: "PreemptLowerPriority"})
    assert seen(labelled, gate).spec.preemption_policy == "PreemptLowerPriority"
    assert seen(pod(preemption_policy="PreemptLowerPriority"), gate).spec.preemption_policy == "Never"
    assert seen(pod()).spec.preemption_policy is None


def test_a_pod_renames_and_erases_what_it_asks_for_where_the_gate_says_so():
    annotation = {keys.REPLACE_RESOURCES: "cpu:example.com/cpu, memory : example.com/memory ,gone:,no,a:b:c,taken:cpu"}
    one = pod({"cpu": "1500m", "memory": "1Gi", "gone": "1", "a": "1"}, annotations=annotation, overhead={"gone": "1"})
    changed = seen(one, "ReplaceResourcesTransformer")
    assert requests(changed) == {"example.com/cpu": "1500", "example.com/memory": "1Gi", "a": "1"}
    assert changed.spec.overhead == {}
    assert seen(one) is one
    blocked = pod({"memory": "1", "example.com/memory": "2"}, annotations=annotation)
    assert requests(seen(blocked, "ReplaceResourcesTransformer")) == requests(blocked)


def test_bad_cpu_cannot_be_renamed():
    with pytest.raises(ValueError, match="cpu"):
        seen(pod({"cpu": "much"}, annotations={keys.REPLACE_RESOURCES: "cpu:x"}), "ReplaceResourcesTransformer")


names = st.sampled_from(["cpu", "memory", *(name for pair in RENAMED for name in pair)])
lists = st.none() | st.dictionaries(names, st.sampled_from(["1", "500m", "2Gi"]), max_size=4)


@given(lists, lists, lists, st.sampled_from(["", "cpu:x", "cpu:koordinator.sh/batch-cpu,memory:", "kubernetes.io/gpu:cpu"]))
def test_pods_are_changed_once_and_the_given_one_never(first, second, overhead, annotation):
    one = pod(first, second, overhead=overhead, annotations={keys.REPLACE_RESOURCES: annotation})
    before = msgspec.json.encode(one)
    changed = seen(one)
    assert msgspec.json.encode(one) == before
    assert seen(changed) == changed
    seen(one, *ALL)
    assert msgspec.json.encode(one) == before


# -- nodes and others ----------------------------------------------------------------------------------------------------


def node(allocatable, reservation=None, capacity=None):
    annotations = None if reservation is None else {keys.NODE_RESERVATION: reservation}
    return Node(metadata=ObjectMeta(name="n", annotations=annotations), status=NodeStatus(capacity, allocatable))


@pytest.mark.parametrize("policy", ["", ',"applyPolicy":""', ',"applyPolicy":"Default"'])
def test_what_a_node_keeps_for_itself_is_not_allocatable(policy):
    reservation = f'{{"resources":{{"cpu":"1500m","memory":"9Gi"}}{policy}}}'
    one = transform.node(node({"cpu": "4", "memory": "8Gi", "kubernetes.io/batch-cpu": "100", "pods": "9"}, reservation))
    assert one.status.allocatable == {
        "cpu": "2500m",
        "memory": "0",
        "kubernetes.io/batch-cpu": "100",
        "kubernetes.io/batch-memory": "0",
        "pods": "9",
    }


def test_named_cpus_count():
    assert transform.node(node({"cpu": "4"}, '{"reservedCPUs":"0-1"}')).status.allocatable["cpu"] == "2"


@pytest.mark.parametrize(
    "reservation",
    [None, "", "{", '{"resources":{"cpu":"1"},"applyPolicy":"ReservedCPUsOnly"}', '{"resources":{"cpu":"x"}}', "{}"],
)
def test_a_reservation_that_does_not_apply_changes_nothing(reservation):
    one = node({"cpu": "4"}, reservation)
    assert transform.node(one) is one


def test_old_names_of_nodes_devices_and_quotas():
    one = transform.node(
        node({"koordinator.sh/batch-cpu": "1", "kubernetes.io/gpu": "100"}, capacity={"kubernetes.io/rdma": "1"})
    )
    assert one.status.allocatable == {"kubernetes.io/batch-cpu": "1", "koordinator.sh/gpu": "100"}
    assert one.status.capacity == {"koordinator.sh/rdma": "1"}
    device = Device(spec=DeviceSpec(devices=[DeviceInfo(resources={"kubernetes.io/gpu-core": "100"}), DeviceInfo()]))
    assert [one.resources for one in transform.other(device).spec.devices] == [{"koordinator.sh/gpu-core": "100"}, None]
    quota = ElasticQuota(spec=ElasticQuotaSpec(min={"koordinator.sh/batch-cpu": "1"}, max={"koordinator.sh/batch-memory": "2"}))
    changed = transform.other(quota)
    assert (changed.spec.min, changed.spec.max) == ({"kubernetes.io/batch-cpu": "1"}, {"kubernetes.io/batch-memory": "2"})


@pytest.mark.parametrize("one", [Device(), ElasticQuota(), node({"cpu": "1"}), Device(spec=DeviceSpec(devices=[DeviceInfo()]))])
def test_what_needs_no_change_is_left_alone(one):
    assert transform.other(one) is one
