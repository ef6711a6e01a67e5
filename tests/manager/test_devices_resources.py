"""What a node offers of its devices, and that it is taken back with them."""

import msgspec
import pytest

from koordinator.api.device import Device
from koordinator.api.registry import DEVICES, NODES
from koordinator.manager.overcommit.devices import GPU_NAMES, gpus, rdma
from waiting import until

ON = '{"enable": true}'


def gpu(minor, health=True, **resources):
    given = {"koordinator.sh/gpu-core": "100", "koordinator.sh/gpu-memory": "16Gi", "koordinator.sh/gpu-memory-ratio": "100"}
    return {"type": "gpu", "minor": minor, "health": health, "resources": {**given, **resources}}


def device(*devices, **labels):
    return {"metadata": {"name": "n1", "labels": labels}, "spec": {"devices": list(devices)}}


def read(body):
    return msgspec.convert(body, Device)


def test_healthy_gpus_are_summed():
    offered = gpus(read(device(gpu(0), gpu(1), gpu(2, health=False), **{"node.koordinator.sh/gpu-model": "A10"})), shared=True)
    assert offered.resources == {
        "koordinator.sh/gpu": 200,
        "koordinator.sh/gpu-core": 200,
        "koordinator.sh/gpu-memory": 32 << 30,
        "koordinator.sh/gpu-memory-ratio": 200,
        "koordinator.sh/gpu.shared": 200,
    }
    assert offered.labels == {"node.koordinator.sh/gpu-model": "A10"}


def test_another_vendors_devices_have_no_nvidia_shorthand():
    npu = {"type": "gpu", "minor": 0, "health": True, "resources": {"huawei.com/npu-core": "20", "example.com/x": "1"}}
    offered = gpus(read(device(npu, **{"node.koordinator.sh/gpu-vendor": "huawei"})))
    assert offered.resources == {"huawei.com/npu-core": 20}


@pytest.mark.parametrize("found", [None, read(device()), read(device(gpu(0, health=False)))])
def test_without_healthy_devices_everything_is_taken_back(found):
    assert gpus(found).resources == dict.fromkeys(GPU_NAMES)
    assert rdma(found).resources == {"koordinator.sh/rdma": None}


def test_nics_count_a_hundred_each():
    nics = ({"type": "rdma", "minor": i, "health": i > 0} for i in range(3))
    assert rdma(read(device(*nics))).resources == {"koordinator.sh/rdma": 200}


def test_an_unreadable_amount_is_named():
    with pytest.raises(ValueError, match=r"spec.devices\[minor 1\].resources.koordinator.sh/gpu-core is 'many'"):
        gpus(read(device(gpu(0), gpu(1, **{"koordinator.sh/gpu-core": "many"}))))


async def test_a_node_shows_its_devices_while_it_has_them(cluster, manager):
    await cluster.configure(colocation_config=ON)
    await cluster.node()
    body = device(gpu(0), gpu(1), {"type": "rdma", "minor": 0, "health": True}, **{"node.koordinator.sh/gpu-vendor": "nvidia"})
    await cluster.client.create(DEVICES, body)

    async def offered():
        node = await cluster.client.get(NODES, "n1")
        amounts = {name: text for name, text in node.status.allocatable.items() if name.startswith("koordinator.sh/")}
        return amounts, node.labels.get("node.koordinator.sh/gpu-vendor")

    wanted = {
        "koordinator.sh/gpu": "200",
        "koordinator.sh/gpu-core": "200",
        "koordinator.sh/gpu-memory": "32Gi",
        "koordinator.sh/gpu-memory-ratio": "200",
        "koordinator.sh/rdma": "100",
    }

    async def shows(amounts):
        return await offered() == (amounts, "nvidia")

    await until(lambda: shows(wanted))
    await cluster.client.delete(DEVICES, "n1")
    await until(lambda: shows({}))
