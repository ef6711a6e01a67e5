"""Workload kinds as the controllers read them. Pod templates stay plain JSON: they are copied, never interpreted.

These are wider than the types of ``api.core``, which the components share: only controllers need templates and conditions.
"""

from typing import Any

import msgspec

from koordinator.api import core
from koordinator.api.meta import Condition, LabelSelector, Object, Struct
from koordinator.api.registry import Resource

Template = dict[str, Any]


class ReplicaSetSpec(core.ReplicaSetSpec):
    template: Template = msgspec.field(default_factory=dict)


class ReplicaSetStatus(core.ReplicaSetStatus):
    conditions: list[Condition] | None = None


class ReplicaSet(Object):
    spec: ReplicaSetSpec = msgspec.field(default_factory=ReplicaSetSpec)
    status: ReplicaSetStatus = msgspec.field(default_factory=ReplicaSetStatus)


class RollingUpdate(Struct):
    max_surge: int | str | None = None
    max_unavailable: int | str | None = None


class DeploymentStrategy(Struct):
    type: str = "RollingUpdate"
    rolling_update: RollingUpdate | None = None


class DeploymentSpec(Struct):
    replicas: int | None = None
    selector: LabelSelector | None = None
    template: Template = msgspec.field(default_factory=dict)
    strategy: DeploymentStrategy = msgspec.field(default_factory=DeploymentStrategy)
    min_ready_seconds: int = 0
    revision_history_limit: int | None = None
    progress_deadline_seconds: int | None = None
    paused: bool = False


class DeploymentCondition(Condition):
    last_update_time: str | None = None


class DeploymentStatus(Struct):
    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    unavailable_replicas: int = 0
    collision_count: int | None = None
    conditions: list[DeploymentCondition] | None = None


class Deployment(Object):
    spec: DeploymentSpec = msgspec.field(default_factory=DeploymentSpec)
    status: DeploymentStatus = msgspec.field(default_factory=DeploymentStatus)


class DaemonSetUpdateStrategy(Struct):
    type: str = "RollingUpdate"
    rolling_update: RollingUpdate | None = None


class DaemonSetSpec(Struct):
    selector: LabelSelector | None = None
    template: Template = msgspec.field(default_factory=dict)
    update_strategy: DaemonSetUpdateStrategy = msgspec.field(default_factory=DaemonSetUpdateStrategy)
    min_ready_seconds: int = 0
    revision_history_limit: int | None = None


class DaemonSetStatus(Struct):
    observed_generation: int = 0
    current_number_scheduled: int = 0
    number_misscheduled: int = 0
    desired_number_scheduled: int = 0
    number_ready: int = 0
    updated_number_scheduled: int = 0
    number_available: int = 0
    number_unavailable: int = 0
    collision_count: int | None = None


class DaemonSet(Object):
    spec: DaemonSetSpec = msgspec.field(default_factory=DaemonSetSpec)
    status: DaemonSetStatus = msgspec.field(default_factory=DaemonSetStatus)


class StatefulRollingUpdate(Struct):
    partition: int | None = None


class StatefulSetUpdateStrategy(Struct):
    type: str = "RollingUpdate"
    rolling_update: StatefulRollingUpdate | None = None


class Ordinals(Struct):
    start: int = 0


class StatefulSetSpec(Struct):
    replicas: int | None = None
    selector: LabelSelector | None = None
    template: Template = msgspec.field(default_factory=dict)
    service_name: str = ""
    pod_management_policy: str = "OrderedReady"
    update_strategy: StatefulSetUpdateStrategy = msgspec.field(default_factory=StatefulSetUpdateStrategy)
    volume_claim_templates: list[dict[str, Any]] | None = None
    min_ready_seconds: int = 0
    revision_history_limit: int | None = None
    ordinals: Ordinals = msgspec.field(default_factory=Ordinals)


