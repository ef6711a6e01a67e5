"""The kinds whose objects have owners or live in namespaces: what garbage collection and namespace deletion must know of."""

from koordinator.api.meta import Object
from koordinator.api.registry import PODS, RESOURCE_CLAIM_TEMPLATES, RESOURCE_CLAIMS, Resource
from koordinator.cluster.controllers.objects import (
    CLAIMS,
    CONTROLLER_REVISIONS,
    DAEMON_SETS,
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    JOBS,
    NAMESPACES,
    REPLICA_SETS,
    STATEFUL_SETS,
)


def _kind(group: str, plural: str, kind: str, version: str = "v1", *, namespaced: bool = True) -> Resource[Object]:
    return Resource(group, version, plural, kind, Object, namespaced)


EVENTS = _kind("", "events", "Event")
LEASES = _kind("coordination.k8s.io", "leases", "Lease")
NODES = _kind("", "nodes", "Node", namespaced=False)

OWNED: tuple[Resource[Object], ...] = (
    PODS,
    REPLICA_SETS,
    DEPLOYMENTS,
    DAEMON_SETS,
    STATEFUL_SETS,
    CONTROLLER_REVISIONS,
    JOBS,
    DISRUPTION_BUDGETS,
    _kind("", "configmaps", "ConfigMap"),
    _kind("", "secrets", "Secret"),
    _kind("", "services", "Service"),
    _kind("", "serviceaccounts", "ServiceAccount"),
    CLAIMS,
    RESOURCE_CLAIMS,
    RESOURCE_CLAIM_TEMPLATES,
    _kind("resource.k8s.io", "resourceslices", "ResourceSlice", namespaced=False),
    LEASES,
    NODES,
    NAMESPACES,
)
"""Watched by the garbage collector, together with every custom resource."""

NAMESPACED: tuple[Resource[Object], ...] = (
    *(resource for resource in OWNED if resource.namespaced),
    _kind("", "endpoints", "Endpoints"),
    _kind("", "resourcequotas", "ResourceQuota"),
    _kind("", "limitranges", "LimitRange"),
    _kind("", "replicationcontrollers", "ReplicationController"),
    _kind("storage.k8s.io", "csistoragecapacities", "CSIStorageCapacity"),
    _kind("discovery.k8s.io", "endpointslices", "EndpointSlice"),
    _kind("rbac.authorization.k8s.io", "roles", "Role"),
    _kind("rbac.authorization.k8s.io", "rolebindings", "RoleBinding"),
    EVENTS,
)
"""Emptied when a namespace goes, together with every namespaced custom resource. Events last: deleting makes some."""
