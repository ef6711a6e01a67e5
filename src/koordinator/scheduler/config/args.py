"""Arguments of plugins, typed: wire form, defaults and rules.

Plugins that are built bring their own types; here are those of Kubernetes' plugins and of Koordinator plugins whose arguments
are accepted, defaulted and validated ahead of the plugin itself.
"""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import msgspec

from koordinator.api import durations, quantity
from koordinator.api.core import NodeAffinity, NodeSelectorTerm, TopologySpreadConstraint
from koordinator.api.meta import DurationText, Struct
from koordinator.errors import ConfigInvalid
from koordinator.scheduler.config.strict import EFFECT

WEIGHTS = (1, 100)
PERCENT = (0, 100)
_QUANTITY = msgspec.Meta(extra={"format": "quantity"})
Amount = Annotated[str | int | float, _QUANTITY]
_MOST_QUOTA = 1844674407370955161
"""A fifth of what 64 bits hold: no limit, and five of them can still be added up."""


class Kind(NamedTuple):
    """How the arguments of one plugin are read: their type, then defaults, then rules. ``checked`` raises ConfigInvalid with
    the path from ``<Kind>.`` on.
    """

    type: type[Any]
    defaulted: Callable[[Any], Any] = lambda args: args
    checked: Callable[[Any], Any] = lambda args: args


def require(fine: bool, where: str, value: object, rule: str) -> None:
    if not fine:
        raise ConfigInvalid(where, value, rule, EFFECT)


def within(where: str, value: int | None, limits: tuple[int, int]) -> None:
    low, high = limits
    require(value is None or low <= value <= high, where, value, f"must be {low} to {high}")


def at_least(where: str, value: int | None, low: int) -> None:
    require(value is None or value >= low, where, value, f"must be {low} or more")


# --- shared parts ----------------------------------------------------------------------------------------------------


class ResourceSpec(Struct):
    name: str = ""
    weight: int = 0  #: 1 to 100; absent or 0 is 1 for NodeResourcesFit and NodeResourcesBalancedAllocation, else refused.


class UtilizationPoint(Struct):
    utilization: int = 0  #: Percent.
    score: int = 0  #: 0 to 10.


class RequestedToCapacityRatio(Struct):
    shape: list[UtilizationPoint] = msgspec.field(default_factory=list)


class ScoringStrategy(Struct):
    type: str = "LeastAllocated"
    resources: list[ResourceSpec] | None = None  #: cpu 1 and memory 1 when absent.
    requested_to_capacity_ratio: RequestedToCapacityRatio | None = None


def default_resources(*names: str) -> list[ResourceSpec]:
    return [ResourceSpec(name=name, weight=1) for name in names]


def defaulted_strategy(strategy: ScoringStrategy | None, *names: str) -> ScoringStrategy:
    strategy = strategy or ScoringStrategy()
    return msgspec.structs.replace(strategy, resources=strategy.resources or default_resources(*names))


def defaulted_weights(strategy: ScoringStrategy | None, *names: str) -> ScoringStrategy:
    """The same, and a weight of 1 where there is none: only kube-scheduler's own plugins are so lenient."""
    strategy = defaulted_strategy(strategy, *names)
    weighted = [ResourceSpec(name=one.name, weight=one.weight or 1) for one in strategy.resources or ()]
    return msgspec.structs.replace(strategy, resources=weighted)


def check_strategy(strategy: ScoringStrategy, where: str, types: tuple[str, ...]) -> None:
    require(strategy.type in types, f"{where}.type", strategy.type, f"must be one of {', '.join(types)}")
    for index, one in enumerate(strategy.resources or ()):
        require(bool(one.name), f"{where}.resources[{index}].name", one.name, "must not be empty")
        within(f"{where}.resources[{index}].weight", one.weight, WEIGHTS)
    if strategy.type == "RequestedToCapacityRatio":
        check_shape(strategy.requested_to_capacity_ratio, f"{where}.requestedToCapacityRatio.shape")


def check_shape(ratio: RequestedToCapacityRatio | None, where: str) -> None:
    shape = ratio.shape if ratio is not None else []
    require(bool(shape), where, shape, "must have at least one point")
    before = -1
    for index, point in enumerate(shape):
        within(f"{where}[{index}].utilization", point.utilization, PERCENT)
        within(f"{where}[{index}].score", point.score, (0, 10))
        rule = "must be above the one before"
        require(point.utilization > before, f"{where}[{index}].utilization", point.utilization, rule)
        before = point.utilization


