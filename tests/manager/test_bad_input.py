"""Input that nobody should send: spec'd outcome, event or denial with the field; other systems' objects are never touched."""

import time

import msgspec
import pytest

from koordinator.api.config import ClusterColocationProfile
from koordinator.api.core import Node
from koordinator.api.features import MANAGER
from koordinator.api.slo import NodeMetricStatus
from koordinator.api.sloconfig.colocation import ColocationStrategy
from koordinator.clock import SystemClock
from koordinator.manager.config import ConfigCache
from koordinator.manager.overcommit import batch, inputs
from koordinator.manager.webhooks import admission
from koordinator.manager.webhooks.admission import Request
from koordinator.manager.webhooks.bindings import BindingRules, BindingWebhook
from koordinator.manager.webhooks.configmaps import ConfigWebhooks
from koordinator.manager.webhooks.nodes.handlers import mutate_status
from koordinator.manager.webhooks.pods.handlers import PodWebhooks
from koordinator.manager.webhooks.pods.profiles import compile_profile, matching
from koordinator.manager.webhooks.quotas.handlers import QuotaWebhooks
from koordinator.manager.webhooks.quotas.rules import Rules
from koordinator.manager.webhooks.quotas.topology import Topology
from koordinator.manager.webhooks.reservations import ReservationWebhook

NOTHING_KNOWN = object()


def handlers():
    """Every webhook, on a cluster that it must not even ask."""
    pods = PodWebhooks(NOTHING_KNOWN, MANAGER.parse("EnableQuotaAdmission=true,MultiQuotaTree=true"), SystemClock())
    topology = Topology()
    quotas = QuotaWebhooks(topology, Rules(topology, NOTHING_KNOWN, frozenset()))
    config = ConfigWebhooks(("koordinator-system", "slo-controller-config"), list, dict)
    bindings = BindingWebhook(BindingRules(users=("x",), namespaces=("*",)), lambda _: None)
    yield from (pods.mutate, pods.validate, quotas.mutate, quotas.validate, config.validate_config, config.validate_node)
    yield from (bindings.validate, ReservationWebhook(NOTHING_KNOWN).mutate, mutate_status)


@pytest.mark.parametrize("operation", ["CREATE", "UPDATE", "DELETE", "CONNECT"])
@pytest.mark.parametrize(
    ("group", "resource"),
    [("metrics.k8s.io", "pods"), ("example.com", "elasticquotas"), ("", "services"), ("example.com", "nodes")],
)
async def test_objects_of_other_systems_pass_untouched_and_unread(group, resource, operation):
    about = {"resource": {"group": group, "version": "v9", "resource": resource}, "operation": operation}
    request = msgspec.convert(about, Request)
    request.object = msgspec.Raw(b'{"metadata": 5, "spec": "no such thing"}')
    for handler in handlers():
        assert await handler(request) == admission.ALLOWED


def test_a_review_of_the_older_version_is_answered_in_it():
    body = {"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview", "request": {"uid": "u"}}
    review, request = admission.decode(msgspec.json.encode(body))
    answer = msgspec.json.decode(admission.encode(review.api_version, request.uid, admission.ALLOWED))
    assert answer["apiVersion"] == "admission.k8s.io/v1beta1"
    assert answer["response"] == {"uid": "u", "allowed": True}


async def test_a_quota_of_another_version_is_judged_by_what_can_be_read_of_it():
    topology = Topology()
    quotas = QuotaWebhooks(topology, Rules(topology, NOTHING_KNOWN, frozenset()))
    resource = {"group": "scheduling.sigs.k8s.io", "version": "v1beta7", "resource": "elasticquotas"}
    request = msgspec.convert({"resource": resource, "operation": "CREATE", "name": "q"}, Request)
    request.object = msgspec.Raw(b'{"metadata": {"name": "q"}, "spec": {"max": {"cpu": "1"}, "min": {"cpu": "2"}, "new": []}}')
    answer = await quotas.validate(request)
    assert (answer.allowed, answer.message) == (False, "resourceKey cpu of quota q min 2 > max 1")


def test_ten_thousand_profiles_are_looked_through_in_a_moment():
    profiles = [
        compile_profile(
            msgspec.convert(
                {"metadata": {"name": f"p{i}"}, "spec": {"selector": {"matchLabels": {"app": f"a{i}"}}}},
                ClusterColocationProfile,
            )
        )
        for i in range(10_000)
    ]
    started = time.process_time()
    for _ in range(10):
        assert [one.name for one in matching(profiles, {"app": "a77"}, {})] == ["p77"]
    assert (time.process_time() - started) / 10 < 0.1


@pytest.mark.parametrize("amounts", [None, {}, {"cpu": "0", "memory": "0"}, {"cpu": "-1", "memory": "x"}])
def test_a_node_without_capacity_sells_nothing(amounts):
    node = msgspec.convert({"metadata": {"name": "n"}, "status": {"capacity": amounts, "allocatable": amounts}}, Node)
    used = {"resources": {"cpu": "4", "memory": "1Gi"}}
    report = inputs.reported(msgspec.convert({"nodeMetric": {"systemUsage": used}}, NodeMetricStatus))
    row = inputs.demand_row(inputs.node_share(node), [], report)
    rules = batch.Rules.of([batch.rule_row(ColocationStrategy())])
    assert batch.batch(batch.Demand.of([row]), rules).tolist() == [[0, 0]]


def test_of_overlapping_entries_the_first_counts():
    entry = '{"name": "%s", "nodeSelector": {"matchLabels": {"pool": "a"}}, "cpuReclaimThresholdPercent": %d}'
    cache = ConfigCache()
    cache.sync({"colocation-config": f'{{"enable": true, "nodeConfigs": [{entry % ("x", 10)}, {entry % ("y", 20)}]}}'})
    node = msgspec.convert({"metadata": {"name": "n", "labels": {"pool": "a"}}}, Node)
    assert cache.colocation_of(node).cpu_reclaim_threshold_percent == 10


def test_settings_of_a_node_that_cannot_be_read_are_named_and_count_as_absent():
    labels = {"node.koordinator.sh/cpu-reclaim-ratio": "much"}
    annotations = {"node.koordinator.sh/colocation-strategy": "{", "node.koordinator.sh/reservation": '{"resources": 5}'}
    node = msgspec.convert({"metadata": {"name": "n", "labels": labels, "annotations": annotations}}, Node)
    problem = inputs.unreadable(node)
    for key in (*labels, *annotations):
        assert key in problem
    cache = ConfigCache()
    cache.sync({"colocation-config": '{"enable": true, "cpuReclaimThresholdPercent": 61}'})
    assert cache.colocation_of(node).cpu_reclaim_threshold_percent == 61
    assert inputs.annotated_reservation(annotations) == (0, 0)


def test_one_broken_key_leaves_the_others():
    cache = ConfigCache()
    texts = {
        "colocation-config": "{",
        "resource-threshold-config": "",
        "cpu-burst-config": '{"clusterStrategy": {"policy": "auto"}}',
        "cpu-normalization-config": "[]",
        "resource-amplification-config": '{"enable": 7}',
        "host-application-config": "null",
    }
    reasons = [problem.reason for problem in cache.sync(texts).problems]
    assert reasons[:3] == [
        "ColocationCfgUnmarshalFailed",
        "CPUNormalizationCfgUnmarshalFailed",
        "ResourceAmplificationCfgUnmarshalFailed",
    ]
    assert "SLOCfgUnmarshalFailed" in reasons
    assert cache.strategies["cpu_burst_strategy"].cluster.policy == "auto"
