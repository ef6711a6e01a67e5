"""scheduling.koordinator.sh/v1alpha1 Device: the GPUs, NICs and other devices of one node; named like the node."""

from typing import Annotated

import msgspec

from koordinator.api.core import Quantities
from koordinator.api.meta import REQUIRED, Int32, Object, Struct, TimeText, always, bounded, schema

_TYPE = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
_REASON = "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"


class DeviceTopology(Struct):
    """Where a device is plugged in; -1 is unknown."""

    socket_id: Annotated[Int32, REQUIRED] = msgspec.field(default_factory=lambda: 0, name="socketID")
    node_id: Annotated[Int32, REQUIRED] = msgspec.field(default_factory=lambda: 0, name="nodeID")
    pcie_id: Annotated[str, REQUIRED] = msgspec.field(default_factory=str, name="pcieID")
    bus_id: str = msgspec.field(default="", name="busID")


class VirtualFunction(Struct):
    minor: Annotated[Int32, REQUIRED] = always(0)
    bus_id: str = msgspec.field(default="", name="busID")


class VirtualFunctionGroup(Struct):
    """Virtual functions that share labels."""

    labels: dict[str, str] | None = None
    vfs: list[VirtualFunction] | None = None


class DeviceCondition(Struct):
    """Type ``Healthy`` tells why a device may not be used."""

    type: Annotated[str, REQUIRED, schema(maxLength=316, pattern=_TYPE)] = always("")
    status: Annotated[str, REQUIRED, schema(enum=["True", "False", "Unknown"])] = always("")
    observed_generation: Annotated[int, bounded(0)] | None = None
    last_transition_time: Annotated[TimeText, REQUIRED] | None = None
    reason: Annotated[str, REQUIRED, schema(minLength=1, maxLength=1024, pattern=_REASON)] = always("")
    message: Annotated[str, REQUIRED, schema(maxLength=32768)] = always("")


class DeviceInfo(Struct):
    """One device. ``id`` is its UUID, ``minor`` its number of its type, ``module_id`` its physical slot."""

    type: str = ""
    labels: dict[str, str] | None = None
    id: str = ""
    minor: Int32 | None = None
    module_id: Int32 | None = msgspec.field(default=None, name="moduleID")
    health: Annotated[bool, REQUIRED, schema(default=False)] = always(value=False)
    resources: Quantities | None = None
    topology: DeviceTopology | None = None
    vf_groups: list[VirtualFunctionGroup] | None = None
    conditions: list[DeviceCondition] | None = None


class DeviceSpec(Struct):
    devices: list[DeviceInfo] | None = None


class DeviceAllocationItem(Struct):
    """What one pod holds of a type."""

    name: str = ""
    namespace: str = ""
    uuid: str = ""
    minors: list[Int32] | None = None


class DeviceAllocation(Struct):
    type: str = ""
    entries: list[DeviceAllocationItem] | None = None


class DeviceStatus(Struct):
    allocations: list[DeviceAllocation] | None = None


class Device(Object):
    """The devices of one node."""

    spec: DeviceSpec = msgspec.field(default_factory=DeviceSpec)
    status: DeviceStatus = msgspec.field(default_factory=DeviceStatus)
