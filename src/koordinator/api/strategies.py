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

    enable: bool | None = None  #: Whether low-priority work is squeezed and evicted at all.
    cpu_suppress_threshold_percent: Percent | None = None  #: Node CPU usage up to which best-effort pods may use what is left.
    cpu_suppress_min_percent: Percent | None = None  #: Share of the node's CPU that best-effort pods keep in any case.
    cpu_suppress_policy: str = ""  #: cpuset takes CPUs away, cfsQuota limits their time.
    memory_evict_threshold_percent: Percent | None = None  #: Node memory usage from which on pods are evicted.
    memory_evict_lower_percent: Percent | None = None  #: Usage at which eviction stops; the threshold less 2 where absent.
    #: Requests against allocatable of a band from which on its pods are evicted.
    memory_allocatable_evict_threshold_percent: NotNegative | None = None
    memory_allocatable_evict_lower_percent: NotNegative | None = None  #: Share at which that eviction stops.
    #: Share of their CPU request that best-effort pods should get again before eviction stops.
    cpu_evict_be_satisfaction_upper_percent: int | None = msgspec.field(default=None, name="cpuEvictBESatisfactionUpperPercent")
    #: Share of their CPU request below which best-effort pods are evicted.
    cpu_evict_be_satisfaction_lower_percent: int | None = msgspec.field(default=None, name="cpuEvictBESatisfactionLowerPercent")
    #: Usage of what they get from which on best-effort pods count as starved.
    cpu_evict_be_usage_threshold_percent: int | None = msgspec.field(default=None, name="cpuEvictBEUsageThresholdPercent")
    cpu_evict_time_window_seconds: int | None = None  #: How long that must have lasted.
    cpu_evict_threshold_percent: Percent | None = None  #: Node CPU usage from which on pods are evicted.
    cpu_evict_lower_percent: Percent | None = None  #: Usage at which eviction stops; the threshold less 2 where absent.
    #: Requests against allocatable of a band from which on its pods are evicted.
    cpu_allocatable_evict_threshold_percent: NotNegative | None = None
    cpu_allocatable_evict_lower_percent: NotNegative | None = None  #: Share at which that eviction stops.
    #: Satisfaction by what they really may use (evictByRealLimit) or by what the node sells (evictByAllocatable).
    cpu_evict_policy: str = ""
    evict_enabled_priority_threshold: Int32 | None = None  #: Highest priority that CPUEvict and MemoryEvict may take.
    #: Highest priority that the allocatable evictors may take.
    allocatable_evict_priority_threshold: Annotated[Int32, bounded(0, 7999)] | None = None


class CPUQOS(Struct):
    """A class's weight in the kernel's group identity or core scheduling."""

    enable: bool | None = None  #: Whether the parameters apply.
    #: Weight class in the kernel's scheduler, -1 is idle, 2 the most important.
    group_identity: Annotated[int, bounded(-1, 2)] | None = None
    sched_idle: Switch | None = None  #: 1 runs the class only where nothing else wants to.
    core_expeller: bool | None = None  #: Keeps lower classes off the other hyper-thread of a core.


class MemoryQOS(Struct):
    """memcg protection, reclaim and OOM behaviour of a class."""

    enable: bool | None = None  #: Whether the parameters apply.
    min_limit_percent: NotNegative | None = None  #: Share of the request that is never reclaimed.
    low_limit_percent: NotNegative | None = None  #: Share of the request that is reclaimed last.
    throttling_percent: NotNegative | None = None  #: Share of the limit at which allocation slows down.
    wmark_ratio: Percent | None = None  #: Share of the limit at which background reclaim starts; 0 is off.
    #: How much background reclaim frees, per mille of the limit.
    wmark_scale_permill: Annotated[int, bounded(1, 1000)] | None = None
    #: Shifts the global watermark for the class: negative protects it, positive makes it wait.
    wmark_min_adj: Annotated[int, bounded(-25, 50)] | None = None
    page_cache_enable: bool | None = None  #: Whether page cache is limited.
    page_cache_limit_percent: Percent | None = None  #: Page cache limit, of the memory limit.
    page_cache_limit_size: int | None = None  #: Page cache limit in bytes; wins over the percent.
    page_cache_reclaim_sync: bool | None = None  #: Reclaims page cache at once instead of in the background.
    priority_enable: Switch | None = None  #: 1 kills by priority when memory runs out.
    priority: Annotated[int, bounded(0, 12)] | None = None  #: Priority for that, 0 is killed first.
    oom_kill_group: Switch | None = None  #: 1 kills the whole group together.


