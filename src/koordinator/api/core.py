"""Kubernetes' own objects, as far as we read them. Quantities stay text here; ``api.resources.amounts`` reads them."""

from typing import Annotated, Any

import msgspec

from koordinator.api.meta import Condition, LabelSelector, Object, ObjectMeta, ObjectReference, Struct, TimeText

QuantityText = Annotated[str | int | float, msgspec.Meta(extra={"format": "quantity"})]
"""A quantity on the wire: text, or a JSON number on read."""

Quantities = dict[str, QuantityText]
"""A ResourceList on the wire: name → quantity."""


class ResourceRequirements(Struct):
    requests: Quantities | None = None
    limits: Quantities | None = None


class ContainerPort(Struct):
    container_port: int = 0
    host_port: int | None = None
    host_ip: str | None = msgspec.field(default=None, name="hostIP")
    name: str | None = None
    protocol: str | None = None


class FieldSelectorSource(Struct):
    field_path: str = ""


class KeySelector(Struct):
    name: str = ""
    key: str = ""
    optional: bool | None = None


class ResourceSelectorSource(Struct):
    resource: str = ""
    container_name: str | None = None
    divisor: str | int | float | None = None


class EnvVarSource(Struct):
    field_ref: FieldSelectorSource | None = None
    resource_field_ref: ResourceSelectorSource | None = None
    config_map_key_ref: KeySelector | None = None
    secret_key_ref: KeySelector | None = None


class EnvVar(Struct):
    name: str
    value: str | None = None
    value_from: EnvVarSource | None = None


class SecurityContext(Struct):
    run_as_user: int | None = None
    run_as_group: int | None = None


class Container(Struct):
    name: str = ""
    image: str | None = None
    command: list[str] | None = None
    args: list[str] | None = None
    working_dir: str | None = None
    env: list[EnvVar] | None = None
    ports: list[ContainerPort] | None = None
    resources: ResourceRequirements = msgspec.field(default_factory=ResourceRequirements)
    restart_policy: str | None = None
    security_context: SecurityContext | None = None


class Toleration(Struct):
    key: str | None = None
    operator: str | None = None
    value: str | None = None
    effect: str | None = None
    toleration_seconds: int | None = None


class Taint(Struct):
    key: str
    effect: str
    value: str | None = None
    time_added: TimeText | None = None


class NodeSelectorRequirement(Struct):
    key: str
    operator: str
    values: list[str] | None = None


class NodeSelectorTerm(Struct):
    match_expressions: list[NodeSelectorRequirement] | None = None
    match_fields: list[NodeSelectorRequirement] | None = None


class NodeSelector(Struct):
    node_selector_terms: list[NodeSelectorTerm] = msgspec.field(default_factory=list)


class PreferredSchedulingTerm(Struct):
    weight: int
    preference: NodeSelectorTerm


class NodeAffinity(Struct):
    required_during_scheduling_ignored_during_execution: NodeSelector | None = None
    preferred_during_scheduling_ignored_during_execution: list[PreferredSchedulingTerm] | None = None


class PodAffinityTerm(Struct):
    topology_key: str = ""
    label_selector: LabelSelector | None = None
    namespaces: list[str] | None = None
    namespace_selector: LabelSelector | None = None
    match_label_keys: list[str] | None = None
    mismatch_label_keys: list[str] | None = None


class WeightedPodAffinityTerm(Struct):
    weight: int
    pod_affinity_term: PodAffinityTerm


class PodAffinity(Struct):
    required_during_scheduling_ignored_during_execution: list[PodAffinityTerm] | None = None
    preferred_during_scheduling_ignored_during_execution: list[WeightedPodAffinityTerm] | None = None


class Affinity(Struct):
    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAffinity | None = None


class TopologySpreadConstraint(Struct):
    max_skew: int
    topology_key: str
    when_unsatisfiable: str
    label_selector: LabelSelector | None = None
    min_domains: int | None = None
    node_affinity_policy: str | None = None
    node_taints_policy: str | None = None
    match_label_keys: list[str] | None = None


class ClaimSource(Struct):
    claim_name: str = ""
    read_only: bool | None = None


