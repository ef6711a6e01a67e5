"""Batch resources on real nodes: they appear, follow what is measured, and vanish when nobody knows any more."""

import time

from koordinator.api.registry import CONFIG_MAPS, NODE_METRICS, NODES, PODS
from waiting import until

ON = '{"enable": true, "cpuReclaimThresholdPercent": 75, "memoryReclaimThresholdPercent": 75}'
ORIGIN = "node.koordinator.sh/originExtendedAllocatable"
GAUGE = 'slo_controller_node_extended_resource_allocatable_internal{node="n1",resource="kubernetes.io/batch-cpu",unit='
GONE = (None, None)


async def sells(cluster, wanted, node="n1", seconds=10):
    async def is_so():
        return await cluster.sold(node) == wanted

    await until(is_so, seconds, f"{node} sells {wanted}")


async def has_metric(cluster, node="n1"):
    async def is_so():
        return node in {metric.name for metric in (await cluster.client.list(NODE_METRICS)).items}

    await until(is_so, what=f"NodeMetric {node}")


async def with_a_service(cluster):
    """16 cores and 64 GiB, a quarter kept back, a service that uses half of what it asked for."""
    await cluster.configure(colocation_config=ON)
    await cluster.node()
    await has_metric(cluster)
    await cluster.pod("web", "n1", labels={"koordinator.sh/qosClass": "LS"}, spec={"priorityClassName": "koord-prod"})
    await cluster.report(pods=[("web", "2", "6Gi")])
    await sells(cluster, ("9k", "38Gi"))


async def test_batch_resources_are_what_is_left(cluster, manager):
    await with_a_service(cluster)
    node = await cluster.client.get(NODES, "n1")
    assert node.status.capacity["kubernetes.io/batch-cpu"] == "9k"
    assert node.annotations[ORIGIN] == '{"resources":{"kubernetes.io/batch-cpu":"9k","kubernetes.io/batch-memory":"38Gi"}}'
    assert f'{GAUGE}"integer"}} 9.0' in manager.metrics.text().decode()


async def test_a_deleted_pod_counts_until_it_is_no_longer_measured(cluster, manager):
    await with_a_service(cluster)
    await cluster.client.delete(PODS, "web", "default", grace_seconds=0)
    await cluster.report(pods=[("web", "2", "6Gi")])
    await sells(cluster, ("9k", "38Gi"))
    await cluster.report(pods=[])
    await sells(cluster, ("11k", "44Gi"))


async def test_memory_by_request(cluster, manager):
    await with_a_service(cluster)
    await cluster.configure(colocation_config=ON[:-1] + ', "memoryCalculatePolicy": "request", "resourceDiffThreshold": 0.01}')
    await sells(cluster, ("9k", "40Gi"))


async def test_small_changes_are_calculated_and_not_written(cluster, manager):
    await with_a_service(cluster)
    await cluster.report(system=("1100m", "4Gi"), pods=[("web", "2", "6Gi")])
    await until(lambda: f'{GAUGE}"integer"}} 8.9' in manager.metrics.text().decode())
    assert await cluster.sold() == ("9k", "38Gi")
    await cluster.report(system=("3", "4Gi"), pods=[("web", "2", "6Gi")])
    await sells(cluster, ("7k", "38Gi"))


async def test_a_stale_report_takes_the_resources_back_without_any_event(cluster, manager):
    await with_a_service(cluster)
    await cluster.report(age=15 * 60 - 2, pods=[("web", "2", "6Gi")])
    reported = time.monotonic()
    await sells(cluster, GONE)
    assert time.monotonic() - reported > 0.5
    assert '"kubernetes.io/batch-cpu":"0"' in (await cluster.client.get(NODES, "n1")).annotations[ORIGIN]
    await cluster.report(pods=[("web", "2", "6Gi")])
    await sells(cluster, ("9k", "38Gi"))


async def test_switched_off_for_one_node_or_for_all(cluster, manager):
    await with_a_service(cluster)
    await cluster.node("n2")
    await has_metric(cluster, "n2")
    await cluster.report("n2", system=("0", "0"))
    await sells(cluster, ("12k", "48Gi"), "n2")
    own = {"metadata": {"annotations": {"node.koordinator.sh/colocation-strategy": '{"enable":false}'}}}
    await cluster.client.patch(NODES, "n1", own)
    await sells(cluster, GONE)
    assert await cluster.sold("n2") == ("12k", "48Gi")
    await cluster.configure(colocation_config='{"enable": false}')
    await sells(cluster, GONE, "n2")


async def test_bad_configuration_changes_nothing_and_says_why(cluster, manager):
    await with_a_service(cluster)
    await cluster.configure(colocation_config='{"enable":tru')

    async def told():
        return await cluster.events("ColocationCfgUnmarshalFailed")

    await until(told)
    (event,) = await told()
    assert event.message.startswith("failed to unmarshal colocation config, err: ")
    assert (event.involved_object.kind, event.involved_object.name) == ("ConfigMap", "slo-controller-config")
    assert await cluster.sold() == ("9k", "38Gi")
    await cluster.configure(colocation_config='{"enable": true, "degradeTimeMinutes": 0}')
    await until(lambda: cluster.events("ColocationCfgInvalid"))
    assert await cluster.sold() == ("9k", "38Gi")


async def test_a_deleted_configuration_stays_in_force(cluster, manager):
    await with_a_service(cluster)
    await cluster.client.delete(CONFIG_MAPS, "slo-controller-config", "koordinator-system")
    await cluster.report(system=("3", "4Gi"), pods=[("web", "2", "6Gi")])
    await sells(cluster, ("7k", "38Gi"))


async def test_one_absurd_node_never_stops_the_others(cluster, manager):
    await cluster.configure(colocation_config=ON)
    await cluster.node("broken", {"node.koordinator.sh/thirdPartyAllocations": "{bad"})
    await cluster.node("empty", cpu="0", memory="0")
    await cluster.node("mad")
    await cluster.node("fine")
    for name in ("broken", "empty", "mad", "fine"):
        await has_metric(cluster, name)
        await cluster.report(name, system=("0", "0"))
    await sells(cluster, ("12k", "48Gi"), "fine")
    await sells(cluster, ("0", "0"), "empty")
    await sells(cluster, ("12k", "48Gi"), "broken")
    await sells(cluster, ("12k", "48Gi"), "mad")
    await cluster.report("mad", age=-10 * 24 * 3600.0, system=("0", "0"))
    await sells(cluster, GONE, "mad")
    await until(lambda: cluster.events("InvalidNodeAnnotation"))
    (event,) = await cluster.events("InvalidNodeAnnotation")
    assert "thirdPartyAllocations" in event.message


async def test_negative_use_counts_as_none_and_says_so(cluster, manager):
    await cluster.configure(colocation_config=ON)
    await cluster.node()
    await has_metric(cluster)
    await cluster.report(system=("-4", "4Gi"))
    await sells(cluster, ("12k", "44Gi"))
    await until(lambda: cluster.events("AbnormalNodeMetric"))
    assert "status.nodeMetric.systemUsage.resources.cpu is '-4'" in (await cluster.events("AbnormalNodeMetric"))[0].message


async def test_a_restarted_manager_goes_on_where_it_was(cluster, run_manager):
    async with run_manager(cluster.client):
        await with_a_service(cluster)
    await cluster.report(system=("3", "4Gi"), pods=[("web", "2", "6Gi")])
    async with run_manager(cluster.client):
        await sells(cluster, ("7k", "38Gi"))
