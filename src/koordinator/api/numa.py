"""CPUs and NUMA zones: what pods ask for, what they were given, what a node has, and what it keeps for itself.

Source: annotations of pods, of nodes, and of the NodeResourceTopology object that koordlet writes.
"""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from koordinator.api import cpuset, keys, quantity, resources
from koordinator.api.annotations import Annotation, As, Choice, Malformed, Plain, Texts
from koordinator.api.core import Quantities, QuantityText
from koordinator.api.meta import REQUIRED, Int32, Object, Struct, always

BIND_DEFAULT = "Default"
FULL_PCPUS = "FullPCPUs"
SPREAD_BY_PCPUS = "SpreadByPCPUs"
CONSTRAINED_BURST = "ConstrainedBurst"

NODE_BIND_NONE = "None"
NODE_BIND_FULL = "FullPCPUsOnly"
NODE_BIND_SPREAD = "SpreadByPCPUs"

APPLY_DEFAULT = "Default"
APPLY_RESERVED_CPUS_ONLY = "ReservedCPUsOnly"


class ResourceSpec(Struct):
    """How a pod wants its CPUs: whole cores or spread out, alone on a core or a zone."""

    #: Default, FullPCPUs, SpreadByPCPUs or ConstrainedBurst; otherwise the node does not fit.
    required_cpu_bind_policy: str = msgspec.field(default="", name="requiredCPUBindPolicy")
    preferred_cpu_bind_policy: str = msgspec.field(default="", name="preferredCPUBindPolicy")  #: The same as a wish.
    #: None, PCPULevel or NUMANodeLevel: whom pods of the same kind keep away from.
    preferred_cpu_exclusive_policy: str = msgspec.field(default="", name="preferredCPUExclusivePolicy")


class NUMANodeResource(Struct):
    """What a pod got of one zone."""

    node: Int32 = always(0)  #: The zone.
    resources: Quantities | None = None  #: What was given of it.


class ResourceStatus(Struct):
    """Which CPUs and how much of which zone the scheduler gave a pod."""

    cpuset: str = ""  #: CPUs, as 0-3.
    numa_node_resources: list[NUMANodeResource] | None = None  #: By zone.


class NUMATopologySpec(Struct):
    """How a pod wants to lie on zones."""

    #: BestEffort, Restricted or SingleNUMANode; empty is the node's.
    numa_topology_policy: str = msgspec.field(default="", name="numaTopologyPolicy")
    #: Preferred or Required: whether a zone is shared with pods that span several.
    single_numa_node_exclusive: str = msgspec.field(default="", name="singleNUMANodeExclusive")


class CPUInfo(Struct):
    """One logical CPU."""

    id: Int32 = always(0)  #: Logical CPU.
    core: Int32 = always(0)  #: Physical core.
    socket: Int32 = always(0)  #: Socket.
    node: Int32 = always(0)  #: NUMA zone.


class CPUTopology(Struct):
    detail: list[CPUInfo] | None = always(None)  #: Every logical CPU.


class PodCPUAlloc(Struct):
    """CPUs that a pod is pinned to."""

    namespace: str = ""  #: Its namespace.
    name: str = ""  #: The pod.
    uid: str = ""  #: Its uid.
    cpuset: str = ""  #: Its CPUs.
    managed_by_kubelet: bool = False  #: Whether the kubelet pinned it.


class CPUSharedPool(Struct):
    """CPUs of a zone that are left to share."""

    socket: Int32 = always(0)  #: Socket.
    node: Int32 = always(0)  #: NUMA zone.
    cpuset: str = ""  #: CPUs.


class KubeletCPUManagerPolicy(Struct):
    policy: str = ""  #: none or static.
    options: dict[str, str] | None = None  #: Its options.
    reserved_cpus: str = msgspec.field(default="", name="reservedCPUs")  #: CPUs that the kubelet keeps.


class NodeReservation(Struct):
    """What a node keeps for everything outside Kubernetes."""

    resources: Quantities | None = None  #: By amount.
    reserved_cpus: str = msgspec.field(default="", name="reservedCPUs")  #: Or by CPU; then cpu of resources does not count.
    apply_policy: str = ""  #: Default, or ReservedCPUsOnly: allocatable stays as it is.


class SystemQOSResource(Struct):
    """CPUs for pods of QoS SYSTEM; exclusive unless said otherwise."""

    cpuset: str = ""  #: CPUs of SYSTEM pods.
    cpuset_exclusive: bool | None = None  #: Whether nobody else may use them; yes unless false.

    @property
    def exclusive(self) -> bool:
        return self.cpuset_exclusive is not False


