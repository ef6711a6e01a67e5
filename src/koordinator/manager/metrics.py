"""The manager's own metrics, under the names that dashboards and alerts know."""

from koordinator.api.resources import BATCH_CPU

_BUCKETS = tuple(0.001 * 2**power for power in range(20))


class Metrics:
    """One registry per manager, so that several can live in one process."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Gauge, Histogram

        self.registry: CollectorRegistry = CollectorRegistry()
        self._nodes: dict[str, set[tuple[str, str, str]]] = {}
        self._extended = Gauge(
            "slo_controller_node_extended_resource_allocatable_internal",
            "Extended resources as last calculated",
            ["node", "resource", "unit"],
            registry=self.registry,
        )
        self._webhooks = Histogram(
            "koord_manager_webhook_webhook_duration_milliseconds",
            "Duration of a webhook's step",
            ["webhook_type", "object_type", "operation", "plugin_name", "status"],
            buckets=_BUCKETS,
            registry=self.registry,
        )

    def node_resources(self, node: str, resources: dict[str, int | None]) -> None:
        """Batch CPU in cores, mid CPU in milli-cores (as dashboards know it), memory in bytes; nothing for what is not sold."""
        for name, number in resources.items():
            labels = (node, name, "byte" if name.endswith("memory") else "integer")
            if number is not None:
                self._nodes.setdefault(node, set()).add(labels)
                self._extended.labels(*labels).set(number / 1000 if name == BATCH_CPU else number)
            elif labels in self._nodes.get(node, ()):
                self._nodes[node].remove(labels)
                self._extended.remove(*labels)

    def node_gone(self, node: str) -> None:
        for labels in self._nodes.pop(node, ()):
            self._extended.remove(*labels)

    def webhook_step(self, kind: str, operation: str, plugin: str, *, allowed: bool, seconds: float) -> None:
        status = "allowed" if allowed else "rejected"
        self._webhooks.labels(kind, "pod", operation, plugin, status).observe(seconds * 1000)

    def text(self) -> bytes:
        from prometheus_client import generate_latest

        return generate_latest(self.registry)
