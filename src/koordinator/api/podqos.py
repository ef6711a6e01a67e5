"""What a pod says about its own quality of service: annotations that koordlet turns into kernel settings."""

import msgspec

from koordinator.api import keys, numbers, quantity
from koordinator.api.annotations import Annotation, As, Choice, Flag, Malformed, Plain, Text, Texts
from koordinator.api.core import Quantities, QuantityText
from koordinator.api.meta import Int32, Struct
from koordinator.api.strategies import CPUQOS, Block, CPUBurstConfig, MemoryQOS

MEMORY_POLICY_DEFAULT = "default"
MEMORY_POLICY_NONE = "none"
MEMORY_POLICY_AUTO = "auto"


class PodMemoryQOS(MemoryQOS):
    """A pod's own memory QoS. ``policy`` is ``default`` (also empty), ``none`` or ``auto``."""

    policy: str = ""  #: default: as the class; none: nothing; auto: recommended values.


class PodBlkIOQOS(Struct):
    blocks: list[Block] | None = None  #: What is limited.


class NetworkLimits(Struct):
    """Bandwidth in bit/s."""

    ingress_limit: QuantityText | None = None  #: Inbound bit/s.
    egress_limit: QuantityText | None = None  #: Outbound bit/s.


class ContainerResources(Struct):
    limits: Quantities | None = None  #: Batch limits.
    requests: Quantities | None = None  #: Batch requests.


class ExtendedResourceSpec(Struct):
    """The batch resources of each container, for whoever on the node cannot see the pod's spec."""

    containers: dict[str, ContainerResources] | None = None  #: By container name.


class Schemata(Struct):
    """A range of cache ways or a share of memory bandwidth, both in percent."""

    percent: int = 0  #: Share of memory bandwidth.
    range: list[int] | None = None  #: Start and end of the share of cache ways.


class SchemataPerCache(Schemata):
    """The same for one cache."""

    cache_id: Int32 = msgspec.field(default_factory=lambda: 0, name="cacheID")  #: The cache.


class ResctrlResource(Struct):
    schemata: Schemata = msgspec.field(default_factory=Schemata)  #: For all caches.
    schemata_per_cache: list[SchemataPerCache] | None = None  #: For single ones.


class Resctrl(Struct):
    """Last-level cache and memory bandwidth."""

    llc: ResctrlResource = msgspec.field(default_factory=ResctrlResource)  #: Last-level cache.
    mb: ResctrlResource = msgspec.field(default_factory=ResctrlResource)  #: Memory bandwidth.


def _in_range(value: CPUQOS) -> CPUQOS:
    if value.group_identity is not None and not -1 <= value.group_identity <= 2:
        raise ValueError(f"groupIdentity is {value.group_identity}, must be -1 to 2")
    return value


