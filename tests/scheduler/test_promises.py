"""A promise that ends any other way than by being kept is room for lesser pods: they are tried again at once."""

import copy

from koordinator.scheduler.engine.queued import Where
from scheduler.builders import gates, node, pod
from scheduler.test_vanishing_nodes import World


def waiting_for_the_promise():
    """Node a is promised to "high", which cannot go yet; "low" would fit there and must not."""
    world = World(node("a", cpu="4"))
    high, low = pod("high", cpu="4", priority=10, scheduling_gates=gates("later")), pod("low", cpu="4", priority=1)
    high.status.nominated_node_name = "a"
    world.pods(high, low)
    assert world.places() == {}
    assert world.queue.get(low.metadata.uid).where is Where.UNSCHEDULABLE
    return world, high, low


def test_the_promised_pod_is_deleted():
    world, high, _ = waiting_for_the_promise()
    world.feed.pod_deleted(high)
    world.later()
    assert world.places() == {"low": "a"}


def test_the_promised_pod_becomes_somebody_elses():
    world, high, _ = waiting_for_the_promise()
    theirs = copy.deepcopy(high)
    theirs.spec.scheduler_name = "theirs"
    world.feed.pod_updated(high, theirs)
    world.later()
    assert world.places() == {"low": "a"}


def test_the_promised_pod_is_bound_elsewhere_by_somebody_else():
    world, high, _ = waiting_for_the_promise()
    theirs = copy.deepcopy(high)
    theirs.spec.node_name = "b"
    world.feed.pod_updated(high, theirs)
    world.later()
    assert world.places() == {"low": "a"}


def test_the_promised_pod_goes_elsewhere():
    world, high, _ = waiting_for_the_promise()
    world.feed.node_set(node("b", cpu="4", labels={"zone": "b"}))
    freed = copy.deepcopy(high)
    freed.spec.scheduling_gates, freed.spec.node_selector = None, {"zone": "b"}
    world.feed.pod_updated(high, freed)
    world.later()
    world.later()
    assert world.places() == {"high": "b", "low": "a"}


def test_the_promise_is_kept_and_nobody_is_woken_for_nothing():
    world, high, low = waiting_for_the_promise()
    freed = copy.deepcopy(high)
    freed.spec.scheduling_gates = None
    world.feed.pod_updated(high, freed)
    world.later()
    assert world.places() == {"high": "a"}
    assert world.queue.get(low.metadata.uid).attempts == 1
