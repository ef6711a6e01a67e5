"""The scheduler's metrics for Prometheus: made at each scrape from counters, queue and cluster."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from koordinator.api.resources import CPU, EPHEMERAL_STORAGE, MEMORY, PODS
from koordinator.kube.client import Client
from koordinator.kube.metrics import Collector as ClientCollector
from koordinator.kube.metrics import Histogram, Tally
from koordinator.scheduler.engine.cycle import Scheduler
from koordinator.scheduler.engine.meter import evaluations
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.engine.queued import Where
from koordinator.scheduler.metrics import Family
from koordinator.scheduler.plugins.default_preemption.plugin import DefaultPreemption

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

    from koordinator.scheduler.app import App
    from koordinator.scheduler.engine.framework import Plugin

_PREFIX = "scheduler_"
Numbers = Iterable[tuple[tuple[str, ...], float]]
_QUEUES = (Where.ACTIVE, Where.BACKOFF, Where.UNSCHEDULABLE, Where.GATED)


class Collector:
    """For ``CollectorRegistry.register``."""

    def __init__(self, app: "App") -> None:
        self._app = app

    def collect(self) -> "Iterator[Metric]":
        self._take_over()
        yield from self._of_the_queue()
        yield from self._gauges()
        for family in self._app.metrics.families.values():
            yield _shown(family)

    def _take_over(self) -> None:
        """What others have noted down for us since the last scrape."""
        for plugin in self._preemptions():
            for victims in plugin.evicted.elements():
                self._app.metrics.victims.observe((), victims)
            plugin.evicted.clear()

    def _plugins(self) -> "Iterator[Plugin]":
        for profile in dict.fromkeys(self._app.scheduler.profiles.values()):
            yield from profile.plugins.values()

    def _preemptions(self) -> list[DefaultPreemption]:
        return [plugin for plugin in self._plugins() if isinstance(plugin, DefaultPreemption)]

    def _of_the_queue(self) -> "Iterator[Metric]":
        app = self._app
        text = "Pods put into a queue, by what put them there."
        yield _counter("queue_incoming_pods_total", text, ("queue", "event"), app.scheduler.queue.incoming.items())
        text = "Looks at which a pod took too long to be bound."
        late = [((name,), count) for name, count in app.monitor.timeouts.items()]
        yield _counter("scheduling_timeout", text, ("profile",), late)
        attempts = sum(plugin.attempts for plugin in self._preemptions())
        yield _counter("preemption_attempts_total", "Attempts to make room by evicting pods.", (), [((), attempts)])
        text = "How often a plugin was asked: for all nodes that had changed since it was asked last."
        labels = ("plugin", "extension_point", "profile")
        yield _counter("plugin_evaluation_total", text, labels, evaluations(self._plugins()).items())

    def _gauges(self) -> "Iterator[Metric]":
        app, cluster = self._app, self._app.scheduler.cluster
        pending = {(where.value,): app.scheduler.queue.counts[where] for where in _QUEUES}
        yield _gauge("pending_pods", "Pods that wait, by queue.", ("queue",), pending.items())
        sizes = {("nodes",): len(cluster.columns), ("pods",): len(cluster.pods), ("assumed_pods",): cluster.assumed}
        yield _gauge("scheduler_cache_size", "Nodes, pods and assumed pods in the cache.", ("type",), sizes.items())
        yield _gauge("unschedulable_pods", "Pods that a plugin refused.", ("plugin", "profile"), self._refused().items())
        running = {("binding",): app.binder.in_flight}
        yield _gauge("goroutines", "Work under way, by kind.", ("operation",), running.items())
        late = {(): app.monitor.late()}
        yield _gauge("scheduling_late_pods", "Pods on their way for longer than the timeout.", (), late.items())
        leading = {(app.options.election.name,): int(app.leading)}
        yield _gauge("leader_election_master_status", "1 on the scheduler that leads.", ("name",), leading.items(), prefix="")

    def _refused(self) -> Counter[tuple[str, ...]]:
        return Counter(
            (plugin, pod.profile.name)
            for pod in self._app.scheduler.queue
            if pod.where in (Where.UNSCHEDULABLE, Where.BACKOFF)
            for plugin in pod.rejected_by
        )


def _shown(family: Family) -> "Metric":
    name, about, labels, shown = family
    if isinstance(shown, Histogram):
        return _histogram(name, about, labels, shown)
    if isinstance(shown, Tally):
        return _counter(name, about, labels, shown.items())
    return _gauge(name, about, labels, shown().items())


def _counter(name: str, about: str, labels: tuple[str, ...], numbers: Numbers) -> "Metric":
    """Untyped, when dashboards know it without the suffix of a counter."""
    from prometheus_client.core import CounterMetricFamily, UntypedMetricFamily

    kind = CounterMetricFamily if name.endswith("_total") else UntypedMetricFamily
    family = kind(f"{_PREFIX}{name.removesuffix('_total')}", about, labels=labels)
    for values, number in numbers:
        family.add_metric(values, number)
    return family


def _gauge(name: str, about: str, labels: tuple[str, ...], numbers: Numbers, prefix: str = _PREFIX) -> "Metric":
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(f"{prefix}{name}", about, labels=labels)
    for values, number in numbers:
        family.add_metric(values, number)
    return family


def _histogram(name: str, about: str, labels: tuple[str, ...], histogram: Histogram) -> "Metric":
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(f"{_PREFIX}{name}", about, labels=labels)
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
