"""Preemption by whatever stands in the way (ports, neighbours, volumes, usage), against worlds built without the victims.

The oracle knows no dry run: to learn what a node would say without some pods it builds a new cluster that never had them.
"""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from koordinator.api.core import (
    Affinity,
    ClaimSource,
    Container,
    ContainerPort,
    DiskSource,
    PodAffinity,
    PodAffinityTerm,
    ResourceRequirements,
    TopologySpreadConstraint,
    Volume,
)
from koordinator.api.meta import Condition, LabelSelector, ObjectMeta, format_time
from koordinator.api.slo import NodeMetric, NodeMetricInfo, NodeMetricStatus, PodMetricInfo, ResourceMap
from koordinator.api.storage import (
    BIND_COMPLETED,
    CSINode,
    CSINodeDriver,
    CSINodeSpec,
    CSISource,
    PersistentVolume,
    PersistentVolumeClaim,
    PersistentVolumeClaimSpec,
    PersistentVolumeSpec,
    VolumeNodeResources,
)
from koordinator.clock import ManualClock
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.cycle import Scheduler
from koordinator.scheduler.engine.evaluate import Evaluator
from koordinator.scheduler.engine.framework import Status
from koordinator.scheduler.engine.queue import SchedulingQueue
from koordinator.scheduler.plugins.load_aware.args import LoadAwareArgs
from koordinator.scheduler.plugins.volumes.known import Volumes
from koordinator.scheduler.profiles import default_profile
from scheduler.builders import READER, node, pod

NAME = "koord-scheduler"
HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
USAGE = LoadAwareArgs(usage_thresholds={"cpu": 65})
PROD_USAGE = LoadAwareArgs(usage_thresholds={"cpu": 80}, prod_usage_thresholds={"cpu": 50})
CLAIMS = ("shared", "single", "other")


class Quiet:
    def __init__(self):
        self.said = {}

    def assumed(self, binding): ...

    def bound(self, binding): ...

    def unschedulable(self, pod, diagnosis):
        self.said[pod.info.name] = diagnosis.message

    def error(self, pod, message):
        raise AssertionError(message)


class World:
    """A cluster with the shipped profile."""

    def __init__(self, nodes, residents=(), metrics=(), limits=USAGE):
        self.clock, self.cluster, self.story = ManualClock(), Cluster(), Quiet()
        self.profile = default_profile((NAME,), self.cluster, None, self.clock)
        assert self.profile.plugins["LoadAwareScheduling"].reconfigure(limits)
        self.evicted = []
        self.profile.plugins["DefaultPreemption"].evict = self.evicted.append
        self._storage()
        for one in nodes:
            self.cluster.set_node(one)
        for one in metrics:
            self.profile.plugins["LoadAwareScheduling"].object_set(one)
        for one in residents:
            self.cluster.place(READER.read(one), one.spec.node_name)
        self.scheduler = Scheduler(self.cluster, SchedulingQueue(self.clock.monotonic), [self.profile], self.story, seed=1)
        self.bindings = []
        self.scheduler.submit = self.bindings.append

    def _storage(self):
        known = self.cluster.shared(Volumes)
        for name in CLAIMS:
            known.claims.object_set(claim(name))
            volume = PersistentVolumeSpec(csi=CSISource(driver="csi.example", volume_handle=name))
            known.volumes.object_set(PersistentVolume(metadata=ObjectMeta(name=f"pv-{name}"), spec=volume))
        driver = CSINodeDriver(name="csi.example", allocatable=VolumeNodeResources(count=1))
        known.nodes.object_set(CSINode(metadata=ObjectMeta(name="n0"), spec=CSINodeSpec(drivers=[driver])))

    def evaluation(self, one):
        return Evaluator(self.profile, self.cluster.columns).evaluate(READER.read(one))

    def fits(self, one, name):
        answer = self.evaluation(one)
        return not isinstance(answer, Status) and answer.fits(self.cluster.columns.row_of[name])

    def schedule(self, one):
        self.scheduler.add_pending(READER.read(one), NAME)
        while self.scheduler.schedule_one():
            pass

    @property
    def decisions(self):
        return [(one.node, [victim.name for victim in one.victims.pods]) for one in self.evicted]


def claim(name):
    spec = PersistentVolumeClaimSpec(
        volume_name=f"pv-{name}", access_modes=["ReadWriteOncePod" if name == "single" else "ReadWriteMany"]
    )
    meta = ObjectMeta(name=name, namespace="default", uid=f"claim-{name}", annotations={BIND_COMPLETED: "yes"})
    return PersistentVolumeClaim(metadata=meta, spec=spec)


