"""The cases of kube-scheduler's own scheduler_perf, as far as they are about pods and nodes: same names, node and pod counts.

Templates are written afresh. Each case says what is there before (``resident`` pods go through the scheduler as well, but
unmeasured) and which pods are measured.
"""

from collections.abc import Callable
from typing import NamedTuple

from koordinator.api.core import (
    Affinity,
    ClaimSource,
    Container,
    Node,
    NodeStatus,
    Pod,
    PodAffinity,
    PodAffinityTerm,
    PodSpec,
    ResourceRequirements,
    TopologySpreadConstraint,
    Volume,
    WeightedPodAffinityTerm,
)
from koordinator.api.meta import LabelSelector, ObjectMeta, OwnerReference
from koordinator.api.storage import (
    BIND_COMPLETED,
    CSISource,
    PersistentVolume,
    PersistentVolumeClaim,
    PersistentVolumeClaimSpec,
    PersistentVolumeSpec,
)

ZONE, HOSTNAME = "topology.kubernetes.io/zone", "kubernetes.io/hostname"
ZONES = ("moon-1", "moon-2", "moon-3")
NAME = "koord-scheduler"

MakePod = Callable[[int], Pod]
MakeNode = Callable[[int], Node]


class Case(NamedTuple):
    """``goal`` is in pods a second, engine only. ``namespaces``: how many labelled ones the pods are spread over."""

    name: str
    nodes: int
    resident: int
    measured: int
    pod: MakePod
    goal: int
    resident_pod: MakePod | None = None
    namespaces: int = 0
    owner: LabelSelector | None = None
    claims: bool = False


def node(index: int) -> Node:
    labels = {HOSTNAME: f"node-{index}", ZONE: ZONES[index % len(ZONES)]}
    return Node(
        metadata=ObjectMeta(name=f"node-{index}", labels=labels),
        status=NodeStatus(allocatable={"cpu": "4", "memory": "32Gi", "pods": "110"}),
    )


def pod(
    index: int, *, labels: dict[str, str] | None = None, namespace: str = "default", kind: str = "pod", **spec: object
) -> Pod:
    resources = ResourceRequirements(requests={"cpu": "100m", "memory": "500Mi"})
    container = Container(name="pause", image="registry.k8s.io/pause:3.10", resources=resources)
    meta = ObjectMeta(name=f"{kind}-{index}", namespace=namespace, uid=f"{kind}-{namespace}-{index}", labels=labels)
    return Pod(metadata=meta, spec=PodSpec(containers=[container], scheduler_name=NAME, **spec))  # type: ignore[arg-type]


def plain(index: int) -> Pod:
    return pod(index, kind="plain")


def _term(key: str, labels: dict[str, str], **more: object) -> PodAffinityTerm:
    return PodAffinityTerm(topology_key=key, label_selector=LabelSelector(match_labels=labels), **more)  # type: ignore[arg-type]


def _required(term: PodAffinityTerm) -> PodAffinity:
    return PodAffinity(required_during_scheduling_ignored_during_execution=[term])


def _preferred(term: PodAffinityTerm) -> PodAffinity:
    return PodAffinity(
        preferred_during_scheduling_ignored_during_execution=[WeightedPodAffinityTerm(weight=1, pod_affinity_term=term)]
    )


def near(index: int) -> Pod:
    wanted = _required(_term(ZONE, {"color": "blue"}))
    return pod(index, labels={"color": "blue"}, kind="near", affinity=Affinity(pod_affinity=wanted))


def apart(index: int) -> Pod:
    wanted = _required(_term(HOSTNAME, {"color": "green"}))
    return pod(index, labels={"color": "green", "name": "test"}, kind="apart", affinity=Affinity(pod_anti_affinity=wanted))


def rather_near(index: int) -> Pod:
    wanted = _preferred(_term(HOSTNAME, {"color": "red"}))
    return pod(index, labels={"color": "red"}, kind="rather-near", affinity=Affinity(pod_affinity=wanted))


