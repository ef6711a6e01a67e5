"""Nodes that vanish under pods that are promised to them, wait for them or are on their way; and come back different."""

from koordinator.scheduler.catalogue import Entry
from koordinator.scheduler.engine.binding import BindFailed
from koordinator.scheduler.engine.framework import Code, PermitPlugin, Status
from koordinator.scheduler.engine.queued import Where
from scheduler.builders import Taint, node, pod
from scheduler.mirror import Follower, Truth

CONFIGURATION = """
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- schedulerName: koord-scheduler
  plugins: {multiPoint: {enabled: [{name: Patience}]}}
"""


class Patience(PermitPlugin):
    name = "Patience"

    def permit(self, state, pod, node):
        return Status(Code.WAIT, timeout_seconds=60) if pod.name == "waits" else None


class World(Follower):
    def __init__(self, *nodes):
        truth = Truth()
        for one in nodes:
            truth.set("nodes", one)
        super().__init__(truth, configuration=CONFIGURATION, more=[Entry(Patience, lambda *_: Patience())])
        self.evicted = []
        self.profile.plugins["DefaultPreemption"].evict = self.evicted.append

    def pods(self, *pods):
        for one in pods:
            self.feed.pod_added(one)
        self.run()

    def places(self):
        return {one.pod.info.name: one.node for one in self.bindings}

    def later(self, seconds=15):
        self.clock.advance(seconds)
        self.queue.flush()
        self.run()


def test_who_waits_at_permit_for_a_vanished_node_is_tried_elsewhere_at_once():
    world = World(node("a"))
    world.pods(pod("waits", cpu="1"))
    assert len(world.scheduler.waiting) == 1
    world.feed.node_set(node("b"))
    world.feed.node_deleted(node("a"))
    world.run()
    [waiting] = world.scheduler.waiting
    assert waiting.binding.node == "b"
    assert [placed.node for placed in world.cluster.pods.values()] == ["b"]


def test_a_bind_that_fails_because_the_node_is_gone_is_tried_elsewhere():
    world = World(node("a"))
    world.pods(pod("p", cpu="1"))
    world.feed.node_deleted(node("a"))
    world.scheduler.bind_failed(world.bindings.pop(), BindFailed('nodes "a" not found'))
    assert not world.cluster.pods
    world.feed.node_set(node("b"))
    world.later()
    assert world.places() == {"p": "b"}


def promised(world):
    """A pod to which a full node is promised."""
    world.pods(pod("low", cpu="3", priority=0, node_name="a"), pod("high", cpu="3", priority=10))
    [uid] = [one.info.uid for one in world.queue]
    assert world.cluster.nominator.node_of(uid) == "a"
    assert [one.node for one in world.evicted] == ["a"]
    return uid


def test_a_promise_of_a_vanished_node_keeps_nobody_from_other_nodes():
    world = World(node("a", cpu="4"))
    promised(world)
    world.feed.node_deleted(node("a", cpu="4"))
    world.feed.node_set(node("b", cpu="4"))
    world.later()
    assert world.places() == {"high": "b"}
    assert not len(world.cluster.nominator)


def test_a_node_that_returns_too_small_is_promised_no_longer():
    world = World(node("a", cpu="4"))
    uid = promised(world)
    world.feed.node_deleted(node("a", cpu="4"))
    world.feed.node_set(node("a", cpu="1"))
    world.later(400)  # nothing has happened that could help: it is its turn after five minutes
    assert world.queue.get(uid).where is Where.UNSCHEDULABLE
    assert world.cluster.nominator.node_of(uid) == ""
    world.feed.node_set(node("a", cpu="8"))
    world.later()
    assert world.places() == {"high": "a"}


def test_a_node_returns_with_other_labels_taints_and_capacity():
    world = World(node("a", labels={"zone": "a"}, cpu="8"))
    wants = {"node_selector": {"zone": "a"}}
    world.pods(pod("first", cpu="1", **wants))
    world.feed.node_deleted(node("a"))
    world.feed.node_set(node("a", labels={"zone": "b"}, taints=[Taint(key="t", effect="NoSchedule")], cpu="2"))
    world.pods(pod("second", cpu="1", **wants), pod("third", cpu="1"))
    assert world.places() == {"first": "a"}
    world.feed.node_set(node("a", labels={"zone": "a"}, cpu="2"))
    world.later()
    assert sorted(world.places()) in (["first", "second"], ["first", "third"])  # the first still counts on its 2 CPUs


def test_pods_of_a_vanished_node_leave_without_a_trace():
    world = World(node("a"))
    resident = pod("resident", cpu="3", node_name="a")
    world.pods(resident)
    world.feed.node_deleted(node("a"))
    world.feed.pod_deleted(resident)
    world.feed.node_set(node("a"))
    world.pods(pod("p", cpu="4"))
    assert world.places() == {"p": "a"}
