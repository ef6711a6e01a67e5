"""Nodes, pods and what belongs to them, as the cases of kube-scheduler's scheduler_perf describe them; written afresh."""

import time
from collections.abc import Callable

from koordinator.api.core import (
    Affinity,
    ClaimSource,
    Container,
    Namespace,
    Node,
    NodeAffinity,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    NodeStatus,
    Pod,
    PodAffinity,
    PodAffinityTerm,
    PodSpec,
    PriorityClass,
    ResourceRequirements,
    Service,
    ServiceSpec,
    TopologySpreadConstraint,
    Volume,
    WeightedPodAffinityTerm,
)
from koordinator.api.meta import LabelSelector, ObjectMeta, format_time
from koordinator.api.slo import NodeMetric, NodeMetricInfo, NodeMetricStatus, ResourceMap
from koordinator.api.storage import (
    BIND_COMPLETED,
    CSISource,
    PersistentVolume,
    PersistentVolumeClaim,
    PersistentVolumeClaimSpec,
    PersistentVolumeSpec,
)

ZONE, HOSTNAME = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
NAME = "koord-scheduler"
BEFORE, MEASURED = "sched-0", "sched-1"
"""The namespaces of the pods that are there before, and of those that are measured."""

HIGH = PriorityClass(metadata=ObjectMeta(name="high"), value=10)

MakePod = Callable[[int], Pod]

# --- nodes --------------------------------------------------------------------------------------------------------------


def _node(name: str, zone: str, **has: str) -> Node:
    allocatable: dict[str, str | int | float] = {"cpu": "4", "memory": "32Gi", "pods": "110", **has}
    labels = {HOSTNAME: name, ZONE: zone}
    return Node(metadata=ObjectMeta(name=name, labels=labels), status=NodeStatus(allocatable=allocatable, capacity=allocatable))


def node(index: int) -> Node:
    return _node(f"node-{index}", "zone1")


def moon_node(index: int) -> Node:
    """In one of three zones."""
    return _node(f"node-{index}", f"moon-{index % 3 + 1}")


def big_node(index: int) -> Node:
    return _node(f"node-{index}", f"moon-{index % 3 + 1}", cpu="32", memory="256Gi")


def daemon_node(index: int) -> Node:
    """The first is the one that all pods want."""
    return node(index) if index else _node("scheduler-perf-node", "zone1", pods="90000")


def passing_node(index: int) -> Node:
    """One that comes and goes."""
    return _node(f"churn-{index}", "zone1", pods="0")


# --- pods ---------------------------------------------------------------------------------------------------------------


def _pod(index: int, kind: str, *, cpu: str = "100m", labels: dict[str, str] | None = None, **spec: object) -> Pod:
    resources = ResourceRequirements(requests={"cpu": cpu, "memory": "500Mi"} if cpu else None)
    container = Container(name="pause", image="registry.k8s.io/pause:3.10", resources=resources)
    meta = ObjectMeta(name=f"{kind}-{index}", namespace=MEASURED, uid=f"{kind}-{index}", labels=labels)
    return Pod(metadata=meta, spec=PodSpec(containers=[container], scheduler_name=NAME, **spec))  # type: ignore[arg-type]


def in_namespace(make: MakePod, of: Callable[[int], str]) -> MakePod:
    def made(index: int) -> Pod:
        one = make(index)
        one.metadata.namespace = of(index)
        one.metadata.uid += one.metadata.namespace
        return one

    return made


def before(make: MakePod) -> MakePod:
    """The same in the namespace of those that are there before."""
    return in_namespace(make, lambda _: BEFORE)


def plain(index: int) -> Pod:
    return _pod(index, "plain")


def low(index: int) -> Pod:
    return _pod(index, "low", cpu="900m", termination_grace_period_seconds=0)


def high(index: int) -> Pod:
    """Three of the low have to go for it."""
    return _pod(index, "high", cpu="3", priority=HIGH.value, priority_class_name=HIGH.name)


def hopeless(index: int) -> Pod:
    """More than any node has."""
    return _pod(index, "hopeless", cpu="9", priority=HIGH.value, priority_class_name=HIGH.name)


def various(index: int) -> Pod:
    """One of two hundred templates."""
    return _pod(index, "various", cpu=f"{100 + index % 200}m", labels={"app": f"app-{index % 200}"})


def placed(index: int, nodes: int) -> Pod:
    """One of them that runs already."""
    return _pod(
        index, "placed", cpu=f"{100 + index % 200}m", labels={"app": f"app-{index % 200}"}, node_name=f"node-{index % nodes}"
    )


def _on(**term: list[NodeSelectorRequirement]) -> Affinity:
    selector = NodeSelector(node_selector_terms=[NodeSelectorTerm(**term)])
    return Affinity(node_affinity=NodeAffinity(required_during_scheduling_ignored_during_execution=selector))


def in_zone(index: int) -> Pod:
    zones = NodeSelectorRequirement(key=ZONE, operator="In", values=["zone1", "zone2"])
    return _pod(index, "in-zone", affinity=_on(match_expressions=[zones]))


