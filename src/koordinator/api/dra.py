"""Kubernetes' dynamic resource allocation (resource.k8s.io/v1), as far as it is read: claims, classes, and the slices of
devices that drivers publish.
"""

from typing import Any

import msgspec

from koordinator.api.core import NodeSelector, QuantityText, Toleration
from koordinator.api.meta import Object, Struct

DELETE_PROTECTION = "resource.kubernetes.io/delete-protection"
"""Finalizer of a claim that has devices."""
POD_CLAIM_NAME = "resource.kubernetes.io/pod-claim-name"
"""Annotation of a claim that was made from a template: the name in ``pod.spec.resourceClaims``."""
EXACT_COUNT, ALL_DEVICES = "ExactCount", "All"
MOST_DEVICES = 32
"""In the allocation of one claim."""
MOST_CONSUMERS = 256
"""In ``status.reservedFor`` of one claim."""


# --- what is asked for -------------------------------------------------------------------------------------------------------


class CELSelector(Struct):
    expression: str = ""


class DeviceSelector(Struct):
    cel: CELSelector | None = None


class DeviceSubRequest(Struct):
    """One way to satisfy a request. ``capacity`` is only looked at to refuse it."""

    name: str = ""
    device_class_name: str = ""
    selectors: list[DeviceSelector] | None = None
    allocation_mode: str = ""
    count: int | None = None
    tolerations: list[Toleration] | None = None
    capacity: dict[str, Any] | None = None


class ExactDeviceRequest(DeviceSubRequest):
    admin_access: bool | None = None


class DeviceRequest(Struct):
    """Exactly one of the two: devices of one kind, or the first of several alternatives that can be had."""

    name: str = ""
    exactly: ExactDeviceRequest | None = None
    first_available: list[DeviceSubRequest] | None = None


class DeviceConstraint(Struct):
    requests: list[str] | None = None
    match_attribute: str | None = None
    distinct_attribute: str | None = None


class DeviceConfiguration(Struct):
    """Parameters for a driver; passed on, never read."""

    opaque: dict[str, Any] | None = None
    requests: list[str] | None = None
    source: str = ""


class DeviceClaim(Struct):
    requests: list[DeviceRequest] | None = None
    constraints: list[DeviceConstraint] | None = None
    config: list[DeviceConfiguration] | None = None


class ResourceClaimSpec(Struct):
    devices: DeviceClaim = msgspec.field(default_factory=DeviceClaim)


# --- what was given ----------------------------------------------------------------------------------------------------------


class DeviceResult(Struct):
    """One device for one request."""

    request: str = ""
    driver: str = ""
    pool: str = ""
    device: str = ""
    admin_access: bool | None = None
    tolerations: list[Toleration] | None = None


class DeviceAllocation(Struct):
    results: list[DeviceResult] | None = None
    config: list[DeviceConfiguration] | None = None


class Allocation(Struct):
    devices: DeviceAllocation = msgspec.field(default_factory=DeviceAllocation)
    node_selector: NodeSelector | None = None


class ConsumerReference(Struct):
    api_group: str = ""
    resource: str = ""
    name: str = ""
    uid: str = ""


class ResourceClaimStatus(Struct):
    allocation: Allocation | None = None
    reserved_for: list[ConsumerReference] | None = None


class ResourceClaim(Object):
    spec: ResourceClaimSpec = msgspec.field(default_factory=ResourceClaimSpec)
    status: ResourceClaimStatus = msgspec.field(default_factory=ResourceClaimStatus)

    def reserved_by(self, uid: str) -> bool:
        return any(one.uid == uid for one in self.status.reserved_for or ())


class ClaimTemplateMeta(Struct):
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class ResourceClaimTemplateSpec(Struct):
    metadata: ClaimTemplateMeta = msgspec.field(default_factory=ClaimTemplateMeta)
    spec: dict[str, Any] = msgspec.field(default_factory=dict)


class ResourceClaimTemplate(Object):
    spec: ResourceClaimTemplateSpec = msgspec.field(default_factory=ResourceClaimTemplateSpec)


class DeviceClassSpec(Struct):
    selectors: list[DeviceSelector] | None = None
    config: list[DeviceConfiguration] | None = None
    extended_resource_name: str | None = None


class DeviceClass(Object):
    spec: DeviceClassSpec = msgspec.field(default_factory=DeviceClassSpec)


# --- what there is -----------------------------------------------------------------------------------------------------------


class DeviceAttribute(Struct):
    """Exactly one of them."""

    string: str | None = None
    version: str | None = None
    integer: int | None = msgspec.field(default=None, name="int")
    truth: bool | None = msgspec.field(default=None, name="bool")

    @property
    def value(self) -> tuple[str, Any] | None:
        """Its type and value; None of a type that is not known here."""
        for name in ("string", "integer", "truth", "version"):
            found = getattr(self, name)
            if found is not None:
                return name, found
        return None


class DeviceCapacity(Struct):
    value: QuantityText = "0"


class Counter(Struct):
    value: QuantityText = "0"


class CounterSet(Struct):
    name: str = ""
    counters: dict[str, Counter] = msgspec.field(default_factory=dict)


class CounterConsumption(Struct):
    counter_set: str = ""
    counters: dict[str, Counter] = msgspec.field(default_factory=dict)


class DeviceTaint(Struct):
    key: str = ""
    value: str | None = None
    effect: str = ""


class Device(Struct):
    name: str = ""
    attributes: dict[str, DeviceAttribute] | None = None
    capacity: dict[str, DeviceCapacity] | None = None
    consumes_counters: list[CounterConsumption] | None = None
    node_name: str | None = None
    node_selector: NodeSelector | None = None
    all_nodes: bool | None = None
    taints: list[DeviceTaint] | None = None
    binding_conditions: list[str] | None = None


class ResourcePool(Struct):
    name: str = ""
    generation: int = 0
    resource_slice_count: int = 0


class ResourceSliceSpec(Struct):
    driver: str = ""
    pool: ResourcePool = msgspec.field(default_factory=ResourcePool)
    node_name: str | None = None
    node_selector: NodeSelector | None = None
    all_nodes: bool | None = None
    per_device_node_selection: bool | None = None
    devices: list[Device] | None = None
    shared_counters: list[CounterSet] | None = None


class ResourceSlice(Object):
    spec: ResourceSliceSpec = msgspec.field(default_factory=ResourceSliceSpec)
