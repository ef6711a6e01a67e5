"""Keys of objects to look at: each at most once in the queue, never by two workers at a time, later when asked for later."""

import asyncio
import contextlib
import heapq
from collections import deque

from koordinator.clock import Clock


class KeyQueue:
    """``add`` any number of times; ``get`` and ``done`` in pairs. ``run`` moves what was put off."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ready: deque[str] = deque()
        self._waiting: set[str] = set()
        self._working: set[str] = set()
        self._again: set[str] = set()
        self._due: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        self._some = asyncio.Event()
        self._earlier = asyncio.Event()

    def __len__(self) -> int:
        return len(self._ready)

    def add(self, key: str, after: float = 0.0) -> None:
        """Have the key looked at, in ``after`` seconds at the latest."""
        if after <= 0:
            self._push(key)
            return
        due = self._clock.monotonic() + after
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            heapq.heappush(self._heap, (due, key))
            if self._heap[0][1] == key:
                self._earlier.set()

    async def get(self) -> str:
        while not self._ready:
            self._some.clear()
            await self._some.wait()
        key = self._ready.popleft()
        self._waiting.discard(key)
        self._working.add(key)
        return key

    def done(self, key: str) -> None:
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self._push(key)

    async def run(self) -> None:
        """Push keys whose time has come, for ever."""
        while True:
            self._earlier.clear()
            now = self._clock.monotonic()
            while self._heap and self._heap[0][0] <= now:
                due, key = heapq.heappop(self._heap)
                if self._due.get(key) == due:
                    del self._due[key]
                    self._push(key)
            await self._wait(self._heap[0][0] - now if self._heap else None)

    def _push(self, key: str) -> None:
        if key in self._working:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting.add(key)
            self._ready.append(key)
            self._some.set()

    async def _wait(self, seconds: float | None) -> None:
        """Until ``seconds`` are over or something is due earlier."""
        earlier = asyncio.ensure_future(self._earlier.wait())
        tasks = [earlier] if seconds is None else [earlier, asyncio.ensure_future(self._clock.sleep(seconds))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
