"""Which events the auditor makes of what it hears: pods and gangs, victims, attempts, leaders and standbys."""

import logging

import msgspec
import pytest

from koordinator.clock import ManualClock
from koordinator.errors import ConfigInvalid
from koordinator.scheduler.auditor.auditor import Auditor, Group
from koordinator.scheduler.auditor.options import AuditorOptions, parse_labels
from koordinator.scheduler.auditor.story import Kind, Metric, Thresholds
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.engine.queue import SchedulingQueue
from koordinator.scheduler.plugins.priority_sort import PrioritySort
from scheduler.builders import READER, gates, pod

PROFILE = Profile(["koord-scheduler"], [PrioritySort()])


class World:
    def __init__(self, **options):
        self.clock = ManualClock()
        self.queue = SchedulingQueue(self.clock.monotonic)
        self.auditor = Auditor(self.clock, lambda name: name == "koord-scheduler", self.queue, AuditorOptions(**options))

    def add(self, one):
        self.auditor.pod_set(one)
        self.queue.add(READER.read(one), PROFILE)
        return one

    def attempt(self):
        self.clock.advance(1)
        return self.queue.pop()

    def refused(self, queued, preempting=""):
        """The end of an attempt, told as often as different parts of the scheduler may tell it."""
        for _ in range(2):
            self.auditor.failed(queued, preempting)
        self.queue.requeue(queued)
        self.queue.activate(queued.info.uid)

    def bind(self, one):
        self.auditor.pod_changed(one, msgspec.structs.replace(one, spec=msgspec.structs.replace(one.spec, node_name="n")))

    def events(self):
        """By outcome what the finished workloads had, and how many of each."""
        rows = self.auditor.counted.histograms[Metric.EVENTS].series
        found = {}
        for labels, (_, (total,)) in rows.items():
            found.setdefault(labels[-1], {})[labels[-2]] = total
        return found

    def observed(self, metric):
        return {labels: total for labels, (_, (total,)) in self.auditor.counted.histograms[metric].series.items()}


@pytest.fixture
def world():
    return World()


def test_a_pod_from_its_creation_to_its_node(world):
    one = world.add(pod())
    world.refused(world.attempt())
    world.refused(world.attempt(), "preemption: no")
    world.bind(one)
    assert world.events() == {"scheduled": {"create": 1, "scheduleFailure": 1, "preemptFailure": 1, "scheduled": 1}}
    assert len(world.auditor) == 0
    world.auditor.pod_deleted(one)
    assert len(world.events()) == 1


def test_a_pod_that_is_deleted_before_it_has_a_node(world):
    one = world.add(pod())
    world.auditor.pod_deleted(one)
    assert world.events() == {"deleted": {"create": 1}}


def test_pods_of_others_and_pods_on_nodes_have_no_story(world):
    world.auditor.pod_set(pod(scheduler_name="somebody-else"))
    world.auditor.pod_set(pod(node_name="n"))
    assert len(world.auditor) == 0


def test_gates_hold_a_pod_back_and_let_it_go(world):
    one = pod("one", scheduling_gates=gates("a"))
    world.auditor.pod_set(one)
    free = msgspec.structs.replace(one, spec=msgspec.structs.replace(one.spec, scheduling_gates=None))
    for _ in range(2):
        world.auditor.pod_changed(one, free)
    world.bind(free)
    assert world.events() == {"scheduled": {"create": 1, "gatedByQueueAdmission": 1, "admissionPassed": 1, "scheduled": 1}}


def test_a_preemption_until_its_last_victim_is_gone(world):
    one, victims = world.add(pod()), [READER.read(pod()) for _ in range(2)]
    queued = world.attempt()
    world.auditor.nominated(queued.info, victims)
    world.refused(queued, "preemption: not shown, a node was promised")
    queued = world.attempt()
    world.auditor.victims_leaving(queued.info)
    world.refused(queued, "preemption: not eligible")
    for victim in (*victims, *victims):
        world.auditor.pod_removed(victim, "n")
    world.bind(one)
    assert world.events()["scheduled"] == {
        "create": 1,
        "preemptNominated": 1,
        "preemptVictimDeleting": 1,
        "victimAllDeleted": 1,
        "scheduled": 1,
    }
    assert world.observed(Metric.VICTIMS_GONE) == {("",): 1.0}


