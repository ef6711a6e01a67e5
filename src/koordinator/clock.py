"""Time as an argument. Every component takes a ``Clock``; only this file reads the machine's.

That is what lets tests wait five minutes in a microsecond and the simulator run a day in a minute.
"""

import asyncio
import heapq
import itertools
import time
from typing import Protocol


class Clock(Protocol):
    """Wall time, monotonic time and sleeping, in seconds."""

    def now(self) -> float:
        """Seconds since the Unix epoch: for timestamps that others read."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back: for durations."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        return time.time()  # noqa: TID251 — the one place that may

    def monotonic(self) -> float:
        return time.monotonic()  # noqa: TID251 — the one place that may

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class ManualClock:
    """A clock that moves only when told to. Sleepers wake in the order of their deadlines, ties in the order of sleeping."""

    def __init__(self, start: float = 1_767_225_600.0) -> None:  # 2026-01-01T00:00:00Z
        self._now = start
        self._origin = start
        self._sequence = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now - self._origin

    async def sleep(self, seconds: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + max(seconds, 0.0), next(self._sequence), future))
        await future

    def advance(self, seconds: float) -> None:
        """Move time on and wake whoever's deadline has come. Woken tasks run at the caller's next await."""
        self._now += seconds
        while self._sleepers and self._sleepers[0][0] <= self._now:
            _, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)

    async def run(self, seconds: float) -> None:
        """Move time on sleeper by sleeper, letting woken tasks run, and sleep again, in between."""
        end = self._now + seconds
        await self._settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            self.advance(self._sleepers[0][0] - self._now)
            await self._settle()
        self.advance(end - self._now)
        await self._settle()

    async def _settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)


async def first_of(event: asyncio.Event, clock: Clock, seconds: float | None) -> None:
    """Return when ``event`` is set or ``seconds`` have passed, whichever comes first."""
    if seconds is None:
        await event.wait()
        return
    waits = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(clock.sleep(seconds))]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
