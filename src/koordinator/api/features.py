"""Feature gates: what each component can be told to do or to leave, with the same names and defaults everywhere.

``--feature-gates=A=true,B=false``; ``AllAlpha`` and ``AllBeta`` set every gate of that stage that is not named itself.
"""

from enum import StrEnum

import msgspec

from koordinator.api import nativegates, numbers
from koordinator.errors import ConfigInvalid


class Stage(StrEnum):
    """How ripe a feature is."""

    ALPHA = "Alpha"
    BETA = "Beta"
    GA = "GA"


class Gate(msgspec.Struct, frozen=True):
    """One feature."""

    name: str
    default: bool
    stage: Stage
    effect: str


class Gates(msgspec.Struct, frozen=True):
    """The gates that one component knows. ``native``: names that it accepts, and that change nothing."""

    component: str
    gates: tuple[Gate, ...]
    native: frozenset[str] = frozenset()

    @property
    def defaults(self) -> frozenset[str]:
        """Names of the gates that are on when nothing is said."""
        return self.parse("")

    def parse(self, text: str) -> frozenset[str]:
        """Names of the gates that are on. Raises ConfigInvalid for an unknown gate or a value that is not a boolean."""
        known = {gate.name: gate for gate in self.gates}
        named = dict(self._pair(item, known) for item in filter(None, (part.strip() for part in text.split(","))))
        stages = {stage: named.pop(f"All{stage}", None) for stage in (Stage.ALPHA, Stage.BETA)}
        return frozenset(gate.name for gate in self.gates if _is_on(gate, named, stages))

    def _pair(self, item: str, known: dict[str, Gate]) -> tuple[str, bool]:
        name, equals, value = (part.strip() for part in item.partition("="))
        effect = f"{self.component} does not start"
        if name not in known and name not in ("AllAlpha", "AllBeta") and name not in self.native:
            raise ConfigInvalid("--feature-gates", item, f"unrecognized feature gate: {name}", effect)
        if not equals:
            raise ConfigInvalid("--feature-gates", item, f"missing bool value for {name}", effect)
        try:
            return name, numbers.boolean(value)
        except ValueError:
            raise ConfigInvalid(f"--feature-gates: {name}", value, "must be true or false", effect) from None


def _is_on(gate: Gate, named: dict[str, bool], stages: dict[Stage, bool | None]) -> bool:
    if gate.name in named:
        return named[gate.name]
    of_stage = stages.get(gate.stage)
    return gate.default if of_stage is None else of_stage


def _alpha(name: str, effect: str, *, default: bool = False) -> Gate:
    return Gate(name, default, Stage.ALPHA, effect)


def _beta(name: str, effect: str, *, default: bool = True) -> Gate:
    return Gate(name, default, Stage.BETA, effect)


def _ga(name: str, effect: str) -> Gate:
    return Gate(name, default=True, stage=Stage.GA, effect=effect)


_TRANSFORMERS = (
    _alpha("PriorityTransformer", "pods in caches get the priority value that follows from their band"),
    _alpha("PreemptionPolicyTransformer", "pods in caches get the preemption policy of their label, else Never"),
    _alpha("ReplaceResourcesTransformer", "pods' own renames of resources are applied"),
)
_QUOTA = (
    _alpha("MultiQuotaTree", "several quota trees, each over its own nodes"),
    _alpha("ElasticQuotaIgnorePodOverhead", "pod overhead does not count in quotas"),
    _alpha("ElasticQuotaGuaranteeUsage", "what is used counts as guaranteed"),
    _alpha("DisableDefaultQuota", "pods without a quota are in none"),
    _alpha("SupportParentQuotaSubmitPod", "pods may be in a quota that has quotas below it"),
)
_TERMINATING = (
    _alpha("ElasticQuotaIgnoreTerminatingPod", "terminating pods do not count once their grace period is over"),
    _alpha("ElasticQuotaImmediateIgnoreTerminatingPod", "terminating pods do not count"),
)

