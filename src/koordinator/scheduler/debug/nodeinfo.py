"""``GET /apis/v1/nodes/NAME``: what the scheduler has in its memory about a node, in the form of a Go NodeInfo."""

from typing import Any

from koordinator.api.core import Pod
from koordinator.api.resources import CPU, EPHEMERAL_STORAGE, MEMORY, PODS
from koordinator.scheduler.engine.cluster import Cluster

_FIELDS = {CPU: "MilliCPU", MEMORY: "Memory", EPHEMERAL_STORAGE: "EphemeralStorage"}


def describe(cluster: Cluster, name: str) -> dict[str, Any]:
    """Raises LookupError."""
    node, row = cluster.node(name), cluster.columns.row_of.get(name)
    if node is None or row is None:
        raise LookupError(f"cannot find node {name}")
    columns = cluster.columns
    has, used, nonzero = (vector[row].tolist() for vector in (columns.allocatable, columns.requested, columns.nonzero))
    names = columns.resources.values
    pods = [placed.info.pod for placed in cluster.pods_on(name)]
    left = [a - b for a, b in zip(has, used, strict=True)]
    room = has[names.index(PODS)]
    return {
        "node": node,
        "pods": pods,
        "podsWithAffinity": [pod for pod in pods if _wants_neighbours(pod)],
        "podsWithRequiredAntiAffinity": [pod for pod in pods if _repels(pod)],
        "usedPorts": _ports(pods),
        "requested": _resource(names, used, 0),
        "nonZeroRequested": _resource(names, nonzero, 0),
        "remaining": _resource(names, left, room),
        "allocatable": _resource(names, has, room),
        "imageStates": {},
        "pvcRefCounts": _claims(pods),
        "generation": columns.position,
    }


def _resource(names: list[str], numbers: list[int], pods: int) -> dict[str, Any]:
    known = dict(zip(names, numbers, strict=False))
    fixed: dict[str, Any] = {field: known.get(name, 0) for name, field in _FIELDS.items()}
    scalars = {name: number for name, number in known.items() if name not in (*_FIELDS, PODS) and number}
    return fixed | {"AllowedPodNumber": pods, "ScalarResources": scalars}


def _wants_neighbours(pod: Pod) -> bool:
    affinity = pod.spec.affinity
    return affinity is not None and bool(affinity.pod_affinity or affinity.pod_anti_affinity)


def _repels(pod: Pod) -> bool:
    anti = pod.spec.affinity.pod_anti_affinity if pod.spec.affinity is not None else None
    return anti is not None and bool(anti.required_during_scheduling_ignored_during_execution)


def _ports(pods: list[Pod]) -> dict[str, list[dict[str, Any]]]:
    """By host address."""
    found: dict[str, list[dict[str, Any]]] = {}
    for pod in pods:
        for container in pod.spec.containers or ():
            for port in container.ports or ():
                if port.host_port:
                    used = {"Protocol": port.protocol or "TCP", "Port": port.host_port}
                    found.setdefault(port.host_ip or "0.0.0.0", []).append(used)
    return found


def _claims(pods: list[Pod]) -> dict[str, int]:
    """How many pods of the node use a claim."""
    counts: dict[str, int] = {}
    for pod in pods:
        volumes: list[Any] = getattr(pod.spec, "volumes", None) or []
        for claim in (getattr(volume, "persistent_volume_claim", None) for volume in volumes):
            if claim is not None:
                key = f"{pod.namespace}/{claim.claim_name}"
                counts[key] = counts.get(key, 0) + 1
    return counts
