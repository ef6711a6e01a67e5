"""Counters to usage. Pure: two readings in, a number out; None where the first reading can say nothing yet.

A counter that went back (a recreated cgroup) yields no sample: nothing was used backwards.
"""

from collections.abc import Mapping, Sequence

import msgspec

from koordinator.api import qos, resources
from koordinator.api.core import Container, Pod, Quantities
from koordinator.koordlet.host.parse import CpuStat

_MS = 1_000_000


class Reading(msgspec.Struct, frozen=True):
    """A counter at a time, both as the source counts: nanoseconds, and nanoseconds or ticks."""

    time_ns: int
    value: int


class Point(msgspec.Struct, frozen=True):
    """Usage at a time, in seconds: cores and bytes."""

    time: float
    cpu: float
    memory: float


def cores(last: Reading | None, now: Reading, unit_ns: int = 1) -> float | None:
    """CPUs used between two readings of a counter whose unit is ``unit_ns`` nanoseconds."""
    if last is None or now.time_ns <= last.time_ns or now.value < last.value:
        return None
    return (now.value - last.value) / ((now.time_ns - last.time_ns) / unit_ns)


class TicksByCpu(msgspec.Struct, frozen=True):
    time_ns: int
    ticks: Mapping[int, int]


def numa_cores(last: TicksByCpu, now: TicksByCpu, node_of: Mapping[int, int], jiffy_ns: int) -> dict[int, float]:
    """CPUs used by NUMA node. CPUs that are new, went back or are not in the topology do not count."""
    period = (now.time_ns - last.time_ns) / jiffy_ns
    if period <= 0:
        return {}
    used: dict[int, int] = {}
    for cpu, ticks in now.ticks.items():
        before = last.ticks.get(cpu)
        if cpu in node_of and before is not None and ticks >= before:
            used[node_of[cpu]] = used.get(node_of[cpu], 0) + ticks - before
    return {node: ticks / period for node, ticks in used.items()}


def throttled(last: CpuStat, now: CpuStat) -> float:
    """The part of enforcement periods in which the cgroup ran out of quota, 0 to 1."""
    periods = now.periods - last.periods
    return max(now.throttled - last.throttled, 0) / periods if periods > 0 else 0.0


def best_effort_usage(last: Reading | None, now: Reading) -> int:
    """Milli-CPU of all best-effort pods; 0 in the first round."""
    if last is None or now.time_ns // _MS <= last.time_ns // _MS or now.value < last.value:
        return 0
    used_ms = (now.value - last.value) // _MS
    return int(used_ms / (now.time_ns // _MS - last.time_ns // _MS) * 1000)


def best_effort_limit(cpus: Sequence[int], quota: int, period: int) -> int:
    """Milli-CPU that best-effort pods could use: the smallest CPU set of the tier and its containers, and the tier's quota."""
    limit = min(cpus) * 1000
    return limit if quota == -1 else min(limit, quota * 1000 // period)


def best_effort_request(pods: Sequence[Pod]) -> int:
    """Milli-CPU asked for by pods labelled BE, sidecars included. Unreadable quantities count as 0."""
    return sum(
        max(_batch_cpu(container.resources.requests), 0)
        for pod in pods
        if qos.raw(pod) is qos.QoS.BE
        for container in running_containers(pod)
    )


def running_containers(pod: Pod) -> list[Container]:
    """Containers that run for the pod's whole life: the main ones and sidecars."""
    sidecars = [container for container in pod.spec.init_containers or [] if container.restart_policy == "Always"]
    return [*pod.spec.containers, *sidecars]


def _batch_cpu(requests: Quantities | None) -> int:
    raw = (requests or {}).get(resources.BATCH_CPU)
    try:
        return 0 if raw is None else resources.amount(resources.BATCH_CPU, raw)
    except ValueError:
        return 0


def hot_memory(total: int, free: int, cold: int) -> int:
    """Bytes of a node that are in use and not cold."""
    return total - free - cold


class Usages(msgspec.Struct, frozen=True):
    """What system usage is computed from. ``numa`` and ``pods_numa`` hold bytes and cores by NUMA node."""

    node: Point | None
    pods: Sequence[Point | None]
    host_apps: Point | None
    numa: Mapping[int, Point] = {}
    pods_numa_memory: Sequence[Mapping[int, Point]] = ()


class SystemUsage(msgspec.Struct, frozen=True):
    cpu: float
    memory: float
    numa_cpu: dict[int, float] = {}
    numa_memory: dict[int, float] = {}


def system_usage(usages: Usages, now: float, outdated: float) -> SystemUsage | None:
    """What neither pods nor host applications used, by subtraction. None when an input is missing or outdated."""
    inputs = [usages.node, *usages.pods, usages.host_apps]
    fresh = [point for point in inputs if point is not None and now - point.time <= outdated]
    if len(fresh) != len(inputs):
        return None
    node, *rest = fresh
    cpu = max(node.cpu - sum(point.cpu for point in rest), 0.0)
    memory = max(node.memory - sum(point.memory for point in rest), 0.0)
    numa = {number: point for number, point in usages.numa.items() if now - point.time <= outdated}
    numa_cpu = _share(cpu, {number: point.cpu for number, point in numa.items()}) if len(numa) == len(usages.numa) else {}
    return SystemUsage(cpu, memory, numa_cpu, _numa_memory(numa, usages.pods_numa_memory, now - outdated))


def _share(total: float, by_node: Mapping[int, float]) -> dict[int, float]:
    whole = sum(by_node.values())
    return {node: total * part / whole if whole else 0.0 for node, part in by_node.items()}


def _numa_memory(numa: Mapping[int, Point], pods: Sequence[Mapping[int, Point]], oldest: float) -> dict[int, float]:
    if not any(pods) or any(point.time < oldest for one in pods for point in one.values()):
        return {}
    used = {node: sum(one[node].memory for one in pods if node in one) for node in numa}
    return {node: max(point.memory - used[node], 0.0) for node, point in numa.items()}
