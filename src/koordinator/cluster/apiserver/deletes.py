"""Deletion: preconditions, grace, finalizers, propagation; one object or a collection."""

import msgspec

from koordinator.api.meta import Struct
from koordinator.clock import Clock
from koordinator.cluster.apiserver.admission import Admission
from koordinator.cluster.apiserver.calls import Answer, Call, Target
from koordinator.cluster.apiserver.kinds.base import Json, Kind
from koordinator.cluster.apiserver.refusals import bad_request, conflict, forbidden, modified, not_allowed
from koordinator.cluster.apiserver.selectors import entry_test
from koordinator.cluster.apiserver.store import Entry
from koordinator.cluster.apiserver.writes import Writer, present
from koordinator.kube.semantics import deletion, updates

_ATTEMPTS = 8
_PROPAGATION = ("", "Orphan", "Background", "Foreground")
_PROTECTED = frozenset({"default", "kube-system", "kube-public", "kube-node-lease"})
_FINALIZERS = {"Orphan": "orphan", "Foreground": "foregroundDeletion"}


class Preconditions(Struct):
    uid: str | None = None
    resource_version: str | None = None


class DeleteOptions(Struct):
    grace_period_seconds: int | None = None
    preconditions: Preconditions | None = None
    propagation_policy: str | None = None
    orphan_dependents: bool | None = None
    dry_run: list[str] | None = None

    @property
    def finalizer(self) -> str:
        """The finalizer that makes the garbage collector do what was asked."""
        if self.orphan_dependents:
            return "orphan"
        return _FINALIZERS.get(self.propagation_policy or "", "")


def read_options(call: Call) -> DeleteOptions:
    """Options of the body and of the query. Raises: Refused (400)."""
    try:
        options = msgspec.json.decode(call.body, type=DeleteOptions) if call.body.strip() else DeleteOptions()
    except msgspec.DecodeError as err:
        raise bad_request(f"the body is no DeleteOptions: {err}") from None
    grace = call.number("gracePeriodSeconds")
    policy = call.query.get("propagationPolicy") or options.propagation_policy
    if (policy or "") not in _PROPAGATION:
        raise bad_request(f'invalid propagationPolicy "{policy}": supported values: "Orphan", "Background", "Foreground"')
    if options.dry_run:
        call.query["dryRun"] = options.dry_run[0]
    changes = {"propagation_policy": policy, **({} if grace is None else {"grace_period_seconds": grace})}
    return msgspec.structs.replace(options, **changes)


class Deleter:
    """The deleting part of the API."""

    def __init__(self, writer: Writer, admission: Admission, clock: Clock) -> None:
        self._writer, self._admission, self._clock = writer, admission, clock

    async def delete(self, call: Call) -> Answer:
        """DELETE of one object: gone (200), or on its way (200 with the object)."""
        entry, gone = await self.remove(call, read_options(call))
        if gone and call.kind.key != "pods":
            details: Json = {"name": entry.name, "kind": call.kind.plural, "uid": entry.uid}
            if call.kind.group:
                details["group"] = call.kind.group
            status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
            return Answer(200, msgspec.json.encode(status))
        return Answer(200, call.shown(entry.raw))

    async def collection(self, call: Call) -> Answer:
        """DELETE of everything that the selectors match."""
        kind = call.kind
        if kind.key == "namespaces":
            raise not_allowed()
        options = read_options(call)
        test = entry_test(call.query.get("labelSelector", ""), call.query.get("fieldSelector", ""), kind.rules.fields)
        entries = [e for e in self._writer.store.collection(kind.key).entries(call.namespace) if test is None or test(e)]
        for entry in entries:
            await self._remove_if_there(call, entry, options)
        items = b",".join(entry.raw for entry in entries)
        head = f'{{"kind":"{kind.list_name}","apiVersion":"{kind.api_version}","metadata":{{}},"items":['
        return Answer(200, head.encode() + items + b"]}\n")

    async def _remove_if_there(self, call: Call, entry: Entry, options: DeleteOptions) -> None:
        if self._writer.store.head(call.kind.key, entry.namespace, entry.name) is not None:
            await self.remove(about(call, entry), options)

    async def remove(self, call: Call, options: DeleteOptions) -> tuple[Entry, bool]:
        """Delete an object or begin to. The last state, and whether it is gone. Raises: Refused."""
        for _ in range(_ATTEMPTS):
            head = self._writer.head(call)
            _check(call.kind, head, options.preconditions)
            old = present(call.kind, head)
            await self._admission.validate(call, None, old, "DELETE")
            if self._writer.store.head(call.kind.key, call.namespace, call.name) is not head:
                continue
            return await self._remove(call, head, old, options)
        raise modified(call.kind.plural, call.kind.group, call.name)

    async def _remove(self, call: Call, head: Entry, obj: Json, options: DeleteOptions) -> tuple[Entry, bool]:
        metadata = obj["metadata"]
        grace = _grace(call.kind, obj, options)
        if finalizer := options.finalizer:
            finalizers = metadata.setdefault("finalizers", [])
            if finalizer not in finalizers:
                finalizers.append(finalizer)
        waits = bool(metadata.get("finalizers")) or grace > 0 or self._emptied_first(call, obj)
        if not waits:
            deletion.finish(obj, self._clock.now())
            return await self._writer.commit(call, head, obj, delete=True), True
        marked = deletion.mark(obj, grace, self._clock.now())
        if not marked and not _changed(obj, head):
            await self._writer.store.settled()
            return head, False
        return await self._writer.commit(call, head, obj), False

    def _emptied_first(self, call: Call, obj: Json) -> bool:
        """A namespace goes only when it is empty: its own finalizer sees to that."""
        if call.kind.key != "namespaces":
            return False
        if call.name in _PROTECTED:
            raise forbidden("namespaces", "", call.name, "this namespace may not be deleted")
        obj["status"] = {**obj.get("status", {}), "phase": "Terminating"}
        return bool((obj.get("spec") or {}).get("finalizers"))


def about(call: Call, entry: Entry) -> Call:
    """The same request about another object of the kind."""
    target = call.target
    named = Target(target.group, target.version, target.resource, entry.namespace, entry.name)
    return msgspec.structs.replace(call, target=named)


def _changed(obj: Json, head: Entry) -> bool:
    return bool(obj != head.decode())


def _check(kind: Kind, head: Entry, wanted: Preconditions | None) -> None:
    if wanted is None:
        return
    updates.check_uid((kind.plural, kind.group, head.name), head.uid, wanted.uid)
    if wanted.resource_version and wanted.resource_version != str(head.rv):
        why = (
            f"Precondition failed: ResourceVersion in precondition: {wanted.resource_version}, ResourceVersion in object meta: "
            f"{head.rv}"
        )
        raise conflict(kind.plural, kind.group, head.name, why)


def _grace(kind: Kind, obj: Json, options: DeleteOptions) -> int:
    """Seconds that a pod gets to end; nothing else gets any."""
    return deletion.grace_of_pod(obj, options.grace_period_seconds) if kind.key == "pods" else 0
