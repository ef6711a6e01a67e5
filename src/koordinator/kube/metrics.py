"""What the client and the work queues count, under the names that dashboards of Kubernetes components know.

Counting is a dictionary entry and a number; Prometheus' own types are made only when somebody scrapes. One ``Collector`` per
process and registry holds every client and queue: two collectors would write the same families twice.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from prometheus_client.core import Metric

REQUEST_BUCKETS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
QUEUE_BUCKETS = tuple(10.0**power for power in range(-8, 4))
NO_ANSWER = "<error>"

Labels = tuple[str, ...]


class Tally(dict[Labels, float]):
    """Numbers by label values."""

    __slots__ = ()

    def add(self, labels: Labels = (), number: float = 1) -> None:
        self[labels] = self.get(labels, 0) + number


class Histogram:
    """Counts per bucket and their sum, by label values."""

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

    def rows(self) -> Iterator[tuple[Labels, list[tuple[str, float]], float]]:
        """Labels, cumulative buckets and sum of every series, as Prometheus wants them."""
        names = (*map(str, self.bounds), "+Inf")
        for labels, (counts, sums) in self.series.items():
            total, buckets = 0, []
            for name, count in zip(names, counts, strict=True):
                total += count
                buckets.append((name, float(total)))
            yield labels, buckets, sums[0]


class RequestMetrics:
    """The requests of one client to one host."""

    __slots__ = ("durations", "host", "requests")

    def __init__(self, host: str) -> None:
        self.host = host
        self.requests: dict[Labels, int] = {}  # code, method
        self.durations = Histogram(REQUEST_BUCKETS)

    def count(self, method: str, code: str, seconds: float) -> None:
        """One attempt has ended; ``code`` is the HTTP status, or NO_ANSWER. For a watch, ``seconds`` end with the headers."""
        key = (code, method)
        self.requests[key] = self.requests.get(key, 0) + 1
        self.durations.observe((method,), seconds)


class QueueMetrics:
    """The life of one work queue; depth and unfinished work are read off the queue itself."""

    __slots__ = ("adds", "retries", "wait", "work")

    def __init__(self) -> None:
        self.adds = self.retries = 0
        self.wait, self.work = Histogram(QUEUE_BUCKETS), Histogram(QUEUE_BUCKETS)


class CountedQueue(Protocol):
    """What a queue must tell to be shown."""

    name: str
    metrics: QueueMetrics

    def __len__(self) -> int: ...

    def running(self) -> list[float]:
        """For how many seconds each thing that is being worked on has been."""
        ...


class Collector:
    """For ``CollectorRegistry.register``: everything that a component's clients and queues have counted.

    ``queues`` is asked at every scrape, so that queues made later are seen.
    """

    def __init__(
        self,
        clients: Iterable[RequestMetrics] = (),
        queues: Callable[[], Iterable[CountedQueue]] = tuple,
    ) -> None:
        self._clients, self._queues = tuple(clients), queues

    def collect(self) -> "Iterator[Metric]":
        if self._clients:
            yield from _client_families(self._clients)
        if queues := list(self._queues()):
            yield from _queue_families(queues)


def _client_families(clients: Iterable[RequestMetrics]) -> "Iterator[Metric]":
    from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

    text = "Number of HTTP requests, partitioned by status code, method, and host."
    requests = CounterMetricFamily("rest_client_requests", text, labels=("code", "method", "host"))
    text = "Request latency in seconds. Broken down by verb, and host."
    durations = HistogramMetricFamily("rest_client_request_duration_seconds", text, labels=("verb", "host"))
    for client in clients:
        for (code, method), number in client.requests.items():
            requests.add_metric((code, method, client.host), number)
        for (method,), buckets, total in client.durations.rows():
            durations.add_metric((method, client.host), buckets, total)
    yield requests
    yield durations


def _queue_families(queues: list[CountedQueue]) -> "Iterator[Metric]":
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    adds = CounterMetricFamily("workqueue_adds", "Total number of adds handled by workqueue", labels=("name",))
    retries = CounterMetricFamily("workqueue_retries", "Total number of retries handled by workqueue", labels=("name",))
    depth = GaugeMetricFamily("workqueue_depth", "Current depth of workqueue", labels=("name",))
    text = "How many seconds of work is in progress and hasn't been observed by work_duration."
    unfinished = GaugeMetricFamily("workqueue_unfinished_work_seconds", text, labels=("name",))
    text = "How many seconds has the longest running processor for workqueue been running."
    longest = GaugeMetricFamily("workqueue_longest_running_processor_seconds", text, labels=("name",))
    text = "How long an item stays in workqueue before being requested"
    waits = HistogramMetricFamily("workqueue_queue_duration_seconds", text, labels=("name",))
    text = "How long processing an item from workqueue takes."
    works = HistogramMetricFamily("workqueue_work_duration_seconds", text, labels=("name",))
    for queue in queues:
        name, running, counted = (queue.name,), queue.running(), queue.metrics
        adds.add_metric(name, counted.adds)
        retries.add_metric(name, counted.retries)
        depth.add_metric(name, len(queue))
        unfinished.add_metric(name, sum(running))
        longest.add_metric(name, max(running, default=0.0))
        for family, histogram in ((waits, counted.wait), (works, counted.work)):
            for _, buckets, total in histogram.rows():
                family.add_metric(name, buckets, total)
    yield from (adds, retries, depth, unfinished, longest, waits, works)