class StatefulSetStatus(Struct):
    observed_generation: int = 0
    replicas: int = 0
    ready_replicas: int = 0
    current_replicas: int = 0
    updated_replicas: int = 0
    available_replicas: int = 0
    current_revision: str = ""
    update_revision: str = ""
    collision_count: int | None = None


class StatefulSet(Object):
    spec: StatefulSetSpec = msgspec.field(default_factory=StatefulSetSpec)
    status: StatefulSetStatus = msgspec.field(default_factory=StatefulSetStatus)


class ControllerRevision(Object):
    data: dict[str, Any] | None = None
    revision: int = 0


class JobSpec(Struct):
    parallelism: int | None = None
    completions: int | None = None
    backoff_limit: int | None = None
    active_deadline_seconds: int | None = None
    ttl_seconds_after_finished: int | None = None
    completion_mode: str | None = None
    selector: LabelSelector | None = None
    manual_selector: bool | None = None
    suspend: bool | None = None
    template: Template = msgspec.field(default_factory=dict)


class UncountedPods(Struct):
    succeeded: list[str] | None = None
    failed: list[str] | None = None


class JobStatus(Struct):
    active: int = 0
    ready: int | None = None
    succeeded: int = 0
    failed: int = 0
    start_time: str | None = None
    completion_time: str | None = None
    completed_indexes: str | None = None
    uncounted_terminated_pods: UncountedPods | None = None
    conditions: list[Condition] | None = None


class Job(Object):
    spec: JobSpec = msgspec.field(default_factory=JobSpec)
    status: JobStatus = msgspec.field(default_factory=JobStatus)


class DisruptionStatus(core.PodDisruptionBudgetStatus):
    conditions: list[Condition] | None = None


class DisruptionBudget(Object):
    spec: core.PodDisruptionBudgetSpec = msgspec.field(default_factory=core.PodDisruptionBudgetSpec)
    status: DisruptionStatus = msgspec.field(default_factory=DisruptionStatus)


class NamespaceSpec(Struct):
    finalizers: list[str] | None = None


class Namespace(Object):
    spec: NamespaceSpec = msgspec.field(default_factory=NamespaceSpec)
    status: core.NamespaceStatus = msgspec.field(default_factory=core.NamespaceStatus)


class CrdNames(Struct):
    plural: str = ""
    kind: str = ""


class CrdVersion(Struct):
    name: str = ""
    served: bool = False
    storage: bool = False


class CrdSpec(Struct):
    group: str = ""
    scope: str = "Namespaced"
    names: CrdNames = msgspec.field(default_factory=CrdNames)
    versions: list[CrdVersion] = msgspec.field(default_factory=list)


class CustomResourceDefinition(Object):
    spec: CrdSpec = msgspec.field(default_factory=CrdSpec)

    @property
    def resource(self) -> Resource[Object] | None:
        """Where objects of this kind live; None while no version is served."""
        served = [version for version in self.spec.versions if version.served]
        served.sort(key=lambda version: not version.storage)
        if not served:
            return None
        names, namespaced = self.spec.names, self.spec.scope == "Namespaced"
        return Resource(self.spec.group, served[0].name, names.plural, names.kind, Object, namespaced)


REPLICA_SETS = Resource("apps", "v1", "replicasets", "ReplicaSet", ReplicaSet)
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment", Deployment)
DAEMON_SETS = Resource("apps", "v1", "daemonsets", "DaemonSet", DaemonSet)
STATEFUL_SETS = Resource("apps", "v1", "statefulsets", "StatefulSet", StatefulSet)
CONTROLLER_REVISIONS = Resource("apps", "v1", "controllerrevisions", "ControllerRevision", ControllerRevision)
JOBS = Resource("batch", "v1", "jobs", "Job", Job)
DISRUPTION_BUDGETS = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", DisruptionBudget)
CLAIMS = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", Object)
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", Namespace, namespaced=False)
CUSTOM_RESOURCE_DEFINITIONS = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", CustomResourceDefinition, False
)
