"""slo.koordinator.sh/v1alpha1: what koordlet reports (NodeMetric) and how a node is guarded (NodeSLO)."""

from typing import Annotated, Any

import msgspec

from koordinator.api.core import Quantities
from koordinator.api.device import DeviceInfo
from koordinator.api.meta import REQUIRED, DurationText, Int32, Object, Struct, TimeText, always, schema
from koordinator.api.strategies import (
    CPUBurstStrategy,
    HostApplication,
    ResourceQOSStrategy,
    ResourceThresholdStrategy,
    SystemStrategy,
)

MEMORY_POLICIES = ["usageWithoutPageCache", "usageWithHotPageCache", "usageWithPageCache"]


class ResourceMap(Struct):
    """Amounts by resource name, and devices with theirs."""

    resources: Quantities | None = None
    devices: list[DeviceInfo] | None = None


class AggregatedUsage(Struct):
    """Usage by aggregation type (``avg p99 p95 p90 p50``) over one duration (Go form, ``5m0s``)."""

    usage: dict[str, ResourceMap] | None = None
    duration: DurationText = always("0s")


class NUMANodeUsage(Struct):
    """Usage within one NUMA zone."""

    numa_node_id: Annotated[Int32, REQUIRED] = msgspec.field(default_factory=lambda: 0, name="numaNodeID")
    node_usage: ResourceMap = msgspec.field(default_factory=ResourceMap)
    system_usage: ResourceMap = msgspec.field(default_factory=ResourceMap)


class NodeMetricInfo(Struct):
    """The node's usage as a whole; system usage is what neither pods nor host applications account for."""

    node_usage: ResourceMap = msgspec.field(default_factory=ResourceMap)
    aggregated_node_usages: list[AggregatedUsage] | None = None
    system_usage: ResourceMap = msgspec.field(default_factory=ResourceMap)
    aggregated_system_usages: list[AggregatedUsage] | None = None
    numa_usages: list[NUMANodeUsage] | None = None


class PodMetricInfo(Struct):
    """One pod's usage, with the priority band and QoS class that it counts under."""

    name: str = ""
    namespace: str = ""
    pod_usage: ResourceMap = msgspec.field(default_factory=ResourceMap)
    priority: str = ""
    qos: str = ""
    extensions: dict[str, Any] | None = None


class HostApplicationMetricInfo(Struct):
    """Usage of a process group outside Kubernetes."""

    name: str = ""
    usage: ResourceMap = msgspec.field(default_factory=ResourceMap)
    priority: str = ""
    qos: str = ""


class ReclaimableMetric(Struct):
    """A predicted amount."""

    resource: ResourceMap = msgspec.field(default_factory=ResourceMap)


class AggregatePolicy(Struct):
    """Durations over which usage is aggregated."""

    durations: list[DurationText] | None = None


class MetricCollectPolicy(Struct):
    """How koordlet is to collect and report."""

    aggregate_duration_seconds: int | None = None
    report_interval_seconds: int | None = None
    node_aggregate_policy: AggregatePolicy | None = None
    node_memory_collect_policy: Annotated[str, schema(enum=MEMORY_POLICIES)] | None = None


class NodeMetricSpec(Struct):
    metric_collect_policy: MetricCollectPolicy | None = None


class NodeMetricStatus(Struct):
    update_time: TimeText | None = None
    node_metric: NodeMetricInfo | None = None
    pods_metric: list[PodMetricInfo] | None = None
    host_application_metric: list[HostApplicationMetricInfo] | None = None
    prod_reclaimable_metric: ReclaimableMetric | None = None
    prod_peak_metric: ReclaimableMetric | None = None


class NodeMetric(Object):
    """What koordlet reports of its node; named like the node."""

    spec: NodeMetricSpec = msgspec.field(default_factory=NodeMetricSpec)
    status: NodeMetricStatus = msgspec.field(default_factory=NodeMetricStatus)


class NodeSLOSpec(Struct):
    """The strategies that koord-manager resolved for the node; koordlet completes them with the defaults."""

    resource_used_threshold_with_be: ResourceThresholdStrategy | None = msgspec.field(
        default=None, name="resourceUsedThresholdWithBE"
    )
    resource_qos_strategy: ResourceQOSStrategy | None = msgspec.field(default=None, name="resourceQOSStrategy")
    cpu_burst_strategy: CPUBurstStrategy | None = None
    system_strategy: SystemStrategy | None = None
    extensions: dict[str, Any] | None = None
    host_applications: list[HostApplication] | None = None


class NodeSLO(Object):
    """How one node is guarded; named like the node."""

    spec: NodeSLOSpec = msgspec.field(default_factory=NodeSLOSpec)
