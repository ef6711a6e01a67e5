"""What the auditor counts, among the scheduler's other metrics."""

from koordinator.kube.metrics import Labels
from koordinator.scheduler.auditor.story import Effect, Metric
from koordinator.scheduler.metrics import Metrics

SECONDS = tuple(0.1 * 2.0**power for power in range(15))
BOUNDS = {
    Metric.LEAVING_RETRIES: tuple(float(count) for count in range(20)),
    Metric.EVENTS: tuple(float(count) for count in range(30)),
    Metric.INTERVAL: tuple(0.1 * 2.0**power for power in range(20)),
}
"""Where they are not those of other durations."""
CALL_SECONDS = tuple(1e-6 * 4.0**power for power in range(10))
_PREFIX = "workload_auditor_"

_TEXTS = {
    Metric.REPEATED: "Preemptions for a workload that had one before.",
    Metric.INVALIDATED: "Nominations that came to nothing.",
    Metric.RESCHEDULE: "From the end of the last victim to the next attempt.",
    Metric.LEAVING_RETRIES: "Attempts during one preemption that found victims still leaving.",
    Metric.VICTIMS_GONE: "From the nomination to the end of the last victim.",
    Metric.INTERRUPTED: "From the nomination to its failure before the last victim was gone.",
    Metric.INTERVAL: "Pauses between two events of a workload.",
    Metric.EVENTS: "Events of a workload until its outcome, by type.",
}
COUNTERS = (Metric.REPEATED, Metric.INVALIDATED)


class Counted:
    """``labels``: the names of the workload's own labels, after ``priority``."""

    def __init__(self, metrics: Metrics, labels: tuple[str, ...] = ()) -> None:
        of_workload = ("priority", *labels)
        of_event = (*of_workload, "event_type", "outcome")
        self.counters = {metric: metrics.counter(_PREFIX + metric, _TEXTS[metric], of_workload) for metric in COUNTERS}
        self.histograms = {
            metric: metrics.histogram(
                _PREFIX + metric,
                _TEXTS[metric],
                of_event if metric is Metric.EVENTS else of_workload,
                BOUNDS.get(metric, SECONDS),
            )
            for metric in Metric
            if metric not in COUNTERS
        }
        text = "Time spent on noting one event."
        self.calls = metrics.histogram(_PREFIX + "record_method_duration_seconds", text, ("method",), CALL_SECONDS)

    def take(self, effect: Effect, labels: Labels) -> None:
        if effect.metric in COUNTERS:
            self.counters[effect.metric].add(labels)
        else:
            self.histograms[effect.metric].observe(labels, effect.value)
