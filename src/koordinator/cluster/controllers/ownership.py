"""Who controls whom: which of the candidates belong to an owner, which to take on, which to let go."""

from collections.abc import Iterable
from typing import Any, Generic, TypeVar

import msgspec

from koordinator.api.meta import LabelSelector, Object
from koordinator.api.registry import Resource
from koordinator.api.selectors import is_empty, matches, problem
from koordinator.cluster.controllers.changes import Change, guarded
from koordinator.cluster.controllers.objects import DaemonSet, Deployment, ReplicaSet, StatefulSet
from koordinator.kube.owners import controller_reference, with_owner, without_owner

T = TypeVar("T", bound=Object)

LOOK_AGAIN_SECONDS = 1.0
"""After adopting and releasing: the change itself brings the owner back sooner, unless its object is gone."""


class Claim(msgspec.Struct, Generic[T], frozen=True):
    mine: list[T]
    changes: list[Change]


def unusable(resource: Resource[Any], owner: ReplicaSet | Deployment | DaemonSet | StatefulSet) -> str:
    """Why this owner's selector cannot find its own pods, or would find everybody's; empty when it can work."""
    selector, where = owner.spec.selector, f"{resource.kind} {owner.key}: spec.selector"
    if is_empty(selector):
        return f"{where} is empty, it would select every pod of the namespace"
    if fault := problem(selector):
        return f"{where}.{fault}"
    if not matches(selector, (owner.spec.template.get("metadata") or {}).get("labels") or {}):
        return f"{where} does not match the labels of spec.template, its own pods would not count"
    return ""


def claim(
    owner: Object,
    selector: LabelSelector | None,
    candidates: Iterable[T],
    kinds: tuple[Resource[Any], Resource[Any]],
) -> Claim[T]:
    """Sort candidates of the owner's namespace into the owner's own, adopting orphans and releasing strangers.

    ``kinds`` are the owner's and the candidates' resource. An object is adopted when it matches, has no controller and neither
    side is being deleted; it is released when it is ours and its labels no longer match. A changed object counts only once the
    change has been carried out: callers decide nothing else before, or they would make a pod in place of the one they adopt.
    """
    parent, child = kinds
    mine: list[T] = []
    changes: list[Change] = []
    for candidate in candidates:
        fits = matches(selector, candidate.labels)
        holder = candidate.owner
        if holder is not None and holder.uid != owner.metadata.uid:
            continue
        if holder is not None:
            if fits or owner.metadata.deletion_timestamp:
                mine.append(candidate)
            else:
                changes.append(guarded(child, candidate, {"ownerReferences": without_owner(candidate, owner.metadata.uid)}))
        elif fits and not (owner.metadata.deletion_timestamp or candidate.metadata.deletion_timestamp):
            references = with_owner(candidate, controller_reference(parent, owner))
            changes.append(guarded(child, candidate, {"ownerReferences": references}))
    return Claim(mine, changes)
