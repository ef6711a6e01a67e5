"""The hollow nodes of one cluster: their names, addresses and what runs on them. No I/O."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from koordinator.api import priority, qos, quantity
from koordinator.api.annotations import Malformed, Text
from koordinator.api.core import Node, Pod
from koordinator.api.meta import format_micro_time, format_time
from koordinator.api.resources import BATCH_CPU, BATCH_MEMORY, CPU, MEMORY, MID_CPU, MID_MEMORY, pod_requests
from koordinator.cluster.nodes.hollow_lives import PREFIX, Place
from koordinator.cluster.nodes.hollow_shape import Shape
from koordinator.cluster.nodes.usage import Load, Usage, seed_of

LABEL = "node.koordinator.sh/hollow"
SILENT = f"{PREFIX}silent"
ZONE = "topology.kubernetes.io/zone"
LEASE_NAMESPACE = "kube-node-lease"
KUBELET_VERSION = "v1.30.0-hollow"


def _usage(text: str) -> Usage:
    """``cpu=1500m,memory=2Gi``; a part that is left out follows the model (-1)."""
    parts = dict(part.strip().partition("=")[::2] for part in text.split(","))
    if unknown := parts.keys() - {"cpu", "memory"}:
        raise ValueError(f"{min(unknown)!r} is neither cpu nor memory")
    cpu = quantity.milli_value(parts["cpu"]) if "cpu" in parts else -1
    return Usage(cpu, quantity.value(parts["memory"]) if "memory" in parts else -1)


FIXED_USAGE = Text(f"{PREFIX}usage", _usage)
"""What a pod uses, instead of what the model says."""


class Running(msgspec.Struct, frozen=True):
    """A running pod as reports name it, and its load. ``request`` in milli-CPU and bytes of prod resources."""

    uid: str
    namespace: str
    name: str
    priority: str
    qos: str
    load: Load


class Member(msgspec.Struct):
    """One hollow node. ``silent``: it plays dead."""

    name: str
    index: int
    seed: int
    capacity: Usage
    silent: bool = False
    leased: bool = False
    reported: bool = False
    beat_due: float = math.inf
    report_due: float = math.inf
    running: dict[str, Running] = msgspec.field(default_factory=dict)
    addresses: int = 0

    @property
    def address(self) -> str:
        return f"10.{64 + (self.index >> 16)}.{(self.index >> 8) & 255}.{self.index & 255}"

    def place(self, pod: Pod) -> Place:
        """Addresses for a pod that starts here."""
        if pod.spec.host_network:
            return Place(self.address, self.address)
        self.addresses = self.addresses % 254 + 1
        return Place(self.address, f"10.{128 + (self.index >> 8) % 128}.{self.index & 255}.{self.addresses}")


class Fleet:
    """Members by name."""

    def __init__(self, prefix: str, count: int, shape: Shape, seed: int) -> None:
        self.shape, self.seed, self._prefix = shape, seed, prefix
        capacity = Usage(quantity.milli_value(shape.cpu), quantity.value(shape.memory))
        names = [f"{prefix}-{index}" for index in range(count)]
        self._members = {name: Member(name, i, seed_of(name, seed), capacity) for i, name in enumerate(names)}

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Member]:
        return iter(list(self._members.values()))

    def get(self, name: str) -> Member | None:
        return self._members.get(name)

    def surplus(self, present: Iterable[str]) -> list[str]:
        """Which of these nodes an earlier, larger cluster has left behind."""
        return [name for name in present if name.rpartition("-")[0] == self._prefix and name not in self._members]

    def drop(self, name: str) -> None:
        """Somebody deleted the node: it does not come back by itself."""
        self._members.pop(name, None)

    def settle(self, pod: Pod) -> Malformed | None:
        """Note what the pod is to its node now. What is wrong with its usage annotation, if anything is."""
        member = self._members.get(pod.spec.node_name)
        if member is None:
            return None
        if pod.status.phase != "Running":
            member.running.pop(pod.key, None)
            return None
        held = member.running.get(pod.key)
        if held is not None and held.uid == pod.metadata.uid:
            return None
        member.running[pod.key], problem = described(pod, self.seed)
        return problem

    def leave(self, pod: Pod) -> None:
        member = self._members.get(pod.spec.node_name)
        if member is not None:
            member.running.pop(pod.key, None)


def described(pod: Pod, seed: int) -> tuple[Running, Malformed | None]:
    """The pod as the model sees it. A request that cannot be read counts as none: admission has let it through."""
    try:
        requests = pod_requests(pod)
    except ValueError:
        requests = {}
    fixed = FIXED_USAGE.read(pod.metadata.annotations)
    problem = fixed if isinstance(fixed, Malformed) else None
    chosen = fixed if isinstance(fixed, Usage) else Usage(-1, -1)
    class_ = qos.with_default(pod)
    load = Load(
        seed=seed_of(pod.metadata.uid, seed),
        qos=class_,
        cpu=_first(requests, CPU, BATCH_CPU, MID_CPU),
        memory=_first(requests, MEMORY, BATCH_MEMORY, MID_MEMORY),
        fixed_cpu=chosen.cpu if chosen.cpu >= 0 else None,
        fixed_memory=chosen.memory if chosen.memory >= 0 else None,
    )
    band = priority.with_default(pod)
    return Running(pod.metadata.uid, pod.namespace, pod.name, str(band), str(class_), load), problem


def _first(requests: dict[str, int], *names: str) -> int:
    return next((requests[name] for name in names if requests.get(name)), 0)


def node_body(member: Member, shape: Shape, now: float) -> dict[str, Any]:
    """The Node object as it is registered."""
    labels = {
        LABEL: "true",
        "kubernetes.io/hostname": member.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "node.kubernetes.io/instance-type": "hollow",
    }
    if shape.zones:
        labels[ZONE] = shape.zones[member.index % len(shape.zones)]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": member.name, "labels": labels},
        "spec": {},
        "status": node_status(member, shape, now),
    }


def is_as(node: Node, body: dict[str, Any]) -> bool:
    """Whether a node that is there needs nothing written: ready, and with all that ``body`` says of labels and resources."""
    labels, status = body["metadata"]["labels"], body["status"]
    ready = any(condition.type == "Ready" and condition.status == "True" for condition in node.status.conditions or ())
    return (
        ready
        and labels.items() <= node.labels.items()
        and status["capacity"].items() <= (node.status.capacity or {}).items()
        and status["allocatable"].items() <= (node.status.allocatable or {}).items()
    )


def node_status(member: Member, shape: Shape, now: float) -> dict[str, Any]:
    return {
        "capacity": shape.resources,
        "allocatable": shape.resources,
        "conditions": healthy(now),
        "addresses": [{"type": "InternalIP", "address": member.address}, {"type": "Hostname", "address": member.name}],
        "nodeInfo": {
            "kubeletVersion": KUBELET_VERSION,
            "operatingSystem": "linux",
            "architecture": "amd64",
            "osImage": "hollow",
            "kernelVersion": "",
            "containerRuntimeVersion": "hollow://1",
            "machineID": member.name,
            "systemUUID": member.name,
            "bootID": member.name,
            "kubeProxyVersion": "",
        },
    }


def healthy(now: float) -> list[dict[str, str]]:
    """The conditions of a node that is well."""
    stamp = format_time(now)
    words = {
        "MemoryPressure": ("False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        "DiskPressure": ("False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        "PIDPressure": ("False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        "Ready": ("True", "KubeletReady", "hollow node is posting ready status"),
    }
    stamps = {"lastHeartbeatTime": stamp, "lastTransitionTime": stamp}
    return [
        {"type": type_, "status": status, "reason": reason, "message": message, **stamps}
        for type_, (status, reason, message) in words.items()
    ]


def lease_body(member: Member, uid: str, seconds: int, now: float) -> dict[str, Any]:
    """The node's Lease; it goes with the node."""
    owner = {"apiVersion": "v1", "kind": "Node", "name": member.name, "uid": uid}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": member.name, "namespace": LEASE_NAMESPACE, "ownerReferences": [owner] if uid else []},
        "spec": {"holderIdentity": member.name, "leaseDurationSeconds": seconds, "renewTime": format_micro_time(now)},
    }
