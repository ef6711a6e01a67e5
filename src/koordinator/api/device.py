"""scheduling.koordinator.sh/v1alpha1 Device: the GPUs, NICs and other devices of one node; named like the node."""

from typing import Annotated

import msgspec

from koordinator.api.core import Quantities
from koordinator.api.meta import REQUIRED, Int32, Object, Struct, TimeText, always, bounded, schema

_TYPE = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
_REASON = "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"


class DeviceTopology(Struct):
    """Where a device is plugged in; -1 is unknown."""

    socket_id: Annotated[Int32, REQUIRED] = msgspec.field(default_factory=lambda: 0, name="socketID")  #: CPU socket.
    node_id: Annotated[Int32, REQUIRED] = msgspec.field(default_factory=lambda: 0, name="nodeID")  #: NUMA zone.
    pcie_id: Annotated[str, REQUIRED] = msgspec.field(default_factory=str, name="pcieID")  #: PCIe switch.
    bus_id: str = msgspec.field(default="", name="busID")  #: Address on the bus.


class VirtualFunction(Struct):
    minor: Annotated[Int32, REQUIRED] = always(0)  #: Its number.
    bus_id: str = msgspec.field(default="", name="busID")  #: Address on the bus.


class VirtualFunctionGroup(Struct):
    """Virtual functions that share labels."""

    labels: dict[str, str] | None = None  #: What hints can select by.
    vfs: list[VirtualFunction] | None = None  #: The functions.


class DeviceCondition(Struct):
    """Type ``Healthy`` tells why a device may not be used."""

    type: Annotated[str, REQUIRED, schema(maxLength=316, pattern=_TYPE)] = always("")  #: What it is about.
    status: Annotated[str, REQUIRED, schema(enum=["True", "False", "Unknown"])] = always("")  #: Whether it holds.
    observed_generation: Annotated[int, bounded(0)] | None = None  #: Generation that it was written for.
    last_transition_time: Annotated[TimeText, REQUIRED] | None = None  #: When the status changed.
    reason: Annotated[str, REQUIRED, schema(minLength=1, maxLength=1024, pattern=_REASON)] = always("")  #: One word.
    message: Annotated[str, REQUIRED, schema(maxLength=32768)] = always("")  #: For people.


class DeviceInfo(Struct):
    """One device. ``id`` is its UUID, ``minor`` its number of its type, ``module_id`` its physical slot."""

    type: str = ""  #: gpu, rdma, fpga or another.
    labels: dict[str, str] | None = None  #: What hints can select by.
    id: str = ""  #: UUID.
    minor: Int32 | None = None  #: Number among devices of its type.
    module_id: Int32 | None = msgspec.field(default=None, name="moduleID")  #: Physical slot.
    health: Annotated[bool, REQUIRED, schema(default=False)] = always(value=False)  #: Whether it may be used.
    resources: Quantities | None = None  #: What it offers.
    topology: DeviceTopology | None = None  #: Where it is plugged in.
    vf_groups: list[VirtualFunctionGroup] | None = None  #: Virtual functions.
    conditions: list[DeviceCondition] | None = None  #: Why it may not be used.


class DeviceSpec(Struct):
    devices: list[DeviceInfo] | None = None  #: Sorted by minor.


class DeviceAllocationItem(Struct):
    """What one pod holds of a type."""

    name: str = ""  #: The pod.
    namespace: str = ""  #: Its namespace.
    uuid: str = ""  #: Its uid.
    minors: list[Int32] | None = None  #: Devices that it uses.


class DeviceAllocation(Struct):
    type: str = ""  #: Type of device.
    entries: list[DeviceAllocationItem] | None = None  #: By pod.


class DeviceStatus(Struct):
    allocations: list[DeviceAllocation] | None = None  #: By type.


class Device(Object):
    """The devices of one node."""

    spec: DeviceSpec = msgspec.field(default_factory=DeviceSpec)
    status: DeviceStatus = msgspec.field(default_factory=DeviceStatus)
