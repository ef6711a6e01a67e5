"""Devices as pods ask for them and get them: annotations that the scheduler, koordlet and vendors' plugins exchange."""

import msgspec

from koordinator.api import keys, numbers
from koordinator.api.annotations import Annotation, As, Choice, Flag, Plain, Text
from koordinator.api.core import Quantities, QuantityText
from koordinator.api.meta import Int32, LabelSelector, Struct, always

GPU = "gpu"
RDMA = "rdma"
FPGA = "fpga"

RESTRICTED = "Restricted"
BEST_EFFORT = "BestEffort"
HONOR = "Honor"
PREFER = "Prefer"

SCOPE_LEVELS = {"Device": 4, "PCIe": 3, "NUMANode": 2, "Node": 1}
"""How tight a topology scope is; higher is tighter."""

LOCK_SECONDS = 300
"""After which a vendor lock on a node counts as left behind."""


class VirtualFunctionAllocation(Struct):
    minor: Int32 = 0  #: Its number.
    bus_id: str = msgspec.field(default="", name="busID")  #: Address on the bus.


class DeviceAllocationExtension(Struct):
    """Virtual functions, or the vendor's template, behind an allocation."""

    vfs: list[VirtualFunctionAllocation] | None = None  #: Virtual functions.
    gpu_shared_resource_template: str = msgspec.field(default="", name="gpuSharedResourceTemplate")  #: The vendor's template.


class Allocation(Struct):
    """One device, or a share of it."""

    minor: Int32 = always(0)  #: The device.
    resources: Quantities | None = always(None)  #: What was given of it.
    id: str = ""  #: Its UUID.
    extension: DeviceAllocationExtension | None = None  #: More about it.


class DeviceHint(Struct):
    """Which devices of a type, how many, how close together, how exclusively."""

    selector: LabelSelector | None = None  #: Devices by label.
    vf_selector: LabelSelector | None = None  #: Virtual functions by label.
    allocate_strategy: str = ""  #: ApplyForAll: one of every matching device; RequestsAsCount: as many as are requested.
    required_topology_scope: str = ""  #: Device, PCIe, NUMANode or Node: how close they must be.
    exclusive_policy: str = ""  #: DeviceLevel or PCIeLevel: what is not shared.


class JointAllocate(Struct):
    """Types of device that must lie close together."""

    device_types: list[str] | None = None  #: The first leads.
    required_scope: str = ""  #: SamePCIe: otherwise the node does not fit.


class GPUPartitionSpec(Struct):
    """Whether GPUs must form one of the node's partitions, and its bandwidth."""

    allocate_policy: str = ""  #: Restricted: only partitions; BestEffort: rather.
    ring_bus_bandwidth: QuantityText | None = None  #: At least this.


class GPUPartition(Struct):
    """GPUs that are well connected."""

    minors: list[int] | None = always(None)  #: The GPUs.
    gpu_link_type: str = msgspec.field(default="", name="gpuLinkType")  #: As NVLink.
    ring_bus_bandwidth: QuantityText | None = None  #: Of the ring.
    allocation_score: int = 0  #: Higher is taken first.


def _with_policy(spec: GPUPartitionSpec) -> GPUPartitionSpec:
    return spec if spec.allocate_policy else msgspec.structs.replace(spec, allocate_policy=BEST_EFFORT)


DEVICE_ALLOCATED: Annotation[dict[str, list[Allocation]]] = Annotation(
    keys.DEVICE_ALLOCATED,
    dict[str, list[Allocation]],
    "Pod and Reservation annotation",
    "Written by the scheduler: devices by type.",
)
DEVICE_ALLOCATE_HINT: Annotation[dict[str, DeviceHint]] = Annotation(
    keys.DEVICE_ALLOCATE_HINT, dict[str, DeviceHint], "Pod annotation", "Which devices the pod wants, by type."
)
DEVICE_JOINT_ALLOCATE: Annotation[JointAllocate] = Annotation(
    keys.DEVICE_JOINT_ALLOCATE, JointAllocate, "Pod annotation", "Types of device that must lie close together."
)
GPU_PARTITION_SPEC: Annotation[GPUPartitionSpec] = Annotation(
    keys.GPU_PARTITION_SPEC,
    GPUPartitionSpec,
    "Pod annotation",
    "Whether GPUs must form a partition; the policy is BestEffort unless given.",
    finish=_with_policy,
)
GPU_PARTITIONS: Annotation[dict[int, list[GPUPartition]]] = Annotation(
    keys.GPU_PARTITIONS,
    dict[int, list[GPUPartition]],
    "Device annotation",
    "Partitions of the node by number of GPUs.",
    blank=As.ABSENT,
    null=As.ERROR,
)
GPU_MINORS = Plain(keys.GPU_MINORS, "Pod annotation", "Minors of the pod's GPUs, 0,1, for device plugins.")
BIND_TIMESTAMP = Text(
    keys.BIND_TIMESTAMP, numbers.decimal_int, "Pod annotation", "Nanoseconds since the epoch at binding, for device plugins."
)
GPU_PARTITION_POLICY = Choice(
    keys.GPU_PARTITION_POLICY,
    (HONOR,),
    PREFER,
    "Node and Device label",
    "Honor: only partitions of the table may be allocated.",
)
GPU_VENDOR = Plain(keys.GPU_VENDOR, "Device and Node label", "nvidia, huawei, cambricon, metax or baidu.")
GPU_MODEL = Plain(keys.GPU_MODEL, "Device and Node label", "The GPU's model.")
GPU_DRIVER_VERSION = Plain(keys.GPU_DRIVER_VERSION, "Device and Node label", "The driver's version.")
SECONDARY_DEVICE_WELL_PLANNED = Choice(
    keys.SECONDARY_DEVICE_WELL_PLANNED,
    ("true", "false"),
    on="Device label",
    doc="Whether NICs are spread over PCIe switches such that any GPU has one near.",
)
HAMI_VGPU_NODE = Plain(keys.HAMI_VGPU_NODE, "Pod label", "The node's name, for HAMi.")
HAMI_LOCK = Plain(keys.HAMI_LOCK, "Node annotation", "Time of HAMi's lock.")
CAMBRICON_LOCK = Plain(keys.CAMBRICON_LOCK, "Node annotation", "Time of Cambricon's lock.")
PREDICATE_TIME = Plain(keys.PREDICATE_TIME, "Pod annotation", "Time of scheduling, for Huawei's plugin.")
HUAWEI_NPU_CORES = Plain(keys.HUAWEI_NPU_CORES, "Pod annotation", "Cards of the pod, for Huawei's plugin.")
HUAWEI_ASCEND_310P = Plain(keys.HUAWEI_ASCEND_310P, "Pod annotation", "Ascend 310P cards of the pod, for Huawei's plugin.")
CAMBRICON_ASSIGNED = Flag(keys.CAMBRICON_ASSIGNED, "Pod annotation", "Whether Cambricon's plugin has taken the pod.")
CAMBRICON_PROFILE = Plain(keys.CAMBRICON_PROFILE, "Pod annotation", "Cambricon's share of a card.")
METAX_ALLOCATED = Plain(keys.METAX_ALLOCATED, "Pod annotation", "MetaX's devices of the pod, as JSON of the vendor's own.")
