"""The ``Store`` over plain dictionaries, with an API server's semantics.

Guarantees: every call is carried out at once, in the order of calls; a change is visible, numbered and told to watches in that
order; the same calls at the same times with the same seed give the same objects, uids and versions.
Assumptions: objects handed out are shared and not changed by anybody. What is put in is copied.
Not here: admission webhooks, the syntax of names and labels, rules of single kinds beyond pods. The conformance suite says
what is the same as on a server.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from koordinator.api import qos
from koordinator.api.core import Pod
from koordinator.api.meta import Object, format_time
from koordinator.api.registry import NAMESPACES, POD_DISRUPTION_BUDGETS, PODS, PRIORITY_CLASSES, Resource
from koordinator.clock import Clock
from koordinator.kube.decode import describe
from koordinator.kube.errors import Unreadable
from koordinator.kube.memory import births, writes
from koordinator.kube.memory.collection import Change, Collection, Entry
from koordinator.kube.memory.streams import Position, stream
from koordinator.kube.refusals import (
    already_exists,
    bad_request,
    forbidden,
    invalid,
    no_such_path,
    not_allowed,
    not_found,
    required,
    too_large_version,
)
from koordinator.kube.semantics import beginnings, deletion, pods, updates
from koordinator.kube.semantics.kinds import key_of, traits_of
from koordinator.kube.semantics.selection import test_of
from koordinator.kube.store import JsonObject, Page, PatchType, Undecodable, WatchEvent

T = TypeVar("T", bound=Object)
Json = dict[str, Any]

HISTORY = 50_000
_ATTEMPTS = 8
_PRIORITY_CLASSES = "priorityclasses.scheduling.k8s.io"


class MemoryStore:
    """A cluster's objects. ``history``: changes per resource that a late watch can catch up with."""

    def __init__(self, clock: Clock, *, seed: int = 0, history: int = HISTORY, create_namespaces: bool = False) -> None:
        self.rv = 0
        self._forgotten = 0  # versions up to here are compacted
        self._clock, self._history, self._create_namespaces = clock, history, create_namespaces
        self._names = births.Names(seed)
        self._collections: dict[str, Collection] = {}
        self._priorities: dict[str, pods.Priority] = {}
        self._emptying: set[str] = set()
        self._born_at, self._born_text = -1, ""
        for name in beginnings.NAMESPACES:
            self._insert(NAMESPACES, {"metadata": {"name": name}}, "")
        for name, (value, description) in beginnings.PRIORITY_CLASSES.items():
            self._insert(PRIORITY_CLASSES, {"metadata": {"name": name}, "value": value, "description": description}, "")

    # --- the Store ---------------------------------------------------------------------------------------------------------

    async def get(self, resource: Resource[T], name: str, namespace: str = "") -> T:
        return self._readable(resource, self._find(resource, namespace, name))

    async def list(
        self,
        resource: Resource[T],
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
    ) -> Page[T]:
        if resource_version and (wanted := _version(resource_version)) > self.rv:
            raise too_large_version(wanted, self.rv)
        collection = self._collection(resource)
        test = test_of(label_selector, field_selector, collection.traits.fields)
        found = [entry for entry in collection.entries(namespace) if test is None or test(entry.obj)]
        items: list[T] = []
        bad: list[Undecodable] = []
        for entry in found:
            obj = self._typed(resource, entry)
            bad.append(obj) if isinstance(obj, Undecodable) else items.append(obj)
        return Page(items, str(self.rv), "", bad)

    def watch(
        self,
        resource: Resource[T],
        namespace: str = "",
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[WatchEvent[T]]:
        """Changes after ``resource_version``, for ever. Raises: Gone when they are forgotten, to slow readers too."""
        collection = self._collection(resource)
        test = test_of(label_selector, field_selector, collection.traits.fields)
        position = Position(collection, namespace, test, self._clock)
        rv = _version(resource_version) if resource_version else 0
        return stream(position, rv, lambda: self.rv, lambda entry: self._typed(resource, entry))

    async def create(self, resource: Resource[T], obj: JsonObject, namespace: str = "") -> T:
        typed: T = self._insert(resource, obj, namespace).typed
        return typed

    async def patch(
        self,
        resource: Resource[T],
        name: str,
        patch: JsonObject | Sequence[Any],
        namespace: str = "",
        *,
        type: PatchType = PatchType.MERGE,  # noqa: A002 — the field's own name
        subresource: str = "",
    ) -> T:
        traits = self._collection(resource).traits
        if subresource not in ("", "status") or (subresource and not traits.has_status):
            raise no_such_path()
        entry = self._find(resource, namespace, name)
        obj = writes.patched(entry.obj, patch, type, custom=traits.custom)
        return self._readable(resource, self._update(resource, entry, obj, subresource))

    async def delete(
        self,
        resource: Resource[T],
        name: str,
        namespace: str = "",
        *,
        grace_seconds: int | None = None,
        uid: str = "",
    ) -> None:
        entry = self._find(resource, namespace, name)
        updates.check_uid((resource.plural, resource.group, name), entry.obj["metadata"]["uid"], uid)
        self._remove(self._collection(resource), entry, grace_seconds)

    async def bind(self, namespace: str, pod: str, node: str, uid: str = "") -> None:
        entry = self._find(PODS, namespace, pod)
        pods.check_bindable(entry.obj, uid)
        obj = writes.loosened(entry.obj, "spec", "status")
        pods.assign(obj, node, format_time(self._clock.now()))
        self._commit(self._collection(PODS), PODS, entry, obj)

    async def evict(self, namespace: str, pod: str, *, uid: str = "", grace_seconds: int | None = None) -> None:
        entry = self._find(PODS, namespace, pod)
        updates.check_uid(("pods", "", pod), entry.obj["metadata"]["uid"], uid)
        if pods.counts(entry.obj):
            self._spend_budget(namespace, entry.obj)
        self._remove(self._collection(PODS), entry, grace_seconds)

    # --- beyond it, for simulators and tests -------------------------------------------------------------------------------

    def load(self, resource: Resource[T], obj: JsonObject, namespace: str = "") -> T:
        """Put in an object that was recorded elsewhere: its status, uid and time of creation stay."""
        typed: T = self._insert(resource, obj, namespace, recorded=True).typed
        return typed

    def raw(self, resource: Resource[Any], name: str, namespace: str = "") -> JsonObject:
        """An object as plain JSON, not to be changed."""
        return self._find(resource, namespace, name).obj

    def fork(self, *, seed: int = 0) -> "MemoryStore":
        """The same objects in a store of their own, for asking what would happen if."""
        copy = MemoryStore(self._clock, seed=seed, history=self._history, create_namespaces=self._create_namespaces)
        copy.rv, copy._priorities, copy._emptying = self.rv, dict(self._priorities), set(self._emptying)
        copy._collections = {key: collection.fork() for key, collection in self._collections.items()}
        return copy

    def compact(self) -> None:
        """Forget the past: watches that are behind, or come back with an older version, are told to list again."""
        self._forgotten = self.rv
        for collection in self._collections.values():
            collection.forget(len(collection.changes))
            collection.compacted = self.rv

    def remind(self) -> None:
        """Send every watch a bookmark."""
        for collection in self._collections.values():
            collection.reminders += 1
            collection.wake()

    # --- reading -----------------------------------------------------------------------------------------------------------

    def _collection(self, resource: Resource[Any]) -> Collection:
        key = key_of(resource)
        found = self._collections.get(key)
        if found is None:
            traits = traits_of(resource.group, resource.plural)
            found = self._collections[key] = Collection(key, traits, self._history, self._forgotten)
        return found

    def _find(self, resource: Resource[Any], namespace: str, name: str) -> Entry:
        entry = self._collection(resource).get(namespace if resource.namespaced else "", name)
        if entry is None:
            raise not_found(resource.plural, resource.group, name)
        return entry

    def _typed(self, resource: Resource[T], entry: Entry) -> T | Undecodable:
        typed = entry.typed
        if type(typed) is resource.type:
            return typed
        try:
            entry.typed = msgspec.convert(entry.obj, resource.type)
        except msgspec.ValidationError as err:
            metadata = entry.obj["metadata"]
            return Undecodable(resource.kind, entry.namespace, entry.name, metadata["uid"], str(err))
        return entry.typed  # type: ignore[no-any-return]

    def _readable(self, resource: Resource[T], entry: Entry) -> T:
        obj = self._typed(resource, entry)
        if isinstance(obj, Undecodable):
            raise Unreadable(0, "Unreadable", describe(obj))
        return obj

    # --- writing -----------------------------------------------------------------------------------------------------------

    def _insert(self, resource: Resource[Any], obj: JsonObject, namespace: str, *, recorded: bool = False) -> Entry:
        body = writes.settled(resource, obj, namespace)
        metadata, collection = body["metadata"], self._collection(resource)
        if metadata.pop("resourceVersion", None) and not recorded:
            raise bad_request("resourceVersion should not be set on objects to be created")
        self._check_namespace(resource, metadata)
        status = body.get("status") if recorded else None
        self._give_identity(resource, collection, metadata, recorded=recorded)
        if collection.key == "pods":
            births.settle_pod(body)
            if not (recorded and "priority" in body["spec"]):
                pods.set_priority(body, self._priorities)
        births.give_birth(collection.key, collection.traits, body)
        births.import_status(collection.key, body, status)
        name = body["metadata"]["name"]
        if collection.get(body["metadata"].get("namespace", ""), name) is not None:
            raise already_exists(resource.plural, resource.group, name)
        return self._commit(collection, resource, None, body)

    def _check_namespace(self, resource: Resource[Any], metadata: Json) -> None:
        """New objects need a namespace that is there and not on its way out. Raises: NotFound, Forbidden."""
        if not resource.namespaced:
            return
        namespace = metadata["namespace"]
        if not namespace:
            raise not_allowed()
        if namespace in self._emptying:
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise forbidden(resource.plural, resource.group, metadata.get("name", ""), why)
        if self._collections["namespaces"].get("", namespace) is None:
            if not self._create_namespaces:
                raise not_found("namespaces", "", namespace)
            self._insert(NAMESPACES, {"metadata": {"name": namespace}}, "")

    def _give_identity(self, resource: Resource[Any], collection: Collection, metadata: Json, *, recorded: bool) -> None:
        """Name, uid, time of creation and generation of a new object. Raises: Invalid."""
        kept = {field: metadata.pop(field, None) for field in writes.SERVERS}
        namespace, name = metadata.get("namespace", ""), str(metadata.get("name") or "")
        if not name:
            if not metadata.get("generateName"):
                missing = required("metadata.name", "name or generateName is required")
                raise invalid(resource.kind, resource.group, "", [missing])
            for _ in range(_ATTEMPTS):
                name = metadata["name"] = self._names.name(metadata["generateName"])
                if collection.get(namespace, name) is None:
                    break
        metadata["uid"] = (recorded and kept["uid"]) or self._names.uid()
        metadata["creationTimestamp"] = (recorded and kept["creationTimestamp"]) or self._now_text()
        if collection.traits.counted:
            metadata["generation"] = (recorded and kept["generation"]) or 1
        if recorded:
            metadata.update((field, kept[field]) for field in writes.DYING if kept[field] is not None)

    def _update(self, resource: Resource[Any], entry: Entry, obj: Json, subresource: str) -> Entry:
        """The next state of an object, made of what was asked for and what may be had. Raises: ApiError."""
        collection, old = self._collection(resource), entry.obj
        who = (resource.plural, resource.group, entry.name)
        obj = writes.next_state(who, collection, old, obj, subresource)
        if obj == old:
            return entry
        return self._commit(collection, resource, entry, obj, gone=deletion.finished(obj))

    def _remove(self, collection: Collection, entry: Entry, grace_seconds: int | None) -> None:
        obj = writes.loosened(entry.obj)
        grace = deletion.grace_of_pod(obj, grace_seconds) if collection.key == "pods" else 0
        if collection.key == "namespaces":
            self._empty_namespace(collection, entry, obj)
        elif obj["metadata"].get("finalizers") or grace > 0:
            if deletion.mark(obj, grace, self._clock.now()):
                self._commit(collection, None, entry, obj)
        else:
            deletion.finish(obj, self._clock.now())
            self._commit(collection, None, entry, obj, gone=True)

    def _empty_namespace(self, collection: Collection, entry: Entry, obj: Json) -> None:
        """What the namespace controller does on a cluster: everything in it goes, then the namespace."""
        if entry.name in self._emptying:
            return
        deletion.mark(obj, 0, self._clock.now())
        obj["status"] = {**obj.get("status", {}), "phase": "Terminating"}
        self._emptying.add(entry.name)
        self._commit(collection, None, entry, obj)
        for other in list(self._collections.values()):
            for inside in other.entries(entry.name):
                self._remove(other, inside, 0)
        self._finish_namespace(entry.name)

    def _finish_namespace(self, name: str) -> None:
        spaces = self._collections["namespaces"]
        entry = spaces.get("", name)
        if entry is None or any(other.spaces.get(name) for other in self._collections.values()):
            return
        self._emptying.discard(name)
        self._commit(spaces, None, entry, writes.loosened(entry.obj), gone=True)

    def _spend_budget(self, namespace: str, pod: Json) -> None:
        """Raises: TooManyRequests when the pod's disruption budget has nothing left."""
        collection, metadata = self._collection(POD_DISRUPTION_BUDGETS), pod["metadata"]
        labels: Mapping[str, str] = metadata.get("labels") or {}
        budgets = [entry for entry in collection.entries(namespace) if pods.guards(entry.obj, labels)]
        if len(budgets) > 1:
            raise pods.several_budgets()
        for entry in budgets:
            obj = pods.spend(entry.obj, metadata["name"], self._clock.now())
            self._commit(collection, POD_DISRUPTION_BUDGETS, entry, obj)

    def _commit(
        self, collection: Collection, resource: Resource[Any] | None, before: Entry | None, obj: Json, *, gone: bool = False
    ) -> Entry:
        """Number a state, show it and tell of it. Raises: ApiError (400) when it does not fit its type."""
        rv = self.rv + 1
        obj["metadata"]["resourceVersion"] = str(rv)
        typed = None if resource is None else writes.typed(resource, obj)
        if before is None and isinstance(typed, Pod):
            typed.status.qos_class = obj["status"]["qosClass"] = obj["status"].get("qosClass") or qos.kube(typed)
        self.rv = rv
        entry = Entry.of(obj, rv, typed)
        collection.apply(Change(rv, before, entry, gone))
        if collection.key == _PRIORITY_CLASSES:
            self._priorities = {one.name: pods.read_priority(one.obj) for one in collection}
        if gone and entry.namespace in self._emptying:
            self._finish_namespace(entry.namespace)
        return entry

    def _now_text(self) -> str:
        second = int(self._clock.now())
        if second != self._born_at:
            self._born_at, self._born_text = second, format_time(second)
        return self._born_text


def _version(text: str) -> int:
    if not text.isdigit():
        raise bad_request(f'Invalid value: "{text}": resourceVersion must be a whole number')
    return int(text)
