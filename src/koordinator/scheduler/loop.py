"""The scheduling loop: cycles in short batches on the event loop, so that watches and binds get their turn in between."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from koordinator.scheduler.app import App

log = logging.getLogger(__name__)

BATCH_SECONDS = 0.008
"""How long cycles run before the event loop gets its turn."""


class Loop:
    """Runs cycles for ever; asleep when there is nothing to do."""

    def __init__(self, app: "App") -> None:
        self._app = app
        self._woken = asyncio.Event()
        app.queue.woken = self._woken.set

    async def run(self) -> None:
        """Until cancelled."""
        scheduler, binder = self._app.scheduler, self._app.binder
        ticker = asyncio.create_task(self._tick())
        try:
            while True:
                self._woken.clear()
                more = self._batch()
                if (question := scheduler.waiting_for) is not None:
                    scheduler.waiting_for = None
                    await question
                elif not more:
                    await self._woken.wait()
                elif binder.busy:
                    await asyncio.sleep(0.001)
                else:
                    await asyncio.sleep(0)
        finally:
            ticker.cancel()

    def _batch(self) -> bool:
        """Cycles for a few milliseconds; says whether more pods are ready."""
        app = self._app
        monotonic, schedule_one, binder = app.clock.monotonic, app.scheduler.schedule_one, app.binder
        begin = app.metrics.watch.begin
        now = monotonic()
        until = now + BATCH_SECONDS
        while now < until and not binder.busy:
            app.reporter.started = now
            begin()
            if not schedule_one():
                return False
            if app.scheduler.waiting_for is not None:
                return True
            now = monotonic()
        return True

    async def _tick(self) -> None:
        """What time alone moves: pauses that end, reports that grow old."""
        app = self._app
        while True:
            self._safely("the queue", app.queue.flush)
            self._safely("pods that wait at Permit", app.scheduler.tick)
            for plugin in app.watchers:
                self._safely(f"plugin {plugin.name}", partial(plugin.tick, app.clock.now()))
            due = app.queue.next_flush()
            pause = 1.0 if due is None else due - app.clock.monotonic()
            await app.clock.sleep(min(max(pause, 0.05), 1.0))

    @staticmethod
    def _safely(what: str, tick: Callable[[], object]) -> None:
        """Nobody waits for the ticker: if it ended, every pause would last for ever, and nothing would say so."""
        try:
            tick()
        except Exception:
            log.exception("%s did not take notice of the time", what)