class IOConfig(Struct):
    """Limits of one block device; 0 is off."""

    read_iops: NotNegative | None = msgspec.field(default=None, name="readIOPS")  #: Reads a second.
    write_iops: NotNegative | None = msgspec.field(default=None, name="writeIOPS")  #: Writes a second.
    read_bps: NotNegative | None = msgspec.field(default=None, name="readBPS")  #: Bytes read a second.
    write_bps: NotNegative | None = msgspec.field(default=None, name="writeBPS")  #: Bytes written a second.
    #: Weight against other classes.
    io_weight_percent: Annotated[int, bounded(1, 100)] | None = msgspec.field(default=None, name="ioWeightPercent")
    read_latency: NotNegative | None = None  #: Read latency to keep, in microseconds (root only).
    write_latency: NotNegative | None = None  #: Write latency to keep, in microseconds (root only).
    read_latency_percent: Percent | None = None  #: Share of reads that must keep it (root only).
    write_latency_percent: Percent | None = None  #: Share of writes that must keep it (root only).
    enable_user_model: bool | None = None  #: Whether the device model below is used (root only).
    model_read_bps: Positive | None = msgspec.field(default=None, name="modelReadBPS")  #: Model: bytes read a second.
    model_write_bps: Positive | None = msgspec.field(default=None, name="modelWriteBPS")  #: Model: bytes written a second.
    #: Model: sequential reads a second.
    model_read_seq_iops: Positive | None = msgspec.field(default=None, name="modelReadSeqIOPS")
    #: Model: sequential writes a second.
    model_write_seq_iops: Positive | None = msgspec.field(default=None, name="modelWriteSeqIOPS")
    #: Model: random reads a second.
    model_read_rand_iops: Positive | None = msgspec.field(default=None, name="modelReadRandIOPS")
    #: Model: random writes a second.
    model_write_rand_iops: Positive | None = msgspec.field(default=None, name="modelWriteRandIOPS")


class Block(Struct):
    """One device, volume group or pod volume."""

    name: str = ""  #: The device, volume group or volume.
    type: str = ""  #: device, volumegroup or podvolume.
    io_cfg: IOConfig = msgspec.field(default_factory=IOConfig)  #: Its limits.


class BlkIOQOS(Struct):
    enable: bool | None = None  #: Whether the limits apply.
    blocks: list[Block] | None = None  #: What is limited.


class ResctrlQOS(Struct):
    """Cache ways and memory bandwidth of a class."""

    enable: bool | None = None  #: Whether the parameters apply.
    cat_range_start_percent: Percent | None = None  #: Start of the class's share of last-level cache ways.
    cat_range_end_percent: Percent | None = None  #: End of the class's share of last-level cache ways.
    mba_percent: Percent | None = None  #: Memory bandwidth.


class NetworkQOS(Struct):
    """Bandwidth of a class: an integer is a percent of the node's, a text a quantity in bit/s."""

    enable: bool | None = None  #: Whether the parameters apply.
    ingress_request: Annotated[IntOrString, schema(default=0)] | None = None  #: Inbound bandwidth that is kept for the class.
    ingress_limit: Annotated[IntOrString, schema(default=100)] | None = None  #: Inbound bandwidth that the class may use.
    egress_request: Annotated[IntOrString, schema(default=0)] | None = None  #: Outbound bandwidth that is kept for the class.
    egress_limit: Annotated[IntOrString, schema(default=100)] | None = None  #: Outbound bandwidth that the class may use.


