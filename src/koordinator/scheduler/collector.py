"""The scheduler's metrics for Prometheus: made at each scrape from counters, queue and cluster."""

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from koordinator.api.resources import CPU, EPHEMERAL_STORAGE, MEMORY, PODS
from koordinator.kube.client import Client
from koordinator.kube.metrics import Collector as ClientCollector
from koordinator.kube.metrics import Histogram
from koordinator.scheduler.engine.cycle import Scheduler
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.engine.queue import Where
from koordinator.scheduler.metrics import Metrics
from koordinator.scheduler.plugins.default_preemption.plugin import DefaultPreemption

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

    from koordinator.scheduler.app import App

_QUEUES = (Where.ACTIVE, Where.BACKOFF, Where.UNSCHEDULABLE, Where.GATED)


class Collector:
    """For ``CollectorRegistry.register``."""

    def __init__(self, app: "App") -> None:
        self._app = app

    def collect(self) -> "Iterator[Metric]":
        self._take_over()
        yield from self._counters()
        yield from self._gauges()
        yield from _histograms(self._app.metrics)
        if self._app.auditor is not None:
            yield from self._app.auditor.counted.families()

    def _take_over(self) -> None:
        """What others have noted down for us since the last scrape."""
        metrics, waiting = self._app.metrics, self._app.scheduler.waiting
        for result, seconds in waiting.ended.items():
            for one in seconds:
                metrics.permit_wait.observe((result,), one)
        waiting.ended.clear()
        for plugin in self._preemptions():
            for victims in plugin.evicted.elements():
                metrics.victims.observe((), victims)
            plugin.evicted.clear()

    def _preemptions(self) -> list[DefaultPreemption]:
        profiles = dict.fromkeys(self._app.scheduler.profiles.values())
        return [one for profile in profiles for one in profile.plugins.values() if isinstance(one, DefaultPreemption)]

    def _counters(self) -> "Iterator[Metric]":
        from prometheus_client.core import CounterMetricFamily as Family
        from prometheus_client.core import UntypedMetricFamily as Untyped

        app = self._app
        attempts = Family("scheduler_schedule_attempts", "Attempts to schedule pods, by result.", labels=["profile", "result"])
        for labels, count in app.metrics.attempts.items():
            attempts.add_metric(labels, count)
        yield attempts
        incoming = Family(
            "scheduler_queue_incoming_pods", "Pods put into a queue, by what put them there.", labels=["queue", "event"]
        )
        for queue_event, count in app.scheduler.queue.incoming.items():
            incoming.add_metric(queue_event, count)
        yield incoming
        # untyped, because dashboards know it without the suffix of a counter
        late = Untyped("scheduler_scheduling_timeout", "Looks at which a pod took too long to be bound.", labels=["profile"])
        for profile, count in app.monitor.timeouts.items():
            late.add_metric([profile], count)
        yield late
        preemptions = Family("scheduler_preemption_attempts", "Attempts to make room by evicting pods.")
        preemptions.add_metric([], sum(plugin.attempts for plugin in self._preemptions()))
        yield preemptions

    def _gauges(self) -> "Iterator[Metric]":
        from prometheus_client.core import GaugeMetricFamily as Family

        app, cluster = self._app, self._app.scheduler.cluster
        pending = Family("scheduler_pending_pods", "Pods that wait, by queue.", labels=["queue"])
        for where in _QUEUES:
            pending.add_metric([where.value], app.scheduler.queue.counts[where])
        yield pending
        size = Family("scheduler_scheduler_cache_size", "Nodes, pods and assumed pods in the cache.", labels=["type"])
        for kind, count in (("nodes", len(cluster.columns)), ("pods", len(cluster.pods)), ("assumed_pods", cluster.assumed)):
            size.add_metric([kind], count)
        yield size
        refused = Family("scheduler_unschedulable_pods", "Pods that a plugin refused.", labels=["plugin", "profile"])
        for labels, count in self._refused().items():
            refused.add_metric(labels, count)
        yield refused
        running = Family("scheduler_goroutines", "Work under way, by kind.", labels=["operation"])
        running.add_metric(["binding"], app.binder.in_flight)
        yield running
        leading = Family("leader_election_master_status", "1 on the scheduler that leads.", labels=["name"])
        leading.add_metric([app.profile.name], int(app.leading))
        yield leading

    def _refused(self) -> Counter[tuple[str, str]]:
        return Counter(
            (plugin, pod.profile.name)
            for pod in self._app.scheduler.queue
            if pod.where in (Where.UNSCHEDULABLE, Where.BACKOFF)
            for plugin in pod.rejected_by
        )


