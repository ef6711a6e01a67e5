"""Namespace deletion: everything in it goes first, then its finalizer, then the server drops it."""

from typing import Any

from koordinator.api.meta import Object
from koordinator.api.registry import Resource
from koordinator.clock import Clock
from koordinator.cluster.controllers.changes import Change, Outcome, Patch, delete
from koordinator.cluster.controllers.driver import SETTLE_SECONDS
from koordinator.cluster.controllers.hub import Hub
from koordinator.cluster.controllers.kinds import NAMESPACED
from koordinator.cluster.controllers.objects import CUSTOM_RESOURCE_DEFINITIONS, NAMESPACES, Namespace
from koordinator.kube.errors import ApiError, NotFound
from koordinator.kube.workqueue import WorkQueue

FINALIZER = "kubernetes"
AGAIN_SECONDS = 0.3
TERMINATING_AGAIN_SECONDS = 1.0


def reconcile(namespace: Namespace, contents: list[tuple[Resource[Any], Object]]) -> Outcome:
    """``contents``: what is still in it. Deletes once, then waits for what takes its time."""
    if not namespace.metadata.deletion_timestamp or FINALIZER not in (namespace.spec.finalizers or []):
        return Outcome()
    if not contents:
        left = [name for name in namespace.spec.finalizers or [] if name != FINALIZER]
        return Outcome([Patch(NAMESPACES, "", namespace.name, {"spec": {"finalizers": left}}, "finalize")])
    doomed: list[Change] = [delete(resource, obj) for resource, obj in contents if not obj.metadata.deletion_timestamp]
    return Outcome(doomed, AGAIN_SECONDS if doomed else TERMINATING_AGAIN_SECONDS)


class NamespaceController:
    """Keys are namespaces that are being deleted."""

    name = "namespace"

    def __init__(self, hub: Hub, clock: Clock) -> None:
        self._hub, self._clock = hub, clock
        self._namespaces = hub.view(NAMESPACES)
        self._definitions = hub.view(CUSTOM_RESOURCE_DEFINITIONS)

    def wire(self, queue: WorkQueue[str]) -> None:
        def changed(_: Namespace | None, new: Namespace | None) -> None:
            if new is not None and new.metadata.deletion_timestamp:
                queue.add_after(new.key, SETTLE_SECONDS)

        self._namespaces.on(changed)

    async def decide(self, key: str) -> Outcome:
        namespace = self._namespaces.get(key)
        if namespace is None or not namespace.metadata.deletion_timestamp:
            return Outcome()
        return reconcile(namespace, await self._contents(namespace.name))

    def refused(self, key: str, change: Change, error: ApiError) -> list[Change]:
        return []

    async def _contents(self, namespace: str) -> list[tuple[Resource[Any], Object]]:
        """Asked of the server itself: a view that lags would let something stay behind for ever."""
        custom = [definition.resource for definition in self._definitions.items()]
        found: list[tuple[Resource[Any], Object]] = []
        for resource in [*NAMESPACED, *(r for r in custom if r is not None and r.namespaced)]:
            try:
                page = await self._hub.store.list(resource, namespace)
            except NotFound:
                continue  # a kind that this server does not have
            found += [(resource, obj) for obj in page.items]
        return found
