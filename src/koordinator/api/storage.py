"""Kubernetes' storage objects, as far as scheduling reads them."""

import msgspec

from koordinator.api.core import NodeSelector, Quantities, QuantityText, ResourceRequirements
from koordinator.api.meta import LabelSelector, Object, ObjectReference, Struct

SELECTED_NODE = "volume.kubernetes.io/selected-node"
"""Annotation of a claim: the node that its volume shall be made for."""
BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
STORAGE_CLASS = "volume.beta.kubernetes.io/storage-class"
"""Annotation in place of ``storageClassName``, from the time before that."""
WAIT_FOR_FIRST_CONSUMER = "WaitForFirstConsumer"
NO_PROVISIONER = "kubernetes.io/no-provisioner"


class PersistentVolumeClaimSpec(Struct):
    access_modes: list[str] | None = None
    resources: ResourceRequirements = msgspec.field(default_factory=ResourceRequirements)
    volume_name: str = ""
    storage_class_name: str | None = None
    selector: LabelSelector | None = None
    volume_mode: str | None = None


class PersistentVolumeClaimStatus(Struct):
    phase: str = ""


class PersistentVolumeClaim(Object):
    spec: PersistentVolumeClaimSpec = msgspec.field(default_factory=PersistentVolumeClaimSpec)
    status: PersistentVolumeClaimStatus = msgspec.field(default_factory=PersistentVolumeClaimStatus)

    @property
    def bound(self) -> bool:
        """Whether claim and volume know of each other."""
        return bool(self.spec.volume_name) and BIND_COMPLETED in (self.metadata.annotations or {})

    @property
    def class_name(self) -> str:
        return (self.metadata.annotations or {}).get(STORAGE_CLASS, self.spec.storage_class_name or "")


class VolumeNodeAffinity(Struct):
    required: NodeSelector | None = None


class CSISource(Struct):
    driver: str = ""
    volume_handle: str = ""


class PersistentVolumeSpec(Struct):
    capacity: Quantities | None = None
    access_modes: list[str] | None = None
    claim_ref: ObjectReference | None = None
    storage_class_name: str = ""
    node_affinity: VolumeNodeAffinity | None = None
    volume_mode: str | None = None
    csi: CSISource | None = None


class PersistentVolumeStatus(Struct):
    phase: str = ""


class PersistentVolume(Object):
    spec: PersistentVolumeSpec = msgspec.field(default_factory=PersistentVolumeSpec)
    status: PersistentVolumeStatus = msgspec.field(default_factory=PersistentVolumeStatus)


class TopologyRequirement(Struct):
    key: str = ""
    values: list[str] = msgspec.field(default_factory=list)


class TopologyTerm(Struct):
    match_label_expressions: list[TopologyRequirement] | None = None


class StorageClass(Object):
    provisioner: str = ""
    volume_binding_mode: str | None = None
    allowed_topologies: list[TopologyTerm] | None = None


class VolumeNodeResources(Struct):
    count: int | None = None


class CSINodeDriver(Struct):
    name: str = ""
    node_id: str = msgspec.field(default="", name="nodeID")
    topology_keys: list[str] | None = None
    allocatable: VolumeNodeResources | None = None


class CSINodeSpec(Struct):
    drivers: list[CSINodeDriver] = msgspec.field(default_factory=list)


class CSINode(Object):
    spec: CSINodeSpec = msgspec.field(default_factory=CSINodeSpec)


class CSIDriverSpec(Struct):
    storage_capacity: bool | None = None


class CSIDriver(Object):
    spec: CSIDriverSpec = msgspec.field(default_factory=CSIDriverSpec)


class CSIStorageCapacity(Object):
    storage_class_name: str = ""
    node_topology: LabelSelector | None = None
    capacity: QuantityText | None = None
    maximum_volume_size: QuantityText | None = None


class VolumeAttachmentSource(Struct):
    persistent_volume_name: str | None = None


class VolumeAttachmentSpec(Struct):
    node_name: str = ""
    source: VolumeAttachmentSource = msgspec.field(default_factory=VolumeAttachmentSource)


class VolumeAttachment(Object):
    """A volume is, or is to be, attached to a node; the object lasts until it is detached."""

    spec: VolumeAttachmentSpec = msgspec.field(default_factory=VolumeAttachmentSpec)