# --- Kubernetes' plugins ------------------------------------------------------------------------------------------------


class NodeResourcesFitArgs(Struct):
    ignored_resources: list[str] | None = None  #: Extended resources that do not filter.
    ignored_resource_groups: list[str] | None = None  #: Prefixes of such.
    scoring_strategy: ScoringStrategy | None = None


def _check_fit(args: NodeResourcesFitArgs) -> NodeResourcesFitArgs:
    kind = "NodeResourcesFitArgs"
    for index, group in enumerate(args.ignored_resource_groups or ()):
        rule = "resource group name can't contain '/'"
        require("/" not in group and bool(group), f"{kind}.ignoredResourceGroups[{index}]", group, rule)
    for index, name in enumerate(args.ignored_resources or ()):
        require(is_extended(name), f"{kind}.ignoredResources[{index}]", name, "must be an extended resource name")
    types = ("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio")
    check_strategy(args.scoring_strategy or ScoringStrategy(), f"{kind}.scoringStrategy", types)
    return args


def is_extended(name: str) -> bool:
    """Whether a resource is neither Kubernetes' own nor malformed."""
    group, slash, rest = name.partition("/")
    own = group == "kubernetes.io" or group.endswith(".kubernetes.io")
    return bool(slash and group and rest) and not own and not name.startswith("requests.") and "/" not in rest


class NodeResourcesBalancedAllocationArgs(Struct):
    resources: list[ResourceSpec] | None = None  #: cpu and memory when absent.


def _default_balanced(args: NodeResourcesBalancedAllocationArgs) -> NodeResourcesBalancedAllocationArgs:
    resources = args.resources or default_resources("cpu", "memory")
    return NodeResourcesBalancedAllocationArgs(
        resources=[ResourceSpec(name=one.name, weight=one.weight or 1) for one in resources]
    )


def _check_balanced(args: NodeResourcesBalancedAllocationArgs) -> NodeResourcesBalancedAllocationArgs:
    for index, one in enumerate(args.resources or ()):
        where = f"NodeResourcesBalancedAllocationArgs.resources[{index}].weight"
        require(one.weight == 1, where, one.weight, "must be 1")
    return args


class NodeAffinityArgs(Struct):
    added_affinity: NodeAffinity | None = None  #: Put on every pod of the profile.


_VALUES = {"In": "some", "NotIn": "some", "Exists": "no", "DoesNotExist": "no", "Gt": "one", "Lt": "one"}
"""How many values an operator takes."""


def _check_node_affinity(args: NodeAffinityArgs) -> NodeAffinityArgs:
    """A term that matches nothing by mistake would keep every pod of the profile pending."""
    added, where = args.added_affinity or NodeAffinity(), "NodeAffinityArgs.addedAffinity"
    required = added.required_during_scheduling_ignored_during_execution
    if required is not None:
        path = f"{where}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
        require(bool(required.node_selector_terms), path, required.node_selector_terms, "must have at least one term")
        for index, term in enumerate(required.node_selector_terms):
            _check_term(term, f"{path}[{index}]")
    for index, preferred in enumerate(added.preferred_during_scheduling_ignored_during_execution or ()):
        path = f"{where}.preferredDuringSchedulingIgnoredDuringExecution[{index}]"
        within(f"{path}.weight", preferred.weight, WEIGHTS)
        _check_term(preferred.preference, f"{path}.preference")
    return args


def _check_term(term: NodeSelectorTerm, where: str) -> None:
    for index, one in enumerate(term.match_expressions or ()):
        path = f"{where}.matchExpressions[{index}]"
        require(bool(one.key), f"{path}.key", one.key, "must not be empty")
        require(one.operator in _VALUES, f"{path}.operator", one.operator, f"must be one of {', '.join(_VALUES)}")
        count, values = len(one.values or ()), _VALUES[one.operator]
        fine = {"some": count > 0, "no": count == 0, "one": count == 1}[values]
        require(fine, f"{path}.values", one.values, f"{one.operator} takes {values} value{'s' * (values != 'one')}")
    for index, one in enumerate(term.match_fields or ()):
        path = f"{where}.matchFields[{index}]"
        require(one.key == "metadata.name", f"{path}.key", one.key, "must be metadata.name")
        require(one.operator in ("In", "NotIn"), f"{path}.operator", one.operator, "must be In or NotIn")
        require(len(one.values or ()) == 1, f"{path}.values", one.values, "must be one name")


