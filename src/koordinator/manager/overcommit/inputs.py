"""From objects to the numbers that the formulas take: pods, node metrics and nodes, each read once and kept small.

Quantities that cannot be read do not raise: they become a ``problem`` text that names the field, and the caller tells.
"""

import sys
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from koordinator.api import priority, qos
from koordinator.api.annotations import Malformed
from koordinator.api.core import Node, Pod
from koordinator.api.meta import parse_time
from koordinator.api.numa import NODE_RESERVATION, RESOURCE_STATUS, reserved_resources
from koordinator.api.priority import Band
from koordinator.api.qos import QoS
from koordinator.api.resources import CPU, MEMORY, amount, pod_requests
from koordinator.api.slo import NodeMetricStatus
from koordinator.api.sloconfig.resolve import (
    CPU_RECLAIM_RATIO,
    MEMORY_RECLAIM_RATIO,
    MID_STATIC_CPU_RESERVED_RATIO,
    MID_STATIC_MEMORY_RESERVED_RATIO,
    NODE_STRATEGY,
)
from koordinator.manager.overcommit.arrays import LIMIT

Pair = tuple[int, int]
"""Milli-CPU and bytes."""

ZERO: Pair = (0, 0)
NOT_HIGH = frozenset({Band.BATCH, Band.FREE})
NOT_PROD = NOT_HIGH | {Band.MID}
_HOSTS_COUNTED = frozenset({Band.PROD, Band.MID})


class PodShare(msgspec.Struct, frozen=True, gc=False):
    """A pod as the formulas see it. ``zones`` are the NUMA zones that its cores were taken from."""

    key: str
    node: str
    active: bool
    band: Band
    exclusive: bool
    request: Pair
    zones: tuple[int, ...] = ()
    problem: str = ""
    pending: bool = False


NO_SHARE = PodShare("", "", active=False, band=Band.NONE, exclusive=False, request=ZERO)


class PodUse(msgspec.Struct, frozen=True, gc=False):
    usage: Pair
    band: Band


class Reported(msgspec.Struct, frozen=True):
    """A NodeMetric as the formulas see it. Unusable when a number in it cannot be read."""

    updated: float | None = None
    system: Pair = ZERO
    used: Pair | None = None
    pods: dict[str, PodUse] = {}
    hosts: tuple[PodUse, ...] = ()
    prod_reclaimable: Pair = ZERO
    usable: bool = True
    problems: tuple[str, ...] = ()


NO_REPORT = Reported()


class NodeShare(msgspec.Struct, frozen=True, gc=False):
    """A node as the formulas see it."""

    capacity: Pair = ZERO
    reserved: Pair = ZERO
    problem: str = ""


def pod_share(pod: Pod) -> PodShare:
    """Read a pod. One whose requests cannot be read counts as asking nothing, and says so."""
    problem, request = "", ZERO
    try:
        request = _pair(pod_requests(pod))
    except ValueError as err:
        problem = f"spec.containers[*].resources.requests.{err}"
    return PodShare(
        key=pod.key,
        node=sys.intern(pod.spec.node_name),
        active=pod.status.phase in ("Running", "Pending"),
        band=priority.with_default(pod),
        exclusive=qos.with_default(pod) is QoS.LSE,
        request=request,
        zones=_zones(pod.annotations),
        problem=problem,
        pending=pod.status.phase in ("", "Pending"),
    )


def _pair(amounts: Mapping[str, int]) -> Pair:
    """Negative amounts count as none, so that nobody's mistake is sold to others."""
    return _counted(amounts.get(CPU, 0)), _counted(amounts.get(MEMORY, 0))


def _counted(number: int) -> int:
    return min(max(number, 0), LIMIT)


def _zones(annotations: Mapping[str, str]) -> tuple[int, ...]:
    status = RESOURCE_STATUS.read(annotations)
    if status is None or isinstance(status, Malformed):
        return ()
    return tuple(zone.node for zone in status.numa_node_resources or [])


class _Reader:
    """Reads quantities and remembers what was wrong with them."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.usable = True

    def pair(self, resources: Mapping[str, Any] | None, path: str) -> Pair:
        found = resources or {}
        return self._one(found, CPU, path), self._one(found, MEMORY, path)

    def _one(self, resources: Mapping[str, Any], name: str, path: str) -> int:
        if (raw := resources.get(name)) is None:
            return 0
        try:
            number = amount(name, raw)
        except ValueError as err:
            self.usable = False
            self.problems.append(f"{path}.{name} is {raw!r}: {err}")
            return 0
        if number < 0:
            self.problems.append(f"{path}.{name} is {raw!r}: negative usage counts as none")
            return 0
        return min(number, LIMIT)


def reported(status: NodeMetricStatus) -> Reported:
    """Read a NodeMetric's status. Negative usage counts as none; an unreadable quantity makes the whole report unusable."""
    reader = _Reader()
    info = status.node_metric
    node_usage = info.node_usage.resources if info else None
    whole = node_usage is not None and CPU in node_usage and MEMORY in node_usage
    pods = {
        f"{pod.namespace}/{pod.name}": PodUse(
            reader.pair(pod.pod_usage.resources, f"status.podsMetric[{i}].podUsage.resources"), priority.by_name(pod.priority)
        )
        for i, pod in enumerate(status.pods_metric or [])
    }
    hosts = tuple(
        PodUse(
            reader.pair(app.usage.resources, f"status.hostApplicationMetric[{i}].usage.resources"),
            priority.by_name(app.priority),
        )
        for i, app in enumerate(status.host_application_metric or [])
    )
    reclaimable = status.prod_reclaimable_metric
    return Reported(
        updated=parse_time(status.update_time),
        system=reader.pair(info.system_usage.resources if info else None, "status.nodeMetric.systemUsage.resources"),
        used=reader.pair(node_usage, "status.nodeMetric.nodeUsage.resources") if whole else None,
        pods=pods,
        hosts=hosts,
        prod_reclaimable=reader.pair(
            reclaimable.resource.resources if reclaimable else None, "status.prodReclaimableMetric.resource.resources"
        ),
        usable=reader.usable,
        problems=tuple(reader.problems),
    )


