"""The scheduler's metrics: plain counters on the hot path, given Prometheus' form only when somebody scrapes."""

from bisect import bisect_left
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from koordinator.scheduler.engine.cycle import Scheduler
from koordinator.scheduler.engine.queue import Where

if TYPE_CHECKING:
    from prometheus_client.core import Metric

ATTEMPT_BUCKETS = tuple(0.001 * 2.0**power for power in range(15))
SLI_BUCKETS = tuple(0.01 * 2.0**power for power in range(20))
ATTEMPTS_BUCKETS = (1.0, 2.0, 4.0, 8.0, 16.0)
_QUEUES = (Where.ACTIVE, Where.BACKOFF, Where.UNSCHEDULABLE, Where.GATED)

Labels = tuple[str, ...]


def job_size(pods: int) -> str:
    """The label of a job's size: by the hundred, up to a thousand."""
    if pods <= 0:
        return "0"
    return f"{(pods - 1) // 100 * 100 + 1}-{(pods - 1) // 100 * 100 + 100}" if pods <= 1000 else "1000+"


class Histogram:
    """Counts per bucket, by label values."""

    __slots__ = ("bounds", "series")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.series: dict[Labels, tuple[list[int], list[float]]] = {}

    def observe(self, labels: Labels, value: float) -> None:
        known = self.series.get(labels)
        if known is None:
            known = self.series[labels] = ([0] * (len(self.bounds) + 1), [0.0])
        known[0][bisect_left(self.bounds, value)] += 1
        known[1][0] += value

    def buckets(self, labels: Labels) -> list[tuple[str, float]]:
        """Cumulative, as Prometheus wants them."""
        total, result = 0, []
        for bound, count in zip((*map(str, self.bounds), "+Inf"), self.series[labels][0], strict=True):
            total += count
            result.append((bound, float(total)))
        return result


class Metrics:
    """What is counted while scheduling."""

    def __init__(self) -> None:
        self.attempts: dict[Labels, int] = {}
        self.attempt_duration = Histogram(ATTEMPT_BUCKETS)
        self.sli_duration = Histogram(SLI_BUCKETS)
        self.attempts_per_pod = Histogram(ATTEMPTS_BUCKETS)
        self.unschedulable: dict[Labels, int] = {}
        self.preempted = 0

    def attempt(self, profile: str, result: str, seconds: float) -> None:
        labels = (profile, result)
        self.attempts[labels] = self.attempts.get(labels, 0) + 1
        self.attempt_duration.observe(labels, seconds)

    def bound(self, attempts: int, seconds: float) -> None:
        self.sli_duration.observe((str(min(attempts, 16)),), seconds)
        self.attempts_per_pod.observe((), attempts)


class Collector:
    """Reads counters, queue and cluster at each scrape."""

    def __init__(self, metrics: Metrics, scheduler: Scheduler) -> None:
        self.metrics, self.scheduler = metrics, scheduler

    def collect(self) -> "Iterator[Metric]":
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        metrics, scheduler = self.metrics, self.scheduler
        attempts = CounterMetricFamily(
            "scheduler_schedule_attempts", "Attempts to schedule pods, by result.", labels=["profile", "result"]
        )
        for labels, count in metrics.attempts.items():
            attempts.add_metric(labels, count)
        yield attempts
        pending = GaugeMetricFamily("scheduler_pending_pods", "Pods that wait, by queue.", labels=["queue"])
        for where in _QUEUES:
            pending.add_metric([where.value], scheduler.queue.counts[where])
        yield pending
        incoming = CounterMetricFamily(
            "scheduler_queue_incoming_pods", "Pods put into a queue, by what put them there.", labels=["queue", "event"]
        )
        for queue_event, count in scheduler.queue.incoming.items():
            incoming.add_metric(queue_event, count)
        yield incoming
        yield from self._cache_size(GaugeMetricFamily)
        yield from self._histograms()

    def _cache_size(self, family: Any) -> "Iterator[Metric]":
        cluster = self.scheduler.cluster
        size = family("scheduler_scheduler_cache_size", "Nodes, pods and assumed pods in the cache.", labels=["type"])
        for kind, count in (("nodes", len(cluster.columns)), ("pods", len(cluster.pods)), ("assumed_pods", cluster.assumed)):
            size.add_metric([kind], count)
        yield size

    def _histograms(self) -> "Iterator[Metric]":
        from prometheus_client.core import HistogramMetricFamily

        metrics = self.metrics
        for name, text, labels, histogram in (
            (
                "scheduling_attempt_duration_seconds",
                "One attempt, from the pop to the decision.",
                ["profile", "result"],
                metrics.attempt_duration,
            ),
            (
                "pod_scheduling_sli_duration_seconds",
                "From the first time in the queue to bound.",
                ["attempts"],
                metrics.sli_duration,
            ),
            ("pod_scheduling_attempts", "Attempts that a pod took.", [], metrics.attempts_per_pod),
        ):
            family = HistogramMetricFamily(f"scheduler_{name}", text, labels=labels)
            for values, (_, total) in histogram.series.items():
                family.add_metric(values, histogram.buckets(values), total[0])
            yield family
