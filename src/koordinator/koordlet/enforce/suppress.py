"""CPU suppress: best-effort pods get what services leave of the node, and not more, every second.

Guarantees: the budget shrinks at once and grows by at most a tenth of the machine in a round. While nobody knows what is wanted
(no NodeSLO, no samples) values stay. When the feature is off, or works by the other policy, what it had set is lifted again.
"""

import math

import msgspec

from koordinator.api import cpuset, keys, resources, wirejson
from koordinator.api.core import Node
from koordinator.api.strategies import HostApplication
from koordinator.koordlet.enforce import cpuset_policy
from koordinator.koordlet.enforce.decision import Decision, Skip, Write
from koordinator.koordlet.host.convert import CFS_PERIOD_US, UNLIMITED
from koordinator.koordlet.view import View

OWNER = "CPUSuppress"
MIN_QUOTA_US = 2_000
_QUOTA, _CPUSET = "cpu.cfs_quota_us", "cpuset.cpus"


class Capacity(msgspec.Struct, frozen=True):
    """A node's CPU, milli. ``reserved`` is what is not for pods: kubelet's reservation or the annotated one, the larger."""

    cpu: int
    reserved: int


class NodeReservation(msgspec.Struct, frozen=True, rename={"reserved_cpus": "reservedCPUs"}):
    resources: dict[str, str | int | float] = {}
    reserved_cpus: str = ""


class Budget(msgspec.Struct, frozen=True):
    """What best-effort pods may use, and what it was computed from. ``suppress_milli`` may be negative."""

    suppress_milli: int
    pods_non_be: float
    apps_non_be: float
    system: float


def capacity(node: Node) -> Capacity:
    """Raises ValueError when the node does not say how many CPUs it has."""
    total = resources.amounts(node.status.capacity).get(resources.CPU)
    if not total:
        raise ValueError(f"node {node.name}: status.capacity has no cpu")
    allocatable = resources.amounts(node.status.allocatable).get(resources.CPU, total)
    return Capacity(total, max(total - allocatable, 0, _annotated_reservation(node)))


def _annotated_reservation(node: Node) -> int:
    """Milli-CPU of the reservation annotation; an unreadable one reserves nothing."""
    raw = node.annotations.get(keys.NODE_RESERVATION)
    if raw is None:
        return 0
    try:
        found = wirejson.decode(raw, NodeReservation)
        if found.reserved_cpus:
            return len(cpuset.parse(found.reserved_cpus)) * 1000
        return resources.amounts(found.resources).get(resources.CPU, 0)
    except ValueError:
        return 0