class ClaimTemplate(Struct):
    """A claim that comes and goes with its pod; the claim is named ``<pod>-<volume>``."""

    spec: Any = None


class EphemeralSource(Struct):
    volume_claim_template: ClaimTemplate | None = None


class DiskSource(Struct):
    """A network disk named in the pod itself: each of the old in-tree kinds in its own words."""

    pd_name: str | None = None
    volume_id: str | None = msgspec.field(default=None, name="volumeID")
    monitors: list[str] | None = None
    pool: str | None = None
    image: str | None = None
    iqn: str | None = None
    read_only: bool | None = None


class HostPathSource(Struct):
    path: str = ""


class Volume(Struct):
    name: str = ""
    persistent_volume_claim: ClaimSource | None = None
    ephemeral: EphemeralSource | None = None
    gce_persistent_disk: DiskSource | None = None
    aws_elastic_block_store: DiskSource | None = None
    rbd: DiskSource | None = None
    iscsi: DiskSource | None = None
    host_path: HostPathSource | None = None


class PodResourceClaim(Struct):
    name: str = ""
    resource_claim_name: str | None = None
    resource_claim_template_name: str | None = None


class PodSchedulingGate(Struct):
    name: str


class PodSpec(Struct):
    node_name: str = ""
    scheduler_name: str = ""
    containers: list[Container] = msgspec.field(default_factory=list)
    init_containers: list[Container] | None = None
    overhead: Quantities | None = None
    resources: ResourceRequirements | None = None
    priority: int | None = None
    priority_class_name: str | None = None
    preemption_policy: str | None = None
    node_selector: dict[str, str] | None = None
    affinity: Affinity | None = None
    tolerations: list[Toleration] | None = None
    topology_spread_constraints: list[TopologySpreadConstraint] | None = None
    scheduling_gates: list[PodSchedulingGate] | None = None
    restart_policy: str | None = None
    termination_grace_period_seconds: int | None = None
    active_deadline_seconds: int | None = None
    host_network: bool | None = None
    security_context: SecurityContext | None = None
    volumes: list[Volume] | None = None
    resource_claims: list[PodResourceClaim] | None = None


class ContainerStateRunning(Struct):
    started_at: str | None = None


class ContainerStateTerminated(Struct):
    exit_code: int = 0
    signal: int | None = None
    reason: str | None = None
    message: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    container_id: str | None = msgspec.field(default=None, name="containerID")


class ContainerStateWaiting(Struct):
    reason: str | None = None
    message: str | None = None


class ContainerState(Struct):
    running: ContainerStateRunning | None = None
    terminated: ContainerStateTerminated | None = None
    waiting: ContainerStateWaiting | None = None


class ContainerStatus(Struct):
    name: str = ""
    container_id: str | None = msgspec.field(default=None, name="containerID")
    ready: bool = False
    started: bool | None = None
    restart_count: int = 0
    image: str | None = None
    image_id: str | None = msgspec.field(default=None, name="imageID")
    state: ContainerState | None = None
    last_state: ContainerState | None = None
    allocated_resources: Quantities | None = None
    resources: ResourceRequirements | None = None


class PodResourceClaimStatus(Struct):
    """The claim that was made for an entry of ``spec.resourceClaims``; no name: none is needed."""

    name: str = ""
    resource_claim_name: str | None = None


class PodStatus(Struct):
    phase: str = ""
    reason: str | None = None
    message: str | None = None
    qos_class: str = ""
    pod_ip: str | None = msgspec.field(default=None, name="podIP")
    host_ip: str | None = msgspec.field(default=None, name="hostIP")
    start_time: str | None = None
    conditions: list[Condition] | None = None
    container_statuses: list[ContainerStatus] | None = None
    init_container_statuses: list[ContainerStatus] | None = None
    nominated_node_name: str | None = None
    resource_claim_statuses: list[PodResourceClaimStatus] | None = None


class Pod(Object):
    spec: PodSpec = msgspec.field(default_factory=PodSpec)
    status: PodStatus = msgspec.field(default_factory=PodStatus)

    @property
    def terminated(self) -> bool:
        """Whether every container has ended for good: such a pod uses nothing."""
        return self.status.phase in ("Succeeded", "Failed")


