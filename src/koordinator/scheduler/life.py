"""The scheduler's life: watch, be elected, schedule, and end in an order that leaves nothing half done."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING

from koordinator.kube.leader import LeaderElector, LeadershipLost, make_identity
from koordinator.scheduler.controllers import controllers_of, keep_running
from koordinator.scheduler.loop import Loop
from koordinator.scheduler.reload import reloading
from koordinator.scheduler.sync_barrier import Barrier
from koordinator.scheduler.watching import Watching

if TYPE_CHECKING:
    from koordinator.scheduler.app import App

log = logging.getLogger(__name__)

BINDS_SECONDS, EVENTS_SECONDS = 5, 2
"""How long the end waits for binds in flight, and for events that nobody has written yet."""


class Life:
    """One run of a scheduler."""

    def __init__(self, app: "App") -> None:
        self._app = app
        self.watching = Watching(app.store, app.feed, app.clock, app.options.gates)
        self.loop = Loop(app)
        self.elector: LeaderElector | None = None
        if app.options.leader_elect:
            election = app.options.election
            identity = make_identity()
            self.elector = LeaderElector(app.store, election.namespace, election.name, identity, app.clock, election.times)
        self.leading = False
        self._background: list[asyncio.Task[None]] = []

    @property
    def delayed(self) -> bool:
        """Whether nothing is watched before the Lease is won."""
        return self._app.options.delay_cache and self.elector is not None

    @property
    def ready(self) -> bool:
        """Whether this replica can do its part: standing by without a cache is the part of one that is told to."""
        return self.watching.synced or (self.delayed and not self.leading)

    async def run(self, tasks: asyncio.TaskGroup, on_ready: Callable[[], None]) -> None:
        """Until cancelled, or the Lease is lost. Raises: LeadershipLost, Unavailable."""
        app = self._app
        self._begin(tasks, app.recorder.run(), app.reporter.run(), app.binder.run())
        try:
            if not self.delayed:
                await self._watch(tasks)
            self._begin(tasks, app.explanations.run(), reloading(app))
            if app.network is not None:
                self._begin(tasks, app.network.run(lambda: self.leading))
            on_ready()
            await self._elected(tasks)
        finally:
            await self._finish()
            await app.extenders.close()
            for task in self._background:
                task.cancel()

    def _begin(self, tasks: asyncio.TaskGroup, *work: Coroutine[None, None, None]) -> None:
        self._background += [tasks.create_task(one) for one in work]

    async def _watch(self, tasks: asyncio.TaskGroup) -> None:
        app = self._app
        self._background += await self.watching.start(tasks, app.watchers, app.starters)

    async def _elected(self, tasks: asyncio.TaskGroup) -> None:
        if self.elector is None:
            await self._lead(tasks)
            return
        try:
            await self.elector.run(lambda: self._lead(tasks))
        except LeadershipLost:
            log.error("leaderelection lost")  # noqa: TRY400 — the error itself is what the process ends with
            raise

    async def _lead(self, tasks: asyncio.TaskGroup) -> None:
        """Binds in flight end before the Lease is given back: the next leader must find what we have decided."""
        self.leading = True
        try:
            await self._catch_up(tasks)
            async with asyncio.TaskGroup() as controllers:
                for name, controller in controllers_of(self._app.profiles, self._app.options.controller_plugins).items():
                    controllers.create_task(keep_running(name, controller, self._app.clock))
                await self.loop.run()
        finally:
            self.leading = False
            await self._finish()

    async def _catch_up(self, tasks: asyncio.TaskGroup) -> None:
        """Know at least what the leader before us has done."""
        app = self._app
        if self.delayed:
            await self._watch(tasks)
        elif self.elector is not None and "SyncBarrier" in app.options.gates:
            barrier = Barrier(app.store, self.watching.pods, app.feed, app.clock)
            await barrier.passed(app.options.barrier, app.options.election.name)

    async def _finish(self) -> None:
        """Let binds in flight end, so that nobody assumes what we have already sent; bounded, because we are asked to stop."""
        app = self._app
        try:
            async with asyncio.timeout(BINDS_SECONDS):
                await app.binder.drained()
        except TimeoutError:
            log.warning("%d binds were still in flight", app.binder.in_flight)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EVENTS_SECONDS):
                await app.reporter.drain()
