"""Deployment: moves pods from the template that was to the template that is, by telling replica sets how many to have."""

from collections.abc import Iterable, Mapping

import msgspec

from koordinator.cluster.controllers import proportion, revisions, rollout
from koordinator.cluster.controllers.changes import Change, Create, Outcome, Patch, Tell, delete, patch
from koordinator.cluster.controllers.deployment_status import progress_wait, status_changes
from koordinator.cluster.controllers.objects import DEPLOYMENTS, REPLICA_SETS, Deployment, ReplicaSet
from koordinator.cluster.controllers.ownership import LOOK_AGAIN_SECONDS, claim, unusable

HISTORY_LIMIT = 10


class Count(msgspec.Struct, frozen=True):
    """Pods of one replica set: ``active`` count as replicas, ``present`` includes those that are still ending."""

    active: int = 0
    present: int = 0


class Rollout(msgspec.Struct, frozen=True):
    """One deployment with everything that its next step depends on. ``old`` is oldest first."""

    deployment: Deployment
    new: ReplicaSet | None
    old: list[ReplicaSet]
    counts: Mapping[str, Count]
    limits: rollout.Bounds

    def size(self, rs: ReplicaSet) -> rollout.Size:
        count = self.counts.get(rs.metadata.uid, Count())
        return rollout.Size(_told(rs), count.active, rs.status.available_replicas)

    @property
    def sets(self) -> list[ReplicaSet]:
        return [*self.old, self.new] if self.new is not None else self.old


def reconcile(deployment: Deployment, candidates: Iterable[ReplicaSet], counts: Mapping[str, Count], now: float) -> Outcome:
    """``candidates``: the sets that it controls and its namespace's sets without a controller; ``counts`` by set's uid."""
    if fault := unusable(DEPLOYMENTS, deployment):
        return Outcome([Tell(deployment, "InvalidSelector", fault, "Warning")])
    try:
        limits = _bounds(deployment)
    except ValueError as err:
        message = f"Deployment {deployment.key}: spec.strategy.rollingUpdate.{err}"
        return Outcome([Tell(deployment, "InvalidStrategy", message, "Warning")])
    claimed = claim(deployment, deployment.spec.selector, candidates, (DEPLOYMENTS, REPLICA_SETS))
    if claimed.changes:
        return Outcome(claimed.changes, LOOK_AGAIN_SECONDS)
    new = revisions.find_new(deployment, claimed.mine)
    old = sorted((rs for rs in claimed.mine if rs is not new), key=revisions.age_order)
    state = Rollout(deployment, new, old, counts, limits)
    changes = _step(state) if not deployment.metadata.deletion_timestamp else []
    changes += status_changes(deployment, new, state.sets, limits, now)
    return Outcome(changes, progress_wait(deployment, new, state.sets, now))


def _bounds(deployment: Deployment) -> rollout.Bounds:
    replicas = revisions.wanted_replicas(deployment)
    if deployment.spec.strategy.type == "Recreate":
        return rollout.Bounds(replicas, 0, replicas)
    update = deployment.spec.strategy.rolling_update
    if update is None:
        return rollout.bounds(replicas, None, None)
    return rollout.bounds(replicas, update.max_surge, update.max_unavailable)


def _step(state: Rollout) -> list[Change]:
    """What to tell the sets now. The new set exists before anything is taken from the old ones."""
    if (resized := _resize_all(state)) is not None:
        return resized
    if state.deployment.spec.paused:
        return _resize_paused(state)
    if state.deployment.spec.strategy.type == "Recreate":
        ups, downs = _recreate(state), [0] * len(state.old)
    else:
        new = state.size(state.new) if state.new is not None else rollout.Size(0, 0, 0)
        sizes = [state.size(rs) for rs in state.old]
        ups = rollout.scale_up(new, sizes, state.limits)
        downs = rollout.scale_down(new, sizes, state.limits) if state.new is not None else [size.spec for size in sizes]
    changes = _apply_new(state, ups)
    for rs, told in zip(state.old, downs, strict=True):
        changes += _resize(state.deployment, rs, told)
    return changes + _cleanup(state)


def _recreate(state: Rollout) -> int:
    """Nothing of the new before everything of the old is gone, down to the last ending pod."""
    if any(_told(rs) or state.counts.get(rs.metadata.uid, Count()).present for rs in state.old):
        return _told(state.new) if state.new is not None else 0
    return state.limits.replicas


