"""How often plugins are asked, and how long they take: counted always, timed in one attempt out of ten.

A plugin answers for all rows that have moved at once, and its answers are kept; so a time here is that of one such answer, and
what need not be asked is not counted.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from koordinator.kube.metrics import Histogram

if TYPE_CHECKING:
    from koordinator.scheduler.engine.framework import Plugin

P = ParamSpec("P")
T = TypeVar("T")

EVERY = 10
"""One attempt in so many is timed."""
_FINE = ("Success", "Skip")
PLUGIN_BUCKETS = tuple(0.00001 * 1.5**power for power in range(20))
POINT_BUCKETS = tuple(0.0001 * 2.0**power for power in range(12))


class Stopwatch:
    """Times the hooks of one attempt, and their sums by extension point."""

    __slots__ = ("_attempts", "_awaited", "_now", "_points", "on", "plugins", "points")

    def __init__(self, now: Callable[[], float], plugins: Histogram, points: Histogram) -> None:
        self._now, self.plugins, self.points = now, plugins, points
        self._attempts = self._awaited = 0
        self._points: dict[str, tuple[float, str]] = {}
        self.on = False

    def begin(self) -> None:
        """An attempt begins."""
        self._attempts += 1
        self.on = self._attempts % EVERY == 0
        if self._points:
            self._points = {}

    def end(self, profile: str) -> None:
        """The attempt has been decided."""
        if self.on:
            self.on = False
            for point, (seconds, status) in self._points.items():
                self.points.observe((point, status, profile), seconds)
            self._points = {}

    def timed(self, plugin: str, point: str, hook: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a hook and remember what it took."""
        began, status = self._now(), "Error"
        try:
            answer = hook(*args, **kwargs)
            status = _status_of(answer)
            return answer
        finally:
            seconds = self._now() - began
            self.plugins.observe((plugin, point, status), seconds)
            before, told = self._points.get(point, (0.0, "Success"))
            self._points[point] = before + seconds, told if status in _FINE else status

    async def awaited(self, meter: "Meter", name: str, point: str, work: Awaitable[T]) -> T:
        """Await a hook that goes on beside attempts, such as a bind; one in ten is timed."""
        self._awaited += 1
        if self._awaited % EVERY:
            return await work
        began, status = self._now(), "Error"
        try:
            answer = await work
            status = _status_of(answer)
            return answer
        finally:
            seconds = self._now() - began
            self.plugins.observe((name, point, status), seconds)
            self.points.observe((point, "Success" if status in _FINE else status, meter.profile), seconds)


class Meter:
    """What is known of one plugin of one profile."""

    __slots__ = ("filter", "pre_filter", "pre_score", "profile", "score", "watch")

    def __init__(self, profile: str, watch: Stopwatch) -> None:
        self.profile, self.watch = profile, watch
        self.pre_filter = self.filter = self.pre_score = self.score = 0


async def watched(plugin: "Plugin", point: str, work: Awaitable[T]) -> T:
    """Await a hook."""
    meter = plugin.meter
    return await (work if meter is None else meter.watch.awaited(meter, plugin.name, point, work))


def evaluations(plugins: "Iterable[Plugin]") -> dict[tuple[str, str, str], float]:
    """How often each has been asked, by plugin, extension point and profile."""
    found: dict[tuple[str, str, str], float] = {}
    for plugin in plugins:
        if (meter := plugin.meter) is not None:
            counts = {"PreFilter": meter.pre_filter, "Filter": meter.filter, "PreScore": meter.pre_score, "Score": meter.score}
            found |= {(plugin.name, point, meter.profile): count for point, count in counts.items() if count}
    return found


def _status_of(answer: object) -> str:
    """``Success`` for whatever is no status, as hooks answer when all is well."""
    from koordinator.scheduler.engine.framework import PreFilterResult, Status

    if isinstance(answer, PreFilterResult):
        answer = answer.status
    elif isinstance(answer, tuple):
        answer = answer[-1] if answer else None
    return answer.code.name.title().replace("_", "") if isinstance(answer, Status) else "Success"
