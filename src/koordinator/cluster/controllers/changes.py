"""What a controller decides, as plain values; ``driver`` carries them out."""

from typing import Any

import msgspec

from koordinator.api.meta import Object
from koordinator.api.registry import Resource
from koordinator.kube.store import JsonObject


class Create(msgspec.Struct, frozen=True):
    resource: Resource[Any]
    namespace: str
    body: JsonObject


class Patch(msgspec.Struct, frozen=True):
    """A merge patch. A ``metadata.resourceVersion`` in the body makes it fail when somebody wrote in between."""

    resource: Resource[Any]
    namespace: str
    name: str
    body: JsonObject
    subresource: str = ""


class Delete(msgspec.Struct, frozen=True):
    """Deletes this very object, not a later one of its name."""

    resource: Resource[Any]
    namespace: str
    name: str
    uid: str
    grace_seconds: int | None = None


class Tell(msgspec.Struct, frozen=True):
    """An event about an object, for whoever describes it."""

    about: Object
    reason: str
    message: str
    type: str = "Normal"


Change = Create | Patch | Delete | Tell


class Outcome(msgspec.Struct, frozen=True):
    """What should change now, and after how many seconds time alone would change the answer."""

    changes: list[Change] = msgspec.field(default_factory=list)
    again_after: float | None = None


def patch(resource: Resource[Any], obj: Object, body: JsonObject, subresource: str = "") -> Patch:
    return Patch(resource, obj.namespace, obj.name, body, subresource)


def guarded(resource: Resource[Any], obj: Object, metadata: dict[str, Any]) -> Patch:
    """A patch of metadata that must not overwrite somebody else's: lists are replaced whole."""
    lock = {"resourceVersion": obj.metadata.resource_version, "uid": obj.metadata.uid}
    return Patch(resource, obj.namespace, obj.name, {"metadata": {**metadata, **lock}})


def status(resource: Resource[Any], obj: Object, body: JsonObject) -> Patch:
    return Patch(resource, obj.namespace, obj.name, {"status": body}, "status")


def guarded_status(resource: Resource[Any], obj: Object, body: JsonObject) -> Patch:
    """A status that counts on from what was read: it must not overwrite a later one."""
    lock = {"resourceVersion": obj.metadata.resource_version}
    return Patch(resource, obj.namespace, obj.name, {"metadata": lock, "status": body}, "status")


def delete(resource: Resource[Any], obj: Object, grace_seconds: int | None = None) -> Delete:
    return Delete(resource, obj.namespace, obj.name, obj.metadata.uid, grace_seconds)
