"""What a hollow node's hardware is reported as: NUMA zones and CPUs (NodeResourceTopology) and GPUs (Device) as koordlet would,
and the GPUs once more as a driver of dynamic resource allocation would (ResourceSlice). Pure.

Every zone is a socket of its own. CPUs are numbered core by core, both threads of a core next to each other; GPUs hang in pairs
on a PCIe switch and are spread over the zones in order.
"""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from koordinator.api import cpuset, keys, numa, quantity
from koordinator.api.meta import Object, ObjectMeta, format_time
from koordinator.api.registry import DEVICES, NODE_RESOURCE_TOPOLOGIES, NODES, RESOURCE_SLICES
from koordinator.api.resources import CPU, GPU_CORE, GPU_MEMORY, GPU_MEMORY_RATIO, MEMORY
from koordinator.cluster.nodes.hollow_fleet import Member
from koordinator.cluster.nodes.hollow_lives import PREFIX
from koordinator.cluster.nodes.hollow_shape import Shape
from koordinator.kube.owners import controller_reference

DIGEST = f"{PREFIX}hardware"
"""Annotation: of what shape the object was made; one of another shape is written anew."""
THREADS = 2
GPUS_PER_SWITCH = 2
DRIVER = "550.54.15"
DRA_DRIVER = "gpu.nvidia.com"
"""Who publishes the GPUs as devices that pods can claim."""

Json = dict[str, Any]


def digest(shape: Shape) -> str:
    """The same for nodes of the same hardware. The first letter is the version of what this module writes."""
    parts = (shape.cpu, shape.memory, shape.numa, shape.gpu, shape.gpu_model, shape.gpu_memory)
    return "1" + hashlib.blake2b(repr(parts).encode(), digest_size=6).hexdigest()


def topology(member: Member, shape: Shape, uid: str) -> Json:
    """The node's NodeResourceTopology."""
    annotations, zones = _static(shape)
    return {
        "apiVersion": NODE_RESOURCE_TOPOLOGIES.api_version,
        "kind": NODE_RESOURCE_TOPOLOGIES.kind,
        "metadata": _metadata(member, shape, uid) | {"labels": {keys.MANAGED_BY: "Koordinator"}, "annotations": annotations},
        "topologyPolicies": ["None"],
        "zones": zones,
    }


@lru_cache(maxsize=4)
def _static(shape: Shape) -> tuple[Json, list[Json]]:
    """What is the same for all nodes: annotations and zones."""
    cpus = _cpus(shape)
    return _notes(shape, cpus), _zones(shape, cpus)


def _metadata(member: Member, shape: Shape, uid: str) -> Json:
    owner = controller_reference(NODES, Object(metadata=ObjectMeta(name=member.name, uid=uid)))
    return {"name": member.name, "annotations": {DIGEST: digest(shape)}, "ownerReferences": [owner]}


