"""slo.koordinator.sh/v1alpha1: what koordlet reports (NodeMetric) and how a node is guarded (NodeSLO)."""

from typing import Any

import msgspec

from koordinator.api.core import Quantities
from koordinator.api.meta import Object, Struct
from koordinator.api.strategies import (
    CPUBurstStrategy,
    HostApplication,
    ResourceQOSStrategy,
    ResourceThresholdStrategy,
    SystemStrategy,
)


class ResourceMap(Struct):
    resources: Quantities | None = None


class AggregatedUsage(Struct):
    """Usage by aggregation type (``avg p99 p95 p90 p50``) over one duration (Go form, ``5m0s``)."""

    usage: dict[str, ResourceMap] | None = None
    duration: str = "0s"


class NodeMetricInfo(Struct):
    node_usage: ResourceMap = msgspec.field(default_factory=ResourceMap)
    aggregated_node_usages: list[AggregatedUsage] | None = None
    system_usage: ResourceMap = msgspec.field(default_factory=ResourceMap)
    aggregated_system_usages: list[AggregatedUsage] | None = None


class PodMetricInfo(Struct):
    name: str = ""
    namespace: str = ""
    pod_usage: ResourceMap = msgspec.field(default_factory=ResourceMap)
    priority: str = ""
    qos: str = ""


class HostApplicationMetricInfo(Struct):
    name: str = ""
    usage: ResourceMap = msgspec.field(default_factory=ResourceMap)
    priority: str = ""
    qos: str = ""


class ReclaimableMetric(Struct):
    resource: ResourceMap = msgspec.field(default_factory=ResourceMap)


class AggregatePolicy(Struct):
    durations: list[str] | None = None


class MetricCollectPolicy(Struct):
    aggregate_duration_seconds: int | None = None
    report_interval_seconds: int | None = None
    node_aggregate_policy: AggregatePolicy | None = None
    node_memory_collect_policy: str | None = None


class NodeMetricSpec(Struct):
    metric_collect_policy: MetricCollectPolicy | None = None


class NodeMetricStatus(Struct):
    update_time: str | None = None
    node_metric: NodeMetricInfo | None = None
    pods_metric: list[PodMetricInfo] | None = None
    host_application_metric: list[HostApplicationMetricInfo] | None = None
    prod_reclaimable_metric: ReclaimableMetric | None = None
    prod_peak_metric: ReclaimableMetric | None = None


class NodeMetric(Object):
    spec: NodeMetricSpec = msgspec.field(default_factory=NodeMetricSpec)
    status: NodeMetricStatus = msgspec.field(default_factory=NodeMetricStatus)


class NodeSLOSpec(Struct):
    resource_used_threshold_with_be: ResourceThresholdStrategy | None = msgspec.field(
        default=None, name="resourceUsedThresholdWithBE"
    )
    resource_qos_strategy: ResourceQOSStrategy | None = msgspec.field(default=None, name="resourceQOSStrategy")
    cpu_burst_strategy: CPUBurstStrategy | None = None
    system_strategy: SystemStrategy | None = None
    extensions: dict[str, Any] | None = None
    host_applications: list[HostApplication] | None = None


class NodeSLO(Object):
    spec: NodeSLOSpec = msgspec.field(default_factory=NodeSLOSpec)
