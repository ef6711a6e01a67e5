"""What a deployment says about itself: counters, and the conditions that ``kubectl rollout status`` reads."""

from typing import Any

import msgspec

from koordinator.api.meta import format_time, parse_time
from koordinator.cluster.controllers import revisions, rollout
from koordinator.cluster.controllers.changes import Change, Tell, status
from koordinator.cluster.controllers.objects import (
    DEPLOYMENTS,
    Deployment,
    DeploymentCondition,
    DeploymentStatus,
    ReplicaSet,
)

PROGRESS_DEADLINE = 600
UNLIMITED = 2**31 - 1


def status_changes(
    deployment: Deployment, new: ReplicaSet | None, sets: list[ReplicaSet], limits: rollout.Bounds, now: float
) -> list[Change]:
    """The status patch, if anything in it is new."""
    wished = counters(deployment, new, sets)
    held = {condition.type: condition for condition in deployment.status.conditions or []}
    conditions = dict(held)
    _put(conditions, _available(wished, limits), now)
    if (progressing := _progressing(deployment, new, wished, now)) is not None:
        _put(conditions, progressing, now, moved=_moved(deployment.status, wished))
    _copy_failure(conditions, sets, now)
    wished.conditions = list(conditions.values())
    if wished == deployment.status:
        return []
    changes: list[Change] = [status(DEPLOYMENTS, deployment, _wire(wished))]
    before, after = held.get("Progressing"), conditions.get("Progressing")
    if after is not None and after.reason == "ProgressDeadlineExceeded" and (before is None or before.reason != after.reason):
        changes.append(Tell(deployment, "ProgressDeadlineExceeded", after.message or "", "Warning"))
    return changes


def counters(deployment: Deployment, new: ReplicaSet | None, sets: list[ReplicaSet]) -> DeploymentStatus:
    """The numbers of the status, from those of its replica sets; conditions are not among them."""
    total = sum(rs.status.replicas for rs in sets)
    available = sum(rs.status.available_replicas for rs in sets)
    return DeploymentStatus(
        observed_generation=deployment.metadata.generation,
        replicas=total,
        updated_replicas=new.status.replicas if new is not None else 0,
        ready_replicas=sum(rs.status.ready_replicas for rs in sets),
        available_replicas=available,
        unavailable_replicas=max(0, total - available),
        collision_count=deployment.status.collision_count,
    )


def is_complete(deployment: Deployment, wished: DeploymentStatus) -> bool:
    """Every replica is of the present template and available, and nothing of the old is left."""
    replicas = revisions.wanted_replicas(deployment)
    return wished.updated_replicas == wished.replicas == wished.available_replicas == replicas


def progress_wait(deployment: Deployment, new: ReplicaSet | None, sets: list[ReplicaSet], now: float) -> float | None:
    """Seconds until the progress deadline would pass; None when there is none to pass."""
    held = next((c for c in deployment.status.conditions or [] if c.type == "Progressing"), None)
    deadline = _deadline(deployment)
    if held is None or deadline is None or deployment.spec.paused or held.reason == "ProgressDeadlineExceeded":
        return None
    if is_complete(deployment, counters(deployment, new, sets)):
        return None
    since = parse_time(held.last_update_time)
    return max(0.1, since + deadline - now) if since is not None else None


def _deadline(deployment: Deployment) -> int | None:
    seconds = deployment.spec.progress_deadline_seconds
    seconds = PROGRESS_DEADLINE if seconds is None else seconds
    return None if seconds >= UNLIMITED else seconds


def _available(wished: DeploymentStatus, limits: rollout.Bounds) -> DeploymentCondition:
    if wished.available_replicas >= limits.replicas - limits.unavailable:
        return _condition("Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    return _condition("Available", "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")


def _progressing(
    deployment: Deployment, new: ReplicaSet | None, wished: DeploymentStatus, now: float
) -> DeploymentCondition | None:
    """The condition as it should be; None to leave it as it is."""
    held = next((c for c in deployment.status.conditions or [] if c.type == "Progressing"), None)
    if deployment.spec.paused:
        return _condition("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused")
    if new is None:
        digest = revisions.template_hash(deployment.spec.template, deployment.status.collision_count or 0)
        name = f"{deployment.name}-{digest}"
        return _condition("Progressing", "True", "NewReplicaSetCreated", f'Created new replica set "{name}"')
    if is_complete(deployment, wished):
        message = f'ReplicaSet "{new.name}" has successfully progressed.'
        return _condition("Progressing", "True", "NewReplicaSetAvailable", message)
    if held is None or _moved(deployment.status, wished) or held.reason in ("DeploymentPaused", "NewReplicaSetAvailable"):
        return _condition("Progressing", "True", "ReplicaSetUpdated", f'ReplicaSet "{new.name}" is progressing.')
    deadline, since = _deadline(deployment), parse_time(held.last_update_time)
    if deadline is not None and since is not None and now > since + deadline and held.reason != "ProgressDeadlineExceeded":
        message = f'ReplicaSet "{new.name}" has timed out progressing.'
        return _condition("Progressing", "False", "ProgressDeadlineExceeded", message)
    return None


def _moved(held: DeploymentStatus, wished: DeploymentStatus) -> bool:
    """Whether the rollout got further since the status was written."""
    return (
        wished.updated_replicas > held.updated_replicas
        or wished.replicas - wished.updated_replicas < held.replicas - held.updated_replicas
        or wished.ready_replicas > held.ready_replicas
        or wished.available_replicas > held.available_replicas
    )


def _copy_failure(conditions: dict[str, DeploymentCondition], sets: list[ReplicaSet], now: float) -> None:
    """A set that cannot make its pods is the deployment's failure too."""
    failing = next((c for rs in sets for c in rs.status.conditions or [] if c.type == "ReplicaFailure"), None)
    if failing is None:
        conditions.pop("ReplicaFailure", None)
    else:
        _put(conditions, _condition("ReplicaFailure", "True", failing.reason or "", failing.message or ""), now)


def _condition(type_: str, state: str, reason: str, message: str) -> DeploymentCondition:
    return DeploymentCondition(type=type_, status=state, reason=reason, message=message)


def _put(conditions: dict[str, DeploymentCondition], wished: DeploymentCondition, now: float, *, moved: bool = False) -> None:
    """Set a condition. Its transition time moves with its status, its update time with its reason or with progress."""
    held = conditions.get(wished.type)
    if (
        held is not None
        and (held.status, held.reason, held.message) == (wished.status, wished.reason, wished.message)
        and not moved
    ):
        return
    stamp = format_time(now)
    same_status = held is not None and held.status == wished.status
    wished.last_transition_time = held.last_transition_time if held is not None and same_status else stamp
    wished.last_update_time = stamp
    conditions[wished.type] = wished


def _wire(wished: DeploymentStatus) -> dict[str, Any]:
    """Every counter written out: in a merge patch, a number that is left out keeps its old value."""
    body: dict[str, Any] = {
        "observedGeneration": wished.observed_generation,
        "replicas": wished.replicas,
        "updatedReplicas": wished.updated_replicas,
        "readyReplicas": wished.ready_replicas,
        "availableReplicas": wished.available_replicas,
        "unavailableReplicas": wished.unavailable_replicas,
        "conditions": msgspec.to_builtins(wished.conditions),
    }
    return body