def apart(app):
    term = PodAffinityTerm(topology_key=HOST, label_selector=LabelSelector(match_labels={"app": app}))
    return Affinity(pod_anti_affinity=PodAffinity(required_during_scheduling_ignored_during_execution=[term]))


def near(app):
    term = PodAffinityTerm(topology_key=ZONE, label_selector=LabelSelector(match_labels={"app": app}))
    return Affinity(pod_affinity=PodAffinity(required_during_scheduling_ignored_during_execution=[term]))


def spread(app, key):
    selector = LabelSelector(match_labels={"app": app})
    return [TopologySpreadConstraint(max_skew=1, topology_key=key, when_unsatisfiable="DoNotSchedule", label_selector=selector)]


def holding(*claims, disk=None):
    named = [Volume(name=one, persistent_volume_claim=ClaimSource(claim_name=one)) for one in claims]
    return named + ([Volume(name="disk", gce_persistent_disk=DiskSource(pd_name=disk))] if disk else [])


def on(one, name, started=0.0):
    now = ManualClock().now()
    one.spec.node_name = name
    one.status.start_time = format_time(now + started)
    scheduled = Condition(type="PodScheduled", status="True", last_transition_time=format_time(now - 600 + started))
    one.status.conditions = [scheduled]
    return one


def metric(name, cpu, pods=(), age=0, **more):
    """``pods``: (name, milli-CPU, priority class) of those whose usage is told."""
    told = [
        PodMetricInfo(name=one, namespace="default", priority=band, pod_usage=ResourceMap(resources={"cpu": f"{used}m"}))
        for one, used, band in pods
    ]
    info = NodeMetricInfo(node_usage=ResourceMap(resources={"cpu": f"{cpu}m", "memory": "1Gi"}))
    at = format_time(ManualClock().now() - age)
    status = NodeMetricStatus(update_time=at, node_metric=info, pods_metric=told)
    return NodeMetric(metadata=ObjectMeta(name=name), status=status)


# --- one example each --------------------------------------------------------------------------------------------------------


def zoned(name, zone="a", cpu="8"):
    return node(name, cpu=cpu, labels={HOST: name, ZONE: zone})


def ported(**more):
    one = pod(**more)
    ports = [ContainerPort(host_port=80)]
    one.spec.containers = [Container(name="main", ports=ports, resources=ResourceRequirements(requests={"cpu": "1"}))]
    return one


