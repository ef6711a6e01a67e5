"""NUMA zones and CPU ratios: written where koordlet described the machine, nothing of koordlet's lost."""

import copy

import numpy as np
import pytest

from koordinator.api.registry import NODE_METRICS, NODE_RESOURCE_TOPOLOGIES, NODES
from koordinator.manager.overcommit.zones import emptied_zones, updated_zones, zone_capacities
from waiting import until

ON = '{"enable": true, "cpuReclaimThresholdPercent": 75, "memoryReclaimThresholdPercent": 75}'
SPEED = '{"enable": true, "ratioModel": {"XXX": {"hyperThreadTurboEnabledRatio": 1.2}}}'


def zone(name, cpu="8", memory="32Gi", *others):
    resources = [
        {"name": name, "capacity": amount, "allocatable": amount, "available": amount}
        for name, amount in (("cpu", cpu), ("memory", memory), *others)
    ]
    return {"name": name, "type": "Node", "resources": resources}


ZONES = [zone("node-0", "8", "32Gi", ("koordinator.sh/gpu", "1")), zone("node-1")]


def test_our_two_resources_are_added_in_order_and_others_stay():
    first = updated_zones(ZONES, np.array([[4000, 2**30 * 1000], [0, 0]]), 1.0, 0.1)[0]
    assert [one["name"] for one in first["resources"]] == [
        "cpu",
        "koordinator.sh/gpu",
        "kubernetes.io/batch-cpu",
        "kubernetes.io/batch-memory",
        "memory",
    ]
    assert first["resources"][2] == {
        "name": "kubernetes.io/batch-cpu",
        "capacity": "4k",
        "allocatable": "4k",
        "available": "4k",
    }


def test_small_changes_are_not_written_and_nothing_is_changed_in_place():
    before = copy.deepcopy(ZONES)
    written = updated_zones(ZONES, np.array([[4000, 1000], [4000, 1000]]), 1.0, 0.1)
    assert before == ZONES
    assert updated_zones(written, np.array([[4100, 1000], [4000, 1000]]), 1.0, 0.1) is None
    assert updated_zones(written, np.array([[5000, 1000], [4000, 1000]]), 1.0, 0.1) is not None


def test_normalized_zone_cpu_is_not_rounded():
    (first,) = updated_zones(ZONES[1:], np.array([[333, 0]]), 1.25, 0.1)
    assert first["resources"][1]["allocatable"] == "416250m"


def test_zones_without_cpu_and_memory_are_no_ground():
    assert zone_capacities([{"name": "node-0", "resources": [{"name": "x", "allocatable": "1"}]}]) == []


def test_an_unreadable_zone_is_named():
    with pytest.raises(ValueError, match="zone node-0: "):
        zone_capacities([zone("node-0", cpu="many")])


def test_emptying_touches_only_what_was_sold():
    written = updated_zones(ZONES, np.array([[4000, 1000], [0, 0]]), 1.0, 0.1)
    emptied = emptied_zones([written[0], ZONES[1]])
    amounts = {one["name"]: one["allocatable"] for one in emptied[0]["resources"]}
    assert amounts == {
        "cpu": "8",
        "memory": "32Gi",
        "koordinator.sh/gpu": "1",
        "kubernetes.io/batch-cpu": "0",
        "kubernetes.io/batch-memory": "0",
    }
    assert emptied[1] == ZONES[1]
    assert emptied_zones(emptied) is None


async def test_zones_and_speed_of_a_described_machine(cluster, manager):
    await cluster.configure(colocation_config=ON, cpu_normalization_config=SPEED)
    await cluster.node()
    info = '{"cpuModel":"XXX","hyperThreadEnabled":true,"turboEnabled":true}'
    metadata = {"name": "n1", "annotations": {"node.koordinator.sh/cpu-basic-info": info}}
    await cluster.client.create(NODE_RESOURCE_TOPOLOGIES, {"metadata": metadata, "topologyPolicies": ["None"], "zones": ZONES})

    async def reported():
        return any(metric.name == "n1" for metric in (await cluster.client.list(NODE_METRICS)).items)

    await until(reported)
    await cluster.report(system=("2", "8Gi"))

    async def written():
        node = await cluster.client.get(NODES, "n1")
        zones = (await cluster.client.get(NODE_RESOURCE_TOPOLOGIES, "n1")).zones
        offered = {one.name: one.allocatable for one in zones[0].resources}
        return (
            await cluster.sold() == ("12k", "40Gi")
            and node.annotations.get("node.koordinator.sh/cpu-normalization-ratio") == "1.20"
            and node.annotations.get("node.koordinator.sh/resource-amplification-ratio") == '{"cpu":1.20}'
            and (offered.get("kubernetes.io/batch-cpu"), offered.get("koordinator.sh/gpu")) == ("6k", "1")
        )

    await until(written)
    await cluster.configure(colocation_config='{"enable": false}')

    async def taken_back():
        annotations = (await cluster.client.get(NODES, "n1")).annotations
        zones = (await cluster.client.get(NODE_RESOURCE_TOPOLOGIES, "n1")).zones
        offered = {one.name: one.allocatable for one in zones[0].resources}
        return (
            await cluster.sold() == (None, None)
            and (offered["kubernetes.io/batch-cpu"], offered["cpu"], offered["koordinator.sh/gpu"]) == ("0", "8", "1")
            and "node.koordinator.sh/resource-amplification-ratio" not in annotations
            and annotations["node.koordinator.sh/cpu-normalization-ratio"] == "1.20"
        )

    await until(taken_back)
