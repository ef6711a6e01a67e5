"""Node lifecycle: a node without heartbeats becomes unknown, gets taints, and loses the pods that do not tolerate them."""

from collections.abc import Iterable
from typing import Any

import msgspec

from koordinator.api.core import Node, Pod, Taint
from koordinator.api.meta import Condition, format_time, parse_time
from koordinator.api.registry import NODES, PODS
from koordinator.api.taints import taint_key, tolerates
from koordinator.cluster.controllers.changes import Change, Outcome, Tell, delete, guarded, patch, status

UNREACHABLE = "node.kubernetes.io/unreachable"
NOT_READY = "node.kubernetes.io/not-ready"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_ILL = {"Unknown": UNREACHABLE, "False": NOT_READY}
OWN_TAINTS = frozenset({UNREACHABLE, NOT_READY, UNSCHEDULABLE})
TOLERATION_SECONDS = 300
"""How long pods that say nothing of not-ready and unreachable nodes stay on one (what admission adds to pods elsewhere)."""
WATCHED_CONDITIONS = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")


class Heard(msgspec.Struct, frozen=True):
    """``silence``: seconds since the node's last sign of life; ``grace``: how many of them it may have."""

    silence: float
    grace: float

    @property
    def enough(self) -> bool:
        return self.silence <= self.grace


def reconcile(node: Node, heard: Heard, turn_in: float, now: float) -> Outcome:
    """``turn_in``: seconds until the node may lose its pods, if it should (see ``zones``)."""
    if node.metadata.deletion_timestamp:
        return Outcome()
    changes: list[Change] = [] if heard.enough else _unknown(node, now)
    state = ready_status(node) if heard.enough else "Unknown"
    changes += _taint(node, state, now, evict=turn_in <= 0)
    waits = [heard.grace - heard.silence + 0.1] if heard.enough else []
    waits += [turn_in] if turn_in > 0 and state in _ILL else []
    return Outcome(changes, min(waits, default=None))


def ready_status(node: Node) -> str:
    ready = next((c for c in node.status.conditions or [] if c.type == "Ready"), None)
    return ready.status if ready is not None else ""


def _unknown(node: Node, now: float) -> list[Change]:
    conditions = {condition.type: condition for condition in node.status.conditions or []}
    if all(type_ in conditions and conditions[type_].status == "Unknown" for type_ in WATCHED_CONDITIONS):
        return []
    for type_ in WATCHED_CONDITIONS:
        held = conditions.get(type_)
        if held is None or held.status != "Unknown":
            conditions[type_] = _silent(type_, held, now)
    body = {"conditions": msgspec.to_builtins(list(conditions.values()))}
    said = f"Node {node.name} status is now: NodeNotReady"
    return [status(NODES, node, body), Tell(node, "NodeNotReady", said, "Warning")]


def _silent(type_: str, held: Condition | None, now: float) -> Condition:
    never = held is None
    return Condition(
        type=type_,
        status="Unknown",
        reason="NodeStatusNeverUpdated" if never else "NodeStatusUnknown",
        message="Kubelet never posted node status." if never else "Kubelet stopped posting node status.",
        last_transition_time=format_time(now),
        last_heartbeat_time=held.last_heartbeat_time if held is not None else None,
    )


def _taint(node: Node, state: str, now: float, *, evict: bool) -> list[Change]:
    """Taints that follow from the node's condition and from ``spec.unschedulable``; foreign taints stay.

    A node that must wait for its turn takes no new pods and keeps those it has.
    """
    held = node.spec.taints or []
    wanted = [taint for taint in held if taint.key not in OWN_TAINTS]
    key = _ILL.get(state)
    if key is not None:
        evicted = evict or any((taint.key, taint.effect) == (key, "NoExecute") for taint in held)
        effects = ("NoSchedule", "NoExecute") if evicted else ("NoSchedule",)
        wanted += [_taint_of(held, key, effect, now) for effect in effects]
    if node.spec.unschedulable:
        wanted.append(_taint_of(held, UNSCHEDULABLE, "NoSchedule", now))
    if {(t.key, t.effect) for t in wanted} == {(t.key, t.effect) for t in held}:
        return []
    lock = guarded(NODES, node, {})
    body: dict[str, Any] = {**lock.body, "spec": {"taints": msgspec.to_builtins(wanted) or None}}
    return [patch(NODES, node, body)]


def _taint_of(held: list[Taint], key: str, effect: str, now: float) -> Taint:
    same = next((taint for taint in held if (taint.key, taint.effect) == (key, effect)), None)
    return same or Taint(key=key, effect=effect, time_added=format_time(now))


def evictions(node: Node, pods: Iterable[Pod], now: float) -> Outcome:
    """Delete the pods whose patience with the node's NoExecute taints is over; come back for those with some left."""
    taints = [taint for taint in node.spec.taints or [] if taint.effect == "NoExecute"]
    if not taints:
        return Outcome()
    changes: list[Change] = []
    soonest: float | None = None
    for pod in pods:
        if pod.metadata.deletion_timestamp or pod.terminated:
            continue
        left = patience(pod, taints, now)
        if left is None:
            continue
        if left <= 0:
            changes += [delete(PODS, pod), Tell(pod, "TaintManagerEviction", f"Marking for deletion Pod {pod.key}")]
        else:
            soonest = left if soonest is None else min(soonest, left)
    return Outcome(changes, soonest)


def patience(pod: Pod, taints: list[Taint], now: float) -> float | None:
    """Seconds that the pod stays under these taints; zero or less: not any more; None: for ever."""
    soonest: float | None = None
    for taint in taints:
        seconds = _tolerated_for(pod, taint)
        if seconds is None:
            continue
        left = (parse_time(taint.time_added) or now) + seconds - now
        soonest = left if soonest is None else min(soonest, left)
    return soonest


def _tolerated_for(pod: Pod, taint: Taint) -> float | None:
    """Seconds that the pod tolerates one taint: 0 not at all, None for ever."""
    fitting = [toleration for toleration in pod.spec.tolerations or [] if tolerates(toleration, taint_key(taint))]
    if not fitting:
        return TOLERATION_SECONDS if taint.key in (UNREACHABLE, NOT_READY) else 0.0
    limits = [max(t.toleration_seconds, 0) for t in fitting if t.toleration_seconds is not None]
    return float(min(limits)) if limits else None
