"""Create, update and patch: from a body to a durable object, in the order of the real API server.

decode → defaults → built-in admission → mutating webhooks → metadata → validation → validating webhooks → store.
"""

import asyncio
import secrets
import uuid
from collections.abc import Callable

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
    invalid,
    modified,
    not_found,
    unsupported_media,
    wrong,
)
from koordinator.cluster.apiserver.store import Entry, Store
from koordinator.kube import patches
from koordinator.kube.errors import ApiError
from koordinator.kube.semantics import deletion, updates

_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
_ATTEMPTS = 8

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
        obj = _decoded(call, obj)
        kind.rules.default(obj)
        obj = await self._mutated(call, obj, None, "CREATE")
        self._born(kind, obj)
        _refuse_if(kind, obj, [*kind.rules.validate(obj), *kind.rules.validate_create(obj)])
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
            wanted = as_object(mutate(present(call.kind, head)))
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
        kind, old = call.kind, present(call.kind, head)
        _settle(kind, call.namespace, obj)
        insists = updates.insists(_who(kind, head), old, obj["metadata"])
        if call.target.subresource == "status":
            obj = updates.status_only(obj, old, metadata_too=kind.rules.status_owns_metadata)
        elif call.target.subresource == "finalize":
            obj = _only_finalizers(obj, old)
        elif kind.rules.has_status:
            updates.put_or_drop(obj, "status", old.get("status"))
        updates.restore_metadata(obj, old)
        obj = _decoded(call, obj)
        kind.rules.default(obj)
        if call.target.subresource != "finalize":
            kind.rules.prepare_update(obj, old)
        obj = await self._mutated(call, obj, old, "UPDATE")
        updates.restore_metadata(obj, old)
        if kind.rules.generation and updates.spec_differs(obj, old):
            obj["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1
        obj["metadata"]["resourceVersion"] = str(head.rv)
        _refuse_if(kind, obj, _update_errors(kind, obj, old))
        await self.admission.validate(call, obj, old, "UPDATE")
        if self.store.head(kind.key, call.namespace, call.name) is not head:
            if insists:
                raise modified(kind.plural, kind.group, call.name)
            return None
        if obj == old:
            await self.store.settled()
            return head
        return await self.commit(call, head, obj, delete=deletion.finished(obj, namespace=kind.key == "namespaces"))

    async def _mutated(self, call: Call, obj: Json, old: Json | None, operation: str) -> Json:
        self.admission.check_namespace(call, operation, obj["metadata"].get("name", ""))
        self.admission.built_in(call, obj, operation)
        if not self.admission.mutates(call, operation):
            return obj
        changed = await self.admission.mutate(call, obj, old, operation)
        if changed is obj:
            return obj
        _settle(call.kind, call.namespace, changed)
        changed = call.kind.rules.decode(changed, call.kind)
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
        _refuse_if(kind, obj, list(rules_of_metadata.errors(kind, metadata)))
        metadata["uid"] = _new_uid()
        metadata["creationTimestamp"] = format_time(self.clock.now())
        if kind.rules.generation:
            metadata["generation"] = 1
        kind.rules.prepare_create(obj)


def present(kind: Kind, head: Entry) -> Json:
    """An object as it is now, in the version of the request."""
    obj = head.decode()
    obj["apiVersion"] = kind.api_version
    return obj


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
    updates.settle_namespace(metadata, namespace, namespaced=kind.namespaced)


def _who(kind: Kind, head: Entry) -> updates.Who:
    return kind.plural, kind.group, head.name


def _decoded(call: Call, obj: Json) -> Json:
    """The object in the shape of its kind; unknown fields are handled as the caller wishes. Raises: Refused (400)."""
    rules, mode = call.kind.rules, call.field_validation
    if mode == "Ignore":
        return rules.decode(obj, call.kind)
    try:
        return rules.decode(obj, call.kind, strict=True)
    except ApiError as err:
        _, strictly, listed = str(err).partition("strict decoding error: ")
        if mode == "Strict" or not strictly:
            raise
        if listed not in call.warnings:
            call.warnings.append(listed)
    return rules.decode(obj, call.kind)


def _refuse_if(kind: Kind, obj: Json, errors: list[FieldError]) -> None:
    if errors:
        metadata = obj["metadata"]
        raise invalid(kind.kind, kind.group, metadata.get("name") or metadata.get("generateName", ""), errors)


def _update_errors(kind: Kind, obj: Json, old: Json) -> list[FieldError]:
    metadata = obj["metadata"]
    return [
        *rules_of_metadata.errors(kind, metadata),
        *updates.metadata_errors(metadata, old["metadata"]),
        *kind.rules.validate(obj),
        *kind.rules.validate_update(obj, old),
    ]


def _only_finalizers(obj: Json, old: Json) -> Json:
    """What a write of a namespace's ``finalize`` subresource may change."""
    finalizers = (obj.get("spec") or {}).get("finalizers") or []
    return {**old, "metadata": dict(old["metadata"]), "spec": {**old["spec"], "finalizers": finalizers}}


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
