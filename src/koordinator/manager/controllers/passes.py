"""Names that want work: gathered for a moment so that many changes become one pass, held back after failures, or for later."""

import asyncio
import heapq
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable

from koordinator.clock import Clock, first_of
from koordinator.kube.metrics import QueueMetrics
from koordinator.kube.retry import Backoff

log = logging.getLogger(__name__)

GATHER = 0.05
"""Seconds between the first mark and the pass: long enough for a burst of events, too short for a person to notice."""

BACKOFF = Backoff(base=0.5, factor=2.0, limit=60.0)

Work = Callable[[set[str]], Awaitable[Collection[str]]]
"""Does what the names want; returns the names that failed."""


class PassQueue:
    """A set of names, taken whole (``kube.workqueue`` is for one name at a time).

    A name is in it once, however often it is marked; its latest "later" replaces the one before.
    """

    def __init__(self, clock: Clock, gather: float = GATHER, name: str = "passes") -> None:
        self._clock, self._gather = clock, gather
        self.name, self.metrics = name, QueueMetrics()
        self._ready: dict[str, float] = {}  # since when (monotonic) it waits
        self._passing: tuple[int, float] | None = None  # how many names, since when
        self._due: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        self._failures: dict[str, int] = {}
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        """Names that want work now."""
        return len(self._ready)

    def mark(self, name: str) -> None:
        """``name`` wants work now."""
        self._enter(name)
        self._wake.set()

    def running(self) -> list[float]:
        """For how many seconds each name that is being worked on has been."""
        if self._passing is None:
            return []
        names, since = self._passing
        return [self._clock.monotonic() - since] * names

    def mark_all(self, names: Iterable[str]) -> None:
        for name in names:
            self.mark(name)

    def later(self, name: str, when: float) -> None:
        """``name`` wants work at ``when`` (``clock.now``), unless told otherwise before."""
        if self._due.get(name) != when:
            self._due[name] = when
            heapq.heappush(self._heap, (when, name))
            if self._heap[0] == (when, name):
                self._wake.set()

    def forget(self, name: str) -> None:
        """No more work for ``name`` later on."""
        self._due.pop(name, None)
        self._failures.pop(name, None)

    async def take(self) -> set[str]:
        """Wait until there is work, gather a moment, and take all of it."""
        while True:
            self._wake.clear()
            self._collect_due()
            if self._ready:
                break
            await first_of(self._wake, self._clock, self._until_due())
        await self._clock.sleep(self._gather)
        self._collect_due()
        taken, self._ready = self._ready, {}
        now = self._clock.monotonic()
        for since in taken.values():
            self.metrics.wait.observe((), now - since)
        return set(taken)

    async def serve(self, work: Work) -> None:
        """Pass after pass, for ever. Names that failed come again after a pause that grows."""
        while True:
            names = await self.take()
            began = self._clock.monotonic()
            self._passing = len(names), began
            failed = await self._attempt(work, names)
            self._passing = None
            for _ in names:
                self.metrics.work.observe((), self._clock.monotonic() - began)
            self.metrics.retries += len(failed)
            for name in names - failed:
                self._failures.pop(name, None)
            for name in failed:
                attempt = self._failures.get(name, 0)
                self._failures[name] = attempt + 1
                self.later(name, self._clock.now() + BACKOFF.delay(attempt))

    async def _attempt(self, work: Work, names: set[str]) -> set[str]:
        try:
            return set(await work(names))
        except Exception:  # a bug in one pass must not end all passes
            log.exception("a pass over %d names failed", len(names))
            return names

    def _until_due(self) -> float | None:
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)  # replaced or forgotten
        return max(self._heap[0][0] - self._clock.now(), 0.0) if self._heap else None

    def _collect_due(self) -> None:
        now = self._clock.now()
        while self._heap and self._heap[0][0] <= now:
            when, name = heapq.heappop(self._heap)
            if self._due.get(name) == when:
                del self._due[name]
                self._enter(name)

    def _enter(self, name: str) -> None:
        if name not in self._ready:
            self._ready[name] = self._clock.monotonic()
            self.metrics.adds += 1