def _cpus(shape: Shape) -> list[numa.CPUInfo]:
    """Zones get whole cores; the last ones one less when they cannot be shared out evenly."""
    count = max(1, quantity.milli_value(shape.cpu) // 1000)
    cores = -(-count // THREADS)
    found = []
    for index in range(count):
        zone = index // THREADS * shape.numa // cores
        found.append(numa.CPUInfo(id=index, core=index // THREADS, socket=zone, node=zone))
    return found


def _by_zone(shape: Shape, cpus: list[numa.CPUInfo]) -> list[list[int]]:
    return [[cpu.id for cpu in cpus if cpu.node == zone] for zone in range(shape.numa)]


def _notes(shape: Shape, cpus: list[numa.CPUInfo]) -> Json:
    pools = [
        numa.CPUSharedPool(socket=zone, node=zone, cpuset=cpuset.to_text(held))
        for zone, held in enumerate(_by_zone(shape, cpus))
        if held
    ]
    model = numa.CPUBasicInfo(cpu_model="hollow", hyper_thread_enabled=True, vendor_id="GenuineIntel")
    written: Mapping[str, str] = {
        keys.CPU_BASIC_INFO: numa.CPU_BASIC_INFO.write(model),
        keys.CPU_TOPOLOGY: numa.CPU_TOPOLOGY.write(numa.CPUTopology(detail=cpus)),
        keys.CPU_SHARED_POOLS: numa.CPU_SHARED_POOLS.write(pools),
        keys.BE_CPU_SHARED_POOLS: numa.BE_CPU_SHARED_POOLS.write(pools),
        keys.KUBELET_CPU_MANAGER_POLICY: numa.KUBELET_CPU_MANAGER_POLICY.write(numa.KubeletCPUManagerPolicy(policy="none")),
        keys.POD_CPU_ALLOCS: "null",
        keys.NODE_RESERVATION: "{}",
        keys.SYSTEM_QOS_RESOURCE: "{}",
    }
    return {DIGEST: digest(shape), **written}


def _zones(shape: Shape, cpus: list[numa.CPUInfo]) -> list[Json]:
    memory = quantity.value(shape.memory)
    zones = [
        {
            "name": f"node-{zone}",
            "type": "Node",
            "resources": [_resource(CPU, str(len(held))), _resource(MEMORY, str(_share(memory, zone, shape.numa)))],
        }
        for zone, held in enumerate(_by_zone(shape, cpus))
    ]
    return sorted(zones, key=lambda zone: str(zone["name"]))


def _share(total: int, index: int, parts: int) -> int:
    return total * (index + 1) // parts - total * index // parts


def _resource(name: str, amount: str) -> Json:
    return {"name": name, "capacity": amount, "allocatable": amount, "available": amount}


def devices(member: Member, shape: Shape, uid: str, now: float) -> Json | None:
    """The node's Device; None when it has no GPU."""
    if not shape.gpus:
        return None
    labels = {keys.GPU_VENDOR: "nvidia", keys.GPU_DRIVER_VERSION: DRIVER}
    labels |= {keys.GPU_MODEL: shape.gpu_model} if shape.gpu_model else {}
    return {
        "apiVersion": DEVICES.api_version,
        "kind": DEVICES.kind,
        "metadata": _metadata(member, shape, uid) | {"labels": labels},
        "spec": {"devices": [_gpu(member, shape, minor, now) for minor in range(shape.gpus)]},
    }


def _gpu(member: Member, shape: Shape, minor: int, now: float) -> Json:
    zone = minor * shape.numa // shape.gpus
    switch = minor // GPUS_PER_SWITCH
    healthy = {
        "type": "Healthy",
        "status": "True",
        "lastTransitionTime": format_time(now),
        "reason": "DeviceHealthy",
        "message": "device is healthy",
    }
    return {
        "type": "gpu",
        "id": gpu_id(member, minor),
        "minor": minor,
        "moduleID": minor,
        "health": True,
        "resources": {GPU_CORE: "100", GPU_MEMORY: shape.gpu_memory_each, GPU_MEMORY_RATIO: "100"},
        "topology": {
            "socketID": zone,
            "nodeID": zone,
            # unique across zones: a pair that straddles two hangs on two switches
            "pcieID": f"pci{zone:04x}:{switch:02x}",
            "busID": f"{zone:04x}:{switch:02x}:{minor % GPUS_PER_SWITCH:02x}.0",
        },
        "conditions": [healthy],
    }


def slice_name(node: str) -> str:
    return f"{node}-{DRA_DRIVER}"


def resource_slice(member: Member, shape: Shape, uid: str) -> Json | None:
    """The node's GPUs as devices that pods can claim; None when it has none."""
    if not shape.gpus:
        return None
    return {
        "apiVersion": RESOURCE_SLICES.api_version,
        "kind": RESOURCE_SLICES.kind,
        "metadata": _metadata(member, shape, uid) | {"name": slice_name(member.name)},
        "spec": {
            "driver": DRA_DRIVER,
            "nodeName": member.name,
            "pool": {"name": member.name, "generation": 1, "resourceSliceCount": 1},
            "devices": [_claimable(member, shape, minor) for minor in range(shape.gpus)],
        },
    }


def _claimable(member: Member, shape: Shape, minor: int) -> Json:
    attributes: Json = {
        "type": {"string": "gpu"},
        "uuid": {"string": gpu_id(member, minor)},
        "index": {"int": minor},
        "numa": {"int": minor * shape.numa // shape.gpus},
        "driverVersion": {"version": DRIVER},
    }
    if shape.gpu_model:
        attributes["productName"] = {"string": shape.gpu_model}
    return {"name": f"gpu-{minor}", "attributes": attributes, "capacity": {"memory": {"value": shape.gpu_memory_each}}}


def gpu_id(member: Member, minor: int) -> str:
    """A UUID as the driver writes it: the same at every start."""
    text = hashlib.blake2b(f"{member.seed}/{minor}".encode(), digest_size=16).hexdigest()
    return f"GPU-{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