MANAGER = Gates(
    "koord-manager",
    (
        _beta("WebhookFramework", "the webhook server as a whole"),
        _beta("PodMutatingWebhook", "pods are mutated on creation, labelled ones on update, too"),
        _beta("PodValidatingWebhook", "pods are validated"),
        _beta("ElasticMutatingWebhook", "ElasticQuotas are mutated"),
        _beta("ElasticValidatingWebhook", "ElasticQuotas are validated"),
        _alpha("NodeMutatingWebhook", "node resources are amplified"),
        _alpha("NodeValidatingWebhook", "nodes that match several entries of slo-controller-config are refused"),
        _alpha("ConfigMapValidatingWebhook", "slo-controller-config is validated"),
        _alpha("ReservationMutatingWebhook", "profiles apply to reservations"),
        _alpha("ColocationProfileSkipMutatingResources", "profiles do not translate cpu and memory"),
        _alpha("ColocationProfileSkipValidatingPriority", "the priority label of a pod may change"),
        *_QUOTA,
        _alpha("ElasticQuotaEnableUpdateResourceKey", "resources may be added to and taken from a quota"),
        _alpha("ElasticQuotaEvaluationTransformPod", "pods are transformed before quotas are evaluated"),
        _alpha("EnableQuotaAdmission", "quotas are enforced when pods are created"),
        _alpha("EnableQuotaAdmissionOnUpdate", "and when their quota label changes"),
        _alpha("EnableSyncGPUSharedResource", "nodes show gpu.shared of their Device"),
        _alpha("ColocationProfileController", "profiles apply to pods that exist already"),
        _alpha("ValidatePodDeviceResource", "device requests are validated"),
        _alpha("EnablePodEnhancedValidator", "pods are validated by configured rules"),
        _alpha("DisableExtendedResourceSpec", "pods get no extended-resource-spec annotation"),
        _alpha("DisableDeviceResourceSpec", "gpu requests are not completed to gpu-core and gpu-memory-ratio"),
        _alpha("BindingAdmissionWebhook", "only allowed users may bind pods"),
        *_TRANSFORMERS,
    ),
)

DESCHEDULER = Gates(
    "koord-descheduler",
    (*MANAGER.gates, _beta("DisablePVCReservation", "reservations carry no volume claims", default=False)),
)

SCHEDULER = Gates(
    "koord-scheduler",
    (
        *_TRANSFORMERS,
        _alpha("CompatibleCSIStorageCapacity", "CSIStorageCapacity of the old API version is watched"),
        _alpha("DisableCSIStorageCapacityInformer", "CSIStorageCapacity is not watched"),
        _alpha("CompatiblePodDisruptionBudget", "PodDisruptionBudget of the old API version is watched"),
        _alpha("DisablePodDisruptionBudgetInformer", "PodDisruptionBudget is not watched"),
        _alpha("DisableDynamicResourceAllocationInformer", "resource.k8s.io is not watched"),
        _alpha("ResizePod", "pods and reservations may be resized"),
        *_QUOTA,
        *_TERMINATING,
        _alpha("LazyReservationRestore", "reserved resources are given back to the view of a node only when needed"),
        _alpha("OmitNodeLabelsForReservation", "node labels do not count in reservation affinity"),
        _alpha("SkipReservationFitsNode", "the second fit check of reservations is left out"),
        _alpha("DevicePluginAdaption", "annotations for vendors' device plugins are written"),
        _alpha("CleanExpiredReservationAllocated", "reservation-allocated of expired reservations is removed"),
        _alpha("SkipFilterWithNominatedPods", "nominated pods are counted in one pass"),
        _alpha("DynamicSchedulerCheck", "schedulerName is checked again before scheduling", default=True),
        _alpha("SyncBarrier", "a new leader first waits until its caches have seen a barrier pod"),
        _alpha("CrossSchedulerNomination", "nominations by other schedulers count"),
        _beta("GangPendingPodsConditionPatch", "gang pods that were not tried get PodScheduled=False"),
        _alpha("EnableInlineBatchSchedule", "whole jobs are scheduled at once"),
        _beta("EnableBatchScheduleNodeSnapshot", "with a snapshot per node on that path"),
        _ga("CSIStorageCapacity", "kept for compatibility"),
        _ga("GenericEphemeralVolume", "kept for compatibility"),
        _ga("PodDisruptionBudget", "kept for compatibility"),
    ),
    nativegates.KUBE_SCHEDULER,
)