def node_share(node: Node) -> NodeShare:
    """Read a node: what it has, and what the kubelet or its owner keeps of it."""
    reader = _Reader()
    capacity = reader.pair(node.status.capacity, "status.capacity")
    allocatable = reader.pair(node.status.allocatable, "status.allocatable")
    annotated = annotated_reservation(node.annotations)
    kubelet = (capacity[0] - allocatable[0], capacity[1] - allocatable[1])
    reserved = (max(kubelet[0], annotated[0], 0), max(kubelet[1], annotated[1], 0))
    return NodeShare(capacity, reserved, "; ".join(reader.problems))


def annotated_reservation(annotations: Mapping[str, str]) -> Pair:
    """What the node reservation annotation keeps back. Unreadable text keeps nothing back."""
    reservation = NODE_RESERVATION.read(annotations)
    if reservation is None or isinstance(reservation, Malformed):
        return ZERO
    try:
        return _pair(reserved_resources(reservation))
    except ValueError:
        return ZERO


def unreadable(node: Node) -> str:
    """Which of the node's own settings cannot be read, and why; they count as absent. Empty when all can."""
    values: list[Any] = [setting.read(node.annotations) for setting in _ANNOTATIONS]
    values += [setting.read(node.labels) for setting in _LABELS]
    return "; ".join(f"{one}; it counts as absent" for one in values if isinstance(one, Malformed))


_ANNOTATIONS = (NODE_RESERVATION, NODE_STRATEGY)
_LABELS = (
    CPU_RECLAIM_RATIO,
    MEMORY_RECLAIM_RATIO,
    MID_STATIC_CPU_RESERVED_RATIO,
    MID_STATIC_MEMORY_RESERVED_RATIO,
)


def demand_row(node: NodeShare, pods: Iterable[PodShare], metric: Reported) -> tuple[int, ...]:
    """One row of ``batch.Demand``: twelve numbers."""
    total = _Sums()
    active = set()
    for pod in pods:
        if not pod.active:
            continue
        active.add(pod.key)
        if pod.band not in NOT_HIGH:
            total.pod(pod, metric.pods.get(pod.key))
    for key, use in metric.pods.items():
        if key not in active and use.band not in NOT_HIGH:
            total.dangling(use.usage)
    system = _with_hosts(metric, _HOSTS_COUNTED)
    return _bounded((*node.capacity, *node.reserved, *system, *total.row()))


def mid_row(node: NodeShare, pods: Iterable[PodShare], metric: Reported) -> tuple[int, ...]:
    """One row of ``mid.MidDemand``: ten numbers."""
    prod = [pod.request for pod in pods if pod.active and pod.band not in NOT_PROD]
    system = _with_hosts(metric, frozenset({Band.PROD}))
    kept = (max(system[0], node.reserved[0]), max(system[1], node.reserved[1]))
    requested = (sum(cpu for cpu, _ in prod), sum(memory for _, memory in prod))
    used = metric.used if metric.used is not None else (-1, -1)
    return _bounded((*node.capacity, *metric.prod_reclaimable, *used, *kept, *requested))


def _bounded(row: tuple[int, ...]) -> tuple[int, ...]:
    """Sums of many large numbers may leave int64."""
    return row if max(row) <= LIMIT else tuple(min(number, LIMIT) for number in row)


def _with_hosts(metric: Reported, bands: frozenset[Band]) -> Pair:
    """System usage and that of applications of these bands that run outside Kubernetes."""
    hosts = [app.usage for app in metric.hosts if app.band in bands]
    return metric.system[0] + sum(cpu for cpu, _ in hosts), metric.system[1] + sum(memory for _, memory in hosts)


class _Sums:
    """Request, usage, and the larger of both, of a node's high-priority pods."""

    __slots__ = ("request_cpu", "request_memory", "top_cpu", "top_memory", "used_cpu", "used_memory")

    def __init__(self) -> None:
        self.request_cpu = self.request_memory = self.used_cpu = self.used_memory = self.top_cpu = self.top_memory = 0

    def pod(self, pod: PodShare, use: PodUse | None) -> None:
        cpu, memory = pod.request
        self.request_cpu += cpu
        self.request_memory += memory
        if use is None:  # not measured yet: it may take all it asked for
            self.used_cpu += cpu
            self.used_memory += memory
            return
        used_cpu, used_memory = use.usage
        self.used_cpu += cpu if pod.exclusive else used_cpu
        self.used_memory += used_memory
        self.top_cpu += max(cpu, used_cpu)
        self.top_memory += max(memory, used_memory)

    def dangling(self, usage: Pair) -> None:
        """Usage of a pod that the API no longer knows as running: it is still there."""
        self.used_cpu += usage[0]
        self.used_memory += usage[1]
        self.top_cpu += usage[0]
        self.top_memory += usage[1]

    def row(self) -> tuple[int, ...]:
        return (self.request_cpu, self.request_memory, self.used_cpu, self.used_memory, self.top_cpu, self.top_memory)
