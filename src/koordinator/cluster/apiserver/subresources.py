"""Binding and eviction: small requests that change one object in a fixed way."""

import msgspec

from koordinator.api.meta import Struct, format_time
from koordinator.clock import Clock
from koordinator.cluster.apiserver.calls import Answer, Call
from koordinator.cluster.apiserver.deletes import DeleteOptions, Deleter
from koordinator.cluster.apiserver.kinds.base import Json
from koordinator.cluster.apiserver.refusals import bad_request, invalid, required, wrong
from koordinator.cluster.apiserver.store import Entry
from koordinator.cluster.apiserver.writes import Writer
from koordinator.kube.semantics import pods

_BUDGETS = "poddisruptionbudgets.policy"
CREATED = b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","code":201}\n'


class _Target(Struct):
    kind: str = ""
    name: str = ""


class _BindingMeta(Struct):
    name: str = ""
    uid: str = ""
    annotations: dict[str, str] | None = None
    labels: dict[str, str] | None = None


class Binding(Struct):
    metadata: _BindingMeta = msgspec.field(default_factory=_BindingMeta)
    target: _Target = msgspec.field(default_factory=_Target)


class _EvictionMeta(Struct):
    name: str = ""


class Eviction(Struct):
    metadata: _EvictionMeta = msgspec.field(default_factory=_EvictionMeta)
    delete_options: DeleteOptions = msgspec.field(default_factory=DeleteOptions)


_decode_binding = msgspec.json.Decoder(Binding).decode


class Subresources:
    """What is neither an object nor its status."""

    def __init__(self, writer: Writer, deleter: Deleter, clock: Clock) -> None:
        self._writer, self._deleter, self._clock = writer, deleter, clock

    async def bind(self, call: Call) -> Answer:
        """Give a pod its node. Raises: Refused (404 gone, 409 bound or being deleted, 422)."""
        try:
            binding = _decode_binding(call.body)
        except msgspec.DecodeError as err:
            raise bad_request(f"the body is no Binding: {err}") from None
        node = binding.target.name
        if not node or binding.target.kind not in ("", "Node"):
            problem = (
                required("target.name") if not node else wrong("target.kind", binding.target.kind, 'must be empty or "Node"')
            )
            raise invalid("Binding", "", call.name, [problem])
        await self._writer.admission.validate_body(call, "Binding", "CREATE")
        head = self._writer.head(call)
        obj = head.decode()
        pods.check_bindable(obj, binding.metadata.uid)
        _assign(obj, node, binding, format_time(self._clock.now()))
        await self._writer.commit(call, head, obj)
        return Answer(201, CREATED)

    async def evict(self, call: Call) -> Answer:
        """Delete a pod if its disruption budget allows. Raises: Refused (429 when it does not)."""
        try:
            eviction = msgspec.json.decode(call.body, type=Eviction) if call.body.strip() else Eviction()
        except msgspec.DecodeError as err:
            raise bad_request(f"the body is no Eviction: {err}") from None
        if eviction.metadata.name not in ("", call.name):
            raise bad_request("name in URL does not match name in Eviction object")
        if eviction.delete_options.dry_run:
            call.query["dryRun"] = "All"
        pod = self._writer.head(call).decode()
        if pods.counts(pod):
            await self._spend_budget(call, pod)
        whole = msgspec.structs.replace(call, target=msgspec.structs.replace(call.target, subresource=""))
        await self._deleter.remove(whole, eviction.delete_options)
        return Answer(201, CREATED)

    async def _spend_budget(self, call: Call, pod: Json) -> None:
        budgets = self._budgets_of(call, pod)
        if len(budgets) > 1:
            raise pods.several_budgets()
        if not budgets:
            return
        budget = pods.spend(budgets[0].decode(), pod["metadata"]["name"], self._clock.now())
        if not call.dry_run:
            await self._writer.store.write(_BUDGETS, budgets[0], budget)

    def _budgets_of(self, call: Call, pod: Json) -> list[Entry]:
        labels, collection = pod["metadata"].get("labels") or {}, self._writer.store.collection(_BUDGETS)
        heads = [self._writer.store.head(_BUDGETS, call.namespace, entry.name) for entry in collection.entries(call.namespace)]
        return [head for head in heads if head is not None and pods.guards(head.decode(), labels)]


def _assign(obj: Json, node: str, binding: Binding, now: str) -> None:
    pods.assign(obj, node, now)
    metadata = obj["metadata"]
    if binding.metadata.annotations:
        metadata["annotations"] = {**(metadata.get("annotations") or {}), **binding.metadata.annotations}
    if binding.metadata.labels:
        metadata["labels"] = {**(metadata.get("labels") or {}), **binding.metadata.labels}
