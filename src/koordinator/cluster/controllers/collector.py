"""The garbage collector at work: who owns whom over all watched kinds, and a look before anything is called gone."""

import logging
from collections.abc import Iterable

from koordinator.api.meta import Object, OwnerReference
from koordinator.api.registry import Resource
from koordinator.clock import Clock
from koordinator.cluster.controllers.changes import Change, Outcome
from koordinator.cluster.controllers.driver import SETTLE_SECONDS
from koordinator.cluster.controllers.garbage import FOREGROUND, ORPHAN, Item, collect, release, waits_for_dependents
from koordinator.cluster.controllers.hub import Hub
from koordinator.cluster.controllers.kinds import OWNED
from koordinator.cluster.controllers.objects import CUSTOM_RESOURCE_DEFINITIONS, CustomResourceDefinition
from koordinator.cluster.controllers.view import View
from koordinator.kube.errors import ApiError, NotFound
from koordinator.kube.workqueue import WorkQueue

REMEMBERED_GONE = 10_000
"""So many owners that were seen to go are not asked for again, one GET per dependent."""

log = logging.getLogger(__name__)


class GarbageCollector:
    """Keys are uids: of dependents to judge and of owners to release."""

    name = "garbage"

    def __init__(self, hub: Hub, clock: Clock) -> None:
        self._hub, self._clock = hub, clock
        self._queue: WorkQueue[str] | None = None
        self._items: dict[str, Item] = {}
        self._dependents: dict[str, dict[str, Item]] = {}
        self._gone: dict[str, None] = {}
        self._kinds: dict[tuple[str, str], Resource[Object]] = {}

    def wire(self, queue: WorkQueue[str]) -> None:
        self._queue = queue
        for resource in OWNED:
            self._follow(resource)
        self._hub.view(CUSTOM_RESOURCE_DEFINITIONS).on(self._definition)

    async def decide(self, key: str) -> Outcome:
        item = self._items.get(key)
        if item is None:
            return Outcome()
        dependents = list(self._dependents.get(key, {}).values())
        if item.object.metadata.deletion_timestamp:
            return Outcome(release(item, dependents))
        owners = await self._owners(item)
        return Outcome() if owners is None else Outcome(collect(item, owners, dependents))

    def refused(self, key: str, change: Change, error: ApiError) -> list[Change]:
        return []

    def _follow(self, resource: Resource[Object]) -> None:
        if (resource.group, resource.kind) in self._kinds:
            return
        view: View[Object] = self._hub.view(resource)
        self._kinds[resource.group, resource.kind] = view.resource
        for obj in view.items():
            self._changed(view.resource, None, obj)
        view.on(lambda old, new: self._changed(view.resource, old, new))

    def _definition(self, _: CustomResourceDefinition | None, new: CustomResourceDefinition | None) -> None:
        if new is not None and (resource := new.resource) is not None:
            self._follow(resource)

    def _changed(self, resource: Resource[Object], old: Object | None, new: Object | None) -> None:
        if old is not None and (new is None or old.metadata.owner_references != new.metadata.owner_references):
            self._unlink(old)
        if new is not None:
            self._link(Item(resource, new), fresh=old is None or old.metadata.owner_references != new.metadata.owner_references)
        elif old is not None:
            self._items.pop(old.metadata.uid, None)
            self._gone[old.metadata.uid] = None
            if len(self._gone) > REMEMBERED_GONE:
                del self._gone[next(iter(self._gone))]
            self._add(self._dependents.get(old.metadata.uid, ()))

    def _link(self, item: Item, *, fresh: bool) -> None:
        metadata = item.object.metadata
        self._items[item.uid] = item
        for reference in metadata.owner_references or ():
            self._dependents.setdefault(reference.uid, {})[item.uid] = item
        if metadata.deletion_timestamp and {FOREGROUND, ORPHAN} & set(metadata.finalizers or ()):
            self._add([item.uid])
            if waits_for_dependents(item.object):
                self._add(self._dependents.get(item.uid, ()))
        elif fresh and any(self._doubtful(reference) for reference in metadata.owner_references or ()):
            self._add([item.uid])

    def _doubtful(self, reference: OwnerReference) -> bool:
        owner = self._items.get(reference.uid)
        return owner is None or waits_for_dependents(owner.object)

    def _unlink(self, obj: Object) -> None:
        for reference in obj.metadata.owner_references or ():
            held = self._dependents.get(reference.uid)
            if held is None:
                continue
            held.pop(obj.metadata.uid, None)
            if not held:
                del self._dependents[reference.uid]
            owner = self._items.get(reference.uid)
            if owner is not None and waits_for_dependents(owner.object):
                self._add([reference.uid])

    def _add(self, uids: Iterable[str]) -> None:
        if self._queue is not None:
            for uid in list(uids):
                self._queue.add_after(uid, SETTLE_SECONDS)

    async def _owners(self, item: Item) -> dict[str, Object | None] | None:
        """The item's owners by uid; None when one of them is of a kind that we cannot look up: then nothing is done."""
        found: dict[str, Object | None] = {}
        for reference in item.object.metadata.owner_references or ():
            known = self._items.get(reference.uid)
            if known is not None or reference.uid in self._gone:
                found[reference.uid] = known.object if known is not None else None
                continue
            resource = self._kinds.get((reference.api_version.rpartition("/")[0], reference.kind))
            if resource is None:
                log.debug("%s %s: owner of unknown kind %s", item.resource.kind, item.object.key, reference.kind)
                return None
            found[reference.uid] = await self._look_up(resource, reference, item.object.namespace)
        return found

    async def _look_up(self, resource: Resource[Object], reference: OwnerReference, namespace: str) -> Object | None:
        try:
            owner = await self._hub.store.get(resource, reference.name, namespace if resource.namespaced else "")
        except NotFound:
            return None
        return owner if owner.metadata.uid == reference.uid else None
