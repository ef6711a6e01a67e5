"""One pod of a job in the queue, its siblings behind the plugin's own gate and fetched one by one, as gangs have it."""

from koordinator.api.features import SCHEDULER
from koordinator.clock import ManualClock
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.cycle import Scheduler
from koordinator.scheduler.engine.events import ClusterEvent, Happening
from koordinator.scheduler.engine.framework import Code, PreEnqueuePlugin, Status
from koordinator.scheduler.engine.hooks import FindOneNodePlugin, NextPodPlugin, Plan
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.engine.queue import SchedulingQueue
from koordinator.scheduler.engine.queued import Where
from koordinator.scheduler.plugins.priority_sort import PrioritySort
from koordinator.scheduler.plugins.resources_fit import NodeResourcesFit
from koordinator.scheduler.plugins.scheduling_gates import SchedulingGates
from scheduler.builders import READER, gates, node, pod
from scheduler.stories import Story


class Gang(PreEnqueuePlugin, NextPodPlugin, FindOneNodePlugin):
    """Lets the pod named ``first`` into the queue; ``following`` are next after it; ``planned`` is the plan."""

    name = "Gang"

    def __init__(self):
        self.first, self.following, self.planned = "p0", [], None

    def pre_enqueue(self, pod):
        return None if pod.name in (self.first, "other") else Status(Code.UNSCHEDULABLE, (f"{self.first} goes first",))

    def events(self):
        return ((Happening.NODE_ADD, None),)

    def next_pod(self):
        return self.following.pop(0) if self.following else None

    def find_one_node(self, state, pod):
        return self.planned


class World:
    def __init__(self, cpu="4"):
        self.clock, self.cluster, self.story, self.gang = ManualClock(), Cluster(), Story(), Gang()
        self.queue = SchedulingQueue(self.clock.monotonic)
        plugins = [PrioritySort(), SchedulingGates(), self.gang, NodeResourcesFit()]
        on = SCHEDULER.defaults | {"EnableInlineBatchSchedule"}
        self.scheduler = Scheduler(self.cluster, self.queue, [Profile(["koord-scheduler"], plugins)], self.story, 1, on)
        self.bound = []
        self.scheduler.submit = lambda binding: self.bound.append(binding.pod.info.name)
        self.cluster.set_node(node("a", cpu=cpu))

    def pods(self, *pods):
        self.infos = {one.metadata.name: READER.read(one) for one in pods}
        for info in self.infos.values():
            self.scheduler.add_pending(info, "koord-scheduler")

    def where(self, name):
        return self.queue.get(self.infos[name].uid).where

    def run(self):
        while self.scheduler.schedule_one():
            pass


def test_a_plugin_fetches_pods_from_behind_its_own_gate_but_not_from_behind_others():
    world = World()
    world.pods(pod("p0", cpu="1"), pod("p1", cpu="1"), pod("p2", cpu="1", scheduling_gates=gates("later")))
    assert [world.where(name) for name in world.infos] == [Where.ACTIVE, Where.GATED, Where.GATED]
    world.run()
    assert world.bound == ["p0"]
    world.gang.following = [world.infos["p2"].uid, world.infos["p1"].uid]
    world.run()
    world.run()
    assert world.bound == ["p0", "p1"]
    assert world.where("p2") is Where.GATED


def test_a_job_is_placed_with_siblings_from_behind_the_gate():
    world = World()
    world.pods(pod("p0", cpu="1"), pod("p1", cpu="1"))
    infos = tuple(world.infos.values())
    world.gang.planned = Plan(infos, dict.fromkeys([info.key for info in infos], "a"))
    world.run()
    assert sorted(world.bound) == ["p0", "p1"]
    assert world.queue.counts[Where.GATED] == 0


def test_a_pod_that_wakes_may_find_the_gate_closed():
    """The first has failed; another is to go first now."""
    world = World(cpu="1")
    world.pods(pod("p0", cpu="2"), pod("p1", cpu="1"))
    world.run()
    assert world.where("p0") is Where.UNSCHEDULABLE
    world.gang.first = "p1"
    world.clock.advance(5)
    world.cluster.set_node(node("b", cpu="1"))
    world.scheduler.tell(ClusterEvent(Happening.NODE_ADD, "b"))
    assert (world.where("p0"), world.where("p1")) == (Where.GATED, Where.ACTIVE)
    world.run()
    assert world.bound == ["p1"]


def test_the_gate_may_close_during_a_pause():
    world = World()
    world.pods(pod("p0", cpu="1"))
    queued = world.queue.pop()
    world.scheduler.fail(queued, "api down")
    world.gang.first = "p1"
    world.clock.advance(5)
    world.queue.flush()
    assert world.where("p0") is Where.GATED
    world.gang.first = "p0"
    world.scheduler.tell(ClusterEvent(Happening.NODE_ADD, "a"))
    world.run()
    assert world.bound == ["p0"]


def test_of_several_profiles_the_last_instance_of_the_first_plugin_names_the_next_pod():
    world = World()
    other = Gang()
    plugins = [PrioritySort(), other, NodeResourcesFit()]
    profiles = [*world.scheduler.profiles.values(), Profile(["other"], plugins)]
    scheduler = Scheduler(world.cluster, world.queue, profiles, world.story, 1)
    world.pods(pod("p0", cpu="1"), pod("other", cpu="1"))
    other.following = [world.infos["other"].uid]
    scheduler.submit = lambda binding: world.bound.append(binding.pod.info.name)
    scheduler.schedule_one()
    assert world.bound == ["other"]
