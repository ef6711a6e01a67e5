"""The views that the controllers share: one watch per resource, however many controllers look at it."""

import asyncio
from typing import Any, TypeVar

from koordinator.api.meta import Object
from koordinator.api.registry import Resource
from koordinator.clock import Clock
from koordinator.cluster.controllers.view import View
from koordinator.kube.informer import Informer
from koordinator.kube.store import Store

T = TypeVar("T", bound=Object)

DOUBT_ROUND_SECONDS = 15.0


class Hub:
    """Views by resource. Who asks first decides the type that objects are decoded to."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store, self.clock = store, clock
        self._views: dict[tuple[str, str], View[Any]] = {}
        self._informers: dict[tuple[str, str], Informer[Any]] = {}
        self._tasks: asyncio.TaskGroup | None = None

    def view(self, resource: Resource[T]) -> View[T]:
        """The view of a resource; made, and if the hub runs already also started, at first use."""
        key = (resource.group, resource.plural)
        if key not in self._views:
            informer = self._informers[key] = Informer(self.store, resource, clock=self.clock)
            self._views[key] = View(resource, informer, self.clock)
            if self._tasks is not None:
                self._tasks.create_task(informer.run())
        return self._views[key]

    def known(self, resource: Resource[T]) -> View[T] | None:
        """The view of a resource, if anybody has one of just this type."""
        view = self._views.get((resource.group, resource.plural))
        return view if view is not None and view.resource.type is resource.type else None

    async def run(self) -> None:
        """Follow every resource, for ever."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for informer in list(self._informers.values()):
                tasks.create_task(informer.run())
            tasks.create_task(self._settle_doubts())

    async def synced(self) -> None:
        """Return once every resource asked for so far has been listed."""
        for informer in list(self._informers.values()):
            await informer.synced()

    async def _settle_doubts(self) -> None:
        while True:
            await self.clock.sleep(DOUBT_ROUND_SECONDS)
            for view in list(self._views.values()):
                await view.settle_doubts(self.store)
