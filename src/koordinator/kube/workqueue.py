"""Keys to work on: what stands between handlers, which must not await, and reconcilers, which do.

Guarantees: a key waits at most once however often it is added; it is never worked on by two workers at a time; one added while
it is being worked on is worked on again; a failure is tried again after a pause that grows per key, and never stops the others.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from koordinator.clock import Clock
from koordinator.errors import KoordError
from koordinator.kube.metrics import QueueMetrics
from koordinator.kube.retry import Backoff

K = TypeVar("K", bound=Hashable)

log = logging.getLogger(__name__)


class WorkQueue(Generic[K]):
    """Handlers ``add`` keys, ``run`` hands them to a reconciler."""

    def __init__(self, name: str, clock: Clock, backoff: Backoff | None = None) -> None:
        self.name = name
        self.metrics = QueueMetrics()
        self._clock, self._backoff = clock, backoff or Backoff(base=0.05, limit=60.0)
        self._ready: deque[K] = deque()
        self._waiting: dict[K, float] = {}  # the keys in _ready, and since when
        self._busy: dict[K, float] = {}  # since when
        self._again: set[K] = set()  # added while busy
        self._failures: dict[K, int] = {}
        self._timers: dict[K, tuple[float, asyncio.Task[None]]] = {}
        self._signal = asyncio.Event()

    def __len__(self) -> int:
        """Keys that are ready and wait for a worker."""
        return len(self._ready)

    @property
    def idle(self) -> bool:
        """Nothing is ready and nothing is being worked on (timers may run)."""
        return not (self._ready or self._busy)

    def add(self, key: K) -> None:
        """Work on this soon."""
        if key in self._busy:
            self._again.add(key)
        elif key not in self._waiting:
            self.metrics.adds += 1
            self._waiting[key] = self._clock.monotonic()
            self._ready.append(key)
            self._signal.set()

    def running(self) -> list[float]:
        """For how many seconds each key that is being worked on has been."""
        now = self._clock.monotonic()
        return [now - since for since in self._busy.values()]

    def add_after(self, key: K, seconds: float) -> None:
        """Work on this after a while; of several times the earliest counts."""
        if seconds <= 0:
            self.add(key)
            return
        due = self._clock.monotonic() + seconds
        if (timer := self._timers.get(key)) is not None:
            if timer[0] <= due:
                return
            timer[1].cancel()
        self._timers[key] = (due, asyncio.create_task(self._later(key, seconds)))

    async def _later(self, key: K, seconds: float) -> None:
        await self._clock.sleep(seconds)
        del self._timers[key]
        self.add(key)

    async def run(self, reconcile: Callable[[K], Awaitable[float | None]], workers: int = 1) -> None:
        """Work for ever. ``reconcile`` may return seconds after which it wants the key again."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(self._work(reconcile))
        finally:
            for _, task in self._timers.values():
                task.cancel()
            self._timers.clear()

    async def _work(self, reconcile: Callable[[K], Awaitable[float | None]]) -> None:
        while True:
            key = await self._take()
            try:
                again = await reconcile(key)
            except Exception as err:  # noqa: BLE001 — one key's failure is not the queue's
                again = self._failed(key, err)
            else:
                self._failures.pop(key, None)
            finally:
                self._done(key)
            if again is not None:
                self.add_after(key, again)

    async def _take(self) -> K:
        while not self._ready:
            self._signal.clear()
            await self._signal.wait()
        key = self._ready.popleft()
        now = self._clock.monotonic()
        self.metrics.wait.observe((), now - self._waiting.pop(key))
        self._busy[key] = now
        return key

    def _done(self, key: K) -> None:
        self.metrics.work.observe((), self._clock.monotonic() - self._busy.pop(key))
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def _failed(self, key: K, err: Exception) -> float:
        """Log once in full, or one line if the error is one that a person is meant to read; return the pause."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self.metrics.retries += 1
        trace = None if isinstance(err, KoordError) else err
        log.warning("%s: %s failed (%d in a row): %s", self.name, key, failures + 1, err, exc_info=trace)
        return self._backoff.delay(failures)
