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

    resources: Quantities | None = None  #: By name.
    devices: list[DeviceInfo] | None = None  #: With their own amounts.


class AggregatedUsage(Struct):
    """Usage by aggregation type (``avg p99 p95 p90 p50``) over one duration (Go form, ``5m0s``)."""

    usage: dict[str, ResourceMap] | None = None  #: By avg, p99, p95, p90 and p50.
    duration: DurationText = always("0s")  #: The window.


class NUMANodeUsage(Struct):
    """Usage within one NUMA zone."""

    numa_node_id: Annotated[Int32, REQUIRED] = msgspec.field(default_factory=lambda: 0, name="numaNodeID")  #: The zone.
    node_usage: ResourceMap = msgspec.field(default_factory=ResourceMap)  #: All of it.
    system_usage: ResourceMap = msgspec.field(default_factory=ResourceMap)  #: What is neither pods nor host applications.


class NodeMetricInfo(Struct):
    """The node's usage as a whole; system usage is what neither pods nor host applications account for."""

    node_usage: ResourceMap = msgspec.field(default_factory=ResourceMap)  #: All of it.
    aggregated_node_usages: list[AggregatedUsage] | None = None  #: The same over longer windows.
    system_usage: ResourceMap = msgspec.field(default_factory=ResourceMap)  #: What is neither pods nor host applications.
    aggregated_system_usages: list[AggregatedUsage] | None = None  #: The same over longer windows.
    numa_usages: list[NUMANodeUsage] | None = None  #: By NUMA zone.


class PodMetricInfo(Struct):
    """One pod's usage, with the priority band and QoS class that it counts under."""

    name: str = ""  #: The pod.
    namespace: str = ""  #: Its namespace.
    pod_usage: ResourceMap = msgspec.field(default_factory=ResourceMap)  #: Its usage.
    priority: str = ""  #: Its priority band.
    qos: str = ""  #: Its QoS class.
    extensions: dict[str, Any] | None = None  #: For third parties.


class HostApplicationMetricInfo(Struct):
    """Usage of a process group outside Kubernetes."""

    name: str = ""  #: The application.
    usage: ResourceMap = msgspec.field(default_factory=ResourceMap)  #: Its usage.
    priority: str = ""  #: Its priority band.
    qos: str = ""  #: Its QoS class.


class ReclaimableMetric(Struct):
    """A predicted amount."""

    resource: ResourceMap = msgspec.field(default_factory=ResourceMap)  #: The amount.


class AggregatePolicy(Struct):
    """Durations over which usage is aggregated."""

    durations: list[DurationText] | None = None  #: Such as 5m0s.


class MetricCollectPolicy(Struct):
    """How koordlet is to collect and report."""

    aggregate_duration_seconds: int | None = None  #: Window of the usage that is reported.
    report_interval_seconds: int | None = None  #: How often it is reported.
    node_aggregate_policy: AggregatePolicy | None = None  #: Longer windows.
    node_memory_collect_policy: Annotated[str, schema(enum=MEMORY_POLICIES)] | None = None  #: Which memory counts as used.


class NodeMetricSpec(Struct):
    metric_collect_policy: MetricCollectPolicy | None = None  #: Written by koord-manager.


class NodeMetricStatus(Struct):
    update_time: TimeText | None = None  #: When it was reported.
    node_metric: NodeMetricInfo | None = None  #: The node.
    pods_metric: list[PodMetricInfo] | None = None  #: Every pod.
    host_application_metric: list[HostApplicationMetricInfo] | None = None  #: Every host application.
    prod_reclaimable_metric: ReclaimableMetric | None = None  #: What prod pods are predicted not to need.
    prod_peak_metric: ReclaimableMetric | None = None  #: What prod pods are predicted to need, margins and system included.


class NodeMetric(Object):
    """What koordlet reports of its node; named like the node."""

    spec: NodeMetricSpec = msgspec.field(default_factory=NodeMetricSpec)
    status: NodeMetricStatus = msgspec.field(default_factory=NodeMetricStatus)


class NodeSLOSpec(Struct):
    """The strategies that koord-manager resolved for the node; koordlet completes them with the defaults."""

    #: Squeezing and evicting low-priority work.
    resource_used_threshold_with_be: ResourceThresholdStrategy | None = msgspec.field(
        default=None, name="resourceUsedThresholdWithBE"
    )
    #: By QoS class.
    resource_qos_strategy: ResourceQOSStrategy | None = msgspec.field(default=None, name="resourceQOSStrategy")
    cpu_burst_strategy: CPUBurstStrategy | None = None  #: CPU bursts.
    system_strategy: SystemStrategy | None = None  #: Kernel settings.
    extensions: dict[str, Any] | None = None  #: For third parties.
    host_applications: list[HostApplication] | None = None  #: Process groups outside Kubernetes.


class NodeSLO(Object):
    """How one node is guarded; named like the node."""

    spec: NodeSLOSpec = msgspec.field(default_factory=NodeSLOSpec)