CASES = {
    "a host port": (ported(name="x", priority=0), ported(name="p", priority=9)),
    "anti-affinity": (pod("x", "1", priority=0, labels={"app": "db"}), pod("p", "1", priority=9, affinity=apart("db"))),
    "a resident's anti-affinity": (
        pod("x", "1", priority=0, affinity=apart("db")),
        pod("p", "1", priority=9, labels={"app": "db"}),
    ),
    "a disk": (pod("x", "1", priority=0, volumes=holding(disk="d")), pod("p", "1", priority=9, volumes=holding(disk="d"))),
    "a claim of one pod": (
        pod("x", "1", priority=0, volumes=holding("single")),
        pod("p", "1", priority=9, volumes=holding("single")),
    ),
    "the number of volumes": (
        pod("x", "1", priority=0, volumes=holding("shared")),
        pod("p", "1", priority=9, volumes=holding("other")),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_pod_in_the_way_goes_and_no_other(case):
    rival, preemptor = CASES[case]
    world = World([zoned("n0")], [on(rival, "n0"), on(pod("bystander", "1", priority=0), "n0")])
    world.schedule(preemptor)
    assert world.decisions == [("n0", ["x"])]


def test_too_many_in_a_domain_make_way():
    residents = [on(pod(f"x{index}", "1", priority=index, labels={"app": "w"}), "n0") for index in range(2)]
    world = World([zoned("n0", "a"), zoned("n1", "b", cpu="0")], residents)
    constraint = spread("w", ZONE)
    world.schedule(pod("p", "1", priority=9, labels={"app": "w"}, topology_spread_constraints=constraint))
    assert world.decisions == [("n0", ["x1", "x0"])]


def test_a_claim_that_a_lesser_pod_uses_is_asked_for_by_the_pod_itself_and_not_by_one_of_its_kind():
    """The first of two alike pods gets its claim; what was prepared for it must not be asked in the other's name."""
    world = World([zoned("n0")])
    known = world.cluster.shared(Volumes)
    for name in ("mine", "yours"):
        one = claim(name)
        one.spec.access_modes = ["ReadWriteOncePod"]
        known.claims.object_set(one)
        known.volumes.object_set(PersistentVolume(metadata=ObjectMeta(name=f"pv-{name}")))
    alike = {"priority": 5, "labels": {"app": "w"}, "topology_spread_constraints": spread("other", ZONE)}
    world.schedule(pod("first", "3", volumes=holding("mine"), **alike))
    assert len(world.bindings) == 1
    world.cluster.place(READER.read(on(pod("low", "4", priority=0), "n0")), "n0")
    world.schedule(pod("second", "3", volumes=holding("yours"), **alike))
    assert world.decisions == [("n0", ["low"])]


def test_a_pod_that_was_promised_the_node_and_wants_distance_keeps_others_from_making_room_there():
    """Nothing but resources is in the way, and room could be made; but not beside the pod that will come."""
    world = World([zoned("n0")], [on(pod("x", "4", priority=0), "n0"), on(pod("y", "4", priority=1), "n0")])
    world.schedule(pod("first", "4", priority=99, affinity=apart("db")))
    assert world.decisions == [("n0", ["x"])]
    world.schedule(pod("p", "4", priority=9, labels={"app": "db"}))
    assert world.decisions == [("n0", ["x"])]
    world.schedule(pod("q", "4", priority=9))
    assert world.decisions == [("n0", ["x"]), ("n0", ["y", "x"])]


# --- usage -------------------------------------------------------------------------------------------------------------------


def test_pods_whose_usage_is_only_estimated_make_way():
    """Of 20 cores 13 may be used; 10 are, and 3.4 more are taken for those of a pod that no report shows yet."""
    fresh, other = on(pod("fresh", "4", priority=0), "n0"), on(pod("other", "100m", priority=0), "n0")
    world = World([zoned("n0", cpu="20")], [fresh, other], [metric("n0", 10_000)])
    assert not world.fits(pod("p", "1", priority=9), "n0")
    world.schedule(pod("p", "1", priority=9))
    assert world.decisions == [("n0", ["fresh"])]
    assert "usage exceed threshold" in world.story.said["p"]


def test_nobody_goes_where_measured_usage_is_in_the_way():
    seen = on(pod("seen", "4", priority=0), "n0")
    world = World([zoned("n0")], [seen], [metric("n0", 7_000, [("seen", 4_000, "koord-batch")])])
    world.schedule(pod("p", "1", priority=9))
    assert world.decisions == []
    said = "preemption: 0/1 nodes are available: 1 node(s) cpu usage exceed threshold."
    assert world.story.said["p"].endswith(said)


def test_measured_usage_of_prod_pods_goes_with_them():
    pods = [on(pod("seen", "4", priority=1), "n0"), on(pod("idle", "1", priority=0), "n0")]
    told = [("seen", 4_000, "koord-prod"), ("idle", 10, "koord-prod")]
    world = World([zoned("n0")], pods, [metric("n0", 4_500, told)], PROD_USAGE)
    world.schedule(pod("p", "1", priority=9))
    assert world.decisions == [("n0", ["seen"])]


def test_a_report_that_comes_later_changes_the_answer():
    fresh = on(pod("fresh", "4", priority=0), "n0")
    world = World([zoned("n0")], [fresh], [metric("n0", 7_000)])
    world.schedule(pod("p", "1", priority=9))
    assert world.decisions == []
    world.profile.plugins["LoadAwareScheduling"].object_set(metric("n0", 3_000))
    world.schedule(pod("q", "1", priority=9))
    assert world.decisions == [("n0", ["fresh"])]


def test_a_rehearsal_leaves_ledgers_as_they_were():
    fresh = on(pod("fresh", "4", priority=0), "n0")
    fresh.status.conditions = None  # nobody told when it was scheduled: its time is that of the decision
    world = World([zoned("n0", cpu="20")], [fresh], [metric("n0", 11_000)])
    ledger = world.profile.plugins["LoadAwareScheduling"].ledgers["n0"]
    before = ledger.pods[fresh.metadata.uid], ledger.node_delta, world.cluster.columns.position
    world.clock.advance(3)
    world.schedule(pod("p", "1", priority=9))
    assert world.decisions == [("n0", ["fresh"])]
    after = ledger.pods[fresh.metadata.uid], ledger.node_delta, world.cluster.columns.position
    assert after == before


# --- the oracle --------------------------------------------------------------------------------------------------------------


def naive(situation):
    """By node the victims; nodes where evicting does not help are left out."""
    nodes, residents, metrics, limits, promised, preemptor = situation
    found = {}
    plain = World(nodes, residents, metrics, limits).evaluation(preemptor)
    if isinstance(plain, Status):
        return found
    stuck = plain.diagnose().unresolvable
    for one in nodes:
        lesser = [
            each for each in residents if each.spec.node_name == one.name and each.spec.priority < preemptor.spec.priority
        ]
        lesser.sort(key=lambda each: (-each.spec.priority, each.status.start_time))
        kept = [each for each in residents if each not in lesser]

        def fits(there, name=one.name):
            beside = [each for each in promised if each.spec.node_name == name]
            alone = World(nodes, there, metrics, limits).fits(preemptor, name)
            return alone and (not beside or World(nodes, [*there, *beside], metrics, limits).fits(preemptor, name))

        if stuck[plain.columns.row_of[one.name]] or not lesser or not fits(kept):
            continue
        victims = []
        for each in lesser:
            if fits([*kept, each]):
                kept.append(each)
            else:
                victims.append(each)
        if victims:
            found[one.name] = victims
    return found


def price(victims):
    top = max(one.spec.priority for one in victims)
    earliest = min(one.status.start_time for one in victims if one.spec.priority == top)
    total = sum(one.spec.priority + 2**31 for one in victims)
    return top, total, len(victims), [-ord(letter) for letter in earliest]


APPS = ["x", "y"]


@st.composite
def wishes(draw, name, priority):
    """A pod that may stand in another's way in any manner."""
    one = pod(name, draw(st.sampled_from(["1", "2"])), priority=priority, labels={"app": draw(st.sampled_from(APPS))})
    wish = draw(st.sampled_from(["none", "none", "apart", "near", "spread", "hosts", "port", "claim", "disk"]))
    app = draw(st.sampled_from(APPS))
    if wish in ("apart", "near"):
        one.spec.affinity = {"apart": apart, "near": near}[wish](app)
    elif wish in ("spread", "hosts"):
        one.spec.topology_spread_constraints = spread(app, ZONE if wish == "spread" else HOST)
    elif wish == "port":
        one.spec.containers[0].ports = [ContainerPort(host_port=draw(st.sampled_from([80, 81])))]
    elif wish == "claim":
        one.spec.volumes = holding(draw(st.sampled_from(CLAIMS)))
    elif wish == "disk":
        one.spec.volumes = holding(disk="d")
    return one


@st.composite
def situations(draw):
    zones = draw(st.lists(st.sampled_from("ab"), min_size=1, max_size=3))
    nodes = [zoned(f"n{index}", zone, draw(st.sampled_from(["4", "8"]))) for index, zone in enumerate(zones)]
    names = st.sampled_from([one.name for one in nodes])
    residents = []
    for index in range(draw(st.integers(1, 6))):
        one = draw(wishes(f"r{index}", draw(st.integers(0, 3))))
        residents.append(on(one, draw(names), -draw(st.integers(0, 3))))
    metrics = []
    for one in nodes:
        if draw(st.booleans()):
            here = [each.metadata.name for each in residents if each.spec.node_name == one.name]
            told = [(name, draw(st.integers(0, 2000)), "koord-prod") for name in here if draw(st.booleans())]
            metrics.append(metric(one.name, draw(st.integers(0, 5000)), told))
    promised = []
    if draw(st.booleans()) and not metrics:  # a pod that is not there yet uses nothing
        promised = [on(draw(wishes("promised", 5)), draw(names))]
    limits = draw(st.sampled_from([USAGE, PROD_USAGE]))
    return nodes, residents, metrics, limits, promised, draw(wishes("p", draw(st.integers(1, 4))))


@settings(max_examples=250, deadline=None)
@given(situations())
def test_victims_are_those_of_worlds_without_them(situation):
    nodes, residents, metrics, limits, promised, preemptor = situation
    world = World(nodes, residents, metrics, limits)
    for one in promised:
        name, one.spec.node_name = one.spec.node_name, ""
        world.cluster.nominator.nominate(READER.read(one), name)
        one.spec.node_name = name
    before = _state(world)
    world.schedule(preemptor)
    if world.bindings:
        return
    assert _state(world) == before
    expected = naive(situation)
    assert bool(world.decisions) == bool(expected), (expected, world.story.said)
    for name, victims in world.decisions:
        assert victims == [one.metadata.name for one in expected[name]]
        assert price(expected[name]) == min(map(price, expected.values()))


def _state(world):
    """What must be as before after every rehearsal."""
    columns = world.cluster.columns
    ledgers = world.profile.plugins["LoadAwareScheduling"].ledgers
    told = {name: (one.node_delta, one.estimated, sorted(one.pods)) for name, one in ledgers.items()}
    return columns.position, columns.requested[: columns.size].tolist(), told
