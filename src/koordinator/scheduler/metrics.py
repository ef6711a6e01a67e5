"""What the scheduler counts: plain numbers on the hot path. ``collector`` gives them Prometheus' form when somebody scrapes.

Whoever has something of his own to count asks for a counter, a histogram or a gauge once (plugins: ``handle.metrics``) and
keeps what he gets. Names are without ``scheduler_``; asking again for a name gives the same numbers again.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from koordinator.kube.metrics import Histogram, Labels, Tally
from koordinator.scheduler.engine.meter import PLUGIN_BUCKETS, POINT_BUCKETS, Stopwatch

ATTEMPT_BUCKETS = tuple(0.001 * 2.0**power for power in range(15))
SLI_BUCKETS = tuple(0.01 * 2.0**power for power in range(20))
ATTEMPTS_BUCKETS = (1.0, 2.0, 4.0, 8.0, 16.0)
NODES_BUCKETS = tuple(2.0**power for power in range(24))
VICTIMS_BUCKETS = tuple(2.0**power for power in range(7))
MOST_ATTEMPTS = 15
"""From here on a pod's attempts are one label."""

Read = Callable[[], Mapping[Labels, float]]
T = TypeVar("T", Tally, Histogram)


class Family(NamedTuple):
    """One metric. What is shown is a tally, a histogram, or what a function says at the moment (a gauge)."""

    name: str
    about: str
    labels: tuple[str, ...]
    shown: Tally | Histogram | Read


def job_size(pods: int) -> str:
    """The label of a job's size: by the hundred, up to a thousand."""
    if pods <= 0:
        return "0"
    first = (pods - 1) // 100 * 100 + 1
    return f"{first}-{first + 99}" if pods <= 1000 else "1000+"


class Metrics:
    """What is counted while scheduling. ``now`` is for durations."""

    def __init__(self, now: Callable[[], float] = lambda: 0.0) -> None:
        self.families: dict[str, Family] = {}
        counter, histogram = self.counter, self.histogram
        profile = ("profile",)
        self.attempts = counter("schedule_attempts_total", "Attempts to schedule pods, by result.", (*profile, "result"))
        text = "One attempt, from the pop to the decision."
        self.attempt_duration = histogram("scheduling_attempt_duration_seconds", text, (*profile, "result"))
        self.algorithm_duration = histogram("scheduling_algorithm_duration_seconds", "Finding a node.", profile)
        text = "From the first time in the queue to bound."
        self.sli_duration = histogram("pod_scheduling_sli_duration_seconds", text, ("attempts",), SLI_BUCKETS)
        text = "Attempts that a bound pod took."
        self.attempts_per_pod = histogram("pod_scheduling_attempts", text, (), ATTEMPTS_BUCKETS)
        text = "Nodes looked at for a pod that found one."
        self.evaluated_nodes = histogram("pod_scheduling_evaluated_nodes", text, (), NODES_BUCKETS)
        text = "Nodes that would have taken a pod that found one."
        self.feasible_nodes = histogram("pod_scheduling_feasible_nodes", text, (), NODES_BUCKETS)
        self.permit_wait = histogram("permit_wait_duration_seconds", "How long pods waited at Permit.", ("result",))
        self.victims = histogram("preemption_victims", "Pods evicted for one.", (), VICTIMS_BUCKETS)
        text = "One hook of one plugin, in one attempt out of ten."
        labels = ("plugin", "extension_point", "status")
        plugins = histogram("plugin_execution_duration_seconds", text, labels, PLUGIN_BUCKETS)
        text = "All plugins' hooks of one extension point, in one attempt out of ten."
        labels = ("extension_point", "status", "profile")
        points = histogram("framework_extension_point_duration_seconds", text, labels, POINT_BUCKETS)
        self.watch = Stopwatch(now, plugins, points)

    # -- for whoever counts --------------------------------------------------------------------------------------------

    def counter(self, name: str, about: str, labels: tuple[str, ...] = ()) -> Tally:
        """A name that does not end in ``_total`` is shown as it stands, without a type."""
        return self._kept(name, about, labels, Tally())

    def histogram(
        self, name: str, about: str, labels: tuple[str, ...] = (), buckets: tuple[float, ...] = ATTEMPT_BUCKETS
    ) -> Histogram:
        return self._kept(name, about, labels, Histogram(buckets))

    def gauge(self, name: str, about: str, labels: tuple[str, ...], read: Read) -> None:
        """``read`` is asked at every scrape."""
        self.families[name] = Family(name, about, labels, read)

    def _kept(self, name: str, about: str, labels: tuple[str, ...], new: T) -> T:
        known = self.families.setdefault(name, Family(name, about, labels, new)).shown
        if not isinstance(known, type(new)):
            raise TypeError(f"metric {name} is something else already")
        return known

    def reset(self) -> None:
        """Begin anew: ``DELETE /metrics``."""
        for family in self.families.values():
            if isinstance(family.shown, Histogram):
                family.shown.series.clear()
            elif isinstance(family.shown, Tally):
                family.shown.clear()

    # -- for the scheduler ---------------------------------------------------------------------------------------------

    def attempt(self, profile: str, result: str, seconds: float) -> None:
        labels = (profile, result)
        self.attempts.add(labels)
        self.attempt_duration.observe(labels, seconds)
        self.watch.end(profile)

    def chosen(self, profile: str, seconds: float, evaluated: int, feasible: int) -> None:
        """A node was found, after looking at so many."""
        self.algorithm_duration.observe((profile,), seconds)
        self.evaluated_nodes.observe((), evaluated)
        self.feasible_nodes.observe((), feasible)

    def waited(self, how: str, seconds: float) -> None:
        """A pod has waited at Permit, and was allowed to go on or was not."""
        self.permit_wait.observe(("Success" if how == "allowed" else "Unschedulable",), seconds)

    def bound(self, attempts: int, seconds: float) -> None:
        self.sli_duration.observe((str(attempts) if attempts < MOST_ATTEMPTS else f"{MOST_ATTEMPTS}+",), seconds)
        self.attempts_per_pod.observe((), attempts)
