"""Create, update and patch: from a body to a durable object, in the order of the real API server.

decode → defaults → built-in admission → mutating webhooks → metadata → validation → validating webhooks → store.
"""

import asyncio
import secrets
import uuid
from collections.abc import Callable
from typing import Any

import msgspec

from koordinator.api.meta import ObjectMeta, format_time
from koordinator.clock import Clock
from koordinator.cluster.apiserver.admission import Admission
from koordinator.cluster.apiserver.calls import Call, as_object, decode_body, decode_object
from koordinator.cluster.apiserver.kinds import metadata as rules_of_metadata
from koordinator.cluster.apiserver.kinds.base import Json, Kind, undecodable
from koordinator.cluster.apiserver.refusals import (
    FieldError,
    already_exists,
    bad_request,
    conflict,
    invalid,
    modified,
    not_found,
    unsupported_media,
    wrong,
)
from koordinator.cluster.apiserver.store import Entry, Store
from koordinator.kube import patches

_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
_ATTEMPTS = 8
_KEPT = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "namespace", "name")
_NOT_SPEC = ("apiVersion", "kind", "metadata", "status")

Mutation = Callable[[Json], Json]
"""From the present object (a copy that may be changed) to the wanted one."""


class Writer:
    """The writing half of the API."""

    def __init__(self, store: Store, admission: Admission, clock: Clock) -> None:
        self.store, self.admission, self.clock = store, admission, clock

    async def create(self, call: Call, obj: Json | None = None) -> Entry:
        """Store a new object. Raises: Refused."""
        kind = call.kind
        obj = decode_object(call) if obj is None else obj
        _settle(kind, call.namespace, obj)
        obj = {"apiVersion": kind.api_version, "kind": kind.kind, **obj}
        if obj["metadata"].get("resourceVersion"):
            raise bad_request("resourceVersion should not be set on objects to be created")
        kind.rules.decode(obj, kind)
        kind.rules.default(obj)
        obj = await self._mutated(call, obj, None, "CREATE")
        self._born(kind, obj)
        _refuse_if(kind, obj, [*rules_of_metadata.errors(kind, obj["metadata"]), *kind.rules.validate(obj)])
        await self.admission.validate(call, obj, None, "CREATE")
        metadata = obj["metadata"]
        if self.store.head(kind.key, call.namespace, metadata["name"]) is not None:
            raise already_exists(kind.plural, kind.group, metadata["name"])
        self.admission.check_namespace(call, "CREATE", metadata["name"])
        return await self.commit(call, None, obj)

    async def replace(self, call: Call) -> Entry:
        """PUT: the posted object becomes the object, where it may. Raises: Refused."""
        posted = decode_object(call)
        _settle(call.kind, call.namespace, posted)
        metadata = posted["metadata"]
        if metadata.get("name") != call.name:
            text = f"the name of the object ({metadata.get('name', '')}) does not match the name on the URL ({call.name})"
            raise bad_request(text)
        if not metadata.get("resourceVersion") and not call.kind.rules.unconditional_update:
            detail = "must be specified for an update"
            raise invalid(call.kind.kind, call.kind.group, call.name, [wrong("metadata.resourceVersion", 0, detail)])
        return await self.change(call, lambda _: {**posted, "metadata": dict(metadata)})

    async def patch(self, call: Call) -> Entry:
        """PATCH in the dialect that the content type names. Raises: Refused."""
        apply = patcher(call)
        return await self.change(call, apply)

    async def change(self, call: Call, mutate: Mutation) -> Entry:
        """Apply a mutation to the present object, again if somebody writes in between. Raises: Refused."""
        for _ in range(_ATTEMPTS):
            head = self.head(call)
            wanted = as_object(mutate(head.decode()))
            entry = await self._attempt(call, head, wanted)
            if entry is not None:
                return entry
        raise modified(call.kind.plural, call.kind.group, call.name)

    def head(self, call: Call) -> Entry:
        """The object that a call is about. Raises: Refused (404)."""
        head = self.store.head(call.kind.key, call.namespace, call.name)
        if head is None:
            raise not_found(call.kind.plural, call.kind.group, call.name)
        return head

    async def commit(self, call: Call, before: Entry | None, obj: Json, *, delete: bool = False) -> Entry:
        """Write and wait until it is durable; a dry run stops short of that."""
        if not call.dry_run:
            return await asyncio.shield(self.store.write(call.kind.key, before, obj, delete=delete))
        metadata = obj["metadata"]
        rv = before.rv if before is not None else 0
        raw = msgspec.json.encode(obj)
        return Entry(0, rv, metadata.get("namespace", ""), metadata["name"], metadata["uid"], raw, {}, {})

    async def _attempt(self, call: Call, head: Entry, obj: Json) -> Entry | None:
        """One try; None when the object has changed meanwhile and the caller did not insist on a version."""
        kind, old = call.kind, head.decode()
        _settle(kind, call.namespace, obj)
        insists = _check_preconditions(kind, head, obj["metadata"])
        if call.target.subresource == "status":
            obj = _only_status(kind, obj, old)
        elif call.target.subresource == "finalize":
            obj = _only_finalizers(obj, old)
        elif kind.rules.has_status:
            _put_or_drop(obj, "status", old.get("status"))
        _restore_metadata(kind, obj, old)
        kind.rules.decode(obj, kind)
        kind.rules.default(obj)
        if call.target.subresource != "finalize":
            kind.rules.prepare_update(obj, old)
        obj = await self._mutated(call, obj, old, "UPDATE")
        _restore_metadata(kind, obj, old)
        if kind.rules.generation and _spec_differs(obj, old):
            obj["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
        obj["metadata"]["resourceVersion"] = str(head.rv)
        _refuse_if(kind, obj, _update_errors(kind, obj, old))
        await self.admission.validate(call, obj, old, "UPDATE")
        if self.store.head(kind.key, call.namespace, call.name) is not head:
            if insists:
                raise modified(kind.plural, kind.group, call.name)
            return None
        if obj == old:
            return head
        return await self.commit(call, head, obj, delete=_is_finished(kind, obj))

    async def _mutated(self, call: Call, obj: Json, old: Json | None, operation: str) -> Json:
        self.admission.check_namespace(call, operation, obj["metadata"].get("name", ""))
        self.admission.built_in(call, obj, operation)
        if not self.admission.mutates(call, operation):
            return obj
        changed = await self.admission.mutate(call, obj, old, operation)
        if changed is obj:
            return obj
        _settle(call.kind, call.namespace, changed)
        call.kind.rules.decode(changed, call.kind)
        call.kind.rules.default(changed)
        self.admission.built_in(call, changed, operation)
        return changed

    def _born(self, kind: Kind, obj: Json) -> None:
        """Give a new object what only the server gives."""
        metadata = obj["metadata"]
        for field in ("deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion", "generation"):
            metadata.pop(field, None)
        if not metadata.get("name") and (prefix := metadata.get("generateName")):
            metadata["name"] = prefix[:58] + "".join(secrets.choice(_SUFFIX) for _ in range(5))
        metadata["uid"] = _new_uid()
        metadata["creationTimestamp"] = format_time(self.clock.now())
        if kind.rules.generation:
            metadata["generation"] = 1
        kind.rules.prepare_create(obj)


def _new_uid() -> str:
    return str(uuid.uuid4())


def _settle(kind: Kind, namespace: str, obj: Json) -> None:
    """Check and complete what says which object this is. Raises: Refused (400)."""
    if (version := obj.setdefault("apiVersion", kind.api_version)) != kind.api_version:
        text = f"the API version in the data ({version}) does not match the expected API version ({kind.api_version})"
        raise bad_request(text)
    if (name := obj.setdefault("kind", kind.kind)) != kind.kind:
        raise bad_request(f'{name} in version "{kind.version}" cannot be handled as a {kind.kind}')
    posted = {} if obj.get("metadata") is None else obj["metadata"]
    if not isinstance(posted, dict):
        raise undecodable(kind, "metadata must be an object")
    metadata = {key: value for key, value in posted.items() if value is not None and key not in ("managedFields", "selfLink")}
    try:
        msgspec.convert(metadata, ObjectMeta)
    except msgspec.ValidationError as err:
        raise undecodable(kind, f"metadata: {err}") from None
    obj["metadata"] = metadata
    if not kind.namespaced:
        metadata.pop("namespace", None)
    elif metadata.setdefault("namespace", namespace) != namespace:
        raise bad_request(
            f"the namespace of the provided object does not match the namespace sent on the request ({metadata['namespace']} "
            f"is not {namespace})"
        )


def _refuse_if(kind: Kind, obj: Json, errors: list[FieldError]) -> None:
    if errors:
        metadata = obj["metadata"]
        raise invalid(kind.kind, kind.group, metadata.get("name") or metadata.get("generateName", ""), errors)


def _update_errors(kind: Kind, obj: Json, old: Json) -> list[FieldError]:
    metadata = obj["metadata"]
    return [
        *rules_of_metadata.errors(kind, metadata),
        *rules_of_metadata.update_errors(metadata, old["metadata"]),
        *kind.rules.validate(obj),
        *kind.rules.validate_update(obj, old),
    ]


def _check_preconditions(kind: Kind, head: Entry, metadata: Json) -> bool:
    """Whether the caller insists on a version. Raises: Refused (409) when it is not this one."""
    uid, version = metadata.get("uid"), metadata.get("resourceVersion")
    if uid and uid != head.uid:
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {head.uid}"
        raise conflict(kind.plural, kind.group, head.name, why)
    if version and version != str(head.rv):
        raise modified(kind.plural, kind.group, head.name)
    return bool(version)


def _only_status(kind: Kind, obj: Json, old: Json) -> Json:
    """What a write of the status subresource may change."""
    kept = {**old, "metadata": obj["metadata"] if kind.rules.status_owns_metadata else dict(old["metadata"])}
    _put_or_drop(kept, "status", obj.get("status"))
    return kept


def _restore_metadata(kind: Kind, obj: Json, old: Json) -> None:
    if obj["metadata"].get("name", old["metadata"]["name"]) != old["metadata"]["name"]:
        raise bad_request("the name of an object cannot be changed")
    for field in _KEPT:
        _put_or_drop(obj["metadata"], field, old["metadata"].get(field))


def _put_or_drop(obj: Json, field: str, value: Any) -> None:
    if value is None:
        obj.pop(field, None)
    else:
        obj[field] = value


def _spec_differs(obj: Json, old: Json) -> bool:
    if "spec" in obj and "spec" in old:
        return bool(obj["spec"] != old["spec"])
    keys = (obj.keys() | old.keys()) - set(_NOT_SPEC)
    return any(obj.get(key) != old.get(key) for key in keys)


def _only_finalizers(obj: Json, old: Json) -> Json:
    """What a write of a namespace's ``finalize`` subresource may change."""
    finalizers = (obj.get("spec") or {}).get("finalizers") or []
    return {**old, "metadata": dict(old["metadata"]), "spec": {**old["spec"], "finalizers": finalizers}}


def _is_finished(kind: Kind, obj: Json) -> bool:
    """Whether an object that was waiting for its finalizers may go now."""
    metadata = obj["metadata"]
    waits = metadata.get("finalizers") or metadata.get("deletionGracePeriodSeconds")
    if kind.key == "namespaces":
        waits = waits or (obj.get("spec") or {}).get("finalizers")
    return bool(metadata.get("deletionTimestamp")) and not waits


def patcher(call: Call) -> Mutation:
    """The mutation that a PATCH body stands for. Raises: Refused (400, 415)."""
    media = call.content_type.partition(";")[0].strip()
    kind = call.kind
    if "apply-patch" in media:
        raise unsupported_media(
            "server-side apply is not served here; use client-side apply (kubectl apply without --server-side)"
        )
    body = decode_body(call)
    if media == "application/json-patch+json":
        if not isinstance(body, list):
            raise bad_request("a JSON patch is a list of operations")
        return lambda obj: patches.apply_json(obj, body)
    patch = as_object(body)
    if media in ("application/merge-patch+json", "application/json"):
        return lambda obj: as_object(patches.merge(obj, patch))
    if media == "application/strategic-merge-patch+json":
        if not kind.rules.strategic:
            raise unsupported_media(
                "the body of the request was in an unknown format - accepted media types include: "
                "application/json-patch+json, application/merge-patch+json"
            )
        return lambda obj: patches.strategic_merge(obj, patch)
    raise unsupported_media(f"unknown patch type {media!r}")
