"""What the auditor has counted, in Prometheus' form at each scrape."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from koordinator.kube.metrics import Histogram
from koordinator.scheduler.auditor.story import Effect, Metric

if TYPE_CHECKING:
    from prometheus_client.core import Metric as Family

SECONDS = tuple(0.1 * 2.0**power for power in range(15))
BOUNDS = {
    Metric.LEAVING_RETRIES: tuple(float(count) for count in range(20)),
    Metric.EVENTS: tuple(float(count) for count in range(30)),
    Metric.INTERVAL: tuple(0.1 * 2.0**power for power in range(20)),
}
"""Where they are not those of other durations."""
CALL_SECONDS = tuple(1e-6 * 4.0**power for power in range(10))
_PREFIX = "scheduler_workload_auditor_"

Labels = tuple[str, ...]

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

    def __init__(self, labels: tuple[str, ...] = ()) -> None:
        self.labels = ("priority", *labels)
        self.begin_anew()

    def begin_anew(self) -> None:
        self.counters: Mapping[Metric, dict[Labels, int]] = {metric: {} for metric in COUNTERS}
        self.histograms = {metric: Histogram(BOUNDS.get(metric, SECONDS)) for metric in Metric if metric not in COUNTERS}
        self.calls = Histogram(CALL_SECONDS)

    def take(self, effect: Effect, labels: Labels) -> None:
        if effect.metric in COUNTERS:
            known = self.counters[effect.metric]
            known[labels] = known.get(labels, 0) + 1
        else:
            self.histograms[effect.metric].observe(labels, effect.value)

    def families(self) -> "Iterator[Family]":
        from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

        for metric, series in self.counters.items():
            name = _PREFIX + metric.removesuffix("_total")
            counter = CounterMetricFamily(name, _TEXTS[metric], labels=self.labels)
            for labels, count in series.items():
                counter.add_metric(labels, count)
            yield counter
        shown = [(metric.value, _TEXTS[metric], self._labels(metric), one) for metric, one in self.histograms.items()]
        shown.append(("record_method_duration_seconds", "Time spent on noting one event.", ("method",), self.calls))
        for name, text, names, histogram in shown:
            family = HistogramMetricFamily(_PREFIX + name, text, labels=names)
            for labels, buckets, total in histogram.rows():
                family.add_metric(labels, buckets, total)
            yield family

    def _labels(self, metric: Metric) -> Labels:
        return (*self.labels, "event_type", "outcome") if metric is Metric.EVENTS else self.labels
