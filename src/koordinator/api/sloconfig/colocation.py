"""``colocation-config``: how much of a node's unused resources is sold to batch and mid pods."""

from typing import Any

import msgspec

from koordinator.api.meta import DurationText, LabelSelector, Struct


class AggregatePolicy(Struct):
    """Durations over which usage is aggregated."""

    durations: list[DurationText] | None = None


class ColocationStrategy(Struct):
    """Field order is wire order. Absent fields keep what the strategy below says."""

    enable: bool | None = None
    metric_aggregate_duration_seconds: int | None = None
    metric_report_interval_seconds: int | None = None
    metric_aggregate_policy: AggregatePolicy | None = None
    metric_memory_collect_policy: str | None = None
    cpu_reclaim_threshold_percent: int | None = None
    cpu_calculate_policy: str | None = None
    memory_reclaim_threshold_percent: int | None = None
    memory_calculate_policy: str | None = None
    degrade_time_minutes: int | None = None
    update_time_threshold_seconds: int | None = None
    resource_diff_threshold: float | None = None
    mid_reclaim_mode: str | None = None
    mid_cpu_threshold_percent: int | None = msgspec.field(default=None, name="midCPUThresholdPercent")
    mid_memory_threshold_percent: int | None = None
    mid_unallocated_percent: int | None = None
    mid_static_cpu_reserved_percent: int | None = msgspec.field(default=None, name="midStaticCPUReservedPercent")
    mid_static_memory_reserved_percent: int | None = None
    batch_cpu_threshold_percent: int | None = msgspec.field(default=None, name="batchCPUThresholdPercent")
    batch_memory_threshold_percent: int | None = None
    extensions: dict[str, Any] | None = None


class NodeColocation(ColocationStrategy):
    """A strategy for the nodes that the selector matches."""

    name: str = ""
    node_selector: LabelSelector | None = None


class ColocationConfig(ColocationStrategy):
    """The whole key: the cluster's strategy and, first match first, the exceptions."""

    node_configs: list[NodeColocation] | None = None


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