def _histograms(metrics: Metrics) -> "Iterator[Metric]":
    profile = ["profile"]
    families: tuple[tuple[str, str, list[str], Histogram], ...] = (
        (
            "scheduling_attempt_duration_seconds",
            "One attempt, from the pop to the decision.",
            [*profile, "result"],
            metrics.attempt_duration,
        ),
        ("scheduling_algorithm_duration_seconds", "Finding a node.", profile, metrics.algorithm_duration),
        (
            "pod_scheduling_sli_duration_seconds",
            "From the first time in the queue to bound.",
            ["attempts"],
            metrics.sli_duration,
        ),
        ("pod_scheduling_attempts", "Attempts that a pod took.", [], metrics.attempts_per_pod),
        ("pod_scheduling_evaluated_nodes", "Nodes looked at for a pod that found one.", [], metrics.evaluated_nodes),
        ("pod_scheduling_feasible_nodes", "Nodes that would have taken a pod that found one.", [], metrics.feasible_nodes),
        ("permit_wait_duration_seconds", "How long pods waited at Permit.", ["result"], metrics.permit_wait),
        ("preemption_victims", "Pods evicted for one.", [], metrics.victims),
    )
    for name, text, labels, histogram in families:
        yield _family(name, text, labels, histogram)


def _family(name: str, text: str, labels: list[str], histogram: Histogram) -> "Metric":
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(f"scheduler_{name}", text, labels=labels)
    for values, buckets, total in histogram.rows():
        family.add_metric(values, buckets, total)
    return family


def registry_of(app: "App") -> "CollectorRegistry":
    """All that one scheduler shows: its own numbers, its process, its requests to the API server."""
    from prometheus_client import CollectorRegistry, ProcessCollector

    registry = CollectorRegistry()
    registry.register(Collector(app))
    ProcessCollector(registry=registry)
    if isinstance(app.store, Client):
        registry.register(ClientCollector([app.store.metrics]))
    return registry


def resource_metrics(scheduler: Scheduler) -> bytes:
    """``/metrics/resources``: what every pod asks for and may use, by resource."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    registry.register(_Resources(scheduler))
    return generate_latest(registry)


class _Resources:
    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def collect(self) -> "Iterator[Metric]":
        from prometheus_client.core import GaugeMetricFamily as Family

        labels = ["namespace", "pod", "node", "scheduler", "priority", "resource", "unit"]
        requests = Family("kube_pod_resource_request", "Resources requested by pods, by resource.", labels=labels)
        limits = Family("kube_pod_resource_limit", "Resources that pods may use at most, by resource.", labels=labels)
        for info, node in self._pods():
            who = [info.namespace, info.name, node, info.pod.spec.scheduler_name or "", str(info.priority)]
            for family, amounts in ((requests, info.template.requests), (limits, info.template.limits)):
                for name, number in amounts.items():
                    if number and name != PODS:
                        family.add_metric([*who, name, _unit(name)], number / 1000 if name == CPU else number)
        yield requests
        yield limits

    def _pods(self) -> "Iterator[tuple[PodInfo, str]]":
        placed = self._scheduler.cluster.pods
        yield from ((one.info, one.node) for one in placed.values())
        yield from ((pod.info, "") for pod in self._scheduler.queue if pod.info.uid not in placed)


def _unit(name: str) -> str:
    if name == CPU:
        return "cores"
    return "bytes" if name in (MEMORY, EPHEMERAL_STORAGE) or name.startswith("hugepages-") else "integer"