def _apply_new(state: Rollout, told: int) -> list[Change]:
    deployment, new = state.deployment, state.new
    number = revisions.next_revision(state.sets, new)
    notes = revisions.annotations(deployment, new, number, state.limits.replicas + state.limits.surge)
    if new is None:
        body = revisions.new_set(DEPLOYMENTS, deployment, notes, told)
        name = body["metadata"]["name"]
        changes: list[Change] = [Create(REPLICA_SETS, deployment.namespace, body)]
        if told:
            changes.append(Tell(deployment, "ScalingReplicaSet", f"Scaled up replica set {name} to {told}"))
    else:
        changes = _resize(deployment, new, told)
        if any(new.annotations.get(key) != value for key, value in notes.items()):
            changes.append(patch(REPLICA_SETS, new, {"metadata": {"annotations": notes}}))
        if new.spec.min_ready_seconds != deployment.spec.min_ready_seconds:
            changes.append(patch(REPLICA_SETS, new, {"spec": {"minReadySeconds": deployment.spec.min_ready_seconds}}))
    if deployment.annotations.get(revisions.REVISION) != str(number):
        changes.append(patch(DEPLOYMENTS, deployment, {"metadata": {"annotations": {revisions.REVISION: str(number)}}}))
    return changes


def _told(rs: ReplicaSet) -> int:
    return 1 if rs.spec.replicas is None else rs.spec.replicas


def _resize(deployment: Deployment, rs: ReplicaSet, told: int, notes: Mapping[str, str] | None = None) -> list[Change]:
    """``notes``: annotations to write with the number, or without one if it stays."""
    before = _told(rs)
    if before == told:
        return [_scale(rs, told, notes)] if notes else []
    direction = "up" if told > before else "down"
    said = f"Scaled {direction} replica set {rs.name} to {told}"
    return [_scale(rs, told, notes), Tell(deployment, "ScalingReplicaSet", said)]


def _scale(rs: ReplicaSet, told: int, notes: Mapping[str, str] | None) -> Patch:
    """Fails when somebody scaled the set in between: the sum over all sets was counted with what we saw."""
    metadata = {"resourceVersion": rs.metadata.resource_version} | ({"annotations": dict(notes)} if notes else {})
    return patch(REPLICA_SETS, rs, {"metadata": metadata, "spec": {"replicas": told}})


def _resize_all(state: Rollout) -> list[Change] | None:
    """Pods of several templates run and the replica count has changed: every set gets its share. None when that is not so."""
    running = [rs for rs in state.sets if _told(rs)]
    stale = [proportion.outdated(state.deployment, rs) for rs in running]
    if len(running) < 2 or not any(stale) or state.deployment.spec.strategy.type == "Recreate":
        return None
    told = proportion.resized([state.size(rs) for rs in running], stale, state.limits)
    notes = revisions.sizes(state.deployment, state.limits.replicas + state.limits.surge)
    changes: list[Change] = []
    for rs, number, old in sorted(zip(running, told, stale, strict=True), key=lambda item: item[1] - _told(item[0])):
        changes += _resize(state.deployment, rs, number, notes) if old else []
    return changes


def _resize_paused(state: Rollout) -> list[Change]:
    """A paused deployment rolls nothing out, but the set that runs follows its replica count."""
    running = [rs for rs in state.sets if _told(rs)] or ([state.new] if state.new is not None else [])
    return _resize(state.deployment, running[0], state.limits.replicas) if len(running) == 1 else []


def _cleanup(state: Rollout) -> list[Change]:
    """Forget the oldest empty sets beyond the history limit."""
    limit = state.deployment.spec.revision_history_limit
    keep = HISTORY_LIMIT if limit is None else max(limit, 0)
    empty = [rs for rs in state.old if _forgettable(rs, state.counts)]
    empty.sort(key=lambda rs: (revisions.revision(rs), revisions.age_order(rs)))
    return [delete(REPLICA_SETS, rs) for rs in empty[: max(0, len(state.old) - keep)]]


def _forgettable(rs: ReplicaSet, counts: Mapping[str, Count]) -> bool:
    settled = rs.status.observed_generation >= rs.metadata.generation and not rs.metadata.deletion_timestamp
    return settled and not (_told(rs) or rs.status.replicas or counts.get(rs.metadata.uid, Count()).present)
