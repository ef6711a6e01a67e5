"""Annotations that cannot be read: one event that names object, annotation, field and reason; all else goes on."""

import pytest

from koordinator.api import keys
from koordinator.scheduler.engine.queued import Where
from scheduler.builders import node, pod
from scheduler.mirror import Follower, Truth

NODES = {
    keys.USAGE_THRESHOLDS: [
        ("{", "cannot be read"),
        ('{"usageThresholds":{"cpu":"hot"}}', "Expected `int`, got `str`"),
        ('{"usageThresholds":{"cpu":150}}', "usageThresholds[cpu]: 150: must be 0 to 100"),
        ('{"prodUsageThresholds":{"cpu":-1}}', "prodUsageThresholds[cpu]: -1: must be 0 to 100"),
        (
            '{"aggregatedUsage":{"usageAggregationType":"p42"}}',
            "aggregatedUsage.usageAggregationType: 'p42': must be one of avg",
        ),
        ('{"aggregatedUsage":{"usageAggregatedDuration":"soon"}}', "'soon' is not a duration"),
    ],
    keys.RAW_ALLOCATABLE: [("[]", "cannot be read"), ('{"cpu":"many"}', "quantities must match")],
    keys.NODE_RESERVATION: [
        ("{", "cannot be read"),
        ('{"resources":{"cpu":"some"}}', "quantities must match"),
        ('{"reservedCPUs":"x"}', "reservedCPUs: 'x' is not an integer"),
    ],
}
PODS = {
    keys.LOAD_ESTIMATED_SCALING_FACTORS: [("cpu", "cannot be read"), ('{"cpu":"half"}', "Expected `int`")],
    keys.LOAD_ESTIMATED_SECONDS_AFTER_POD_SCHEDULED: [("soon", "cannot be read"), ("-3", "must be 0 or more")],
    keys.LOAD_ESTIMATED_SECONDS_AFTER_INITIALIZED: [("", "cannot be read"), ("1.5", "cannot be read")],
}


def cases(table):
    return [(key, text, reason) for key, wrong in table.items() for text, reason in wrong]


@pytest.fixture
def world():
    truth = Truth()
    truth.set("nodes", node("good"))
    return Follower(truth)


def told(world, kind, key):
    return [
        message for of, name, _, reason, message in world.events.seen if (of, name, reason) == (kind, key, "InvalidAnnotation")
    ]


@pytest.mark.parametrize(("key", "text", "reason"), cases(NODES))
def test_a_node_hears_once_and_takes_pods_as_if_the_annotation_were_absent(world, key, text, reason):
    for label in "ab":
        world.feed.node_set(node("bad", cpu="64", labels={"look": label}, annotations={key: text}))
    [said] = told(world, "Node", "bad")
    assert key in said
    assert reason in said
    world.feed.pod_added(pod("p", cpu="32"))
    world.run()
    assert [binding.node for binding in world.bindings] == ["bad"]


@pytest.mark.parametrize(("key", "text", "reason"), cases(PODS))
def test_a_pod_hears_once_and_is_scheduled(world, key, text, reason):
    one = pod("p", cpu="1", annotations={key: text})
    world.feed.pod_added(one)
    world.feed.pod_updated(one, one)
    [said] = told(world, "Pod", "default/p")
    assert key in said
    assert reason in said
    world.run()
    assert [binding.node for binding in world.bindings] == ["good"]


@pytest.mark.parametrize("text", ["{", "[]", '{"nodeNames":"a"}'])
def test_a_hint_that_cannot_be_read_keeps_its_pod_pending_and_no_other(world, text):
    world.feed.pod_added(pod("bad", annotations={keys.SCHEDULING_HINT: text}))
    world.feed.pod_added(pod("fine"))
    world.run()
    [(kind, key, _, reason, message)] = world.events.seen
    assert (kind, key, reason) == ("Pod", "default/bad", "FailedScheduling")
    assert keys.SCHEDULING_HINT in message
    assert "SchedulingHint" in message
    assert [binding.pod.info.name for binding in world.bindings] == ["fine"]
    assert world.queue.counts[Where.BACKOFF] == 1


def test_what_was_mended_and_is_broken_again_is_told_again(world):
    for text in ("{", "{}", "{"):
        world.feed.node_set(node("n", annotations={keys.USAGE_THRESHOLDS: text}))
    assert len(told(world, "Node", "n")) == 2


def test_a_node_whose_state_cannot_be_read_hears_once(world):
    for label in "ab":
        world.feed.node_set(node("good", cpu="four", labels={"look": label}))
    [event] = world.events.seen
    assert event[:4] == ("Node", "good", "Warning", "Unreadable")
    assert "status.allocatable: cpu: 'four' is not a quantity" in event[4]


def test_garbage_of_gone_objects_is_forgotten(world):
    bad = node("n", annotations={keys.USAGE_THRESHOLDS: "{"})
    world.feed.node_set(bad)
    world.feed.node_deleted(bad)
    assert not world.feed.garbage._told
