"""ElasticQuota admission on a real API server."""

import pytest

from koordinator.api.registry import ELASTIC_QUOTAS
from koordinator.kube.errors import ApiError, NotFound
from waiting import until

LABEL = "quota.scheduling.koordinator.sh/"


async def quota(cluster, name, cpu_min="1", **labels):
    metadata = {"name": name, "labels": {LABEL + key.replace("_", "-"): text for key, text in labels.items()}}
    spec = {"max": {"cpu": "10", "memory": "10"}, "min": {"cpu": cpu_min, "memory": "1"}}
    return await cluster.client.create(ELASTIC_QUOTAS, {"metadata": metadata, "spec": spec}, "kube-system")


async def test_defaults_are_filled_and_the_tree_keeps_its_rules(cluster, manager):
    parent = await quota(cluster, "p", cpu_min="5", is_parent="true", tree_id="t")
    assert parent.labels[LABEL + "parent"] == "koordinator-root-quota"
    child = await quota(cluster, "c", parent="p")
    assert child.labels[LABEL + "tree-id"] == "t"
    assert child.annotations[LABEL + "shared-weight"] == '{"cpu":"10","memory":"10"}'
    with pytest.raises(ApiError, match="all brothers' MinQuota > parent MinQuota, parent: p"):
        await quota(cluster, "greedy", cpu_min="5", parent="p")
    with pytest.raises(ApiError, match="parent not exist"):
        await quota(cluster, "lost", parent="nobody")
    with pytest.raises(ApiError, match="quota p has 1 child quotas"):
        await cluster.client.delete(ELASTIC_QUOTAS, "p", "kube-system")
    await cluster.client.delete(ELASTIC_QUOTAS, "c", "kube-system")
    await cluster.client.delete(ELASTIC_QUOTAS, "p", "kube-system")


async def test_a_restarted_manager_knows_the_tree(cluster, run_manager):
    async with run_manager(cluster.client):
        await quota(cluster, "p", cpu_min="5", is_parent="true")
    async with run_manager(cluster.client):
        assert (await quota(cluster, "c", parent="p")).labels[LABEL + "parent"] == "p"


async def test_a_quota_with_pods_stays(cluster, manager):
    await quota(cluster, "q")
    await cluster.pod("a", labels={LABEL + "name": "q"})

    async def refused():
        try:
            await cluster.client.delete(ELASTIC_QUOTAS, "q", "kube-system")
        except NotFound:
            pytest.fail("the quota is gone")
        except ApiError as err:
            return "quota q has 1 child pods: a" in err.message
        return False

    await until(refused)


async def test_a_pod_may_not_be_put_into_a_quota_that_has_quotas_below(cluster, manager):
    await quota(cluster, "p", cpu_min="5", is_parent="true")
    with pytest.raises(ApiError, match="pod can not be linked to a parentQuotaGroup,quota:p, pod:a"):
        await cluster.pod("a", labels={LABEL + "name": "p"})