class InterPodAffinityArgs(Struct):
    hard_pod_affinity_weight: int = 1  #: Weight of required affinity of pods that are there, 0 to 100.
    ignore_preferred_terms_of_existing_pods: bool = False


def _check_inter_pod(args: InterPodAffinityArgs) -> InterPodAffinityArgs:
    within("InterPodAffinityArgs.hardPodAffinityWeight", args.hard_pod_affinity_weight, PERCENT)
    return args


class PodTopologySpreadArgs(Struct):
    default_constraints: list[TopologySpreadConstraint] | None = None
    defaulting_type: str = "System"  #: System or List.


def _check_spread(args: PodTopologySpreadArgs) -> PodTopologySpreadArgs:
    kind = "PodTopologySpreadArgs"
    types = ("System", "List")
    require(args.defaulting_type in types, f"{kind}.defaultingType", args.defaulting_type, "must be System or List")
    constraints = args.default_constraints or []
    rule = "when .defaultingType is System, must be empty"
    require(args.defaulting_type == "List" or not constraints, f"{kind}.defaultConstraints", constraints, rule)
    for index, one in enumerate(constraints):
        where = f"{kind}.defaultConstraints[{index}]"
        at_least(f"{where}.maxSkew", one.max_skew, 1)
        require(bool(one.topology_key), f"{where}.topologyKey", one.topology_key, "must not be empty")
        when = ("DoNotSchedule", "ScheduleAnyway")
        require(
            one.when_unsatisfiable in when, f"{where}.whenUnsatisfiable", one.when_unsatisfiable, f"must be {' or '.join(when)}"
        )
        require(
            one.label_selector is None, f"{where}.labelSelector", one.label_selector, "constraint must not define a selector"
        )
    return args


class VolumeBindingArgs(Struct):
    bind_timeout_seconds: int = 600
    shape: list[UtilizationPoint] | None = None  #: Accepted; scoring by capacity is off.


def _check_volume_binding(args: VolumeBindingArgs) -> VolumeBindingArgs:
    at_least("VolumeBindingArgs.bindTimeoutSeconds", args.bind_timeout_seconds, 0)
    return args


class DynamicResourcesArgs(Struct):
    filter_timeout: DurationText = "10s"


class DefaultPreemptionArgs(Struct):
    min_candidate_nodes_percentage: int = 10  #: Of all nodes; with the number below, a floor under how many are compared.
    min_candidate_nodes_absolute: int = 100


def _check_preemption(args: DefaultPreemptionArgs) -> DefaultPreemptionArgs:
    kind = "DefaultPreemptionArgs"
    within(f"{kind}.minCandidateNodesPercentage", args.min_candidate_nodes_percentage, PERCENT)
    at_least(f"{kind}.minCandidateNodesAbsolute", args.min_candidate_nodes_absolute, 0)
    some = args.min_candidate_nodes_percentage or args.min_candidate_nodes_absolute
    require(bool(some), f"{kind}.minCandidateNodesPercentage", 0, "must not be 0 when minCandidateNodesAbsolute is 0")
    return args


# --- Koordinator's plugins -----------------------------------------------------------------------------------------------


class NodeNUMAResourceArgs(Struct):
    default_cpu_bind_policy: str | None = msgspec.field(default=None, name="defaultCPUBindPolicy")
    scoring_strategy: ScoringStrategy | None = None
    numa_scoring_strategy: ScoringStrategy | None = None


_NUMA_TYPES = ("MostAllocated", "BalancedAllocation", "LeastAllocated")


def _default_numa(args: NodeNUMAResourceArgs) -> NodeNUMAResourceArgs:
    policy = args.default_cpu_bind_policy
    return NodeNUMAResourceArgs(
        default_cpu_bind_policy="FullPCPUs" if policy is None else policy,
        scoring_strategy=defaulted_strategy(args.scoring_strategy, "cpu", "memory"),
        numa_scoring_strategy=defaulted_strategy(args.numa_scoring_strategy, "cpu", "memory"),
    )


