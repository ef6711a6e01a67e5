"""How a node is guarded: the strategies of the ``slo-controller-config`` ConfigMap and of NodeSLO objects.

Every field is optional, so that a strategy can be laid over another one (``api.sloconfig.overlay``). Field order is wire order.
"""

from typing import Annotated, Any

import msgspec

from koordinator.api.core import QuantityText
from koordinator.api.meta import Int32, IntOrString, Percent, Struct, always, bounded, schema

NotNegative = Annotated[int, bounded(0)]
Positive = Annotated[int, bounded(1)]
Switch = Annotated[int, bounded(0, 1)]


class ResourceThresholdStrategy(Struct):
    """When best-effort and low-priority work is squeezed or evicted (``resource-threshold-config``)."""

    enable: bool | None = None
    cpu_suppress_threshold_percent: Percent | None = None
    cpu_suppress_min_percent: Percent | None = None
    cpu_suppress_policy: str = ""
    memory_evict_threshold_percent: Percent | None = None
    memory_evict_lower_percent: Percent | None = None
    memory_allocatable_evict_threshold_percent: NotNegative | None = None
    memory_allocatable_evict_lower_percent: NotNegative | None = None
    cpu_evict_be_satisfaction_upper_percent: int | None = msgspec.field(default=None, name="cpuEvictBESatisfactionUpperPercent")
    cpu_evict_be_satisfaction_lower_percent: int | None = msgspec.field(default=None, name="cpuEvictBESatisfactionLowerPercent")
    cpu_evict_be_usage_threshold_percent: int | None = msgspec.field(default=None, name="cpuEvictBEUsageThresholdPercent")
    cpu_evict_time_window_seconds: int | None = None
    cpu_evict_threshold_percent: Percent | None = None
    cpu_evict_lower_percent: Percent | None = None
    cpu_allocatable_evict_threshold_percent: NotNegative | None = None
    cpu_allocatable_evict_lower_percent: NotNegative | None = None
    cpu_evict_policy: str = ""
    evict_enabled_priority_threshold: Int32 | None = None
    allocatable_evict_priority_threshold: Annotated[Int32, bounded(0, 7999)] | None = None


class CPUQOS(Struct):
    """A class's weight in the kernel's group identity or core scheduling."""

    enable: bool | None = None
    group_identity: Annotated[int, bounded(-1, 2)] | None = None
    sched_idle: Switch | None = None
    core_expeller: bool | None = None


class MemoryQOS(Struct):
    """memcg protection, reclaim and OOM behaviour of a class."""

    enable: bool | None = None
    min_limit_percent: NotNegative | None = None
    low_limit_percent: NotNegative | None = None
    throttling_percent: NotNegative | None = None
    wmark_ratio: Percent | None = None
    wmark_scale_permill: Annotated[int, bounded(1, 1000)] | None = None
    wmark_min_adj: Annotated[int, bounded(-25, 50)] | None = None
    page_cache_enable: bool | None = None
    page_cache_limit_percent: Percent | None = None
    page_cache_limit_size: int | None = None
    page_cache_reclaim_sync: bool | None = None
    priority_enable: Switch | None = None
    priority: Annotated[int, bounded(0, 12)] | None = None
    oom_kill_group: Switch | None = None


class IOConfig(Struct):
    """Limits of one block device; 0 is off."""

    read_iops: NotNegative | None = msgspec.field(default=None, name="readIOPS")
    write_iops: NotNegative | None = msgspec.field(default=None, name="writeIOPS")
    read_bps: NotNegative | None = msgspec.field(default=None, name="readBPS")
    write_bps: NotNegative | None = msgspec.field(default=None, name="writeBPS")
    io_weight_percent: Annotated[int, bounded(1, 100)] | None = msgspec.field(default=None, name="ioWeightPercent")
    read_latency: NotNegative | None = None
    write_latency: NotNegative | None = None
    read_latency_percent: Percent | None = None
    write_latency_percent: Percent | None = None
    enable_user_model: bool | None = None
    model_read_bps: Positive | None = msgspec.field(default=None, name="modelReadBPS")
    model_write_bps: Positive | None = msgspec.field(default=None, name="modelWriteBPS")
    model_read_seq_iops: Positive | None = msgspec.field(default=None, name="modelReadSeqIOPS")
    model_write_seq_iops: Positive | None = msgspec.field(default=None, name="modelWriteSeqIOPS")
    model_read_rand_iops: Positive | None = msgspec.field(default=None, name="modelReadRandIOPS")
    model_write_rand_iops: Positive | None = msgspec.field(default=None, name="modelWriteRandIOPS")


