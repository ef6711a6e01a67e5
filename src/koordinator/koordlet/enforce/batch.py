"""BatchResource: pods on reclaimed resources get the cgroup values that the kubelet would give them for real CPU and memory.

The kubelet does not know ``kubernetes.io/batch-cpu`` and leaves such pods at the lowest weight without any limit. Applies to
pods labelled BE only. Values come from the pod's spec, else from the ``extended-resource-spec`` annotation.
"""

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from koordinator.api import qos, resources
from koordinator.api.annotations import Malformed
from koordinator.api.core import Container, Pod, Quantities
from koordinator.api.nodes import NO_RATIO, normalization_ratio
from koordinator.api.podqos import EXTENDED_RESOURCE_SPEC, ContainerResources
from koordinator.koordlet.enforce.decision import Decision, Skip, Subject, Write
from koordinator.koordlet.enforce.idleclass import idle_rule
from koordinator.koordlet.host.convert import MIN_SHARES, UNLIMITED, milli_to_quota, milli_to_shares
from koordinator.koordlet.notices import Notices
from koordinator.koordlet.observe.rates import running_containers
from koordinator.koordlet.view import ContainerView, PodView, View

OWNER = "BatchResource"
_EXTENDED = (resources.BATCH_CPU, resources.BATCH_MEMORY, resources.MID_CPU, resources.MID_MEMORY)


class Values(msgspec.Struct, frozen=True):
    """cgroup values in v1 terms. -1 is no limit."""

    shares: int
    quota: int
    memory: int

    def files(self) -> list[tuple[str, str]]:
        shares, quota, memory = str(self.shares), str(self.quota), str(self.memory)
        return [("cpu.shares", shares), ("cpu.cfs_quota_us", quota), ("memory.limit_in_bytes", memory)]


class Rule(msgspec.Struct, frozen=True):
    """What holds for all pods of the node. ``ratio``: CPU normalization, above 1 on nodes faster than the norm."""

    quota_enabled: bool = True
    ratio: float = NO_RATIO

    def quota(self, milli: int) -> int:
        if not self.quota_enabled:
            return UNLIMITED
        quota = milli_to_quota(milli)
        return math.ceil(quota / self.ratio) if quota > 0 and self.ratio > 1 else quota


class Amounts(msgspec.Struct, frozen=True):
    """What one container asked for, milli-CPU and bytes; 0 is nothing, or no limit."""

    request_cpu: int
    limit_cpu: int
    limit_memory: int


def extended(pod: Pod) -> dict[str, Amounts] | Malformed | None:
    """Batch amounts by container, None when the pod has none at all. A bad quantity in the spec raises ValueError."""
    from_spec = {container.name: _picked(container) for container in running_containers(pod)}
    found = {name: one for name, one in from_spec.items() if one.requests or one.limits}
    if not found:
        match EXTENDED_RESOURCE_SPEC.read(pod.annotations):
            case None:
                return None
            case Malformed() as bad:
                return bad
            case spec:
                if not spec.containers:
                    return None
                found = spec.containers
    return {name: amounts(one.requests, one.limits) for name, one in found.items()}


def _picked(container: Container) -> ContainerResources:
    def only(quantities: Quantities | None) -> Quantities:
        return {name: raw for name, raw in (quantities or {}).items() if name in _EXTENDED}

    return ContainerResources(requests=only(container.resources.requests), limits=only(container.resources.limits))


def amounts(requests: Mapping[str, Any] | None, limits: Mapping[str, Any] | None) -> Amounts:
    """Raises ValueError naming the resource."""
    asked, capped = resources.amounts(requests), resources.amounts(limits)
    return Amounts(
        max(asked.get(resources.BATCH_CPU, 0), 0),
        max(capped.get(resources.BATCH_CPU, 0), 0),
        max(capped.get(resources.BATCH_MEMORY, 0), 0),
    )


def pod_values(containers: Mapping[str, Amounts], rule: Rule) -> Values:
    """Sums; one container without a limit leaves the pod without."""
    every = list(containers.values())
    cpu = sum(one.limit_cpu for one in every) if all(one.limit_cpu for one in every) else 0
    memory = sum(one.limit_memory for one in every) if all(one.limit_memory for one in every) else UNLIMITED
    return Values(milli_to_shares(sum(one.request_cpu for one in every)), rule.quota(cpu), memory)


def container_values(one: Amounts, rule: Rule) -> Values:
    return Values(milli_to_shares(one.request_cpu), rule.quota(one.limit_cpu), one.limit_memory or UNLIMITED)


class BatchResource:
    """Every round, for every BE pod: the same writes while neither pod nor rule change; the executor knows them."""

    name = OWNER
    prompt = True

    def __init__(self, notices: Notices) -> None:
        self._notices = notices
        self._planned: dict[str, tuple[PodView, Rule, list[Write]]] = {}

    def round(self, view: View) -> Decision:
        pods = [pod for pod in view.pods if pod.qos is qos.QoS.BE and not pod.pod.terminated]
        rule = self._rule(view)
        planned = {pod.uid: self._plan(pod, rule) for pod in pods}
        self._planned = planned
        writes = [write for _, _, plan in planned.values() for write in plan]
        if not pods:
            return Skip("no BE pods")
        idle = idle_rule(view.qos_strategy)
        if idle is not None and idle.best_effort:  # the kernel refuses to weigh a cgroup that idles
            return writes
        return [Write(view.tier.group, "cpu.shares", str(MIN_SHARES), OWNER), *writes]

    def _rule(self, view: View) -> Rule:
        by_quota = view.thresholds is not None and view.thresholds.by_quota
        ratio = normalization_ratio(view.node.annotations) if view.node else NO_RATIO
        if isinstance(ratio, Malformed):
            self._notices.say(ratio.key, f"node: {ratio}; quotas are those of a node without one")
            ratio = NO_RATIO
        return Rule(quota_enabled=not by_quota, ratio=ratio)

    def _plan(self, pod: PodView, rule: Rule) -> tuple[PodView, Rule, list[Write]]:
        known = self._planned.get(pod.uid)
        if known is not None and known[0] is pod and known[1] == rule:
            return known
        return pod, rule, self._writes(pod, rule)

    def _writes(self, pod: PodView, rule: Rule) -> list[Write]:
        try:
            found = extended(pod.pod)
        except ValueError as err:
            found = Malformed("spec.containers", "", str(err))
        if isinstance(found, Malformed):
            message = f"pod {pod.pod.key}: {found}; its cgroups stay as they are"
            self._notices.say(f"{OWNER} {pod.uid}", message, pod.pod, "MalformedResource")
            return []
        if found is None:
            return []
        subject = Subject("pod", pod.pod.namespace, pod.pod.name)
        writes = [Write(pod.group, file, text, OWNER, subject) for file, text in pod_values(found, rule).files()]
        for container in pod.containers:
            writes += self._container_writes(container, found, rule, subject)
        return writes

    def _container_writes(
        self, container: ContainerView, found: Mapping[str, Amounts], rule: Rule, pod: Subject
    ) -> list[Write]:
        if (one := found.get(container.name)) is None:
            return []
        subject = msgspec.structs.replace(pod, container=container.name)
        return [Write(container.group, file, text, OWNER, subject) for file, text in container_values(one, rule).files()]