def rather_apart(index: int) -> Pod:
    wanted = _preferred(_term(HOSTNAME, {"color": "yellow"}))
    return pod(index, labels={"color": "yellow"}, kind="rather-apart", affinity=Affinity(pod_anti_affinity=wanted))


def apart_across(index: int) -> Pod:
    """Away from its like in every namespace of a team; pods come from a hundred namespaces in turn."""
    team = LabelSelector(match_labels={"team": "devops"})
    wanted = _required(_term(HOSTNAME, {"color": "green"}, namespace_selector=team))
    return pod(
        index,
        labels={"color": "green"},
        namespace=f"measure-ns-{index % 100}",
        kind="across",
        affinity=Affinity(pod_anti_affinity=wanted),
    )


def _spread(when: str) -> list[TopologySpreadConstraint]:
    selector = LabelSelector(match_labels={"color": "blue"})
    return [TopologySpreadConstraint(max_skew=5, topology_key=ZONE, when_unsatisfiable=when, label_selector=selector)]


def spread(index: int) -> Pod:
    return pod(index, labels={"color": "blue"}, kind="spread", topology_spread_constraints=_spread("DoNotSchedule"))


def rather_spread(index: int) -> Pod:
    return pod(index, labels={"color": "blue"}, kind="rather-spread", topology_spread_constraints=_spread("ScheduleAnyway"))


OWNED = LabelSelector(match_labels={"app": "scheduler-perf"})


def owned(index: int) -> Pod:
    """One of a ReplicaSet's: default constraints apply."""
    one = pod(index, labels=OWNED.match_labels, kind="owned")
    one.metadata.owner_references = [OwnerReference(kind="ReplicaSet", name="measured", controller=True)]
    return one


def with_volume(index: int) -> Pod:
    """A pod with a claim of its own, bound already."""
    source = ClaimSource(claim_name=f"claim-{index}")
    return pod(index, kind="volume", volumes=[Volume(name="vol", persistent_volume_claim=source)])


def claim_and_volume(index: int) -> tuple[PersistentVolumeClaim, PersistentVolume]:
    name, many = f"pv-{index}", ["ReadOnlyMany"]
    claim = PersistentVolumeClaim(
        metadata=ObjectMeta(name=f"claim-{index}", namespace="default", annotations={BIND_COMPLETED: "true"}),
        spec=PersistentVolumeClaimSpec(access_modes=many, volume_name=name),
    )
    source = CSISource(driver="ebs.csi.aws.com", volume_handle=name)
    spec = PersistentVolumeSpec(access_modes=many, capacity={"storage": "1Gi"}, csi=source)
    return claim, PersistentVolume(metadata=ObjectMeta(name=name), spec=spec)


def mixed(index: int) -> Pod:
    return (plain, near, apart, rather_near, rather_apart)[index // 2000 % 5](index)


CASES = (
    Case("SchedulingPodAntiAffinity", 5000, 1000, 2000, apart, 2000),
    Case("SchedulingPodAffinity", 5000, 5000, 5000, near, 2000),
    Case("SchedulingPreferredPodAffinity", 5000, 5000, 5000, rather_near, 2000),
    Case("SchedulingPreferredPodAntiAffinity", 5000, 5000, 5000, rather_apart, 2000),
    Case("TopologySpreading", 5000, 5000, 5000, spread, 2000, plain),
    Case("PreferredTopologySpreading", 5000, 5000, 5000, rather_spread, 2000, plain),
    Case("DefaultTopologySpreading", 5000, 5000, 5000, owned, 2000, plain, owner=OWNED),
    Case("SchedulingCSIPVs", 5000, 5000, 5000, with_volume, 1000, claims=True),
    Case("MixedSchedulingBasePod", 5000, 10000, 1000, plain, 2000, mixed),
    Case("SchedulingRequiredPodAntiAffinityWithNSSelector", 6000, 4000, 2000, apart_across, 1500, namespaces=100),
)
