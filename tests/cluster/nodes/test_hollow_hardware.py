"""The hardware of hollow nodes, as koordlet would report it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.api import cpuset, numa, quantity
from koordinator.api.device import Device
from koordinator.cluster.nodes.hollow_fleet import Fleet
from koordinator.cluster.nodes.hollow_hardware import devices, digest, topology
from koordinator.cluster.nodes.hollow_shape import Shape, parse

BIG = parse("cpu=64,memory=256Gi,gpu=8:A100,numa=2")


def member(shape=BIG, index=0):
    return Fleet("hollow", 2, shape, seed=7).get(f"hollow-{index}")


def zones_of(shape):
    built = msgspec.convert(topology(member(shape), shape, "u"), numa.NodeResourceTopology)
    return built, numa.CPU_TOPOLOGY.read(built.annotations).detail


def test_the_topology_has_a_zone_per_socket_with_its_share():
    built, cpus = zones_of(BIG)
    assert [zone.name for zone in built.zones] == ["node-0", "node-1"]
    assert [{one.name: one.allocatable for one in zone.resources} for zone in built.zones] == [
        {"cpu": "32", "memory": str(128 * 2**30)}
    ] * 2
    assert [(cpus[i].core, cpus[i].socket, cpus[i].node) for i in (0, 1, 31, 32, 63)] == [
        (0, 0, 0),
        (0, 0, 0),
        (15, 0, 0),
        (16, 1, 1),
        (31, 1, 1),
    ]
    pools = numa.CPU_SHARED_POOLS.read(built.annotations)
    assert [(pool.node, pool.cpuset) for pool in pools] == [(0, "0-31"), (1, "32-63")]
    assert numa.POD_CPU_ALLOCS.read(built.annotations) is None or numa.POD_CPU_ALLOCS.read(built.annotations) == []
    assert built.metadata.owner_references[0].uid == "u"
    assert built.labels == {"app.kubernetes.io/managed-by": "Koordinator"}


def test_gpus_are_spread_over_zones_in_pairs_on_a_switch():
    device = msgspec.convert(devices(member(), BIG, "u", 1e9), Device)
    found = device.spec.devices
    assert [gpu.minor for gpu in found] == list(range(8))
    assert [gpu.topology.node_id for gpu in found] == [0] * 4 + [1] * 4
    assert len({gpu.topology.pcie_id for gpu in found}) == 4
    assert len({gpu.topology.bus_id for gpu in found}) == len({gpu.id for gpu in found}) == 8
    assert found[0].health
    assert found[0].resources == {
        "koordinator.sh/gpu-core": "100",
        "koordinator.sh/gpu-memory": "80Gi",
        "koordinator.sh/gpu-memory-ratio": "100",
    }
    assert device.labels["node.koordinator.sh/gpu-model"] == "A100"
    assert {gpu.id for gpu in found}.isdisjoint(gpu["id"] for gpu in devices(member(index=1), BIG, "u", 1e9)["spec"]["devices"])


def test_without_gpus_there_is_no_device():
    assert devices(member(Shape()), Shape(), "u", 0.0) is None


@pytest.mark.parametrize("text", ["cpu=32", "memory=1Gi", "numa=4", "gpu=8", "gpu=8:H100", "gpu=8:A100:40Gi"])
def test_another_shape_has_another_digest(text):
    assert digest(parse(text)) != digest(BIG)
    assert digest(parse(text)) == digest(parse(f"{text},zone=a,pods=7")), "zones and pods are no hardware"


@given(cpus=st.integers(1, 300), zones=st.integers(1, 12), gpus=st.integers(0, 16), memory=st.integers(1, 2**40))
def test_nothing_is_lost_between_the_zones(cpus, zones, gpus, memory):
    shape = Shape(cpu=str(cpus), memory=str(memory), numa=zones, gpu=str(gpus))
    built, detail = zones_of(shape)
    assert sum(quantity.value(zone.resources[1].capacity) for zone in built.zones) == memory
    assert sum(int(zone.resources[0].capacity) for zone in built.zones) == cpus
    assert [zone.name for zone in built.zones] == sorted(zone.name for zone in built.zones)
    pooled = [cpu for pool in numa.CPU_SHARED_POOLS.read(built.annotations) for cpu in cpuset.parse(pool.cpuset)]
    assert sorted(pooled) == [cpu.id for cpu in detail] == list(range(cpus))
    by_core = {}
    for cpu in detail:
        by_core.setdefault(cpu.core, set()).add(cpu.node)
    assert all(len(nodes) == 1 for nodes in by_core.values()), "both threads of a core are in its zone"
    pcie = {}
    for gpu in (devices(member(shape), shape, "u", 0.0) or {"spec": {"devices": []}})["spec"]["devices"]:
        pcie.setdefault(gpu["topology"]["pcieID"], set()).add(gpu["topology"]["nodeID"])
    assert all(len(nodes) == 1 for nodes in pcie.values())


def test_a_fraction_of_a_cpu_is_one_cpu():
    _, detail = zones_of(parse("cpu=500m,numa=2"))
    assert len(detail) == 1