def test_a_preemption_whose_victims_stay(world):
    one, victim = world.add(pod()), READER.read(pod())
    queued = world.attempt()
    world.auditor.nominated(queued.info, [victim])
    world.refused(queued)
    world.auditor.not_leaving(queued.info)
    world.auditor.pod_removed(victim, "n")
    world.auditor.pod_deleted(one)
    assert world.events()["deleted"] == {"create": 1, "preemptNominated": 1, "preemptFailure": 1}
    assert world.auditor.counted.counters[Metric.INVALIDATED] == {("",): 1}


def test_a_preemption_that_extenders_are_asked_about_is_no_failure(world):
    world.add(pod())
    queued = world.attempt()
    world.auditor.undecided(queued.info)
    world.refused(queued, "preemption: waiting for preempting extenders.")
    world.auditor.nominated(queued.info, [])
    world.refused(world.attempt())
    one = queued.info.pod
    world.auditor.pod_deleted(one)
    assert world.events()["deleted"] == {
        "create": 1,
        "preemptNominated": 1,
        "victimAllDeleted": 1,
        "scheduleFailure": 1,
    }


def test_a_gang_has_one_story(world):
    world.auditor.group_of = lambda one: Group("default/gang", 2) if one.labels.get("gang") else None
    pods = [world.add(pod(labels={"gang": "gang"})) for _ in range(3)]
    world.auditor.note("default/gang", Kind.ALL_ATTEMPTED)
    world.bind(pods[0])
    assert world.events() == {}
    world.bind(pods[1])
    counted = {"create": 1, "gangMinMemberSatisfied": 1, "gangAllPodsAlreadyAttempted": 1, "scheduled": 1}
    assert world.events() == {"gangScheduled": counted}
    world.bind(pods[2])
    for one in pods:
        world.auditor.pod_deleted(one)
    assert world.events() == {"gangScheduled": counted}
    assert len(world.auditor) == 0


def test_a_gang_that_is_deleted(world):
    world.auditor.group_of = lambda _: Group("default/gang", 2)
    pods = [world.add(pod()) for _ in range(2)]
    world.auditor.note("default/gang", Kind.SCHEDULE_FAILURE)
    world.auditor.note("default/other", Kind.SCHEDULE_FAILURE)
    for one in pods:
        world.auditor.pod_deleted(one)
    assert world.events() == {"gangDeleted": {"create": 1, "gangMinMemberSatisfied": 1, "scheduleFailure": 1}}


def test_labels_are_the_priority_class_and_those_of_the_pod():
    world = World(labels=(("team", "example.com/team"), ("app", "app")))
    one = world.add(pod(priority=9500, labels={"example.com/team": "a"}))
    world.bind(one)
    assert list(world.auditor.counted.histograms[Metric.EVENTS].series) == [
        ("koord-prod", "a", "", "create", "scheduled"),
        ("koord-prod", "a", "", "scheduled", "scheduled"),
    ]


def test_who_does_not_lead_counts_nothing_but_knows_the_story(world):
    world.auditor.leading = lambda: False
    one = world.add(pod())
    world.refused(world.attempt())
    assert not world.auditor.counted.calls.series
    world.auditor.leading = lambda: True
    world.bind(one)
    assert world.events() == {"scheduled": {"create": 1, "scheduleFailure": 1, "scheduled": 1}}


def test_a_breach_is_an_alert(caplog):
    world = World(thresholds=Thresholds(event_interval=2))
    one = world.add(pod("slow"))
    world.refused(world.attempt())
    world.clock.advance(3)
    with caplog.at_level(logging.WARNING):
        world.bind(one)
    key = f"default/slow/{one.metadata.uid}"
    assert caplog.messages == [f"workloadauditor: ALERT: pod {key}: nothing happened for long: 3.0s, threshold 2s"]


def test_metric_labels_are_read():
    assert parse_labels("") == ()
    assert parse_labels(" team=example.com/team , app=app") == (("team", "example.com/team"), ("app", "app"))


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("team", "must be metricLabel=podLabelKey"),
        ("te-am=x", "must be metricLabel=podLabelKey"),
        ("a=x,a=y", "a is a label already"),
        ("priority=x", "priority is a label already"),
    ],
)
def test_metric_labels_that_cannot_be(text, rule):
    with pytest.raises(ConfigInvalid, match=rule):
        parse_labels(text)