class CPUBasicInfo(Struct):
    """The CPU model and what is switched on."""

    cpu_model: str = ""  #: Name of the model.
    hyper_thread_enabled: bool = False  #: Whether cores run two threads.
    turbo_enabled: bool = False  #: Whether turbo is on.
    cat_l3_cbm_mask: str = msgspec.field(default="", name="catL3CbmMask")  #: Cache ways as a bit mask.
    vendor_id: str = msgspec.field(default="", name="vendorID")  #: As GenuineIntel.

    @property
    def key(self) -> str:
        """The model with its settings, as ratios are looked up by."""
        return f"{self.cpu_model}_{str(self.hyper_thread_enabled).lower()}_{str(self.turbo_enabled).lower()}"


class ZoneResource(Struct):
    """One resource of a zone."""

    name: Annotated[str, REQUIRED] = always("")  #: The resource.
    capacity: Annotated[QuantityText, REQUIRED] = always("0")  #: All of it.
    allocatable: Annotated[QuantityText, REQUIRED] = always("0")  #: What pods may use.
    available: Annotated[QuantityText, REQUIRED] = always("0")  #: What is free.


class ZoneCost(Struct):
    """Distance to another zone."""

    name: Annotated[str, REQUIRED] = always("")  #: The other zone.
    value: Annotated[int, REQUIRED] = always(0)  #: Distance.


class ZoneAttribute(Struct):
    name: Annotated[str, REQUIRED] = always("")  #: Name.
    value: Annotated[str, REQUIRED] = always("")  #: Value.


class Zone(Struct):
    """One NUMA zone, ``node-<id>`` of type ``Node``."""

    name: Annotated[str, REQUIRED] = always("")  #: node-<id>.
    type: Annotated[str, REQUIRED] = always("")  #: Node.
    parent: str = ""  #: The zone around it.
    costs: list[ZoneCost] | None = None  #: Distances to other zones.
    attributes: list[ZoneAttribute] | None = None  #: Anything else.
    resources: list[ZoneResource] | None = None  #: Sorted by name.

    @property
    def id(self) -> int | None:
        """The NUMA id in the name; None for zones of other writers."""
        prefix, _, number = self.name.partition("-")
        return int(number) if prefix == "node" and number.isascii() and number.isdigit() else None


class NodeResourceTopology(Object):
    """A node's NUMA zones; named like the node. Zones are sorted by name as text, so node-10 comes before node-2."""

    topology_policies: Annotated[list[str], REQUIRED] = msgspec.field(default_factory=list)  #: The kubelet's policy, one.
    zones: Annotated[list[Zone], REQUIRED] = msgspec.field(default_factory=list)  #: Sorted by name as text.


class NodeResourceTopologyV2(Object):
    """The stored form: what was the list of policies became attributes."""

    topology_policies: list[str] | None = None  #: Deprecated.
    attributes: list[ZoneAttribute] | None = None  #: Anything about the node.
    zones: Annotated[list[Zone], REQUIRED] = msgspec.field(default_factory=list)  #: Sorted by name as text.


