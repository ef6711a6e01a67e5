"""From what a caller asks for to the next state of an object: pure functions on plain JSON. States are never changed."""

from collections.abc import Sequence
from typing import Any

import msgspec

from koordinator.api.registry import Resource
from koordinator.kube import patches
from koordinator.kube.memory import births
from koordinator.kube.memory.collection import Collection
from koordinator.kube.refusals import bad_request, invalid, unsupported_media
from koordinator.kube.semantics import pods, updates
from koordinator.kube.store import JsonObject, PatchType

Json = dict[str, Any]

DYING = ("deletionTimestamp", "deletionGracePeriodSeconds")
SERVERS = (*DYING, "uid", "creationTimestamp", "generation", "managedFields", "selfLink")
"""Metadata that only the server gives a new object."""


def settled(resource: Resource[Any], obj: JsonObject, namespace: str) -> Json:
    """A copy that says which object it is. Raises: ApiError (400) when it says something else than the call."""
    body: Json = msgspec.to_builtins(obj, str_keys=True)
    for field, wanted in (("apiVersion", resource.api_version), ("kind", resource.kind)):
        if (said := body.setdefault(field, wanted)) != wanted:
            raise bad_request(f"{field} is {said!r}, this is the collection of {resource.api_version} {resource.kind}")
    metadata = body.setdefault("metadata", {})
    if not isinstance(metadata, dict):
        raise bad_request(f"{resource.kind}: metadata must be an object")
    updates.settle_namespace(metadata, namespace, namespaced=resource.namespaced)
    return body


def typed(resource: Resource[Any], obj: Json) -> Any:
    """The object as its kind's type. Raises: ApiError (400), naming the field."""
    try:
        return msgspec.convert(obj, resource.type)
    except msgspec.ValidationError as err:
        why = str(err)
    try:
        found = msgspec.convert(clean := births.without_nulls(obj), resource.type)
    except msgspec.ValidationError:
        text = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {why}'
        raise bad_request(text) from None
    obj.clear()
    obj.update(clean)
    return found


def loosened(obj: Json, *fields: str) -> Json:
    """A copy whose metadata, and named top-level fields, may be changed."""
    return {**obj, "metadata": dict(obj["metadata"]), **{field: dict(obj.get(field) or {}) for field in fields}}


def patched(obj: Json, patch: JsonObject | Sequence[Any], dialect: PatchType, *, custom: bool) -> Json:
    """The object with a patch applied; untouched parts are shared. Raises: ApiError (400, 415, 422)."""
    body = msgspec.to_builtins(patch, str_keys=True)
    if dialect is PatchType.JSON:
        if not isinstance(body, list):
            raise bad_request("a JSON patch is a list of operations")
        result = patches.apply_json(obj, body)
    elif not isinstance(body, dict):
        raise bad_request("the object provided is unrecognized: a JSON object is expected")
    elif dialect is PatchType.MERGE:
        result = patches.merge(obj, body)
    elif custom:
        raise unsupported_media(
            "the body of the request was in an unknown format - accepted media types include: "
            "application/json-patch+json, application/merge-patch+json"
        )
    else:
        result = patches.strategic_merge(obj, body)
    if not isinstance(result.get("metadata"), dict):
        raise bad_request("the object provided is unrecognized: an object with metadata is expected")
    return result


def next_state(who: updates.Who, collection: Collection, old: Json, wanted: Json, subresource: str) -> Json:
    """``wanted`` as far as a write may have it; equal to ``old`` if nothing changes. Raises: ApiError (400, 409, 422)."""
    traits = collection.traits
    metadata = {key: value for key, value in wanted["metadata"].items() if value is not None}
    obj = {**wanted, "metadata": metadata}
    updates.insists(who, old, metadata)
    if subresource == "status":
        obj = updates.status_only(obj, old, metadata_too=not traits.custom)
    elif traits.has_status:
        updates.put_or_drop(obj, "status", old.get("status"))
    metadata = obj["metadata"]
    updates.restore_metadata(obj, old)
    problems = updates.metadata_errors(metadata, old["metadata"])
    if collection.key == "namespaces":
        obj["spec"] = old["spec"]
    if collection.key == "pods" and obj.get("spec") is not old["spec"]:
        obj["spec"] = msgspec.to_builtins(obj.get("spec") or {})
        births.settle_pod(obj)
        births.sane(lambda one: problems.extend(list(pods.update_errors(one["spec"], old["spec"]))), obj)
    if problems:
        raise invalid(old["kind"], who[1], who[2], problems)
    if traits.counted and updates.spec_differs(obj, old):
        obj["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
    obj["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
    return obj
