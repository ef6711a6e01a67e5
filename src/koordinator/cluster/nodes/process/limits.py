"""From requests and limits to cgroup values, as the kubelet computes them at its three levels: QoS class, pod, container.

Source: Kubernetes' kubelet (cgroup manager and runtime manager); koordlet changes the results later for batch pods.
"""

from collections.abc import Iterable

import msgspec

from koordinator.api import qos, resources
from koordinator.api.core import Container, Pod
from koordinator.api.resources import CPU, MEMORY

MIN_SHARES, MAX_SHARES = 2, 262_144
PERIOD_US = 100_000
MIN_QUOTA_US = 1_000


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
    requests, limits = resources.amounts(container.resources.requests), resources.amounts(container.resources.limits)
    return Limits(
        shares=shares(requests.get(CPU, 0) or limits.get(CPU, 0)),
        quota_us=quota_us(limits.get(CPU, 0)),
        memory=limits.get(MEMORY, 0) or None,
    )


def pod_limits(pod: Pod, kube_qos: str) -> Limits:
    """A pod's cgroup. A limit holds only when every container has one: else one container would be held to another's."""
    if kube_qos == qos.BEST_EFFORT:
        return Limits(shares=MIN_SHARES)
    total = resources.pod_limits(pod)
    return Limits(
        shares=shares(resources.pod_requests(pod).get(CPU, 0)),
        quota_us=quota_us(total.get(CPU, 0)) if _declared(pod, CPU) else None,
        memory=(total.get(MEMORY, 0) or None) if _declared(pod, MEMORY) else None,
    )


def burstable_shares(pods: Iterable[Pod]) -> int:
    """The Burstable class's cgroup: the sum of what its live pods request."""
    return shares(sum(resources.pod_requests(pod).get(CPU, 0) for pod in pods))


def oom_score(container: Container, kube_qos: str, capacity: int) -> int:
    """Whom the kernel should kill first when memory is short, -1000 to 1000: best-effort before those over their request."""
    if kube_qos == qos.GUARANTEED:
        return -997
    if kube_qos == qos.BEST_EFFORT or capacity <= 0:
        return 1000
    request = resources.amounts(container.resources.requests).get(MEMORY, 0)
    return min(max(1000 - 1000 * request // capacity, 3), 999)


def _declared(pod: Pod, resource: str) -> bool:
    whole = pod.spec.resources
    if whole is not None and resources.amounts(whole.limits).get(resource, 0) > 0:
        return True
    containers = [*(pod.spec.init_containers or []), *pod.spec.containers]
    return all(resources.amounts(container.resources.limits).get(resource, 0) > 0 for container in containers)
