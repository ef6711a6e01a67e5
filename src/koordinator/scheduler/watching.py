"""What the scheduler watches: nodes, whatever plugins ask for, and pods last, so that a pod meets a world that is complete."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import msgspec

from koordinator.api.core import Pod
from koordinator.api.meta import Object
from koordinator.api.registry import CSI_STORAGE_CAPACITIES, NODES, POD_DISRUPTION_BUDGETS, PODS, Resource
from koordinator.clock import Clock
from koordinator.errors import KoordError, Unavailable
from koordinator.kube.errors import ApiError, NotFound
from koordinator.kube.informer import Informer
from koordinator.kube.store import Store
from koordinator.scheduler.engine.framework import WatchPlugin
from koordinator.scheduler.engine.hooks import StartPlugin
from koordinator.scheduler.feed import Feed

log = logging.getLogger(__name__)

_LEFT_OUT = {
    "DisableCSIStorageCapacityInformer": ("storage.k8s.io", "csistoragecapacities"),
    "DisablePodDisruptionBudgetInformer": ("policy", "poddisruptionbudgets"),
    "DisableDynamicResourceAllocationInformer": ("resource.k8s.io", ""),
}
"""Gates for clusters that do not have these kinds: group and plural, no plural for the whole group."""

_OLDER = {
    "CompatibleCSIStorageCapacity": CSI_STORAGE_CAPACITIES,
    "CompatiblePodDisruptionBudget": POD_DISRUPTION_BUDGETS,
}
"""Gates for clusters that serve these kinds as v1beta1 only. What we read of them is the same."""


def left_out(resource: Resource[Any], gates: frozenset[str]) -> bool:
    """Whether a gate says that this kind is not watched."""
    named = (_LEFT_OUT[gate] for gate in _LEFT_OUT.keys() & gates)
    return any(resource.group == group and plural in ("", resource.plural) for group, plural in named)


def served(resource: Resource[Any], gates: frozenset[str]) -> Resource[Any]:
    """The kind at the version that the gates say the cluster serves."""
    older = resource in (_OLDER[gate] for gate in _OLDER.keys() & gates)
    return msgspec.structs.replace(resource, version="v1beta1") if older else resource


class Watching:
    """The informers of one scheduler. ``synced`` once all of them have seen the cluster."""

    def __init__(self, store: Store, feed: Feed, clock: Clock, gates: frozenset[str] = frozenset()) -> None:
        self._store, self._feed, self._clock, self._gates = store, feed, clock, gates
        self.pods: Informer[Pod] = Informer(store, PODS, clock=clock)
        self.informers: dict[Resource[Any], Informer[Object]] = {}
        """Of what plugins watch."""
        self.synced = False

    async def start(
        self, tasks: asyncio.TaskGroup, watchers: Sequence[WatchPlugin], starters: Sequence[StartPlugin]
    ) -> list[asyncio.Task[None]]:
        """Start the informers and wait for their first lists. Returns the running tasks. Raises: Unavailable."""
        feed = self._feed
        nodes = Informer(self._store, NODES, clock=self._clock)
        nodes.on(feed.node_set, lambda _, node: feed.node_set(node), feed.node_deleted, feed.unreadable)
        running = [tasks.create_task(nodes.run())]
        for plugin in watchers:
            self._informer_of(plugin)
        running += [tasks.create_task(informer.run()) for informer in self.informers.values()]
        await nodes.synced()
        for plugin in watchers:
            await self._synced_if_there(plugin, self.informers[plugin.resource])
        for starter in starters:
            await _started(starter, "after_plugin_caches")
        self.pods.on(feed.pod_added, feed.pod_updated, feed.pod_deleted, feed.pod_unreadable)
        running.append(tasks.create_task(self.pods.run()))
        await self.pods.synced()
        for starter in starters:
            await _started(starter, "after_caches")
        self.synced = True
        return running

    def _informer_of(self, plugin: WatchPlugin) -> None:
        """One informer a kind, whoever of the profiles' plugins want it."""
        feed = self._feed
        informer = self.informers.get(plugin.resource)
        if informer is None:
            informer = self.informers[plugin.resource] = Informer(
                self._store, served(plugin.resource, self._gates), clock=self._clock
            )
        informer.on(
            lambda obj: feed.object_set(plugin, obj),
            lambda _, obj: feed.object_set(plugin, obj),
            lambda obj: feed.object_deleted(plugin, obj),
            feed.unreadable,
        )

    async def _synced_if_there(self, plugin: WatchPlugin, informer: Informer[Object]) -> None:
        """Wait for the first list, unless the cluster does not know the kind (its CRD is not installed)."""
        try:
            await self._store.list(informer.resource, field_selector="metadata.name=none")  # only whether it is served
        except NotFound:
            log.warning("%s goes on without %s: the API server does not know them", plugin.name, plugin.resource.plural)
            return
        except ApiError as err:
            log.info("waiting for %s: %s", plugin.resource.plural, err)
        await informer.synced()


async def _started(plugin: StartPlugin, step: str) -> None:
    """A plugin that cannot start keeps the scheduler from starting: it would decide without it."""
    try:
        await getattr(plugin, step)()
    except KoordError:
        raise
    except Exception as err:
        raise Unavailable(f"plugin {plugin.name}", f"{type(err).__name__}: {err}", "the scheduler does not start") from err