RESOURCE_SPEC: Annotation[ResourceSpec] = Annotation(
    keys.RESOURCE_SPEC, ResourceSpec, "Pod and Reservation annotation", "How the pod wants its CPUs."
)
RESOURCE_STATUS: Annotation[ResourceStatus] = Annotation(
    keys.RESOURCE_STATUS,
    ResourceStatus,
    "Pod and Reservation annotation",
    "Written by the scheduler: CPUs and zones of the pod.",
)
NUMA_TOPOLOGY_SPEC: Annotation[NUMATopologySpec] = Annotation(
    keys.NUMA_TOPOLOGY_SPEC, NUMATopologySpec, "Pod annotation", "How the pod wants to lie on NUMA zones."
)
CPU_TOPOLOGY: Annotation[CPUTopology] = Annotation(
    keys.CPU_TOPOLOGY, CPUTopology, "NodeResourceTopology annotation", "Every logical CPU."
)
POD_CPU_ALLOCS: Annotation[list[PodCPUAlloc]] = Annotation(
    keys.POD_CPU_ALLOCS, list[PodCPUAlloc], "NodeResourceTopology annotation", "Pinned pods; null when there are none."
)
CPU_SHARED_POOLS: Annotation[list[CPUSharedPool]] = Annotation(
    keys.CPU_SHARED_POOLS, list[CPUSharedPool], "NodeResourceTopology annotation", "CPUs that LS pods share, by zone."
)
BE_CPU_SHARED_POOLS: Annotation[list[CPUSharedPool]] = Annotation(
    keys.BE_CPU_SHARED_POOLS, list[CPUSharedPool], "NodeResourceTopology annotation", "CPUs that BE pods share, by zone."
)
KUBELET_CPU_MANAGER_POLICY: Annotation[KubeletCPUManagerPolicy] = Annotation(
    keys.KUBELET_CPU_MANAGER_POLICY,
    KubeletCPUManagerPolicy,
    "NodeResourceTopology annotation",
    "The kubelet's own CPU manager.",
)
NODE_RESERVATION: Annotation[NodeReservation] = Annotation(
    keys.NODE_RESERVATION,
    NodeReservation,
    "Node annotation",
    "What the node keeps for itself; copied to its NodeResourceTopology.",
    blank=As.ABSENT,
    null=As.ABSENT,
)
SYSTEM_QOS_RESOURCE: Annotation[SystemQOSResource] = Annotation(
    keys.SYSTEM_QOS_RESOURCE, SystemQOSResource, "Node annotation", "CPUs of SYSTEM pods; copied to its NodeResourceTopology."
)
CPU_BASIC_INFO: Annotation[CPUBasicInfo] = Annotation(
    keys.CPU_BASIC_INFO, CPUBasicInfo, "NodeResourceTopology annotation", "The CPU model and what is switched on."
)
CPU_BIND_POLICY = Choice(
    keys.CPU_BIND_POLICY,
    (NODE_BIND_NONE, NODE_BIND_FULL, NODE_BIND_SPREAD),
    NODE_BIND_NONE,
    "Node label",
    "Bind policy of every pinned pod on the node.",
)
NUMA_ALLOCATE_STRATEGY = Plain(
    keys.NUMA_ALLOCATE_STRATEGY,
    "Node label",
    "MostAllocated, LeastAllocated or DistributeEvenly; absent is the plugin's default.",
)
NUMA_TOPOLOGY_POLICY = Plain(
    keys.NUMA_TOPOLOGY_POLICY, "Node label", "BestEffort, Restricted or SingleNUMANode; absent is the kubelet's."
)
ENABLE_NUMA_RESERVATION = Plain(keys.ENABLE_NUMA_RESERVATION, "Node label", "Copied to the NodeResourceTopology as it is.")


def node_bind_policy(labels: Texts | None, topology_annotations: Texts | None) -> str:
    """The node's bind policy: its label, or whole cores where the kubelet hands out nothing else."""
    label = CPU_BIND_POLICY.read(labels)
    kubelet = KUBELET_CPU_MANAGER_POLICY.read_or_empty(topology_annotations)
    if isinstance(kubelet, Malformed) or kubelet.policy != "static":
        return label
    return NODE_BIND_FULL if (kubelet.options or {}).get("full-pcpus-only") == "true" else label


def reserved_cpus(annotations: Texts | None) -> tuple[str, int]:
    """CPUs that the node names, or else how many it wants kept (rounded up). Nothing where it cannot be read."""
    reservation = NODE_RESERVATION.read(annotations)
    if reservation is None or isinstance(reservation, Malformed):
        return "", 0
    if reservation.reserved_cpus:
        return reservation.reserved_cpus, 0
    milli = quantity.milli_value((reservation.resources or {}).get(resources.CPU, "0"))
    return "", max(-(-milli // 1000), 0)


def reserved_resources(reservation: NodeReservation) -> resources.Amounts:
    """What the node keeps, with named CPUs counted. Raises ValueError when they cannot be read."""
    kept = resources.amounts(reservation.resources)
    if reservation.reserved_cpus:
        kept[resources.CPU] = len(cpuset.parse(reservation.reserved_cpus)) * 1000
    return kept


def trimmed_allocatable(allocatable: Mapping[str, int], annotations: Texts | None) -> resources.Amounts:
    """``allocatable`` without what the node keeps, never below zero. Batch amounts were computed without it already.

    Unchanged when there is no reservation, it cannot be read, or it applies to CPU ids only. Otherwise both batch names are
    there afterwards, zero where the node had none.
    """
    reservation = NODE_RESERVATION.read(annotations)
    if reservation is None or isinstance(reservation, Malformed) or reservation.apply_policy not in ("", APPLY_DEFAULT):
        return dict(allocatable)
    try:
        kept = reserved_resources(reservation)
    except ValueError:
        return dict(allocatable)
    if resources.is_zero(kept):
        return dict(allocatable)
    trimmed = resources.subtract_to_zero(allocatable, kept)
    return trimmed | {name: allocatable.get(name, 0) for name in (resources.BATCH_CPU, resources.BATCH_MEMORY)}