class ResourceQOS(Struct):
    """Everything that one QoS class gets."""

    cpu_qos: CPUQOS | None = msgspec.field(default=None, name="cpuQOS")  #: CPU scheduling.
    memory_qos: MemoryQOS | None = msgspec.field(default=None, name="memoryQOS")  #: Memory protection and reclaim.
    blkio_qos: BlkIOQOS | None = msgspec.field(default=None, name="blkioQOS")  #: Block devices.
    resctrl_qos: ResctrlQOS | None = msgspec.field(default=None, name="resctrlQOS")  #: Last-level cache and memory bandwidth.
    network_qos: NetworkQOS | None = msgspec.field(default=None, name="networkQOS")  #: Network bandwidth.


class ResourceQOSPolicies(Struct):
    cpu_policy: str | None = None  #: groupIdentity or coreSched.
    net_qos_policy: str | None = msgspec.field(default=None, name="netQOSPolicy")  #: tc or terway-qos.


class ResourceQOSStrategy(Struct):
    """Per QoS class (``resource-qos-config``)."""

    policies: ResourceQOSPolicies | None = None  #: By which means classes are kept apart.
    lsr_class: ResourceQOS | None = None  #: LSR, and LSE.
    ls_class: ResourceQOS | None = None  #: LS.
    be_class: ResourceQOS | None = None  #: BE.
    system_class: ResourceQOS | None = None  #: SYSTEM.
    cgroup_root: ResourceQOS | None = None  #: The node as a whole; only block devices.


class CPUBurstConfig(Struct):
    """What a pod may say for itself (annotation ``koordinator.sh/cpuBurst``)."""

    policy: str = ""  #: none, cpuBurstOnly, cfsQuotaBurstOnly or auto (both).
    #: Unused quota that may be saved up, of the limit.
    cpu_burst_percent: Annotated[int, bounded(0, 10000)] | None = msgspec.field(default=None, name="cpuBurstPercent")
    #: How far a throttled container's quota may grow, of the limit.
    cfs_quota_burst_percent: int | None = msgspec.field(default=None, name="cfsQuotaBurstPercent")
    #: How long it may stay grown; -1 is without end.
    cfs_quota_burst_period_seconds: int | None = msgspec.field(default=None, name="cfsQuotaBurstPeriodSeconds")


class CPUBurstStrategy(CPUBurstConfig):
    """CPU bursts of latency-sensitive pods (``cpu-burst-config``)."""

    share_pool_threshold_percent: int | None = None  #: Usage of the shared CPUs from which on quotas no longer grow.


class SystemStrategy(Struct):
    """Kernel settings of the whole node (``system-config``)."""

    min_free_kbytes_factor: int | None = None  #: vm.min_free_kbytes, in ten-thousandths of the node's memory.
    watermark_scale_factor: int | None = None  #: vm.watermark_scale_factor.
    memcg_reap_back_ground: int | None = None  #: Whether memory of dead cgroups is reclaimed in the background.
    sched_group_identity_enabled: int | None = None  #: kernel.sched_group_identity_enabled.
    sched_idle_saver_wmark: int | None = None  #: kernel.sched_idle_saver_wmark in nanoseconds.
    sched_features: dict[str, bool] | None = None  #: Features of the kernel's scheduler, on or off.
    page_cache_limit_enabled: int | None = None  #: Whether page cache limits work.
    total_network_bandwidth: QuantityText = always("0")  #: The node's bandwidth in bit/s.


class CgroupPath(Struct):
    """``base`` is CgroupRoot, Kubepods, KubepodsBurstable or KubepodsBesteffort."""

    base: str = ""  #: CgroupRoot, Kubepods, KubepodsBurstable or KubepodsBesteffort.
    parent_dir: str = ""  #: Directory below it.
    relative_path: str = ""  #: The application's own directory below that.


class HostApplication(Struct):
    """A process group outside Kubernetes that takes part in co-location (``host-application-config``)."""

    name: str = ""  #: The application.
    priority: str = ""  #: Its priority band.
    qos: str = ""  #: Its QoS class.
    cgroup_path: CgroupPath | None = None  #: Where its processes are; absent follows from band and class.
    strategy: dict[str, Any] | None = None  #: Reserved.
