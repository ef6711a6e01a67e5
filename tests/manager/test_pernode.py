"""NodeMetric and NodeSLO: one per node, as the configuration says, nothing left behind."""

import pytest

from koordinator.api.registry import NODE_METRICS, NODE_SLOS, NODES
from waiting import until


@pytest.fixture
def says(spec_of):
    """Wait until an object's spec satisfies a condition."""

    async def wait(resource, name, condition):
        async def is_so():
            spec = await spec_of(resource, name)
            return spec is not None and condition(spec)

        await until(is_so, what=f"{resource.plural} {name}")

    return wait


async def test_every_node_gets_both_and_loses_both(cluster, manager, says, spec_of):
    await cluster.node()
    await says(NODE_METRICS, "n1", lambda spec: spec["metricCollectPolicy"]["reportIntervalSeconds"] == 60)
    await says(NODE_SLOS, "n1", lambda spec: spec["cpuBurstStrategy"]["policy"] == "none")
    await cluster.client.delete(NODES, "n1")

    async def gone():
        return await spec_of(NODE_METRICS, "n1") is None and await spec_of(NODE_SLOS, "n1") is None

    await until(gone)


async def test_configuration_reaches_the_nodes_that_it_names(cluster, manager, says):
    await cluster.node()
    await cluster.node("n2")
    await cluster.client.patch(NODES, "n2", {"metadata": {"labels": {"pool": "b"}}})
    await cluster.configure(
        colocation_config='{"enable": true, "metricReportIntervalSeconds": 30}',
        resource_threshold_config='{"clusterStrategy": {"enable": true}, "nodeStrategies": [{"nodeSelector": {"matchLabels":'
        ' {"pool": "b"}}, "cpuSuppressThresholdPercent": 40}]}',
    )
    await says(NODE_METRICS, "n1", lambda spec: spec["metricCollectPolicy"]["reportIntervalSeconds"] == 30)
    await says(NODE_SLOS, "n1", lambda spec: spec["resourceUsedThresholdWithBE"]["enable"] is True)
    await says(NODE_SLOS, "n2", lambda spec: spec["resourceUsedThresholdWithBE"]["cpuSuppressThresholdPercent"] == 40)
    await cluster.client.patch(NODES, "n2", {"metadata": {"labels": {"pool": None}}})
    await says(NODE_SLOS, "n2", lambda spec: spec["resourceUsedThresholdWithBE"]["cpuSuppressThresholdPercent"] == 65)


async def test_a_changed_or_deleted_object_is_put_right(cluster, manager, says):
    await cluster.node()
    await says(NODE_SLOS, "n1", lambda spec: True)
    await cluster.client.patch(NODE_SLOS, "n1", {"spec": {"cpuBurstStrategy": {"policy": "auto"}}})
    await says(NODE_SLOS, "n1", lambda spec: spec["cpuBurstStrategy"]["policy"] == "none")
    await cluster.client.delete(NODE_METRICS, "n1")
    await says(NODE_METRICS, "n1", lambda spec: True)


async def test_extensions_of_others_stay(cluster, manager, says):
    await cluster.node()
    await says(NODE_SLOS, "n1", lambda spec: True)
    await cluster.client.patch(NODE_SLOS, "n1", {"spec": {"extensions": {"theirs": {"a": 1}}}})
    await cluster.configure(cpu_burst_config='{"clusterStrategy": {"policy": "auto"}}')
    await says(
        NODE_SLOS,
        "n1",
        lambda spec: spec["cpuBurstStrategy"]["policy"] == "auto" and spec["extensions"] == {"theirs": {"a": 1}},
    )


async def test_a_bad_key_keeps_its_last_value_while_others_follow(cluster, manager, says):
    await cluster.node()
    await cluster.configure(resource_threshold_config='{"clusterStrategy": {"enable": true}}')
    await says(NODE_SLOS, "n1", lambda spec: spec["resourceUsedThresholdWithBE"]["enable"] is True)
    await cluster.configure(resource_threshold_config="{", cpu_burst_config='{"clusterStrategy": {"policy": "auto"}}')
    await says(
        NODE_SLOS,
        "n1",
        lambda spec: spec["cpuBurstStrategy"]["policy"] == "auto" and spec["resourceUsedThresholdWithBE"]["enable"] is True,
    )
    await until(lambda: cluster.events("SLOCfgUnmarshalFailed"))
    assert (await cluster.events("SLOCfgUnmarshalFailed"))[0].message.startswith("failed to unmarshal ThresholdCfg, err: ")
