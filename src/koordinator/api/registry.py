"""Where each kind lives: group, version, plural, scope and the type that decodes it."""

from typing import Generic, TypeVar

import msgspec

from koordinator.api import (
    analysis,
    config,
    core,
    device,
    dra,
    explanation,
    gang,
    migration,
    networktopology,
    numa,
    quota,
    reservation,
    slo,
    storage,
)
from koordinator.api.meta import Object

T_co = TypeVar("T_co", bound=Object, covariant=True)


class Resource(msgspec.Struct, Generic[T_co], frozen=True):
    """One REST resource."""

    group: str
    version: str
    plural: str
    kind: str
    type: type[T_co]
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The URL path of the collection, of one object, or of a subresource of it."""
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name:
            parts.append(name)
        if subresource:
            parts.append(subresource)
        return "/".join(parts)


PODS = Resource("", "v1", "pods", "Pod", core.Pod)
NODES = Resource("", "v1", "nodes", "Node", core.Node, namespaced=False)
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", core.Namespace, namespaced=False)
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap", core.ConfigMap)
SECRETS = Resource("", "v1", "secrets", "Secret", core.Secret)
EVENTS = Resource("", "v1", "events", "Event", core.Event)
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease", core.Lease)
PRIORITY_CLASSES = Resource("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", core.PriorityClass, namespaced=False)
REPLICA_SETS = Resource("apps", "v1", "replicasets", "ReplicaSet", core.ReplicaSet)
STATEFUL_SETS = Resource("apps", "v1", "statefulsets", "StatefulSet", core.StatefulSet)
SERVICES = Resource("", "v1", "services", "Service", core.Service)
REPLICATION_CONTROLLERS = Resource("", "v1", "replicationcontrollers", "ReplicationController", core.ReplicationController)
PERSISTENT_VOLUMES = Resource("", "v1", "persistentvolumes", "PersistentVolume", storage.PersistentVolume, namespaced=False)
PERSISTENT_VOLUME_CLAIMS = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", storage.PersistentVolumeClaim)
STORAGE_CLASSES = Resource("storage.k8s.io", "v1", "storageclasses", "StorageClass", storage.StorageClass, namespaced=False)
CSI_NODES = Resource("storage.k8s.io", "v1", "csinodes", "CSINode", storage.CSINode, namespaced=False)
VOLUME_ATTACHMENTS = Resource(
    "storage.k8s.io", "v1", "volumeattachments", "VolumeAttachment", storage.VolumeAttachment, namespaced=False
)
CSI_DRIVERS = Resource("storage.k8s.io", "v1", "csidrivers", "CSIDriver", storage.CSIDriver, namespaced=False)
CSI_STORAGE_CAPACITIES = Resource(
    "storage.k8s.io", "v1", "csistoragecapacities", "CSIStorageCapacity", storage.CSIStorageCapacity
)
RESOURCE_CLAIMS = Resource("resource.k8s.io", "v1", "resourceclaims", "ResourceClaim", dra.ResourceClaim)
RESOURCE_CLAIM_TEMPLATES = Resource(
    "resource.k8s.io", "v1", "resourceclaimtemplates", "ResourceClaimTemplate", dra.ResourceClaimTemplate
)
DEVICE_CLASSES = Resource("resource.k8s.io", "v1", "deviceclasses", "DeviceClass", dra.DeviceClass, namespaced=False)
RESOURCE_SLICES = Resource("resource.k8s.io", "v1", "resourceslices", "ResourceSlice", dra.ResourceSlice, namespaced=False)
POD_DISRUPTION_BUDGETS = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", core.PodDisruptionBudget)
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment", Object)
JOBS = Resource("batch", "v1", "jobs", "Job", Object)
MUTATING_WEBHOOKS = Resource(
    "admissionregistration.k8s.io",
    "v1",
    "mutatingwebhookconfigurations",
    "MutatingWebhookConfiguration",
    Object,
    namespaced=False,
)
VALIDATING_WEBHOOKS = Resource(
    "admissionregistration.k8s.io",
    "v1",
    "validatingwebhookconfigurations",
    "ValidatingWebhookConfiguration",
    Object,
    namespaced=False,
)
CUSTOM_RESOURCE_DEFINITIONS = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", Object, namespaced=False
)
NODE_METRICS = Resource("slo.koordinator.sh", "v1alpha1", "nodemetrics", "NodeMetric", slo.NodeMetric, namespaced=False)
NODE_SLOS = Resource("slo.koordinator.sh", "v1alpha1", "nodeslos", "NodeSLO", slo.NodeSLO, namespaced=False)
CLUSTER_COLOCATION_PROFILES = Resource(
    "config.koordinator.sh",
    "v1alpha1",
    "clustercolocationprofiles",
    "ClusterColocationProfile",
    config.ClusterColocationProfile,
    namespaced=False,
)
RESERVATIONS = Resource(
    "scheduling.koordinator.sh", "v1alpha1", "reservations", "Reservation", reservation.Reservation, namespaced=False
)
POD_MIGRATION_JOBS = Resource(
    "scheduling.koordinator.sh", "v1alpha1", "podmigrationjobs", "PodMigrationJob", migration.PodMigrationJob, namespaced=False
)
DEVICES = Resource("scheduling.koordinator.sh", "v1alpha1", "devices", "Device", device.Device, namespaced=False)
SCHEDULE_EXPLANATIONS = Resource(
    "scheduling.koordinator.sh", "v1alpha1", "scheduleexplanations", "ScheduleExplanation", explanation.ScheduleExplanation
)
CLUSTER_NETWORK_TOPOLOGIES = Resource(
    "scheduling.koordinator.sh",
    "v1alpha1",
    "clusternetworktopologies",
    "ClusterNetworkTopology",
    networktopology.ClusterNetworkTopology,
    namespaced=False,
)
ELASTIC_QUOTA_PROFILES = Resource(
    "quota.koordinator.sh", "v1alpha1", "elasticquotaprofiles", "ElasticQuotaProfile", quota.ElasticQuotaProfile
)
RECOMMENDATIONS = Resource("analysis.koordinator.sh", "v1alpha1", "recommendations", "Recommendation", analysis.Recommendation)
ELASTIC_QUOTAS = Resource("scheduling.sigs.k8s.io", "v1alpha1", "elasticquotas", "ElasticQuota", quota.ElasticQuota)
POD_GROUPS = Resource("scheduling.sigs.k8s.io", "v1alpha1", "podgroups", "PodGroup", gang.PodGroup)
NODE_RESOURCE_TOPOLOGIES = Resource(
    "topology.node.k8s.io",
    "v1alpha1",
    "noderesourcetopologies",
    "NodeResourceTopology",
    numa.NodeResourceTopology,
    namespaced=False,
)
