"""The catalogue of Kubernetes' own kinds that this server knows."""

from koordinator.clock import Clock
from koordinator.cluster.apiserver.kinds import core, devices
from koordinator.cluster.apiserver.kinds.base import Kind, Rules
from koordinator.cluster.apiserver.kinds.custom import DefinitionRules
from koordinator.cluster.apiserver.kinds.hooks import WebhookConfigurationRules
from koordinator.cluster.apiserver.kinds.pods import PodRules
from koordinator.cluster.apiserver.kinds.workloads import (
    DaemonSetRules,
    DeploymentRules,
    JobRules,
    ReplicaSetRules,
    StatefulSetRules,
)

_ALL = ("all",)
_STATUS = frozenset({"status"})
_SCALE = frozenset({"status", "scale"})
_RBAC = "rbac.authorization.k8s.io"
_ADMISSION = "admissionregistration.k8s.io"


def kinds(clock: Clock) -> list[Kind]:
    """Every built-in kind, with fresh rules."""
    return [*_core(), *_workloads(), *_policies(), *_devices(), *_stored(), _definitions(clock)]


def _definitions(clock: Clock) -> Kind:
    rules, names = DefinitionRules(clock), ("crd", "crds")
    return Kind(
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        rules,
        False,
        names,
        ("api-extensions",),
        _STATUS,
    )


def _core() -> list[Kind]:
    pod_subresources = frozenset({"status", "binding", "eviction", "log"})
    return [
        Kind(
            "",
            "v1",
            "namespaces",
            "Namespace",
            core.NamespaceRules(),
            False,
            ("ns",),
            subresources=frozenset({"status", "finalize"}),
        ),
        Kind("", "v1", "nodes", "Node", core.NodeRules(), False, ("no",), subresources=_STATUS),
        Kind("", "v1", "pods", "Pod", PodRules(), True, ("po",), _ALL, pod_subresources),
        Kind("", "v1", "configmaps", "ConfigMap", core.ConfigMapRules(), True, ("cm",)),
        Kind("", "v1", "secrets", "Secret", core.SecretRules()),
        Kind("", "v1", "events", "Event", core.EventRules(), True, ("ev",)),
        Kind("events.k8s.io", "v1", "events", "Event", core.EventRules(), True, ("ev",), stored_as="events"),
        Kind("", "v1", "services", "Service", core.ServiceRules(), True, ("svc",), _ALL, _STATUS),
        Kind(
            "",
            "v1",
            "endpoints",
            "Endpoints",
            core.EndpointsRules(),
            True,
            ("ep",),
            list_kind="EndpointsList",
            singular="endpoints",
        ),
        Kind("", "v1", "serviceaccounts", "ServiceAccount", core.ServiceAccountRules(), True, ("sa",)),
        Kind("", "v1", "persistentvolumes", "PersistentVolume", core.StatusRules(), False, ("pv",), subresources=_STATUS),
        Kind(
            "",
            "v1",
            "persistentvolumeclaims",
            "PersistentVolumeClaim",
            core.StatusRules(),
            True,
            ("pvc",),
            subresources=_STATUS,
        ),
        Kind("", "v1", "resourcequotas", "ResourceQuota", core.StatusRules(), True, ("quota",), subresources=_STATUS),
        Kind("", "v1", "limitranges", "LimitRange", Rules(), True, ("limits",)),
    ]


def _workloads() -> list[Kind]:
    return [
        Kind("apps", "v1", "deployments", "Deployment", DeploymentRules(), True, ("deploy",), _ALL, _SCALE),
        Kind("apps", "v1", "replicasets", "ReplicaSet", ReplicaSetRules(), True, ("rs",), _ALL, _SCALE),
        Kind("apps", "v1", "daemonsets", "DaemonSet", DaemonSetRules(), True, ("ds",), _ALL, _STATUS),
        Kind("apps", "v1", "statefulsets", "StatefulSet", StatefulSetRules(), True, ("sts",), _ALL, _SCALE),
        Kind("apps", "v1", "controllerrevisions", "ControllerRevision", Rules()),
        Kind("batch", "v1", "jobs", "Job", JobRules(), True, (), _ALL, _STATUS),
    ]


def _policies() -> list[Kind]:
    budget, classes, hooks = core.DisruptionBudgetRules(), core.PriorityClassRules(), WebhookConfigurationRules
    return [
        Kind("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", budget, True, ("pdb",), subresources=_STATUS),
        Kind("coordination.k8s.io", "v1", "leases", "Lease", core.LeaseRules()),
        Kind("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", classes, False, ("pc",), singular="priorityclass"),
        Kind(_ADMISSION, "v1", "mutatingwebhookconfigurations", "MutatingWebhookConfiguration", hooks(), False),
        Kind(_ADMISSION, "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", hooks(), False),
    ]


def _devices() -> list[Kind]:
    group, claims, templates = "resource.k8s.io", devices.ClaimRules(), devices.ClaimTemplateRules()
    classes, slices = devices.DeviceClassRules(), devices.ResourceSliceRules()
    return [
        Kind(group, "v1", "resourceclaims", "ResourceClaim", claims, subresources=_STATUS),
        Kind(group, "v1", "resourceclaimtemplates", "ResourceClaimTemplate", templates),
        Kind(group, "v1", "deviceclasses", "DeviceClass", classes, False, singular="deviceclass"),
        Kind(group, "v1", "resourceslices", "ResourceSlice", slices, False),
    ]


def _stored() -> list[Kind]:
    return [
        Kind("storage.k8s.io", "v1", "storageclasses", "StorageClass", Rules(), False, ("sc",), singular="storageclass"),
        Kind("storage.k8s.io", "v1", "csinodes", "CSINode", Rules(), False),
        Kind("storage.k8s.io", "v1", "volumeattachments", "VolumeAttachment", Rules(), False),
        Kind("storage.k8s.io", "v1", "csidrivers", "CSIDriver", Rules(), False),
        Kind("storage.k8s.io", "v1", "csistoragecapacities", "CSIStorageCapacity", Rules()),
        Kind("", "v1", "replicationcontrollers", "ReplicationController", core.StatusRules(), True, ("rc",), _ALL, _STATUS),
        Kind("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", Rules()),
        Kind(_RBAC, "v1", "clusterroles", "ClusterRole", core.PathNameRules(), False),
        Kind(_RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", core.PathNameRules(), False),
        Kind(_RBAC, "v1", "roles", "Role", core.PathNameRules()),
        Kind(_RBAC, "v1", "rolebindings", "RoleBinding", core.PathNameRules()),
    ]
