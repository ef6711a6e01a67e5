"""What informers tell, good and bad, and what becomes of it in cluster and queue."""

import pytest

from koordinator.api.meta import ObjectMeta
from koordinator.api.slo import NodeMetric, NodeMetricInfo, NodeMetricStatus, ResourceMap
from koordinator.clock import ManualClock
from koordinator.kube.store import Undecodable
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.cycle import Scheduler
from koordinator.scheduler.engine.hooks import PodPlugin
from koordinator.scheduler.engine.queue import SchedulingQueue
from koordinator.scheduler.engine.queued import Where
from koordinator.scheduler.feed import Feed
from koordinator.scheduler.metrics import Metrics
from koordinator.scheduler.profiles import default_profile
from koordinator.scheduler.report import Reporter
from scheduler.builders import READER, node, pod

UNHELPFUL = "preemption: 0/{0} nodes are available: {0} Preemption is not helpful for scheduling."


class Events:
    """A recorder that keeps."""

    pending = False

    def __init__(self):
        self.seen = []

    def event(self, obj, type_, reason, message):
        self.seen.append((obj.key, type_, reason, message))


class World:
    def __init__(self):
        self.clock, self.cluster, self.events = ManualClock(), Cluster(), Events()
        self.reporter = Reporter(None, self.events, self.clock, Metrics())
        self.queue = SchedulingQueue(self.clock.monotonic)
        self.profile = default_profile(("koord-scheduler",), self.cluster, None, self.clock)
        self.scheduler = Scheduler(self.cluster, self.queue, [self.profile], self.reporter, seed=1)
        self.feed = Feed(self.scheduler, self.reporter)
        self.bindings = []
        self.scheduler.submit = self.bindings.append

    def run(self):
        while self.scheduler.schedule_one():
            pass

    @property
    def requested(self):
        columns = self.cluster.columns
        return int(columns.requested[columns.row_of["n1"], columns.resource("cpu")])


@pytest.fixture
def world():
    return World()


def changed(one, **fields):
    """The next version of a pod."""
    copy = pod(one.name)
    copy.metadata.uid, copy.spec = one.metadata.uid, one.spec.__class__(**{**_fields(one.spec), **fields.get("spec", {})})
    copy.status = one.status.__class__(phase=fields.get("phase", ""))
    copy.metadata.deletion_timestamp = fields.get("deleted")
    return copy


def _fields(struct):
    return {name: getattr(struct, name) for name in struct.__struct_fields__}


def test_a_pods_life(world):
    world.feed.node_set(node("n1"))
    one = pod("p", cpu="1")
    world.feed.pod_added(one)
    world.run()
    assert world.requested == 1000
    world.scheduler.bound(world.bindings[0])
    running = changed(one, spec={"node_name": "n1"}, phase="Running")
    world.feed.pod_updated(one, running)
    assert (world.requested, world.cluster.assumed, len(world.queue)) == (1000, 0, 0)
    ended = changed(running, phase="Succeeded")
    world.feed.pod_updated(running, ended)
    assert world.requested == 0
    world.feed.pod_deleted(ended)
    assert world.requested == 0


def test_a_pod_that_is_recreated_between_two_looks_is_another_pod(world):
    world.feed.node_set(node("n1"))
    old, new = pod("p", cpu="1", node_name="n1"), pod("p", cpu="2", node_name="n1")
    world.feed.pod_added(old)
    world.feed.pod_updated(old, new)
    assert world.requested == 2000


def test_pods_of_others_and_pods_that_end_leave_the_queue(world):
    one, two, three = pod("a"), pod("b"), pod("c")
    for each in (one, two, three):
        world.feed.pod_added(each)
    world.feed.pod_updated(one, changed(one, deleted="2026-01-01T00:00:00Z"))
    world.feed.pod_updated(two, changed(two, spec={"scheduler_name": "theirs"}))
    world.feed.pod_updated(three, changed(three, phase="Failed"))
    assert len(world.queue) == 0


def test_a_wrong_quantity_costs_one_event_and_nobody_else(world):
    world.feed.node_set(node("n1"))
    world.feed.pod_added(pod("bad", cpu="a lot"))
    world.feed.pod_added(pod("good", cpu="1"))
    world.run()
    [(key, type_, reason, message)] = world.events.seen
    assert (key, type_, reason) == ("default/bad", "Warning", "FailedScheduling")
    assert message.startswith("pod cannot be read: cpu: 'a lot' is not a quantity")
    assert [binding.pod.info.name for binding in world.bindings] == ["good"]


