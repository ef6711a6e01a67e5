"""ReplicaSet: as many pods as asked for, no more under any delay of what we see."""

from collections.abc import Iterable
from typing import Any

import msgspec

from koordinator.api.core import Pod
from koordinator.api.meta import Condition, format_time
from koordinator.api.registry import PODS
from koordinator.cluster.controllers import pods as pods_
from koordinator.cluster.controllers.changes import Change, Create, Outcome, Tell, delete, status
from koordinator.cluster.controllers.objects import REPLICA_SETS, ReplicaSet, ReplicaSetStatus
from koordinator.cluster.controllers.ownership import LOOK_AGAIN_SECONDS, claim, unusable
from koordinator.kube.owners import controller_reference

BURST = 500
"""At most so many pods are made or given up at once; the rest follows when these have been."""


def reconcile(rs: ReplicaSet, candidates: Iterable[Pod], now: float) -> Outcome:
    """``candidates``: the pods that the set controls and its namespace's pods without a controller."""
    if fault := unusable(REPLICA_SETS, rs):
        return Outcome([*_status(rs, [], now, fault), Tell(rs, "InvalidSelector", fault, "Warning")])
    claimed = claim(rs, rs.spec.selector, candidates, (REPLICA_SETS, PODS))
    if claimed.changes:
        return Outcome(claimed.changes, LOOK_AGAIN_SECONDS)
    active = [pod for pod in claimed.mine if pods_.is_active(pod)]
    changes = _status(rs, active, now)
    if not rs.metadata.deletion_timestamp:
        changes += _scale(rs, active, now)
    return Outcome(changes, _next_available(rs, active, now))


def wanted(rs: ReplicaSet) -> int:
    return 1 if rs.spec.replicas is None else max(rs.spec.replicas, 0)


def _scale(rs: ReplicaSet, active: list[Pod], now: float) -> list[Change]:
    surplus = len(active) - wanted(rs)
    if surplus > 0:
        losers = sorted(active, key=pods_.giving_up_order)[: min(surplus, BURST)]
        return [*(delete(PODS, pod) for pod in losers), Tell(rs, "SuccessfulDelete", _named("Deleted", losers))]
    if surplus < 0:
        bodies = [_pod(rs, f"{rs.metadata.uid}/{now}/{index}") for index in range(min(-surplus, BURST))]
        names = [body["metadata"]["name"] for body in bodies]
        creates = [Create(PODS, rs.namespace, body) for body in bodies]
        return [*creates, Tell(rs, "SuccessfulCreate", pods_.listed("Created", names))]
    return []


def _pod(rs: ReplicaSet, token: str) -> dict[str, Any]:
    return pods_.from_template(rs.spec.template, rs, controller_reference(REPLICA_SETS, rs), token)


def _named(verb: str, losers: list[Pod]) -> str:
    return pods_.listed(verb, [pod.name for pod in losers])


def _status(rs: ReplicaSet, active: list[Pod], now: float, fault: str = "") -> list[Change]:
    labels = (rs.spec.template.get("metadata") or {}).get("labels") or {}
    held = rs.status
    wished = ReplicaSetStatus(
        replicas=len(active),
        fully_labeled_replicas=sum(labels.items() <= pod.labels.items() for pod in active),
        ready_replicas=sum(pods_.is_ready(pod) for pod in active),
        available_replicas=sum(pods_.available_in(pod, rs.spec.min_ready_seconds, now) == 0 for pod in active),
        observed_generation=rs.metadata.generation,
        conditions=_conditions(rs, fault, short=len(active) < wanted(rs), now=now),
    )
    return [] if wished == held else [status(REPLICA_SETS, rs, _wire(wished))]


def _conditions(rs: ReplicaSet, fault: str, *, short: bool, now: float) -> list[Condition] | None:
    """``ReplicaFailure`` comes with a fault and goes with it; a refused create stands until the pods are there."""
    held = next((c for c in rs.status.conditions or [] if c.type == "ReplicaFailure"), None)
    if fault and (held is None or held.message != fault):
        return _with_failure(rs, "InvalidSelector", fault, now)
    if fault or held is None or (held.reason == "FailedCreate" and short):
        return rs.status.conditions
    return [condition for condition in rs.status.conditions or [] if condition is not held] or None


def _with_failure(rs: ReplicaSet, reason: str, message: str, now: float) -> list[Condition]:
    others = [condition for condition in rs.status.conditions or [] if condition.type != "ReplicaFailure"]
    since = format_time(now)
    return [
        *others,
        Condition(type="ReplicaFailure", status="True", reason=reason, message=message, last_transition_time=since),
    ]


def _wire(wished: ReplicaSetStatus) -> dict[str, Any]:
    """Every counter written out: in a merge patch, a number that is left out keeps its old value."""
    return {
        "replicas": wished.replicas,
        "fullyLabeledReplicas": wished.fully_labeled_replicas,
        "readyReplicas": wished.ready_replicas,
        "availableReplicas": wished.available_replicas,
        "observedGeneration": wished.observed_generation,
        "conditions": msgspec.to_builtins(wished.conditions),
    }


def refused(rs: ReplicaSet, message: str, now: float) -> list[Change]:
    """What to write when the API server refuses to make pods (a quota, an admission webhook); nothing when it stands there."""
    held = next((c for c in rs.status.conditions or [] if c.type == "ReplicaFailure"), None)
    tell = Tell(rs, "FailedCreate", f"Error creating: {message}", "Warning")
    if held is not None and held.message == message:
        return [tell]
    conditions = msgspec.to_builtins(_with_failure(rs, "FailedCreate", message, now))
    return [tell, status(REPLICA_SETS, rs, {"conditions": conditions})]


def _next_available(rs: ReplicaSet, active: list[Pod], now: float) -> float | None:
    waits = (pods_.available_in(pod, rs.spec.min_ready_seconds, now) for pod in active)
    return min((wait for wait in waits if wait), default=None)
