"""The idle class of CoreSched: a QoS class whose ``cpuQOS.schedIdle`` is 1 runs only where nothing else wants to.

The kernel preempts an idle cgroup at once when anybody else wakes, however little it weighs: small shares alone do not do that.
It is asked for by ``resource-qos-config`` with ``policies.cpuPolicy: coreSched``. Of CoreSched, cookies are not here yet.
"""

from collections.abc import Callable

import msgspec

from koordinator.api.strategies import ResourceQOS, ResourceQOSStrategy
from koordinator.koordlet.enforce.decision import Decision, Skip, Write
from koordinator.koordlet.host import paths
from koordinator.koordlet.host.convert import MIN_SHARES
from koordinator.koordlet.notices import Notices
from koordinator.koordlet.view import View

OWNER = "CoreSched"
FILE = "cpu.idle"
POLICY = "coreSched"


class IdleRule(msgspec.Struct, frozen=True):
    """Which classes idle."""

    burstable: bool = False
    best_effort: bool = False


def idle_rule(strategy: ResourceQOSStrategy | None) -> IdleRule | None:
    """None when the policy is another one: then ``cpu.idle`` is nobody's business."""
    if strategy is None or strategy.policies is None or strategy.policies.cpu_policy != POLICY:
        return None
    return IdleRule(_idles(strategy.ls_class), _idles(strategy.be_class))


def _idles(given: ResourceQOS | None) -> bool:
    return given is not None and given.cpu_qos is not None and bool(given.cpu_qos.enable) and given.cpu_qos.sched_idle == 1


class IdleClass:
    """Writes ``cpu.idle`` of the Kubernetes QoS directories."""

    name = OWNER
    prompt = False

    def __init__(self, notices: Notices, supported: Callable[[], bool], kube_dirs: dict[str, str]) -> None:
        self._notices, self._supported, self._kube_dirs = notices, supported, kube_dirs
        self._best_effort_idled = False

    def round(self, view: View) -> Decision:
        found = idle_rule(view.qos_strategy)
        if found is None and not self._best_effort_idled:
            return Skip(f"the policy is not {POLICY}")
        if not self._supported():
            self._notices.say(FILE, f"this kernel has no {FILE}: NodeSLO's schedIdle has no effect on this node")
            return Skip(f"this kernel has no {FILE}")
        rule = found or IdleRule()
        classes = {paths.BURSTABLE: rule.burstable, paths.BEST_EFFORT: rule.best_effort}
        writes = [Write(self._kube_dirs[qos], FILE, str(int(idle)), OWNER, restore="0") for qos, idle in classes.items()]
        if self._best_effort_idled and not rule.best_effort:
            # The kernel gives a cgroup that no longer idles the weight of an ordinary one.
            writes.append(Write(self._kube_dirs[paths.BEST_EFFORT], "cpu.shares", str(MIN_SHARES), OWNER, cached=False))
        self._best_effort_idled = rule.best_effort
        return writes
