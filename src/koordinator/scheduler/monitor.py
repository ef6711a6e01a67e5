"""Which pods take too long from their turn to being bound: a sign of a stuck API server, or of a plugin that waits for ever."""

import logging
from collections.abc import Callable
from typing import NamedTuple

log = logging.getLogger(__name__)
PERIOD, TIMEOUT = 10.0, 30.0


class _Started(NamedTuple):
    at: float
    key: str
    scheduler: str


class Monitor:
    """Pods on their way. ``timeouts`` counts, by scheduler name, every look at which a pod was late and every late end."""

    def __init__(self, now: Callable[[], float], timeout: float = TIMEOUT, period: float = PERIOD) -> None:
        self._now, self._timeout, self.period = now, timeout, period
        self._started: dict[str, _Started] = {}
        self.timeouts: dict[str, int] = {}

    def started(self, uid: str, key: str, scheduler: str) -> None:
        self._started[uid] = _Started(self._now(), key, scheduler)

    def ended(self, uid: str) -> None:
        """Bound, refused or failed."""
        pod = self._started.pop(uid, None)
        if pod is not None and self._now() - pod.at > self._timeout:
            self._late(uid, pod)

    def look(self) -> None:
        """Every period: tell of pods that are late and still on their way."""
        now = self._now()
        for uid, pod in list(self._started.items()):
            if now - pod.at <= self._timeout:
                break  # they are kept in the order of their start
            self._late(uid, pod)

    def _late(self, uid: str, pod: _Started) -> None:
        self.timeouts[pod.scheduler] = self.timeouts.get(pod.scheduler, 0) + 1
        took = self._now() - pod.at
        log.error(
            "!!!CRITICAL TIMEOUT!!! scheduling pod %s(%s) took longer (%.1fs) than the timeout %gs",
            pod.key,
            uid,
            took,
            self._timeout,
        )