class Block(Struct):
    """One device, volume group or pod volume."""

    name: str = ""
    type: str = ""
    io_cfg: IOConfig = msgspec.field(default_factory=IOConfig)


class BlkIOQOS(Struct):
    enable: bool | None = None
    blocks: list[Block] | None = None


class ResctrlQOS(Struct):
    """Cache ways and memory bandwidth of a class."""

    enable: bool | None = None
    cat_range_start_percent: Percent | None = None
    cat_range_end_percent: Percent | None = None
    mba_percent: Percent | None = None


class NetworkQOS(Struct):
    """Bandwidth of a class: an integer is a percent of the node's, a text a quantity in bit/s."""

    enable: bool | None = None
    ingress_request: Annotated[IntOrString, schema(default=0)] | None = None
    ingress_limit: Annotated[IntOrString, schema(default=100)] | None = None
    egress_request: Annotated[IntOrString, schema(default=0)] | None = None
    egress_limit: Annotated[IntOrString, schema(default=100)] | None = None


class ResourceQOS(Struct):
    """Everything that one QoS class gets."""

    cpu_qos: CPUQOS | None = msgspec.field(default=None, name="cpuQOS")
    memory_qos: MemoryQOS | None = msgspec.field(default=None, name="memoryQOS")
    blkio_qos: BlkIOQOS | None = msgspec.field(default=None, name="blkioQOS")
    resctrl_qos: ResctrlQOS | None = msgspec.field(default=None, name="resctrlQOS")
    network_qos: NetworkQOS | None = msgspec.field(default=None, name="networkQOS")


class ResourceQOSPolicies(Struct):
    cpu_policy: str | None = None
    net_qos_policy: str | None = msgspec.field(default=None, name="netQOSPolicy")


class ResourceQOSStrategy(Struct):
    """Per QoS class (``resource-qos-config``)."""

    policies: ResourceQOSPolicies | None = None
    lsr_class: ResourceQOS | None = None
    ls_class: ResourceQOS | None = None
    be_class: ResourceQOS | None = None
    system_class: ResourceQOS | None = None
    cgroup_root: ResourceQOS | None = None


class CPUBurstConfig(Struct):
    """What a pod may say for itself (annotation ``koordinator.sh/cpuBurst``)."""

    policy: str = ""
    cpu_burst_percent: Annotated[int, bounded(0, 10000)] | None = msgspec.field(default=None, name="cpuBurstPercent")
    cfs_quota_burst_percent: int | None = msgspec.field(default=None, name="cfsQuotaBurstPercent")
    cfs_quota_burst_period_seconds: int | None = msgspec.field(default=None, name="cfsQuotaBurstPeriodSeconds")


class CPUBurstStrategy(CPUBurstConfig):
    """CPU bursts of latency-sensitive pods (``cpu-burst-config``)."""

    share_pool_threshold_percent: int | None = None


class SystemStrategy(Struct):
    """Kernel settings of the whole node (``system-config``)."""

    min_free_kbytes_factor: int | None = None
    watermark_scale_factor: int | None = None
    memcg_reap_back_ground: int | None = None
    sched_group_identity_enabled: int | None = None
    sched_idle_saver_wmark: int | None = None
    sched_features: dict[str, bool] | None = None
    page_cache_limit_enabled: int | None = None
    total_network_bandwidth: QuantityText = always("0")


class CgroupPath(Struct):
    """``base`` is CgroupRoot, Kubepods, KubepodsBurstable or KubepodsBesteffort."""

    base: str = ""
    parent_dir: str = ""
    relative_path: str = ""


class HostApplication(Struct):
    """A process group outside Kubernetes that takes part in co-location (``host-application-config``)."""

    name: str = ""
    priority: str = ""
    qos: str = ""
    cgroup_path: CgroupPath | None = None
    strategy: dict[str, Any] | None = None