def daemon(index: int) -> Pod:
    only = NodeSelectorRequirement(key="metadata.name", operator="In", values=["scheduler-perf-node"])
    return _pod(index, "daemon", cpu="", affinity=_on(match_fields=[only]))


def _term(key: str, color: str) -> PodAffinityTerm:
    return PodAffinityTerm(
        topology_key=key, label_selector=LabelSelector(match_labels={"color": color}), namespaces=[MEASURED, BEFORE]
    )


def _required(term: PodAffinityTerm) -> PodAffinity:
    return PodAffinity(required_during_scheduling_ignored_during_execution=[term])


def _preferred(term: PodAffinityTerm) -> PodAffinity:
    weighted = WeightedPodAffinityTerm(weight=1, pod_affinity_term=term)
    return PodAffinity(preferred_during_scheduling_ignored_during_execution=[weighted])


def near(index: int) -> Pod:
    wanted = Affinity(pod_affinity=_required(_term(ZONE, "blue")))
    return _pod(index, "near", labels={"color": "blue"}, affinity=wanted)


def apart(index: int) -> Pod:
    wanted = Affinity(pod_anti_affinity=_required(_term(HOSTNAME, "green")))
    return _pod(index, "apart", labels={"color": "green", "name": "test"}, affinity=wanted)


def rather_near(index: int) -> Pod:
    wanted = Affinity(pod_affinity=_preferred(_term(HOSTNAME, "red")))
    return _pod(index, "rather-near", labels={"color": "red"}, affinity=wanted)


def rather_apart(index: int) -> Pod:
    wanted = Affinity(pod_anti_affinity=_preferred(_term(HOSTNAME, "yellow")))
    return _pod(index, "rather-apart", labels={"color": "yellow"}, affinity=wanted)


def apart_across(index: int) -> Pod:
    """Away from its like in every namespace of a team."""
    term = PodAffinityTerm(
        topology_key=HOSTNAME,
        label_selector=LabelSelector(match_labels={"color": "green"}),
        namespace_selector=LabelSelector(match_labels=TEAM),
    )
    return _pod(index, "across", labels={"color": "green"}, affinity=Affinity(pod_anti_affinity=_required(term)))


def _spread(when: str) -> list[TopologySpreadConstraint]:
    selector = LabelSelector(match_labels={"color": "blue"})
    return [TopologySpreadConstraint(max_skew=5, topology_key=ZONE, when_unsatisfiable=when, label_selector=selector)]


def spread(index: int) -> Pod:
    return _pod(index, "spread", labels={"color": "blue"}, topology_spread_constraints=_spread("DoNotSchedule"))


def rather_spread(index: int) -> Pod:
    return _pod(index, "rather-spread", labels={"color": "blue"}, topology_spread_constraints=_spread("ScheduleAnyway"))


def served(index: int) -> Pod:
    """One that a service selects: default constraints apply."""
    return _pod(index, "served", labels=SELECTED)


def with_volume(index: int) -> Pod:
    """A pod with a claim of its own, bound already."""
    source = ClaimSource(claim_name=f"claim-{index}")
    return _pod(index, "volume", volumes=[Volume(name="vol", persistent_volume_claim=source)])


def mixed(index: int) -> Pod:
    return (plain, near, apart, rather_near, rather_apart)[index // 2000 % 5](index)


# --- further objects ----------------------------------------------------------------------------------------------------

TEAM = {"team": "devops"}
SELECTED = {"app": "scheduler-perf"}


def namespace(name: str, labels: dict[str, str] | None = None) -> Namespace:
    return Namespace(metadata=ObjectMeta(name=name, labels=labels))


def service(index: int, selector: dict[str, str] | None = None) -> Service:
    meta = ObjectMeta(name=f"service-{index}", namespace=MEASURED)
    return Service(metadata=meta, spec=ServiceSpec(selector=selector or {"app": f"churn-{index}"}))


def claim_and_volume(index: int, of: str) -> tuple[PersistentVolumeClaim, PersistentVolume]:
    name, many = f"pv-{index}", ["ReadOnlyMany"]
    claim = PersistentVolumeClaim(
        metadata=ObjectMeta(name=f"claim-{index}", namespace=of, annotations={BIND_COMPLETED: "true"}),
        spec=PersistentVolumeClaimSpec(access_modes=many, volume_name=name),
    )
    source = CSISource(driver="ebs.csi.aws.com", volume_handle=name)
    spec = PersistentVolumeSpec(access_modes=many, capacity={"storage": "1Gi"}, csi=source)
    return claim, PersistentVolume(metadata=ObjectMeta(name=name), spec=spec)


def usage(index: int, nodes: int) -> NodeMetric:
    """What a node reports: the ``index``-th report, nodes in turn."""
    number, turn = index % nodes, index // nodes
    used = ResourceMap(resources={"cpu": str(1 + (number + turn) % 8), "memory": f"{8 + (number + 3 * turn) % 64}Gi"})
    status = NodeMetricStatus(update_time=format_time(time.time()), node_metric=NodeMetricInfo(node_usage=used))
    return NodeMetric(metadata=ObjectMeta(name=f"node-{number}"), status=status)