def budget(view: View, node_cpu: float, size: Capacity) -> Budget:
    """The node's threshold minus what everybody else uses. Each term is cut to whole milli-CPU before it is subtracted."""
    best_effort = {pod.uid for pod in view.pods if pod.best_effort}
    pods_all = sum(view.pod_cpu.values())
    pods_non_be = sum(used for uid, used in view.pod_cpu.items() if uid not in best_effort)
    apps = [(app, view.host_app_cpu[app.name]) for app in view.host_apps if app.name in view.host_app_cpu]
    apps_non_be = sum(used for app, used in apps if not _best_effort_app(app))
    system = max(node_cpu - pods_all - sum(used for _, used in apps), 0.0, size.reserved / 1000)
    strategy = view.thresholds
    percent = strategy.cpu_suppress_threshold_percent if strategy else 0
    milli = size.cpu * percent // 100 - int(pods_non_be * 1000) - int(apps_non_be * 1000) - int(system * 1000)
    if strategy and strategy.cpu_suppress_min_percent is not None:
        milli = max(milli, size.cpu * strategy.cpu_suppress_min_percent // 100)
    return Budget(milli, pods_non_be, apps_non_be, system)


def _best_effort_app(app: HostApplication) -> bool:
    return app.qos == "BE" and app.cgroup_path is not None and app.cgroup_path.base == "KubepodsBesteffort"


def next_quota(suppress_milli: int, capacity_milli: int, current: int) -> int | None:
    """The tier's next quota in microseconds a period; None when the change is too small to be worth a write."""
    cores = math.ceil(capacity_milli / 1000)
    quota = max(suppress_milli * CFS_PERIOD_US // 1000, MIN_QUOTA_US)
    if abs(quota - current) < cores * CFS_PERIOD_US * 0.01 and quota != MIN_QUOTA_US:
        return None
    step = cores * CFS_PERIOD_US * 0.1
    if current != UNLIMITED and quota - current > step:
        return current + int(step)
    return quota


class CPUSuppress:
    """One strategy, two policies; what one had set is lifted when the other takes over."""

    name = OWNER
    prompt = False  # its step per round is a step per second

    def __init__(self) -> None:
        self._quota_lifted = self._cpuset_lifted = False
        self.last: Budget | None = None
        self.policy = ""

    def round(self, view: View) -> Decision:
        strategy = view.thresholds
        if strategy is None:
            return Skip("no NodeSLO yet")
        if not strategy.enable:
            self.last, self.policy = None, ""
            return [*self._lift_quota(view), *self._lift_cpuset(view)] or Skip("turned off in NodeSLO")
        if view.node is None or view.node_cpu is None:
            return Skip("no node object or no CPU sample yet")
        try:
            size = capacity(view.node)
        except ValueError as err:
            return Skip(str(err))
        self.last = budget(view, view.node_cpu, size)
        self.policy = strategy.cpu_suppress_policy
        return self._by_quota(view, size, self.last) if strategy.by_quota else self._by_cpuset(view, self.last)

    def lift(self, view: View) -> list[Write]:
        """Undo everything, whatever the policy: for a clean stop."""
        self._quota_lifted = self._cpuset_lifted = False
        return [*self._lift_quota(view), *self._lift_cpuset(view)]

    def _by_quota(self, view: View, size: Capacity, found: Budget) -> Decision:
        if view.tier.quota is None:
            return Skip("the best-effort tier's quota cannot be read")
        lifted = self._lift_cpuset(view)
        quota = next_quota(found.suppress_milli, size.cpu, view.tier.quota)
        if quota is None:
            return lifted or Skip("budget changed by less than 1 % of the node")
        self._quota_lifted = False
        return [Write(view.tier.group, _QUOTA, str(quota), OWNER, restore=str(UNLIMITED), cached=False), *lifted]

    def _by_cpuset(self, view: View, found: Budget) -> Decision:
        lifted = self._lift_quota(view)
        if view.tier.cpus is None or not view.processors:
            return lifted or Skip("the best-effort tier's CPU set, or the node's CPUs, cannot be read")
        pods = [pod.pod for pod in view.pods]
        picked = cpuset_policy.squeezed(
            found.suppress_milli,
            view.processors,
            view.tier.cpus,
            cpuset_policy.owners(pods),
            cpuset_policy.excluded(view.topology),
        )
        if not picked:
            return lifted or Skip("too few CPUs to choose from")
        self._cpuset_lifted = False
        return [*_cpuset_writes(view, frozenset(picked)), *lifted]

    def _lift_quota(self, view: View) -> list[Write]:
        """Once, also after a restart: a former run may have left its quota behind."""
        if self._quota_lifted or view.tier.quota is None:
            return []
        self._quota_lifted = True
        return [Write(view.tier.group, _QUOTA, str(UNLIMITED), OWNER, restore=str(UNLIMITED), cached=False)]

    def _lift_cpuset(self, view: View) -> list[Write]:
        if self._cpuset_lifted or view.tier.cpus is None or not view.processors:
            return []
        self._cpuset_lifted = True
        return _cpuset_writes(view, _full(view))


def _full(view: View) -> frozenset[int]:
    return cpuset_policy.full(view.processors, [pod.pod for pod in view.pods], view.topology)


def _cpuset_writes(view: View, cpus: frozenset[int]) -> list[Write]:
    """The same set for the tier and all below. What a former run left behind is never what to restore: the full set is."""
    text, full = cpuset.to_text(cpus), cpuset.to_text(_full(view))
    return [Write(group, _CPUSET, text, OWNER, restore=full) for level in view.tier.groups for group in level] if text else []