def _check_numa(args: NodeNUMAResourceArgs) -> NodeNUMAResourceArgs:
    kind, policy = "NodeNUMAResourceArgs", args.default_cpu_bind_policy
    rule = "must specified CPU bind policy FullPCPUs or SpreadByPCPUs"
    require(policy in ("", "FullPCPUs", "SpreadByPCPUs"), f"{kind}.defaultCPUBindPolicy", policy, rule)
    check_strategy(args.scoring_strategy or ScoringStrategy(), f"{kind}.scoringStrategy", _NUMA_TYPES)
    check_strategy(args.numa_scoring_strategy or ScoringStrategy(), f"{kind}.numaScoringStrategy", _NUMA_TYPES)
    return args


class GPUSharedResourceTemplatesConfig(Struct):
    config_map_namespace: str = "koordinator-system"
    config_map_name: str = "gpu-shared-resource-templates"
    matched_resources: list[str] | None = None


class GPUModel(Struct):
    vendor: str = ""
    model: str = ""


class DeviceShareArgs(Struct):
    allocator: str = ""  #: Old; ignored.
    scoring_strategy: ScoringStrategy | None = None
    disable_device_numa_topology_alignment: bool = msgspec.field(default=False, name="disableDeviceNUMATopologyAlignment")
    gpu_shared_resource_templates_config: GPUSharedResourceTemplatesConfig | None = None
    gpu_share_unsupported_models: list[GPUModel] | None = None


_DEVICES = ("gpu-memory-ratio", "gpu-memory", "rdma", "fpga")


def _default_devices(args: DeviceShareArgs) -> DeviceShareArgs:
    templates = GPUSharedResourceTemplatesConfig(matched_resources=["huawei.com/npu-core"])
    names = [f"koordinator.sh/{name}" for name in _DEVICES]
    return msgspec.structs.replace(
        args,
        scoring_strategy=defaulted_strategy(args.scoring_strategy, *names),
        gpu_shared_resource_templates_config=args.gpu_shared_resource_templates_config or templates,
    )


def _check_devices(args: DeviceShareArgs) -> DeviceShareArgs:
    check_strategy(args.scoring_strategy or ScoringStrategy(), "DeviceShareArgs.scoringStrategy", _NUMA_TYPES)
    return args


class PreAllocationConfig(Struct):
    enable_cluster_mode: bool = False
    cluster_label_key: str = "pod.koordinator.sh/is-pre-allocatable"
    cluster_priority_annotation_key: str = "pod.koordinator.sh/pre-allocatable-priority"
    prefer_no_pre_allocated_pods: bool = False


class ReservationSelectorIndex(Struct):
    enabled: bool = False
    key_prefixes: list[str] | None = None
    keys: list[str] | None = None


class ReservationArgs(Struct):
    enable_preemption: bool = False
    min_candidate_nodes_percentage: int = 10
    min_candidate_nodes_absolute: int = 100
    controller_workers: int = 1
    gc_duration_seconds: int = 86400
    gc_interval_seconds: int = 60
    disable_garbage_collection: bool = False
    resync_interval_seconds: int = 60
    pre_allocation_config: PreAllocationConfig | None = None
    ignored_resources: list[str] | None = None
    ignored_resource_groups: list[str] | None = None
    reservation_selector_index: ReservationSelectorIndex | None = None


def _default_reservation(args: ReservationArgs) -> ReservationArgs:
    return msgspec.structs.replace(args, gc_duration_seconds=args.gc_duration_seconds or 86400)


def _check_reservation(args: ReservationArgs) -> ReservationArgs:
    kind = "ReservationArgs"
    within(f"{kind}.minCandidateNodesPercentage", args.min_candidate_nodes_percentage, PERCENT)
    at_least(f"{kind}.minCandidateNodesAbsolute", args.min_candidate_nodes_absolute, 0)
    at_least(f"{kind}.gcDurationSeconds", args.gc_duration_seconds, 0)
    for index, name in enumerate(args.ignored_resources or ()):
        require(is_extended(name), f"{kind}.ignoredResources[{index}]", name, "must be an extended resource name")
    for index, group in enumerate(args.ignored_resource_groups or ()):
        fine = bool(group) and "/" not in group and is_extended(f"{group}/x")
        require(fine, f"{kind}.ignoredResourceGroups[{index}]", group, "must be the prefix of extended resources, without '/'")
    return args


class HookPlugin(Struct):
    key: str = ""
    factory_key: str = ""
    factory_args: str = ""


