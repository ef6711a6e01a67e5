"""koordlet's own metrics, under the names that dashboards know. Gauges are computed when somebody asks."""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from koordinator.koordlet.agent import Agent
from koordinator.koordlet.enforce.suppress import CPUSuppress
from koordinator.koordlet.observe.report import Reporter
from koordinator.koordlet.observe.series import NODE_BE, NODE_CPU, NODE_MEMORY, MetricStore

_UPDATE_MS = [0.01 * 4**power for power in range(8)]
_REQUEST_SECONDS = [0.001 * 4**power for power in range(7)]


class Gauges:
    """A collector in prometheus_client's sense."""

    def __init__(self, node: str, agent: Agent, store: MetricStore, suppress: CPUSuppress | None, started: float) -> None:
        self._node, self._agent, self._store, self._suppress, self._started = node, agent, store, suppress, started
        self.reporter: Reporter | None = None

    def collect(self) -> Iterator[Metric]:
        yield self._gauge("start_time", "unix seconds", [({}, self._started)])
        for name, help_, kind, subject, scale in _FROM_STORE:
            value = self._store.latest(kind, subject, 0)
            if value is not None:
                yield self._gauge(name, help_, [({}, value * scale)])
        yield from self._suppression()
        rounds = CounterMetricFamily("koordlet_rounds", "rounds of the agent's loop", labels=["node"])
        rounds.add_metric([self._node], self._agent.rounds)
        yield rounds

    def _suppression(self) -> Iterator[Metric]:
        view = self._agent.view
        if self._suppress is None or self._suppress.last is None or view is None:
            return
        yield self._gauge(
            "be_suppress_ls_used_cpu_cores", "CPU of pods that are not best-effort", [({}, self._suppress.last.pods_non_be)]
        )
        if self._suppress.policy == "cfsQuota" and view.tier.quota is not None and view.tier.quota > 0:
            cores = view.tier.quota / 100_000
        elif self._suppress.policy != "cfsQuota" and view.tier.cpus is not None:
            cores = float(len(view.tier.cpus))
        else:
            return
        yield self._gauge(
            "be_suppress_cpu_cores", "CPU that best-effort pods may use", [({"type": self._suppress.policy}, cores)]
        )

    def _gauge(self, name: str, help_: str, samples: Iterable[tuple[dict[str, str], float]]) -> Metric:
        rows = list(samples)
        family = GaugeMetricFamily(f"koordlet_{name}", help_, labels=["node", *rows[0][0]])
        for labels, value in rows:
            family.add_metric([self._node, *labels.values()], value)
        return family


_FROM_STORE = (
    ("node_used_cpu_cores", "CPU that the node uses", NODE_CPU, "", 1.0),
    ("node_used_memory_bytes", "memory that the node uses", NODE_MEMORY, "", 1.0),
    ("be_suppress_be_used_cpu_cores", "CPU of best-effort pods", NODE_BE, "usage", 0.001),
)


class Metrics:
    """One registry; ``text`` is what a scrape gets."""

    def __init__(self, gauges: Gauges) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(gauges)
        self._updates = Histogram(
            "koordlet_resource_update_duration_milliseconds",
            "time to bring one file to its value",
            ["type", "status"],
            buckets=_UPDATE_MS,
            registry=self._registry,
        )
        self._requests = Histogram(
            "koordlet_kubelet_request_duration_seconds",
            "time of one request to the kubelet",
            ["verb", "path", "code"],
            buckets=_REQUEST_SECONDS,
            registry=self._registry,
        )

    def update(self, milliseconds: float, succeeded: bool) -> None:
        self._updates.labels("cgroup", "success" if succeeded else "failed").observe(milliseconds)

    def kubelet_request(self, seconds: float, code: int) -> None:
        self._requests.labels("get", "/pods/", str(code)).observe(seconds)

    def text(self) -> bytes:
        return generate_latest(self._registry)
