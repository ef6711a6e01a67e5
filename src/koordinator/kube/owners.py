"""Owner references: who goes when somebody goes, and who is in charge. Pure values; the caller writes them."""

from typing import Any

import msgspec

from koordinator.api.meta import Object, OwnerReference
from koordinator.api.registry import Resource


def owner_reference(resource: Resource[Any], owner: Object) -> dict[str, Any]:
    """A reference, as it stands on the wire, that has the garbage collector delete the object after its owner."""
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "name": owner.name,
        "uid": owner.metadata.uid,
    }


def controller_reference(resource: Resource[Any], owner: Object) -> dict[str, Any]:
    """A reference that also says that the owner manages the object. There can be one such per object."""
    return {**owner_reference(resource, owner), "controller": True, "blockOwnerDeletion": True}


def is_controlled_by(obj: Object, owner: Object) -> bool:
    """By this very owner, not by an earlier one of its name."""
    return obj.owner is not None and obj.owner.uid == owner.metadata.uid


def wire(reference: OwnerReference) -> dict[str, Any]:
    """An owner reference that was read, as it stands on the wire."""
    built: dict[str, Any] = msgspec.to_builtins(reference)
    return built


def without_owner(obj: Object, uid: str) -> list[dict[str, Any]]:
    """The object's references but that to the owner ``uid``."""
    return [wire(reference) for reference in obj.metadata.owner_references or [] if reference.uid != uid]


def with_owner(obj: Object, reference: dict[str, Any]) -> list[dict[str, Any]]:
    """The object's references with this one added, or in the place of an older one to the same owner."""
    return [*without_owner(obj, reference["uid"]), reference]
