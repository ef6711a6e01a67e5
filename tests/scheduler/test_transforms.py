"""What the scheduler sees of pods and nodes: old names, what nodes keep for themselves, and what gates ask for."""

import pytest

from koordinator.api import keys
from koordinator.api.device import Device, DeviceInfo, DeviceSpec
from koordinator.api.registry import DEVICES
from koordinator.clock import ManualClock
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.cycle import Scheduler
from koordinator.scheduler.engine.events import Happening
from koordinator.scheduler.engine.framework import WatchPlugin
from koordinator.scheduler.engine.queue import SchedulingQueue
from koordinator.scheduler.feed import Feed
from koordinator.scheduler.metrics import Metrics
from koordinator.scheduler.profiles import default_profile
from koordinator.scheduler.report import Reporter
from scheduler.builders import node, pod

OLD_BATCH, BATCH = "koordinator.sh/batch-cpu", "kubernetes.io/batch-cpu"


class Events:
    pending = False

    def __init__(self):
        self.seen = []

    def event(self, obj, type_, reason, message):
        self.seen.append((obj.name, reason, message))


class World:
    def __init__(self, *gates):
        clock, self.cluster, self.events = ManualClock(), Cluster(), Events()
        reporter = Reporter(None, self.events, clock, Metrics())
        self.queue = SchedulingQueue(clock.monotonic)
        profile = default_profile(("koord-scheduler",), self.cluster, None, clock)
        self.scheduler = Scheduler(self.cluster, self.queue, [profile], reporter, 1, frozenset(gates))
        self.feed = Feed(self.scheduler, reporter)
        self.bound = {}
        self.scheduler.submit = lambda binding: self.bound.update({binding.pod.info.name: binding.node})

    def run(self):
        while self.scheduler.schedule_one():
            pass

    def column(self, name, resource):
        columns = self.cluster.columns
        return int(columns.allocatable[columns.row_of[name], columns.resource(resource)])


@pytest.fixture
def world():
    return World()


def batch_node(name, resource):
    return node(name, **{resource.replace("/", "__"): "1000"})


@pytest.mark.parametrize("of_pod", [OLD_BATCH, BATCH])
@pytest.mark.parametrize("of_node", [OLD_BATCH, BATCH])
def test_old_and_new_names_are_the_same_resource(world, of_node, of_pod):
    world.feed.node_set(batch_node("n1", of_node))
    for name in ("a", "b"):
        world.feed.pod_added(pod(name, requests={of_pod: "600"}))
    world.run()
    assert world.bound == {"a": "n1"}
    assert [reason for _, reason, _ in world.events.seen] == ["FailedScheduling"]


def test_the_end_of_a_pod_with_old_names_wakes_one_with_new_names(world):
    world.feed.node_set(batch_node("n1", BATCH))
    first = pod("a", requests={OLD_BATCH: "600"}, node_name="n1")
    world.feed.pod_added(first)
    world.feed.pod_added(pod("b", requests={BATCH: "600"}))
    world.run()
    assert world.bound == {}
    world.feed.pod_deleted(first)
    world.run()
    assert world.bound == {"b": "n1"}


def test_what_a_node_keeps_for_itself_is_given_to_nobody(world):
    kept = node("n1", cpu="4", annotations={keys.NODE_RESERVATION: '{"resources":{"cpu":"3"}}'})
    world.feed.node_set(kept)
    assert world.column("n1", "cpu") == 1000
    world.feed.pod_added(pod("a", cpu="2"))
    world.run()
    assert world.bound == {}
    world.feed.node_set(node("n1", cpu="4"))
    assert world.column("n1", "cpu") == 4000
    world.scheduler.queue.activate(next(iter(world.queue)).info.uid)
    world.run()
    assert world.bound == {"a": "n1"}


def test_a_reservation_that_cannot_be_read_keeps_nothing(world):
    world.feed.node_set(node("n1", cpu="4", annotations={keys.NODE_RESERVATION: "{"}))
    assert world.column("n1", "cpu") == 4000


def test_priority_and_preemption_policy_where_gates_say_so():
    world = World("PriorityTransformer", "PreemptionPolicyTransformer")
    one = pod("a", labels={keys.PRIORITY_CLASS: "koord-prod"})
    world.feed.pod_added(one)
    queued = world.queue.get(one.metadata.uid)
    assert (queued.info.priority, queued.info.pod.spec.preemption_policy) == (9500, "Never")
    plain = World()
    plain.feed.pod_added(one)
    assert plain.queue.get(one.metadata.uid).info.priority == 0


def test_own_renames_where_the_gate_says_so():
    world = World("ReplaceResourcesTransformer")
    one = pod("a", cpu="1", annotations={keys.REPLACE_RESOURCES: f"cpu:{BATCH}"})
    world.feed.pod_added(one)
    assert world.queue.get(one.metadata.uid).info.template.requests == {BATCH: 1000, "pods": 1}


def test_a_rename_that_cannot_be_made_is_told_and_stops_nobody():
    world = World("ReplaceResourcesTransformer")
    world.feed.node_set(node("n1"))
    bad = pod("bad", cpu="much", annotations={keys.REPLACE_RESOURCES: f"cpu:{BATCH}"})
    world.feed.pod_added(bad)
    world.feed.pod_added(pod("bad-too", cpu="much", node_name="n1", annotations={keys.REPLACE_RESOURCES: f"cpu:{BATCH}"}))
    world.feed.pod_deleted(bad)
    world.feed.pod_added(pod("good", cpu="1"))
    world.run()
    assert world.bound == {"good": "n1"}
    told = {name: message for name, _, message in world.events.seen}
    assert told.keys() == {"bad", "bad-too"}
    assert told["bad"].startswith("pod cannot be read: cpu")
    assert "is not counted on node n1" in told["bad-too"]


def test_the_label_names_the_scheduler(world):
    ours = pod("a", scheduler_name="somebody-else", labels={keys.SCHEDULER_NAME: "koord-scheduler"})
    theirs = pod("b", labels={keys.SCHEDULER_NAME: ""})
    for one in (ours, theirs):
        world.feed.pod_added(one)
    (queued,) = world.queue
    assert queued.info.pod.spec.scheduler_name == "koord-scheduler"
    assert queued.info.pod.annotations[keys.ORIGINAL_SCHEDULER_NAME] == "somebody-else"


class Devices(WatchPlugin):
    name, resource, happening = "Devices", DEVICES, Happening.NODE_ALLOCATABLE

    def __init__(self):
        self.seen = []

    def object_set(self, obj):
        self.seen.append(obj)


def test_plugins_see_devices_under_the_names_of_today(world):
    plugin = Devices()
    world.feed.object_set(plugin, Device(spec=DeviceSpec(devices=[DeviceInfo(resources={"kubernetes.io/gpu": "100"})])))
    assert plugin.seen[0].spec.devices[0].resources == {"koordinator.sh/gpu": "100"}
