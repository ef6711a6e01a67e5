"""GroupIdentity: on kernels with group identity (``cpu.bvt_warp_ns``), services preempt best-effort work.

Values come from the NodeSLO's QoS classes; an LS pod may name its own. The Guaranteed directory, root of all pods, is 0.
"""

from collections.abc import Callable

import msgspec

from koordinator.api import qos
from koordinator.api.annotations import Malformed
from koordinator.api.podqos import CPU_QOS
from koordinator.api.strategies import ResourceQOS, ResourceQOSStrategy
from koordinator.koordlet.enforce.decision import Decision, Skip, Subject, Write
from koordinator.koordlet.notices import Notices
from koordinator.koordlet.view import PodView, View

OWNER = "GroupIdentity"
FILE = "cpu.bvt_warp_ns"
_POLICIES = (None, "", "groupIdentity")


class Rule(msgspec.Struct, frozen=True):
    """The identity of each class; 0 where the class is not enabled. ``guaranteed`` is for pods without a class of their own."""

    lsr: int = 0
    ls: int = 0
    be: int = 0
    guaranteed: int = 0


def rule(strategy: ResourceQOSStrategy | None) -> Rule:
    if strategy is None or (strategy.policies is not None and strategy.policies.cpu_policy not in _POLICIES):
        return Rule()
    lsr, ls = _identity(strategy.lsr_class, 2), _identity(strategy.ls_class, 2)
    guaranteed = next((value for value in (lsr, ls) if value is not None), 0)
    return Rule(lsr or 0, ls or 0, _identity(strategy.be_class, -1) or 0, guaranteed)


def _identity(given: ResourceQOS | None, default: int) -> int | None:
    """None when the class is not enabled."""
    if given is None or given.cpu_qos is None or not given.cpu_qos.enable:
        return None
    return default if given.cpu_qos.group_identity is None else given.cpu_qos.group_identity


def of_kube(kube_qos: str, found: Rule) -> int:
    """The value of a Kubernetes QoS directory."""
    return {qos.BURSTABLE: found.ls, qos.BEST_EFFORT: found.be}.get(kube_qos, 0)


def of_pod(pod: PodView, found: Rule) -> int | Malformed:
    """The value of a pod and of its containers."""
    match pod.qos:
        case qos.QoS.LSE | qos.QoS.LSR:
            return found.lsr
        case qos.QoS.LS:
            return _own(pod, found.ls)
        case qos.QoS.BE:
            return found.be
        case _:
            return found.guaranteed if pod.kube_qos == qos.GUARANTEED else of_kube(pod.kube_qos, found)


def _own(pod: PodView, otherwise: int) -> int | Malformed:
    match CPU_QOS.read(pod.pod.annotations):
        case None:
            return otherwise
        case Malformed() as bad:
            return bad
        case given:
            return (given.group_identity or 0) if given.enable else 0


class GroupIdentity:
    """Silent where the kernel does not know it, and until a NodeSLO says something about it."""

    name = OWNER
    prompt = True

    def __init__(self, notices: Notices, supported: Callable[[], bool], kube_dirs: dict[str, str]) -> None:
        self._notices, self._supported, self._kube_dirs = notices, supported, kube_dirs

    def round(self, view: View) -> Decision:
        if view.qos_strategy is None:
            return Skip("no QoS strategy in NodeSLO")
        found = rule(view.qos_strategy)
        if not self._supported():
            if found != Rule():
                self._notices.say(FILE, f"this kernel has no {FILE}: NodeSLO's groupIdentity has no effect on this node")
            return Skip(f"this kernel has no {FILE}")
        writes = [Write(group, FILE, str(of_kube(kube, found)), OWNER) for kube, group in self._kube_dirs.items()]
        for pod in view.pods:
            writes += self._pod(pod, found)
        return writes

    def _pod(self, pod: PodView, found: Rule) -> list[Write]:
        value = of_pod(pod, found)
        if isinstance(value, Malformed):
            self._notices.say(f"{OWNER} {pod.uid}", f"pod {pod.pod.key}: {value}; its identity stays", pod.pod, "MalformedQOS")
            return []
        subject = Subject("pod", pod.pod.namespace, pod.pod.name)
        groups = (pod.group, *(container.group for container in pod.containers))
        return [Write(group, FILE, str(value), OWNER, subject) for group in groups if not pod.pod.terminated]
