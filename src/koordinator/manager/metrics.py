"""The manager's own metrics, under the names that dashboards and alerts know."""

from typing import TYPE_CHECKING, NamedTuple, Protocol

from koordinator.api.resources import BATCH_CPU
from koordinator.clock import Clock
from koordinator.kube.metrics import Tally

if TYPE_CHECKING:
    from prometheus_client import Gauge

_BUCKETS = tuple(0.001 * 2**power for power in range(20))
EXPIRY = 300.0
"""Seconds after which a node's numbers that nobody renewed are no longer shown."""

PREPARE, RESET, CALCULATE = "NodePrepare", "ResourceReset", "ResourceCalculate"


class Count(Protocol):
    """Told what a plugin's phase came to."""

    def __call__(self, plugin: str, phase: str, *, ok: bool, number: int = 1) -> None: ...


def uncounted(plugin: str, phase: str, *, ok: bool, number: int = 1) -> None:
    """Nobody wants to know."""


class CountReconcile(Protocol):
    """Told what a reconciliation came to: of which counter ``slo_controller_<what>_count``, under which reason."""

    def __call__(self, what: str, reason: str, *, ok: bool) -> None: ...


def uncounted_reconcile(what: str, reason: str, *, ok: bool) -> None:
    """Nobody wants to know."""


class Counter(NamedTuple):
    """A counter under exactly its name: the library appends ``_total`` to names of counters, the protocol's mostly do not."""

    name: str
    about: str
    labels: list[str]
    tally: Tally

    def text(self) -> str:
        lines = [f"# HELP {self.name} {self.about}", f"# TYPE {self.name} counter"]
        for values, number in self.tally.items():
            labels = ",".join(f'{label}="{value}"' for label, value in zip(self.labels, values, strict=True))
            lines.append(f"{self.name}{{{labels}}} {float(number)}")
        return "\n".join(lines) + "\n"


class Counts:
    """What the node writer counts; this one forgets it."""

    def plugin(self, plugin: str, phase: str, *, ok: bool, number: int = 1) -> None: ...

    def reconcile(self, reason: str, *, ok: bool) -> None: ...


UNCOUNTED = Counts()


class Metrics(Counts):
    """One registry per manager, so that several can live in one process."""

    def __init__(self, clock: Clock) -> None:
        from prometheus_client import CollectorRegistry, Histogram

        self._clock = clock
        self._counters: list[Counter] = []
        self.registry: CollectorRegistry = CollectorRegistry()
        self._nodes: dict[str, dict[tuple[str, str, str], float]] = {}
        self._weights: dict[str, set[tuple[str, str]]] = {}
        self._extended = self._gauge(
            "slo_controller_node_extended_resource_allocatable_internal",
            "Extended resources as last calculated",
            "node resource unit",
        )
        self._webhooks = Histogram(
            "koord_manager_webhook_webhook_duration_milliseconds",
            "Duration of a webhook's step",
            ["webhook_type", "object_type", "operation", "plugin_name", "status"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self._plugins = self._counter(
            "slo_controller_node_resource_run_plugin_status", "Phases of plugins", "plugin status reason"
        )
        self._reconciles = {
            name: self._counter(f"slo_controller_{name}_count", "Reconciliations by outcome", "status reason")
            for name in (
                "node_resource_reconcile",
                "nodemetric_reconcile",
                "nodemetric_spec_parse",
                "nodeslo_reconcile",
                "nodeslo_spec_parse",
            )
        }
        self._weight = self._gauge(
            "koord_manager_webhook_quota_shared_weight", "Shared weight as filled in", "elasticquota_name resource_name"
        )
        self._bindings = self._counter(
            "koord_manager_webhook_binding_admission_decisions_total", "Decisions about bindings", "decision"
        )
        self._leader = self._gauge("koordinator_manager_is_leader", "Whether this replica runs the controllers", "")
        self._leader.set(0)

    def _gauge(self, name: str, about: str, labels: str) -> "Gauge":
        from prometheus_client import Gauge

        return Gauge(name, about, labels.split(), registry=self.registry)

    def _counter(self, name: str, about: str, labels: str) -> Tally:
        counter = Counter(name, about, labels.split(), Tally())
        self._counters.append(counter)
        return counter.tally

    # --- nodes -------------------------------------------------------------------------------------------------------------

    def node_resources(self, node: str, resources: dict[str, int | None]) -> None:
        """Batch CPU in cores, mid CPU in milli-cores (as dashboards know it), memory in bytes; nothing for what is not sold."""
        known = self._nodes.setdefault(node, {})
        for name, number in resources.items():
            labels = (node, name, "byte" if name.endswith("memory") else "integer")
            if number is not None:
                known[labels] = self._clock.monotonic()
                self._extended.labels(*labels).set(number / 1000 if name == BATCH_CPU else number)
            elif known.pop(labels, None) is not None:
                self._extended.remove(*labels)

    def node_gone(self, node: str) -> None:
        for labels in self._nodes.pop(node, ()):
            self._extended.remove(*labels)

    def _expire(self) -> None:
        """Done when somebody looks."""
        limit = self._clock.monotonic() - EXPIRY
        for known in self._nodes.values():
            for labels in [labels for labels, renewed in known.items() if renewed < limit]:
                del known[labels]
                self._extended.remove(*labels)

    def plugin(self, plugin: str, phase: str, *, ok: bool, number: int = 1) -> None:
        self._plugins.add((plugin, _status(ok=ok), phase), number)

    def reconcile(self, reason: str, *, ok: bool) -> None:
        """Of node resources."""
        self.reconciled("node_resource_reconcile", reason, ok=ok)

    def reconciled(self, what: str, reason: str, *, ok: bool) -> None:
        """Of one of ``slo_controller_<what>_count``."""
        self._reconciles[what].add((_status(ok=ok), reason))

    # --- webhooks ----------------------------------------------------------------------------------------------------------

    def webhook_step(self, kind: str, operation: str, plugin: str, *, allowed: bool, seconds: float) -> None:
        """A step of a pod's webhook."""
        self.webhook(kind, "pod", operation, plugin, allowed=allowed, seconds=seconds)

    def webhook(self, kind: str, obj: str, operation: str, plugin: str, *, allowed: bool, seconds: float) -> None:
        status = "allowed" if allowed else "rejected"
        self._webhooks.labels(kind, obj, operation, plugin, status).observe(seconds * 1000)

    def binding_decision(self, decision: str) -> None:
        self._bindings.add((decision,))

    def shared_weight(self, quota: str, weights: dict[str, float]) -> None:
        self.quota_gone(quota)
        self._weights[quota] = {(quota, name) for name in weights}
        for name, number in weights.items():
            self._weight.labels(quota, name).set(number)

    def quota_gone(self, quota: str) -> None:
        for labels in self._weights.pop(quota, ()):
            self._weight.remove(*labels)

    # --- the process -------------------------------------------------------------------------------------------------------

    def leading(self, *, now: bool) -> None:
        self._leader.set(int(now))

    def text(self) -> bytes:
        from prometheus_client import generate_latest

        self._expire()
        return generate_latest(self.registry) + "".join(map(Counter.text, self._counters)).encode()


def _status(*, ok: bool) -> str:
    return "succeeded" if ok else "failed"
