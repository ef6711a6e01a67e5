"""Admission: what the server itself adds to and demands of a request, then the webhooks that users configured.

A request that no webhook asks for pays one dictionary lookup.
"""

from typing import Any

import msgspec

from koordinator.cluster.apiserver.calls import Call
from koordinator.cluster.apiserver.kinds.base import Json, Kind
from koordinator.cluster.apiserver.refusals import forbidden, not_found
from koordinator.cluster.apiserver.store import Entry, Store
from koordinator.cluster.apiserver.webhooks import Hook, Review, WebhookCaller, compile_hooks
from koordinator.kube.semantics import pods as semantics

_MUTATING = "mutatingwebhookconfigurations.admissionregistration.k8s.io"
_VALIDATING = "validatingwebhookconfigurations.admissionregistration.k8s.io"
_PRIORITY_CLASSES = "priorityclasses.scheduling.k8s.io"
_UNTOUCHABLE = frozenset({_MUTATING, _VALIDATING})


class Admission:
    """Both halves of admission, with what they need of the store kept ready."""

    def __init__(self, store: Store, caller: WebhookCaller) -> None:
        self._store, self._caller = store, caller
        self._hooks: dict[str, list[Hook]] = {}
        self._asked: dict[tuple[str, str, str, str], tuple[Hook, ...]] = {}
        self._priorities: dict[str, semantics.Priority] = {}

    def start(self) -> None:
        """Read what is stored, then follow changes."""
        for key in (_MUTATING, _VALIDATING, _PRIORITY_CLASSES):
            self._refresh(key)
        self._store.tap(lambda key, _: self._refresh(key) if key in (_MUTATING, _VALIDATING, _PRIORITY_CLASSES) else None)

    def _refresh(self, key: str) -> None:
        entries = self._store.collection(key).entries()
        if key == _PRIORITY_CLASSES:
            self._priorities = {entry.name: semantics.read_priority(entry.decode()) for entry in entries}
        else:
            self._hooks[key] = [hook for entry in sorted(entries, key=_name) for hook in compile_hooks(entry.decode())]
            self._asked.clear()

    # The server's own demands

    def check_namespace(self, call: Call, operation: str, name: str) -> None:
        """New objects need a namespace that is there and not on its way out. Raises: Refused (403, 404)."""
        kind = call.kind
        if operation != "CREATE" or not kind.namespaced:
            return
        space = self._store.head("namespaces", "", call.namespace)
        if space is None:
            raise not_found("namespaces", "", call.namespace)
        if space.fields["status.phase"] == "Terminating":
            why = f"unable to create new content in namespace {call.namespace} because it is being terminated"
            refusal = forbidden(kind.plural, kind.group, name, why)
            cause = {"reason": "NamespaceTerminating", "message": f"namespace {call.namespace} is being terminated"}
            refusal.details["causes"] = [{**cause, "field": "metadata.namespace"}]
            raise refusal

    def built_in(self, call: Call, obj: Json, operation: str) -> None:
        """Priority and default tolerations of new pods. Raises: Refused (403)."""
        if operation == "CREATE" and call.kind.key == "pods":
            semantics.set_priority(obj, self._priorities)
            semantics.add_default_tolerations(obj["spec"])

    # Webhooks

    def mutates(self, call: Call, operation: str) -> bool:
        return bool(self._matching(_MUTATING, call, operation))

    async def mutate(self, call: Call, obj: Json, old: Json | None, operation: str) -> Json:
        """The object as the mutating webhooks leave it; the same one when none changed it. Raises: Refused."""
        hooks = self._matching(_MUTATING, call, operation)
        changed_by: list[Hook] = []
        for hook in hooks:
            after = await self._ask(hook, call, obj, old, operation)
            if after is not obj and after != obj:
                changed_by.append(hook)
                obj = after
        if changed_by:
            for hook in hooks:
                if hook.reinvoke and hook is not changed_by[-1]:
                    obj = await self._ask(hook, call, obj, old, operation)
        return obj

    async def validate(self, call: Call, obj: Json | None, old: Json | None, operation: str) -> None:
        """Ask the validating webhooks. Raises: Refused."""
        for hook in self._matching(_VALIDATING, call, operation):
            await self._ask(hook, call, obj, old, operation)

    async def validate_body(self, call: Call, kind: str, operation: str) -> None:
        """Ask the validating webhooks about what was sent to a subresource that takes another kind. Raises: Refused."""
        if self._matching(_VALIDATING, call, operation):
            obj = {"apiVersion": "v1", "kind": kind, **msgspec.json.decode(call.body)}
            await self.validate(call, obj, None, operation)

    async def _ask(self, hook: Hook, call: Call, obj: Json | None, old: Json | None, operation: str) -> Any:
        if not self._selects(hook, call.kind, obj, old):
            return obj
        review = Review(call, obj, old, operation)
        return await self._caller.ask(hook, review) if hook.applies(review) else obj

    def _matching(self, key: str, call: Call, operation: str) -> tuple[Hook, ...]:
        hooks = self._hooks.get(key)
        if not hooks:
            return ()
        kind = call.kind
        asked = (key, f"{kind.api_version}/{kind.plural}", call.target.subresource, operation)
        found = self._asked.get(asked)
        if found is None:
            wanted = () if kind.key in _UNTOUCHABLE else hooks
            found = tuple(hook for hook in wanted if hook.wants(kind, call.target.subresource, operation))
            self._asked[asked] = found
        return found

    def _selects(self, hook: Hook, kind: Kind, obj: Json | None, old: Json | None) -> bool:
        present = [state for state in (obj, old) if state]
        if not any(hook.objects.matches(state["metadata"].get("labels") or {}) for state in present):
            return False
        if hook.namespaces.everything or (not kind.namespaced and kind.key != "namespaces"):
            return True
        metadata = present[0]["metadata"]
        if kind.key == "namespaces":
            return hook.namespaces.matches(metadata.get("labels") or {})
        space = self._store.head("namespaces", "", metadata.get("namespace", ""))
        return hook.namespaces.matches(space.labels if space else {})


def _name(entry: Entry) -> str:
    return entry.name
