import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.api import priority, qos
from koordinator.api.annotations import Malformed
from koordinator.api.core import Container, Pod, PodSpec, PodStatus, ResourceRequirements
from koordinator.api.meta import ObjectMeta
from koordinator.api.priority import Band
from koordinator.api.qos import QoS
from koordinator.api.validation import aggregate, pod_problems

FULL = {"cpu": "2", "memory": "4Gi"}


def container(requests=None, limits=None, **more):
    return Container(name="c", resources=ResourceRequirements(requests=requests, limits=limits), **more)


def pod(*containers, labels=None, value=None, init=(), status="", **spec):
    return Pod(
        metadata=ObjectMeta(labels=labels),
        spec=PodSpec(containers=list(containers), init_containers=list(init) or None, priority=value, **spec),
        status=PodStatus(qos_class=status),
    )


@pytest.mark.parametrize(
    ("given", "kube"),
    [
        pytest.param(pod(), "BestEffort", id="nothing"),
        pytest.param(pod(container({"nvidia.com/gpu": "1"})), "BestEffort", id="only-others-count-not"),
        pytest.param(pod(container({"cpu": "0"})), "BestEffort", id="zero"),
        pytest.param(pod(container(FULL, FULL)), "Guaranteed", id="equal"),
        pytest.param(pod(container({}, FULL)), "Burstable", id="requests-are-not-defaulted-here"),
        pytest.param(pod(container(FULL, FULL), container()), "Burstable", id="one-without"),
        pytest.param(pod(container(FULL, FULL), init=[container(FULL)]), "Burstable", id="init-without-limits"),
        pytest.param(pod(container({"cpu": "2000m", "memory": "4096Mi"}, FULL)), "Guaranteed", id="numerically-equal"),
        pytest.param(pod(container(FULL, {"cpu": "3", "memory": "4Gi"})), "Burstable", id="unequal"),
        pytest.param(
            pod(container(), resources=ResourceRequirements(requests=FULL, limits=FULL)), "Guaranteed", id="pod-level"
        ),
        pytest.param(pod(container(FULL, FULL), status="Burstable"), "Burstable", id="reported-wins"),
        pytest.param(pod(container({"cpu": "two"})), "BestEffort", id="unreadable-counts-not"),
    ],
)
def test_kubernetes_class(given, kube):
    assert qos.kube(given) == kube


def test_the_derived_classes():
    assert qos.with_default(None) is QoS.NONE
    assert qos.with_default(pod(container(FULL, FULL))) is QoS.LSR
    assert qos.with_default(pod(labels={"koordinator.sh/qosClass": "system"})) is QoS.BE
    assert priority.with_default(pod(value=6666)) is Band.BATCH
    assert priority.with_default(pod(labels={"koordinator.sh/priority-class": ""}, value=9000)) is Band.BATCH
    assert priority.raw(pod(labels={"koordinator.sh/priority-class": "koord-free"}, value=9000)) is Band.FREE
    assert priority.value_with_default(pod(value=2_000_000_000)) == 2_000_000_000
    assert priority.value_with_default(pod(value=0)) == 5500
    assert priority.value_with_default(None) == 0


@given(st.integers(-(2**31), 2**31 - 1))
def test_bands_are_disjoint_ranges(value):
    band = priority.by_value(value)
    assert all((low <= value <= high) == (one is band) for one, (low, high) in priority.RANGES.items())


@given(st.text(max_size=12))
def test_sub_priority_never_raises(text):
    value = priority.sub_priority({"koordinator.sh/priority": text})
    assert isinstance(value, int | Malformed)


def test_all_broken_rules_are_told_together():
    given = pod(container({"kubernetes.io/batch-cpu": "1"}), labels={"koordinator.sh/qosClass": "LSR"}, value=7500)
    problems = pod_problems(given, pod(value=9500))
    assert [problem.split(":")[0] for problem in problems] == [
        "labels.koordinator.sh/qosClass",
        "spec.priority",
        "labels.koordinator.sh/qosClass",
        "Pod",
        "pod.spec.containers[*].resources.requests",
    ]
    assert aggregate(problems).startswith("[labels.koordinator.sh/qosClass: Invalid value")
    assert aggregate([]) == ""
    assert aggregate(["a", "a"]) == "a"


@pytest.mark.parametrize("qos_class", ["", "SYSTEM", "LSE", "LSR", "LS", "BE"])
@pytest.mark.parametrize("value", [None, 9500, 7500, 5500, 3500])
def test_which_classes_and_bands_go_together(qos_class, value):
    given = pod(container({"cpu": "1"}), labels={"koordinator.sh/qosClass": qos_class}, value=value)
    forbidden = {"LSR": {None, 7500, 5500, 3500}, "BE": {None, 9500}}
    assert bool(pod_problems(given)) is (value in forbidden.get(qos_class, set()))


def test_the_priority_label_may_change_when_its_check_is_off():
    old, new = pod(labels={"koordinator.sh/priority": "1"}), pod(labels={"koordinator.sh/priority": "2"})
    assert pod_problems(new, old) == ['labels.koordinator.sh/priority: Invalid value: "2": field is immutable']
    assert pod_problems(new, old, check_sub_priority=False) == []
