"""Garbage collection: what an object owned goes when the object goes.

Background: dependents of an owner that is no longer there are deleted. Foreground: an owner that is being deleted with the
finalizer ``foregroundDeletion`` waits for its dependents. Orphan: with the finalizer ``orphan`` it lets them go instead.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from koordinator.api.meta import Object, OwnerReference
from koordinator.api.registry import Resource
from koordinator.cluster.controllers.changes import Change, delete, guarded
from koordinator.kube.owners import wire

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


class Item(msgspec.Struct, frozen=True):
    """Any object, and where it lives."""

    resource: Resource[Any]
    object: Object

    @property
    def uid(self) -> str:
        return self.object.metadata.uid


def waits_for_dependents(obj: Object) -> bool:
    return bool(obj.metadata.deletion_timestamp) and FOREGROUND in (obj.metadata.finalizers or [])


def collect(item: Item, owners: Mapping[str, Object | None], dependents: Iterable[Item]) -> list[Change]:
    """What becomes of an object with owners. ``owners``: uid → the owner, None when it is certain that it is not there."""
    obj = item.object
    references = obj.metadata.owner_references or []
    if not references or obj.metadata.deletion_timestamp:
        return []
    held = [ref for ref in references if _holds(ref, owners)]
    if held:
        return [] if len(held) == len(references) else [_keep(item, held)]
    waiting = any(owners.get(ref.uid) is not None for ref in references)
    if waiting and any(True for _ in dependents):
        return [_in_foreground(item), delete(item.resource, obj)]
    return [delete(item.resource, obj)]


def _holds(reference: OwnerReference, owners: Mapping[str, Object | None]) -> bool:
    owner = owners.get(reference.uid)
    return owner is not None and not waits_for_dependents(owner)


def release(owner: Item, dependents: Iterable[Item]) -> list[Change]:
    """The next step for an owner that is being deleted: let its dependents go, or wait for them; then drop its finalizer."""
    finalizers = owner.object.metadata.finalizers or []
    if not owner.object.metadata.deletion_timestamp:
        return []
    dependents = list(dependents)
    if ORPHAN in finalizers:
        freed: list[Change] = [_keep(item, _others(item, owner.uid)) for item in dependents]
        return [*freed, _without(owner, ORPHAN)]
    if FOREGROUND in finalizers and not any(_blocks(item, owner.uid) for item in dependents):
        return [_without(owner, FOREGROUND)]
    return []


def _blocks(item: Item, uid: str) -> bool:
    return any(ref.uid == uid and ref.block_owner_deletion for ref in item.object.metadata.owner_references or [])


def _others(item: Item, uid: str) -> list[OwnerReference]:
    return [ref for ref in item.object.metadata.owner_references or [] if ref.uid != uid]


def _keep(item: Item, references: list[OwnerReference]) -> Change:
    return guarded(item.resource, item.object, {"ownerReferences": [wire(ref) for ref in references]})


def _in_foreground(item: Item) -> Change:
    return guarded(item.resource, item.object, {"finalizers": [*(item.object.metadata.finalizers or []), FOREGROUND]})


def _without(item: Item, finalizer: str) -> Change:
    left = [name for name in item.object.metadata.finalizers or [] if name != finalizer]
    return guarded(item.resource, item.object, {"finalizers": left})
