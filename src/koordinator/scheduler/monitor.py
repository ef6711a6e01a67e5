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
        self.on_its_way: Callable[[str], bool] = lambda _: True
        """Whether the pod of a uid is still being scheduled: one that is deleted meanwhile has no end that we hear of."""

    def started(self, uid: str, key: str, scheduler: str, at: float | None = None) -> None:
        """``at``: when its attempt began, if that is not now."""
        self._started[uid] = _Started(self._now() if at is None else at, key, scheduler)

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
            if self.on_its_way(uid):
                self._late(uid, pod)
            else:
                del self._started[uid]

    def late(self) -> int:
        """How many pods are late at this moment."""
        now = self._now()
        return sum(now - pod.at > self._timeout and self.on_its_way(uid) for uid, pod in self._started.items())

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
