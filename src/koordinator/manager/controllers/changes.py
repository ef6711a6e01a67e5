"""What a reconciliation may ask for, as values; and the few lines that carry them out."""

import contextlib
from typing import Any

import msgspec

from koordinator.api.meta import Object
from koordinator.api.registry import Resource
from koordinator.kube.errors import NotFound
from koordinator.kube.patches import merge_diff
from koordinator.kube.store import Store

JsonObject = dict[str, Any]


class SpecObject(Object):
    """An object whose spec we own whole: kept as plain JSON so that fields we do not know are compared too."""

    spec: JsonObject = msgspec.field(default_factory=dict)


class Create(msgspec.Struct, frozen=True):
    spec: JsonObject


class Patch(msgspec.Struct, frozen=True):
    patch: JsonObject


class Delete(msgspec.Struct, frozen=True):
    pass


Change = Create | Patch | Delete


def reconcile_spec(*, node_exists: bool, existing: JsonObject | None, wanted: JsonObject | None) -> Change | None:
    """One object per node, its spec as ``wanted``; None leaves what is there. Never touches status: koordlet owns that."""
    if not node_exists:
        return None if existing is None else Delete()
    if wanted is None:
        return None
    if existing is None:
        return Create(wanted)
    patch = merge_diff(existing, wanted)
    return Patch({"spec": patch}) if patch else None


async def carry_out(store: Store, resource: Resource[Any], name: str, change: Change) -> None:
    """Raises ApiError."""
    match change:
        case Create(spec):
            body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": name}, "spec": spec}
            await store.create(resource, body)
        case Patch(patch):
            await store.patch(resource, name, patch)
        case Delete():
            with contextlib.suppress(NotFound):
                await store.delete(resource, name)