class NodeSpec(Struct):
    unschedulable: bool = False
    taints: list[Taint] | None = None
    pod_cidr: str | None = msgspec.field(default=None, name="podCIDR")
    provider_id: str | None = msgspec.field(default=None, name="providerID")


class NodeAddress(Struct):
    type: str
    address: str


class DaemonEndpoint(Struct):
    port: int = msgspec.field(default=0, name="Port")


class NodeDaemonEndpoints(Struct):
    kubelet_endpoint: DaemonEndpoint = msgspec.field(default_factory=DaemonEndpoint)


class ContainerImage(Struct):
    names: list[str] | None = None
    size_bytes: int = 0


class NodeStatus(Struct):
    capacity: Quantities | None = None
    allocatable: Quantities | None = None
    conditions: list[Condition] | None = None
    addresses: list[NodeAddress] | None = None
    daemon_endpoints: NodeDaemonEndpoints | None = None
    images: list[ContainerImage] | None = None


class Node(Object):
    spec: NodeSpec = msgspec.field(default_factory=NodeSpec)
    status: NodeStatus = msgspec.field(default_factory=NodeStatus)


class ConfigMap(Object):
    data: dict[str, str] | None = None


class Secret(Object):
    data: dict[str, str] | None = None
    type: str | None = None


class NamespaceStatus(Struct):
    phase: str = ""


class Namespace(Object):
    status: NamespaceStatus = msgspec.field(default_factory=NamespaceStatus)


class EventSource(Struct):
    component: str = ""
    host: str | None = None


class Event(Object):
    """Core v1 Event."""

    involved_object: ObjectReference = msgspec.field(default_factory=ObjectReference)
    reason: str = ""
    message: str = ""
    type: str = ""
    count: int = 0
    first_timestamp: str | None = None
    last_timestamp: str | None = None
    event_time: str | None = None
    source: EventSource = msgspec.field(default_factory=EventSource)
    reporting_component: str = ""
    reporting_instance: str = ""
    action: str | None = None


class LeaseSpec(Struct):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class Lease(Object):
    spec: LeaseSpec = msgspec.field(default_factory=LeaseSpec)


class PriorityClass(Object):
    value: int = 0
    global_default: bool = False
    preemption_policy: str | None = None
    description: str | None = None


class PodTemplateSpec(Struct):
    metadata: ObjectMeta = msgspec.field(default_factory=ObjectMeta)
    spec: PodSpec = msgspec.field(default_factory=PodSpec)


class ReplicaSetSpec(Struct):
    replicas: int | None = None
    min_ready_seconds: int = 0
    selector: LabelSelector | None = None


class ReplicaSetStatus(Struct):
    replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    fully_labeled_replicas: int = 0
    observed_generation: int = 0


class ReplicaSet(Object):
    spec: ReplicaSetSpec = msgspec.field(default_factory=ReplicaSetSpec)
    status: ReplicaSetStatus = msgspec.field(default_factory=ReplicaSetStatus)


class SelectingSpec(Struct):
    """A workload's spec, as far as it says which pods are its own."""

    selector: LabelSelector | None = None


class StatefulSet(Object):
    spec: SelectingSpec = msgspec.field(default_factory=SelectingSpec)


class ServiceSpec(Struct):
    selector: dict[str, str] | None = None


class Service(Object):
    spec: ServiceSpec = msgspec.field(default_factory=ServiceSpec)


class ReplicationController(Object):
    spec: ServiceSpec = msgspec.field(default_factory=ServiceSpec)


class PodDisruptionBudgetSpec(Struct):
    min_available: int | str | None = None
    max_unavailable: int | str | None = None
    selector: LabelSelector | None = None


class PodDisruptionBudgetStatus(Struct):
    disruptions_allowed: int = 0
    current_healthy: int = 0
    desired_healthy: int = 0
    expected_pods: int = 0
    observed_generation: int = 0
    disrupted_pods: dict[str, Any] | None = None


class PodDisruptionBudget(Object):
    spec: PodDisruptionBudgetSpec = msgspec.field(default_factory=PodDisruptionBudgetSpec)
    status: PodDisruptionBudgetStatus = msgspec.field(default_factory=PodDisruptionBudgetStatus)
