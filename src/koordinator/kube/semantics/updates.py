"""What a write may change of an object that is there, and what changes by itself."""

from typing import Any

from koordinator.kube.refusals import FieldError, bad_request, conflict, forbidden_field, modified, wrong

Json = dict[str, Any]
Who = tuple[str, str, str]
"""Plural, group and name of an object, for messages."""

_KEPT = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "namespace", "name")
_NOT_SPEC = frozenset({"apiVersion", "kind", "metadata", "status"})


def insists(who: Who, old: Json, metadata: Json) -> bool:
    """Whether the caller's metadata insist on a version of ``old``. Raises: Conflict when it is not this one."""
    present, uid, version = old["metadata"], metadata.get("uid"), metadata.get("resourceVersion")
    check_uid(who, present["uid"], uid)
    if version and version != present["resourceVersion"]:
        raise modified(*who)
    return bool(version)


def check_uid(who: Who, present: str, wanted: str | None) -> None:
    """Raises: Conflict when another object of this name was meant."""
    if wanted and wanted != present:
        raise conflict(*who, f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {present}")


def settle_namespace(metadata: Json, namespace: str, *, namespaced: bool) -> None:
    """Write down which namespace a new object is in. Raises: ApiError (400) when it says another than the call."""
    if not namespaced:
        metadata.pop("namespace", None)
    elif metadata.setdefault("namespace", namespace) != namespace:
        raise bad_request(
            f"the namespace of the provided object does not match the namespace sent on the request ({metadata['namespace']} "
            f"is not {namespace})"
        )


def put_or_drop(obj: Json, field: str, value: Any) -> None:
    if value is None:
        obj.pop(field, None)
    else:
        obj[field] = value


def status_only(obj: Json, old: Json, *, metadata_too: bool) -> Json:
    """What a write of the status subresource may change; ``metadata_too``: labels and annotations as well."""
    kept = {**old, "metadata": obj["metadata"] if metadata_too else dict(old["metadata"])}
    put_or_drop(kept, "status", obj.get("status"))
    return kept


def restore_metadata(obj: Json, old: Json) -> None:
    """Put back what no client may change. Raises: ApiError (400) for another name."""
    metadata, before = obj["metadata"], old["metadata"]
    if metadata.get("name", before["name"]) != before["name"]:
        raise bad_request("the name of an object cannot be changed")
    for field in _KEPT:
        put_or_drop(metadata, field, before.get(field))


def spec_differs(obj: Json, old: Json) -> bool:
    """Whether ``metadata.generation`` counts on."""
    if "spec" in obj and "spec" in old:
        return bool(obj["spec"] != old["spec"])
    keys = (obj.keys() | old.keys()) - _NOT_SPEC
    return any(obj.get(key) != old.get(key) for key in keys)


def metadata_errors(metadata: Json, old: Json) -> list[FieldError]:
    """What may not have changed between two states of one object's metadata."""
    found: list[FieldError] = []
    if (now := metadata.get("uid", old["uid"])) != old["uid"]:
        found.append(wrong("metadata.uid", now, "field is immutable"))
    if old.get("deletionTimestamp"):
        before = set(old.get("finalizers") or ())
        if added := [name for name in metadata.get("finalizers") or () if name not in before]:
            detail = f"no new finalizers can be added if the object is being deleted, found new finalizers {added!r}"
            found.append(forbidden_field("metadata.finalizers", detail))
    return found
