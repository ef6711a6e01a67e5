import msgspec
import pytest

from koordinator.api.core import Pod
from koordinator.cluster.nodes.process.admission import NodeView, admit

NODE = NodeView("n1", {"zone": "a"}, {"cpu": 2000, "memory": 1 << 30, "pods": 3, "kubernetes.io/batch-cpu": 1000})


def pod(requests=None, **spec):
    container = {"name": "c", "resources": {"requests": requests or {}}}
    return msgspec.convert({"spec": {"containers": [container], **spec}}, Pod)


def test_a_pod_that_fits_is_taken():
    assert admit(pod({"cpu": "2"}), [], NODE) is None


@pytest.mark.parametrize(
    ("requests", "reason"),
    [
        ({"cpu": "1500m"}, "OutOfcpu"),
        ({"memory": "2Gi"}, "OutOfmemory"),
        ({"kubernetes.io/batch-cpu": "1001"}, "OutOfkubernetes.io/batch-cpu"),
    ],
)
def test_what_does_not_fit_is_named(requests, reason):
    refusal = admit(pod(requests), [pod({"cpu": "1"})], NODE)
    assert refusal.reason == reason
    assert refusal.message.startswith("Pod was rejected: Node didn't have enough resource: " + reason.removeprefix("OutOf"))


def test_the_number_of_pods_counts():
    assert admit(pod(), [pod()] * 3, NODE).reason == "OutOfpods"


def test_a_resource_that_the_node_does_not_list_is_passed_over():
    assert admit(pod({"example.com/x": "5"}), [], NODE) is None


def affinity(*terms):
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}}


def term(key, operator, *values, field=False):
    return {"matchFields" if field else "matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("spec", "taken"),
    [
        ({"nodeSelector": {"zone": "a"}}, True),
        ({"nodeSelector": {"zone": "b"}}, False),
        ({"affinity": affinity(term("zone", "In", "b"), term("zone", "Exists"))}, True),
        ({"affinity": affinity(term("zone", "NotIn", "a"))}, False),
        ({"affinity": affinity(term("metadata.name", "In", "n1", field=True))}, True),
        ({"affinity": affinity({})}, False),
    ],
)
def test_selectors(spec, taken):
    refusal = admit(pod(**spec), [], NODE)
    assert (refusal is None) == taken
    if refusal:
        assert refusal.reason == "NodeAffinity"