def test_an_undecodable_pod_gets_an_event_and_leaves_the_queue(world):
    one = pod("p")
    world.feed.pod_added(one)
    world.feed.pod_unreadable(Undecodable("Pod", "default", "p", one.metadata.uid, "Expected `array`, got `int`"))
    assert world.events.seen[0][3] == "pod cannot be read: Expected `array`, got `int`"
    assert len(world.queue) == 0


def test_a_bound_pod_with_a_wrong_quantity_is_logged(world, caplog):
    world.feed.node_set(node("n1"))
    world.feed.pod_added(pod("bad", cpu="a lot", node_name="n1"))
    assert "Pod default/bad: the pod is not counted on node n1 as it is now: cpu: 'a lot'" in caplog.text
    assert [event[:3] for event in world.events.seen] == [("default/bad", "Warning", "Unreadable")]


def test_garbage_nodes_and_reports_keep_their_last_good_state(world, caplog):
    world.feed.node_set(node("n1", cpu="4"))
    world.feed.node_set(node("n1", cpu="four"))
    world.feed.unreadable(Undecodable("Node", "", "n2", "", "Expected `object`"))
    plugin = world.profile.watchers[0]
    usage = NodeMetricInfo(node_usage=ResourceMap(resources={"cpu": "hot"}))
    metric = NodeMetric(kind="NodeMetric", metadata=ObjectMeta(name="n1"), status=NodeMetricStatus(node_metric=usage))
    world.feed.object_set(plugin, metric)
    assert "Node n1: the last good state stays in force: status.allocatable: cpu: 'four' is not a quantity" in caplog.text
    assert "Node n2: the last good state stays in force: Expected `object`" in caplog.text
    assert "NodeMetric n1: the last good state stays in force in LoadAwareScheduling: cpu: 'hot'" in caplog.text
    world.feed.pod_added(pod("p", cpu="3"))
    world.run()
    assert len(world.bindings) == 1


def test_a_vanished_node_takes_no_more_pods_and_its_pods_count_again_when_it_is_back(world):
    n1 = node("n1")
    world.feed.node_set(n1)
    world.feed.pod_added(pod("resident", cpu="3", node_name="n1"))
    world.feed.node_deleted(n1)
    world.feed.pod_added(pod("p", cpu="2"))
    world.run()
    assert world.bindings == []
    world.feed.node_set(n1)
    world.run()
    assert world.bindings == []
    assert world.requested == 3000
    assert world.queue.counts[Where.UNSCHEDULABLE] == 1


def test_the_same_reason_is_told_once_and_a_new_one_again(world):
    world.feed.node_set(node("n1", cpu="1"))
    world.feed.pod_added(pod("p", cpu="2"))
    world.run()
    for _ in range(3):
        world.feed.node_set(node("n1", cpu="1", labels={"try": str(_)}))
        world.clock.advance(400)
        world.queue.flush()
        world.run()
    assert world.queue.get(next(iter(world.queue)).info.uid).attempts > 1
    assert [event[3] for event in world.events.seen] == [f"0/1 nodes are available: 1 Insufficient cpu. {UNHELPFUL.format(1)}"]
    world.feed.node_set(node("n2", cpu="1"))
    world.clock.advance(400)
    world.queue.flush()
    world.run()
    assert world.events.seen[-1][3] == f"0/2 nodes are available: 2 Insufficient cpu. {UNHELPFUL.format(2)}"


def test_an_update_in_flight_is_used_by_the_next_attempt(world):
    one = pod("p", cpu="1")
    world.feed.pod_added(one)
    queued = world.queue.pop()
    world.feed.pod_updated(one, changed(one, spec={"priority": 7}))
    assert queued.info.priority == 7
    assert queued.where is Where.IN_FLIGHT
    assert READER.read(one).priority == 0


class Register(PodPlugin):
    """Knows all pods; stumbles over one."""

    name = "Register"

    def __init__(self):
        self.known = set()

    def pod_known(self, pod):
        if pod.name == "odd":
            raise KeyError("a bug")
        self.known.add(pod.name)

    def pod_gone(self, pod):
        self.known.discard(pod.name)


def test_a_plugin_may_know_every_pod_and_its_bugs_keep_none_from_the_queue(world, caplog):
    register = Register()
    world.profile.pod_plugins = [register]
    feed = Feed(world.scheduler, world.reporter)
    pods = [pod("ours"), pod("theirs", scheduler_name="another"), pod("there", node_name="n1"), pod("odd")]
    for one in pods:
        feed.pod_added(one)
    assert register.known == {"ours", "theirs", "there"}
    assert pods[3].metadata.uid in world.queue
    assert "telling plugin Register of pod default/odd" in caplog.text
    feed.pod_deleted(pods[2])
    assert register.known == {"ours", "theirs"}
