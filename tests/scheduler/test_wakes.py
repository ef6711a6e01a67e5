"""What lets a refused pod in again: pods, ports, volumes and namespaces, as informers tell of them."""

import copy

import pytest

from koordinator.api.core import (
    Affinity,
    ClaimSource,
    Container,
    ContainerPort,
    Namespace,
    PodAffinity,
    PodAffinityTerm,
    TopologySpreadConstraint,
    Volume,
)
from koordinator.api.meta import LabelSelector, LabelSelectorRequirement, ObjectMeta
from koordinator.clock import ManualClock
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.cycle import Scheduler
from koordinator.scheduler.engine.objects import Objects
from koordinator.scheduler.engine.queue import SchedulingQueue
from koordinator.scheduler.engine.queued import Where
from koordinator.scheduler.feed import Feed
from koordinator.scheduler.metrics import Metrics
from koordinator.scheduler.profiles import default_profile
from koordinator.scheduler.report import Reporter
from scheduler.builders import node, pod

HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"


class Quiet:
    pending = False

    def event(self, obj, type_, reason, message): ...


class World:
    def __init__(self, zones="aab"):
        self.clock, self.cluster = ManualClock(), Cluster()
        reporter = Reporter(None, Quiet(), self.clock, Metrics())
        self.queue = SchedulingQueue(self.clock.monotonic)
        profile = default_profile(("koord-scheduler",), self.cluster, None, self.clock)
        self.scheduler = Scheduler(self.cluster, self.queue, [profile], reporter, seed=1)
        self.scheduler.submit = self.scheduler.bound
        self.feed = Feed(self.scheduler, reporter)
        for index, zone in enumerate(zones):
            self.feed.node_set(node(f"n{index}", labels={HOST: f"n{index}", ZONE: zone}))

    def attempt(self, one):
        """Where the pod is in the queue, or on a node."""
        self.feed.pod_added(one)
        return self.settle(one)

    def settle(self, one):
        while self.scheduler.schedule_one():
            pass
        self.clock.advance(15)
        self.queue.flush()
        while self.scheduler.schedule_one():
            pass
        placed = self.cluster.pods.get(one.metadata.uid)
        return placed.node if placed else self.queue.get(one.metadata.uid).where

    def bound(self, one, name):
        there = copy.deepcopy(one)
        there.spec.node_name = name
        self.feed.pod_added(there)
        return there

    def kept(self, plural):
        return self.cluster.shared(Objects).kept[plural]


@pytest.fixture
def world():
    return World()


def affine(side, key=HOST, **term):
    selector = LabelSelector(match_labels={"app": "db"})
    wanted = PodAffinityTerm(topology_key=key, label_selector=selector, **term)
    return Affinity(**{side: PodAffinity(required_during_scheduling_ignored_during_execution=[wanted])})


def test_the_pod_it_wants_to_be_near_has_come(world):
    web = pod(affinity=affine("pod_affinity"))
    assert world.attempt(web) is Where.UNSCHEDULABLE
    world.bound(pod(labels={"app": "other"}), "n0")
    assert world.settle(web) is Where.UNSCHEDULABLE
    world.bound(pod(labels={"app": "db"}), "n1")
    assert world.settle(web) == "n1"


def test_the_pod_it_wants_to_be_near_is_placed_by_us_and_confirmed(world):
    web, db = pod(affinity=affine("pod_affinity")), pod(labels={"app": "db"})
    assert world.attempt(web) is Where.UNSCHEDULABLE
    place = world.attempt(db)
    world.bound(db, place)
    assert world.settle(web) == place


def test_the_pod_it_wants_distance_from_has_gone_or_is_called_otherwise(world):
    world = World("a")
    db = world.bound(pod(labels={"app": "db"}), "n0")
    web = pod(affinity=affine("pod_anti_affinity"))
    assert world.attempt(web) is Where.UNSCHEDULABLE
    renamed = copy.deepcopy(db)
    renamed.metadata.labels = {"app": "cache"}
    world.feed.pod_updated(db, renamed)
    assert world.settle(web) == "n0"


def test_a_pod_that_wanted_distance_from_it_has_gone():
    world = World("a")
    db = world.bound(pod(affinity=affine("pod_anti_affinity")), "n0")
    web = pod(labels={"app": "db"})
    assert world.attempt(web) is Where.UNSCHEDULABLE
    world.feed.pod_deleted(db)
    assert world.settle(web) == "n0"


def test_a_namespace_has_other_labels():
    world = World("a")
    web = pod(affinity=affine("pod_anti_affinity", namespace_selector=LabelSelector(match_labels={"team": "a"})))
    named = lambda team: Namespace(metadata=ObjectMeta(name="default", labels={"team": team}))  # noqa: E731
    world.feed.object_set(world.kept("namespaces"), named("a"))
    world.bound(pod(labels={"app": "db"}), "n0")
    assert world.attempt(web) is Where.UNSCHEDULABLE
    world.feed.object_set(world.kept("namespaces"), named("b"))
    assert world.settle(web) == "n0"


def test_the_emptiest_domain_is_fuller(world):
    constraint = TopologySpreadConstraint(
        max_skew=1,
        topology_key=ZONE,
        when_unsatisfiable="DoNotSchedule",
        label_selector=LabelSelector(match_labels={"app": "web"}),
    )
    world.bound(pod(labels={"app": "web"}), "n0")
    web = pod(labels={"app": "web"}, topology_spread_constraints=[constraint], node_selector={ZONE: "a"})
    web.spec.topology_spread_constraints[0].node_affinity_policy = "Ignore"
    assert world.attempt(web) is Where.UNSCHEDULABLE
    world.bound(pod(labels={"app": "web"}), "n2")
    assert world.settle(web) in ("n0", "n1")


def test_a_port_is_free_again():
    world = World("a")
    port = [Container(name="c", ports=[ContainerPort(host_port=80)])]
    first, second = pod(), pod()
    first.spec.containers = second.spec.containers = port
    holder = world.bound(first, "n0")
    assert world.attempt(second) is Where.UNSCHEDULABLE
    world.feed.pod_deleted(holder)
    assert world.settle(second) == "n0"


def test_a_claim_has_come_and_is_bound(world):
    from scheduler.plugins.test_volumes import claim, volume

    web = pod(volumes=[Volume(name="v", persistent_volume_claim=ClaimSource(claim_name="data"))])
    assert world.attempt(web) is Where.UNSCHEDULABLE
    world.feed.object_set(world.kept("persistentvolumeclaims"), claim())
    assert world.settle(web) is Where.UNSCHEDULABLE
    world.feed.object_set(world.kept("persistentvolumes"), volume(zone="b"))
    world.feed.object_set(world.kept("persistentvolumeclaims"), claim(volume="pv"))
    assert world.settle(web) == "n2"


def test_an_unreadable_selector_is_said_and_stops_nobody(world):
    broken = affine("pod_affinity")
    odd = LabelSelector(match_expressions=[LabelSelectorRequirement(key="a", operator="Odd")])
    broken.pod_affinity.required_during_scheduling_ignored_during_execution[0].label_selector = odd
    one = pod(affinity=broken)
    assert world.attempt(one) in (Where.BACKOFF, Where.UNSCHEDULABLE)
    assert isinstance(world.attempt(pod()), str)
