"""``colocation-config``: how much of a node's unused resources is sold to batch and mid pods."""

from typing import Any

import msgspec

from koordinator.api.meta import DurationText, LabelSelector, Struct


class AggregatePolicy(Struct):
    """Durations over which usage is aggregated."""

    durations: list[DurationText] | None = None  #: Such as 5m0s.


class ColocationStrategy(Struct):
    """Field order is wire order. Absent fields keep what the strategy below says."""

    enable: bool | None = None  #: Whether nodes sell unused resources at all.
    metric_aggregate_duration_seconds: int | None = None  #: Window of the usage that koordlet reports.
    metric_report_interval_seconds: int | None = None  #: How often koordlet reports.
    metric_aggregate_policy: AggregatePolicy | None = None  #: Longer windows, with percentiles.
    metric_memory_collect_policy: str | None = None  #: usageWithoutPageCache, usageWithHotPageCache or usageWithPageCache.
    cpu_reclaim_threshold_percent: int | None = None  #: Share of the node's CPU that may be used in all, batch pods included.
    cpu_calculate_policy: str | None = None  #: usage: what is not used may be sold; maxUsageRequest: nor what is requested.
    memory_reclaim_threshold_percent: int | None = None  #: Share of the node's memory that may be used in all.
    memory_calculate_policy: str | None = None  #: usage, request or maxUsageRequest.
    degrade_time_minutes: int | None = None  #: Age of a report from which on the node sells nothing.
    update_time_threshold_seconds: int | None = None  #: After which the node is updated even when little changed.
    resource_diff_threshold: float | None = None  #: Relative change from which on the node is updated at once.
    mid_reclaim_mode: str | None = None  #: static: mid resources are a fixed share instead of what is predicted to stay free.
    #: Most of the node's CPU that mid pods may get.
    mid_cpu_threshold_percent: int | None = msgspec.field(default=None, name="midCPUThresholdPercent")
    mid_memory_threshold_percent: int | None = None  #: Most of the node's memory that mid pods may get.
    mid_unallocated_percent: int | None = None  #: Share of what no prod pod requests that mid pods get on top.
    #: CPU share in static mode.
    mid_static_cpu_reserved_percent: int | None = msgspec.field(default=None, name="midStaticCPUReservedPercent")
    mid_static_memory_reserved_percent: int | None = None  #: Memory share in static mode.
    #: Most of the node's CPU that batch pods may get.
    batch_cpu_threshold_percent: int | None = msgspec.field(default=None, name="batchCPUThresholdPercent")
    batch_memory_threshold_percent: int | None = None  #: Most of the node's memory that batch pods may get.
    extensions: dict[str, Any] | None = None  #: For third parties.


class NodeColocation(ColocationStrategy):
    """A strategy for the nodes that the selector matches."""

    name: str = ""  #: The entry's name.
    node_selector: LabelSelector | None = None  #: Nodes that the entry is for; absent is none, empty is all.


class ColocationConfig(ColocationStrategy):
    """The whole key: the cluster's strategy and, first match first, the exceptions."""

    node_configs: list[NodeColocation] | None = None  #: Exceptions; the first that matches a node counts.


DEFAULT = ColocationStrategy(
    enable=False,
    metric_aggregate_duration_seconds=300,
    metric_report_interval_seconds=60,
    metric_aggregate_policy=AggregatePolicy(durations=["5m0s", "10m0s", "30m0s"]),
    metric_memory_collect_policy="usageWithoutPageCache",
    cpu_reclaim_threshold_percent=60,
    cpu_calculate_policy="usage",
    memory_reclaim_threshold_percent=65,
    memory_calculate_policy="usage",
    degrade_time_minutes=15,
    update_time_threshold_seconds=300,
    resource_diff_threshold=0.1,
    mid_cpu_threshold_percent=100,
    mid_memory_threshold_percent=100,
    mid_unallocated_percent=0,
    mid_static_cpu_reserved_percent=0,
    mid_static_memory_reserved_percent=0,
)