class ElasticQuotaArgs(Struct):
    delay_evict_time: DurationText = "2m0s"
    revoke_pod_interval: DurationText = "1s"
    default_quota_group_max: dict[str, Amount] | None = None
    system_quota_group_max: dict[str, Amount] | None = None
    quota_group_namespace: str = "koordinator-system"
    monitor_all_quotas: bool = False
    enable_check_parent_quota: bool = False
    enable_runtime_quota: bool = True
    enable_min_quota_scale: bool = True
    disable_default_quota_preemption: bool = True
    enable_queue_hint: bool = False
    quota_snapshot_update_interval: DurationText = "2m0s"
    hook_plugins: list[HookPlugin] | None = None


def _default_quota(args: ElasticQuotaArgs) -> ElasticQuotaArgs:
    unlimited: dict[str, Amount] = {"cpu": str(_MOST_QUOTA), "memory": str(_MOST_QUOTA)}
    return msgspec.structs.replace(
        args,
        default_quota_group_max=args.default_quota_group_max or unlimited,
        system_quota_group_max=args.system_quota_group_max or unlimited,
    )


def _check_quota(args: ElasticQuotaArgs) -> ElasticQuotaArgs:
    kind = "ElasticQuotaArgs"
    for field, text in (("delayEvictTime", args.delay_evict_time), ("revokePodInterval", args.revoke_pod_interval)):
        require(durations.parse(text) >= 0, f"{kind}.{field}", text, "must be 0 or more")
    for field, amounts in (
        ("defaultQuotaGroupMax", args.default_quota_group_max),
        ("systemQuotaGroupMax", args.system_quota_group_max),
    ):
        for name, amount in (amounts or {}).items():
            require(_is_amount(amount), f"{kind}.{field}[{name}]", amount, "must be a quantity of 0 or more")
    return args


def _is_amount(text: str | float) -> bool:
    try:
        return quantity.milli_value(text) >= 0
    except ValueError:
        return False


class CoschedulingArgs(Struct):
    default_timeout: DurationText = "10m0s"
    controller_workers: int = 1
    skip_check_schedule_cycle: bool = False  #: Old; ignored.
    enable_preemption: bool = False
    aware_network_topology: bool = False
    default_match_policy: str = "once-satisfied"


def _check_gang(args: CoschedulingArgs) -> CoschedulingArgs:
    kind = "CoschedulingArgs"
    require(durations.parse(args.default_timeout) >= 0, f"{kind}.defaultTimeout", args.default_timeout, "must be 0 or more")
    at_least(f"{kind}.controllerWorkers", args.controller_workers, 1)
    policies = ("once-satisfied", "only-waiting", "waiting-and-running")
    rule = f"must be one of {', '.join(policies)}"
    require(args.default_match_policy in policies, f"{kind}.defaultMatchPolicy", args.default_match_policy, rule)
    return args


KINDS: dict[str, Kind] = {
    "NodeResourcesFit": Kind(
        NodeResourcesFitArgs,
        lambda args: msgspec.structs.replace(args, scoring_strategy=defaulted_weights(args.scoring_strategy, "cpu", "memory")),
        _check_fit,
    ),
    "NodeResourcesBalancedAllocation": Kind(NodeResourcesBalancedAllocationArgs, _default_balanced, _check_balanced),
    "NodeAffinity": Kind(NodeAffinityArgs, checked=_check_node_affinity),
    "InterPodAffinity": Kind(InterPodAffinityArgs, checked=_check_inter_pod),
    "PodTopologySpread": Kind(PodTopologySpreadArgs, checked=_check_spread),
    "VolumeBinding": Kind(VolumeBindingArgs, checked=_check_volume_binding),
    "DynamicResources": Kind(DynamicResourcesArgs),
    "DefaultPreemption": Kind(DefaultPreemptionArgs, checked=_check_preemption),
    "NodeNUMAResource": Kind(NodeNUMAResourceArgs, _default_numa, _check_numa),
    "DeviceShare": Kind(DeviceShareArgs, _default_devices, _check_devices),
    "Reservation": Kind(ReservationArgs, _default_reservation, _check_reservation),
    "ElasticQuota": Kind(ElasticQuotaArgs, _default_quota, _check_quota),
    "Coscheduling": Kind(CoschedulingArgs, checked=_check_gang),
}