WAITING = frozenset(
    (
        *(gate.name for gate in (*_QUOTA, *_TERMINATING)),
        "LazyReservationRestore",
        "OmitNodeLabelsForReservation",
        "SkipReservationFitsNode",
        "CleanExpiredReservationAllocated",
        "DevicePluginAdaption",
        "GangPendingPodsConditionPatch",
    )
)
"""Gates of koord-scheduler whose plugins are not there yet: accepted, and without effect."""

KOORDLET = Gates(
    "koordlet",
    (
        _alpha("AuditEvents", "an audit log of what was written to the node"),
        _alpha("AuditEventsHTTPHandler", "and its HTTP endpoint"),
        _beta("BECPUSuppress", "best-effort CPU is squeezed as others need it; not with BECPUManager"),
        _alpha("BECPUManager", "best-effort pods get CPU sets of their own"),
        _alpha("BECPUEvict", "best-effort pods are evicted when they get too little CPU"),
        _alpha("BEMemoryEvict", "best-effort pods are evicted when memory runs short"),
        _alpha("CPUEvict", "pods below a priority are evicted by CPU usage"),
        _alpha("MemoryEvict", "pods below a priority are evicted by memory usage"),
        _alpha("CPUAllocatableEvict", "pods below a priority are evicted by their band's CPU allocatable"),
        _alpha("MemoryAllocatableEvict", "pods below a priority are evicted by their band's memory allocatable"),
        _beta("CPUBurst", "CPU bursts of latency-sensitive pods"),
        _alpha("SystemConfig", "kernel settings of the node"),
        _beta("RdtResctrl", "cache and memory bandwidth by QoS class"),
        _alpha("ResctrlCollector", "cache and memory bandwidth are measured"),
        _alpha("CgroupReconcile", "memory QoS"),
        _beta("NodeTopologyReport", "NodeResourceTopology is reported"),
        _alpha("Accelerators", "GPUs are measured and reported as Device"),
        _alpha("RDMADevices", "RDMA NICs are reported as Device"),
        _alpha("CPICollector", "cycles per instruction are measured"),
        _alpha("Libpfm4", "by libpfm4"),
        _alpha("PSICollector", "pressure stalls are measured"),
        _alpha("ColdPageCollector", "cold page cache is measured"),
        _alpha("BlkIOReconcile", "block device limits"),
        _alpha("HugePageReport", "huge pages are reported by NUMA zone"),
        _alpha("PodResourcesProxy", "a proxy of the kubelet's pod resources"),
        _alpha("HamiCoreVGPUMonitor", "virtual GPUs of HAMi-core are measured"),
        _alpha("PerCPUMetric", "metrics of CPU shares by CPU"),
        _alpha("NodeMetricPromMetrics", "node usage as reported is a metric, too"),
        _beta("GroupIdentity", "hook: scheduling weight by QoS class"),
        _beta("CPUSetAllocator", "hook: CPU sets by pod"),
        _beta("BatchResource", "hook: cgroup limits from batch resources"),
        _alpha("GPUEnvInject", "hook: GPUs in the container's environment"),
        _alpha("RDMADeviceInject", "hook: RDMA devices in the container"),
        _alpha("CPUNormalization", "hook: quotas by CPU speed"),
        _alpha("CoreSched", "hook: core scheduling"),
        _alpha("TerwayQoS", "hook: bandwidth by Terway"),
        _alpha("TCNetworkQoS", "hook: bandwidth by tc"),
        _alpha("Resctrl", "hook: cache and memory bandwidth by pod"),
        _alpha("OOMScoreAdj", "hook: OOM score adjustment by container"),
    ),
)

NEED_THRESHOLD_STRATEGY = frozenset(
    (
        "BECPUSuppress",
        "BECPUEvict",
        "BEMemoryEvict",
        "CPUEvict",
        "MemoryEvict",
        "CPUAllocatableEvict",
        "MemoryAllocatableEvict",
    )
)
"""Features of koordlet that rest unless the NodeSLO's threshold strategy is enabled."""

ALL = (MANAGER, SCHEDULER, DESCHEDULER, KOORDLET)
