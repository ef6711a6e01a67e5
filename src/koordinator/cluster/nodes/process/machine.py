"""The machine as a Node object: what it has, what it is, how it feels. Reads /proc; patches carry only the node's own keys."""

import os
import platform
import shutil
from pathlib import Path
from typing import Any

from koordinator import __version__
from koordinator.api import resources
from koordinator.api.meta import format_micro_time, format_time
from koordinator.cluster.nodes.process.options import ProcessOptions
from koordinator.cluster.nodes.process.status import merge_conditions

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
LOW_MEMORY_BYTES = 100 * 1024 * 1024
LOW_DISK_SHARE = 0.05
LEASE_SECONDS = 40

Body = dict[str, Any]


def architecture() -> str:
    return ARCHITECTURES.get(platform.machine(), platform.machine())


def labels(options: ProcessOptions) -> dict[str, str]:
    return {
        "kubernetes.io/hostname": options.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": architecture(),
        "node.koordinator.sh/kind": "process",
        **options.labels,
    }


def capacity(options: ProcessOptions) -> resources.Amounts:
    """What the machine has: milli-CPU, bytes, pods."""
    return {
        resources.CPU: (os.cpu_count() or 1) * 1000,
        resources.MEMORY: _memory("MemTotal"),
        resources.EPHEMERAL_STORAGE: _disk(options).total,
        resources.PODS: options.max_pods,
    }


def allocatable(options: ProcessOptions) -> resources.Amounts:
    """What pods may have of it. Raises ValueError when a reservation is no quantity."""
    reserved = resources.amounts(options.reserved)
    return {name: max(number - reserved.get(name, 0), 0) for name, number in capacity(options).items()}


def node_object(options: ProcessOptions) -> Body:
    """The Node at its creation; its status follows as a patch."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": options.name, "labels": labels(options)},
        "spec": {"providerID": f"koord://{options.name}"},
    }


def status_patch(options: ProcessOptions, port: int, seen: list[Body], now: float) -> Body:
    """A merge patch of the node's status. Resources that others publish (``batch-cpu``) are not in it, so they stay."""
    conditions = merge_conditions(_conditions(options), seen, now)
    own = {"MemoryPressure", "DiskPressure", "PIDPressure", "Ready"}
    for condition in conditions:
        if condition["type"] in own:
            condition["lastHeartbeatTime"] = format_time(now)
    return {
        "status": {
            "capacity": resources.wire(capacity(options)),
            "allocatable": resources.wire(allocatable(options)),
            "conditions": conditions,
            "addresses": [
                {"type": "InternalIP", "address": options.address},
                {"type": "Hostname", "address": options.address},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
            "nodeInfo": _info(),
        }
    }


def lease(options: ProcessOptions, now: float) -> Body:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": options.name, "namespace": "kube-node-lease"},
        "spec": {
            "holderIdentity": options.name,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": format_micro_time(now),
        },
    }


def _conditions(options: ProcessOptions) -> list[Body]:
    disk = _disk(options)
    low_memory = _memory("MemAvailable") < LOW_MEMORY_BYTES
    low_disk = disk.free < disk.total * LOW_DISK_SHARE
    return [
        _pressure("Memory", low_memory, "Memory", "memory available"),
        _pressure("Disk", low_disk, "Disk", "disk space"),
        _pressure("PID", False, "PID", "PID available"),
        {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "process node is posting ready status"},
    ]


def _pressure(kind: str, low: bool, reason: str, what: str) -> Body:
    if low:
        return {
            "type": f"{kind}Pressure",
            "status": "True",
            "reason": f"KubeletHasInsufficient{reason}",
            "message": f"process node has insufficient {what}",
        }
    enough = "KubeletHasNoDiskPressure" if kind == "Disk" else f"KubeletHasSufficient{reason}"
    message = "process node has no disk pressure" if kind == "Disk" else f"process node has sufficient {what}"
    return {"type": f"{kind}Pressure", "status": "False", "reason": enough, "message": message}


def _info() -> Body:
    return {
        "architecture": architecture(),
        "operatingSystem": "linux",
        "kernelVersion": platform.release(),
        "osImage": _os_name(),
        "machineID": _text("/etc/machine-id"),
        "systemUUID": _text("/etc/machine-id"),
        "bootID": _text("/proc/sys/kernel/random/boot_id"),
        "containerRuntimeVersion": f"koord-process://{__version__}",
        "kubeletVersion": f"v1.30.0+koord-{__version__}",
        "kubeProxyVersion": "",
    }


def _os_name() -> str:
    for line in _text("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return "Linux"


def _memory(name: str) -> int:
    for line in _text("/proc/meminfo").splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    return 0


def _disk(options: ProcessOptions) -> Any:
    return shutil.disk_usage(options.data_dir)


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