CPU_BURST: Annotation[CPUBurstConfig] = Annotation(
    keys.CPU_BURST, CPUBurstConfig, "Pod annotation", "CPU burst of this pod, laid over the node's strategy."
)
CPU_QOS: Annotation[CPUQOS] = Annotation(
    keys.CPU_QOS,
    CPUQOS,
    "Pod annotation",
    "CPU QoS of this pod; a group identity outside -1 to 2 is refused.",
    finish=_in_range,
)
MEMORY_QOS: Annotation[PodMemoryQOS] = Annotation(
    keys.MEMORY_QOS, PodMemoryQOS, "Pod annotation", "Memory QoS of this pod: policy default, none or auto, and single values."
)
BLKIO_QOS: Annotation[PodBlkIOQOS] = Annotation(
    keys.BLKIO_QOS, PodBlkIOQOS, "Pod annotation", "Block device limits of this pod.", blank=As.ABSENT
)
NETWORK_QOS: Annotation[NetworkLimits] = Annotation(
    keys.NETWORK_QOS, NetworkLimits, "Pod annotation", "Bandwidth limits in bit/s.", blank=As.ABSENT
)
OOM_SCORE_ADJ = Text(
    keys.OOM_SCORE_ADJ, numbers.decimal_int, "Pod annotation", "OOM score adjustment of every container.", blank_is_absent=True
)
OOM_SCORE_ADJ_SPEC: Annotation[dict[str, int]] = Annotation(
    keys.OOM_SCORE_ADJ_SPEC, dict[str, int], "Pod annotation", "OOM score adjustment by container name.", blank=As.ABSENT
)
EXTENDED_RESOURCE_SPEC: Annotation[ExtendedResourceSpec] = Annotation(
    keys.EXTENDED_RESOURCE_SPEC,
    ExtendedResourceSpec,
    "Pod annotation",
    "Written by the pod webhook: batch resources by container.",
)
RESCTRL: Annotation[Resctrl] = Annotation(
    keys.RESCTRL, Resctrl, "Pod annotation", "Cache and memory bandwidth of this pod.", null=As.ABSENT
)
QOS_CLASS = Choice(
    keys.QOS_CLASS,
    ("LSE", "LSR", "LS", "BE", "SYSTEM"),
    on="Pod label",
    doc="QoS class; without it, it follows from Kubernetes'.",
)
PRIORITY_CLASS = Choice(
    keys.PRIORITY_CLASS,
    ("koord-prod", "koord-mid", "koord-batch", "koord-free"),
    on="Pod label",
    doc="Priority band; where the label is present, spec.priority does not count.",
)
CORE_SCHED_GROUP_ID = Plain(keys.CORE_SCHED_GROUP_ID, "Pod label", "Pods of one id may share a physical core.")
CORE_SCHED_POLICY = Choice(
    keys.CORE_SCHED_POLICY,
    ("", "none", "exclusive"),
    on="Pod label",
    doc="Whether the pod shares cores with its group, nobody, all.",
)
GPU_ISOLATION_PROVIDER = Plain(keys.GPU_ISOLATION_PROVIDER, "Pod and Node label", "HAMi-core; a pod's must equal its node's.")
BINDING_ADMISSION_BYPASS = Flag(
    keys.BINDING_ADMISSION_BYPASS, "Pod label", "Keeps the binding webhook away from the pod.", by_presence=True
)
MUTATING_UPDATE = Flag(keys.MUTATING_UPDATE, "Pod label", "Updates of the pod, too, go through the mutating webhook.")
SKIP_ENHANCED_VALIDATION = Flag(keys.SKIP_ENHANCED_VALIDATION, "Pod label", "Skips the enhanced validation rules.")
REPLACE_RESOURCES = Plain(
    keys.REPLACE_RESOURCES,
    "Pod annotation",
    "Renames resources: from1:to1,from2:to2; an empty name erases. See resources.replacements.",
)
SKIP_HOOK_SERVER = Flag(keys.SKIP_HOOK_SERVER, "Pod label", "koord-runtime-proxy leaves the pod alone.")
SKIP_UPDATE_RESOURCES = Flag(
    keys.SKIP_UPDATE_RESOURCES,
    "ClusterColocationProfile annotation",
    "Pods of the profile keep their resource names.",
    by_presence=True,
)
CONTROLLER_MANAGED = Flag(
    keys.CONTROLLER_MANAGED, "ClusterColocationProfile label", "The profile is applied to pods that exist already, too."
)
MANAGED_BY = Plain(keys.MANAGED_BY, "NodeResourceTopology label", "Koordinator, on those that koordlet writes.")
CONFIG_MAP_TYPE = Plain(
    keys.CONFIG_MAP_TYPE, "ConfigMap label", "slo-controller-config makes the validating webhook look at the ConfigMap."
)


def oom_score_adj(annotations: Texts | None, container: str) -> int | Malformed | None:
    """A container's own adjustment, else the pod's. None when there is neither."""
    by_container = OOM_SCORE_ADJ_SPEC.read(annotations)
    if isinstance(by_container, Malformed):
        return by_container
    if by_container and container in by_container:
        return by_container[container]
    return OOM_SCORE_ADJ.read(annotations)


def network_bytes(annotations: Texts | None, *, both: bool = False) -> tuple[int, int] | Malformed:
    """Ingress and egress limits in bytes/s; a missing one is 0, or with ``both`` an error. Absent is (0, 0)."""
    limits = NETWORK_QOS.read(annotations)
    if limits is None:
        return 0, 0
    if isinstance(limits, Malformed):
        return limits
    if both and (limits.ingress_limit is None or limits.egress_limit is None):
        raw = (annotations or {})[keys.NETWORK_QOS]
        return Malformed(keys.NETWORK_QOS, raw, "both ingressLimit and egressLimit are needed")
    return quantity.value(limits.ingress_limit or "0") // 8, quantity.value(limits.egress_limit or "0") // 8
