"""Every custom resource of ours: created, served with its defaults, decoded by its type."""

import pytest

from koordinator.api import registry
from koordinator.kube.errors import Invalid

SPECS = {
    "Reservation": {"spec": {"template": {"spec": {"containers": []}}, "owners": [{"object": {"name": "p"}}]}},
    "PodMigrationJob": {"spec": {"podRef": {"namespace": "default", "name": "p"}}},
    "Device": {
        "spec": {"devices": [{"type": "gpu", "minor": 0, "health": True, "resources": {"koordinator.sh/gpu-core": 100}}]}
    },
    "ScheduleExplanation": {"spec": {"questionObjectKey": "default/p"}},
    "ClusterNetworkTopology": {"spec": {"networkTopologySpec": [{"topologyLayer": "SpineLayer", "labelKey": ["spine"]}]}},
    "NodeMetric": {"spec": {"metricCollectPolicy": {"reportIntervalSeconds": 60}}},
    "NodeSLO": {"spec": {"resourceQOSStrategy": {"beClass": {"networkQOS": {"enable": True}}}}},
    "ClusterColocationProfile": {"spec": {"qosClass": "BE", "probability": "50%", "patch": {"spec": {"a": 1}}}},
    "ElasticQuotaProfile": {"spec": {"quotaName": "q", "nodeSelector": {"matchLabels": {"a": "b"}}}},
    "Recommendation": {"spec": {"target": {"type": "workload", "workload": {"kind": "Deployment", "name": "d"}}}},
    "ElasticQuota": {"spec": {"min": {"cpu": 1}, "max": {"cpu": "10"}}},
    "PodGroup": {"spec": {"minMember": 3}},
    "NodeResourceTopology": {"topologyPolicies": ["None"], "zones": [{"name": "node-0", "type": "Node"}]},
}
KINDS = {value.kind: value for value in vars(registry).values() if isinstance(value, registry.Resource) and value.kind in SPECS}


@pytest.mark.parametrize("kind", SPECS)
async def test_a_small_object_is_accepted_and_decoded(apiserver, kind):
    resource = KINDS[kind]
    namespace = "default" if resource.namespaced else ""
    made = await apiserver.client.create(resource, {"metadata": {"name": "one"}, **SPECS[kind]}, namespace)
    assert type(made) is resource.type
    page = await apiserver.client.list(resource, namespace)
    assert [one.name for one in page.items] == ["one"]
    assert not page.undecodable


async def test_defaults_of_the_schema_are_filled_in(apiserver):
    made = await apiserver.client.create(KINDS["Reservation"], {"metadata": {"name": "r"}, **SPECS["Reservation"]})
    assert (made.spec.ttl, made.spec.allocate_once) == ("24h", True)
    slo = await apiserver.client.create(KINDS["NodeSLO"], {"metadata": {"name": "n"}, **SPECS["NodeSLO"]})
    network = slo.spec.resource_qos_strategy.be_class.network_qos
    assert (network.ingress_request, network.ingress_limit) == (0, 100)


@pytest.mark.parametrize(
    ("kind", "wrong", "field"),
    [
        ("Reservation", {"spec": {"owners": [{"object": {}}]}}, "template"),
        ("Reservation", {"spec": {"template": {}, "owners": []}}, "owners"),
        ("ClusterColocationProfile", {"spec": {"qosClass": "best"}}, "qosClass"),
        (
            "NodeSLO",
            {"spec": {"resourceUsedThresholdWithBE": {"cpuSuppressThresholdPercent": 101}}},
            "cpuSuppressThresholdPercent",
        ),
        ("ElasticQuota", {"spec": {"min": {"cpu": "lots"}}}, "cpu"),
    ],
)
async def test_wrong_objects_are_refused_by_field(apiserver, kind, wrong, field):
    resource = KINDS[kind]
    with pytest.raises(Invalid, match=field):
        await apiserver.client.create(resource, {"metadata": {"name": "x"}, **wrong}, "default" if resource.namespaced else "")
