"""From requests and limits to cgroup values, as the kubelet computes them at its three levels: QoS class, pod, container.

Source: Kubernetes' kubelet (cgroup manager and runtime manager); koordlet changes the results later for batch pods.
"""

from collections.abc import Iterable

import msgspec

from koordinator.api.core import Container, Pod, PodSpec, ResourceRequirements
from koordinator.api.resources import CPU, MEMORY, Amounts, amounts, pod_requests

MIN_SHARES, MAX_SHARES = 2, 262_144
PERIOD_US = 100_000
MIN_QUOTA_US = 1_000

GUARANTEED, BURSTABLE, BEST_EFFORT = "Guaranteed", "Burstable", "BestEffort"


class Limits(msgspec.Struct, frozen=True):
    """What to write into a new cgroup. None leaves the kernel's default (no limit)."""

    shares: int | None = None
    quota_us: int | None = None
    memory: int | None = None
    pids: int | None = None


def shares(milli_cpu: int) -> int:
    """cpu.shares for a request: 1024 a CPU, within the kernel's bounds."""
    return min(max(milli_cpu * 1024 // 1000, MIN_SHARES), MAX_SHARES)


def quota_us(milli_cpu: int) -> int | None:
    """cpu.cfs_quota_us in a 100 ms period for a limit; None for no limit."""
    return max(milli_cpu * PERIOD_US // 1000, MIN_QUOTA_US) if milli_cpu > 0 else None


def weight(cpu_shares: int) -> int:
    """The cgroup v2 cpu.weight (1 to 10,000) of v1 shares (2 to 262,144)."""
    return 1 + (min(max(cpu_shares, MIN_SHARES), MAX_SHARES) - 2) * 9_999 // 262_142


def container_limits(container: Container) -> Limits:
    """A container's own cgroup. A missing CPU request counts as its limit. Raises ValueError on a bad quantity."""
    requests, limits = amounts(container.resources.requests), amounts(container.resources.limits)
    return Limits(
        shares=shares(requests.get(CPU, 0) or limits.get(CPU, 0)),
        quota_us=quota_us(limits.get(CPU, 0)),
        memory=limits.get(MEMORY, 0) or None,
    )


def pod_limits(pod: Pod, qos: str) -> Limits:
    """A pod's cgroup. A limit holds only when every container has one: else one container would be held to another's."""
    if qos == BEST_EFFORT:
        return Limits(shares=MIN_SHARES)
    total = _total_limits(pod)
    return Limits(
        shares=shares(pod_requests(pod).get(CPU, 0)),
        quota_us=quota_us(total.get(CPU, 0)) if _declared(pod, CPU) else None,
        memory=(total.get(MEMORY, 0) or None) if _declared(pod, MEMORY) else None,
    )


def burstable_shares(pods: Iterable[Pod]) -> int:
    """The Burstable class's cgroup: the sum of what its live pods request."""
    return shares(sum(pod_requests(pod).get(CPU, 0) for pod in pods))


def qos_class(pod: Pod) -> str:
    """The pod's Kubernetes QoS class: as the API server wrote it, else by the rules for CPU and memory."""
    return pod.status.qos_class or computed_qos(pod.spec)


def computed_qos(spec: PodSpec) -> str:
    requests: Amounts = {}
    limits: Amounts = {}
    every_limit_set = True
    for resources in _resources(spec):
        asked, capped = _positive(resources.requests), _positive(resources.limits)
        every_limit_set = every_limit_set and len(capped) == 2
        _add(requests, asked)
        _add(limits, capped)
    if not requests and not limits:
        return BEST_EFFORT
    return GUARANTEED if every_limit_set and requests == limits else BURSTABLE


def _resources(spec: PodSpec) -> list[ResourceRequirements]:
    if spec.resources is not None and (spec.resources.requests or spec.resources.limits):
        return [spec.resources]
    return [container.resources for container in [*(spec.init_containers or []), *spec.containers]]


def _positive(raw: dict[str, str | int | float] | None) -> Amounts:
    return {name: number for name, number in amounts(raw).items() if name in (CPU, MEMORY) and number > 0}


def _add(into: Amounts, other: Amounts) -> None:
    for name, number in other.items():
        into[name] = into.get(name, 0) + number


def _declared(pod: Pod, resource: str) -> bool:
    return all(amounts(resources.limits).get(resource, 0) > 0 for resources in _resources(pod.spec))


def _total_limits(pod: Pod) -> Amounts:
    """The limits' counterpart of ``pod_requests``: the same sum with limits put in the requests' place."""
    replace = msgspec.structs.replace
    spec = replace(
        pod.spec,
        containers=[replace(c, resources=_limits_as_requests(c.resources)) for c in pod.spec.containers],
        init_containers=[replace(c, resources=_limits_as_requests(c.resources)) for c in pod.spec.init_containers or []],
        resources=_limits_as_requests(pod.spec.resources) if pod.spec.resources else None,
    )
    return pod_requests(Pod(spec=spec))


def _limits_as_requests(resources: ResourceRequirements) -> ResourceRequirements:
    return ResourceRequirements(requests=resources.limits)
