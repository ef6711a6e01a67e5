"""ElasticQuotaProfiles on a real API server."""

from koordinator.api.registry import ELASTIC_QUOTA_PROFILES, ELASTIC_QUOTAS, NODES
from koordinator.kube.errors import NotFound
from waiting import until


async def test_a_profile_makes_the_root_quota_of_its_nodes(cluster, manager):
    await cluster.node()
    await cluster.client.patch(NODES, "n1", {"metadata": {"labels": {"pool": "a"}}})
    spec = {"quotaName": "pool-a", "nodeSelector": {"matchLabels": {"pool": "a"}}, "resourceRatio": "0.5"}
    await cluster.client.create(ELASTIC_QUOTA_PROFILES, {"metadata": {"name": "pool-a"}, "spec": spec}, "kube-system")

    async def made():
        try:
            quota = await cluster.client.get(ELASTIC_QUOTAS, "pool-a", "kube-system")
        except NotFound:
            return False
        return quota.spec.min == {"cpu": "8", "memory": "32Gi"} and quota.labels["quota.scheduling.koordinator.sh/is-root"]

    await until(made)
    profile = await cluster.client.get(ELASTIC_QUOTA_PROFILES, "pool-a", "kube-system")
    quota = await cluster.client.get(ELASTIC_QUOTAS, "pool-a", "kube-system")
    tree = "quota.scheduling.koordinator.sh/tree-id"
    assert profile.labels[tree] == quota.labels[tree]


async def test_a_profile_whose_selector_cannot_be_used_says_so(cluster, manager):
    broken = {"matchExpressions": [{"key": "pool", "operator": "Like"}]}
    body = {"metadata": {"name": "bad"}, "spec": {"quotaName": "bad", "nodeSelector": broken}}
    await cluster.client.create(ELASTIC_QUOTA_PROFILES, body, "kube-system")
    await until(lambda: cluster.events("InvalidElasticQuotaProfile"))
    assert (await cluster.events("InvalidElasticQuotaProfile"))[0].message.startswith("spec.nodeSelector: ")
