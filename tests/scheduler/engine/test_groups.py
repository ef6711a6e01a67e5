"""Pods that share their fate wait as a group: nobody who would fit is left waiting, and a flood costs one attempt an event."""

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from koordinator.clock import ManualClock
from koordinator.scheduler.engine.binding import BindFailed
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.cycle import Scheduler
from koordinator.scheduler.engine.events import ClusterEvent, Happening
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.engine.queue import SchedulingQueue
from koordinator.scheduler.engine.queued import Where
from koordinator.scheduler.feed import Feed
from koordinator.scheduler.plugins.node_unschedulable import NodeUnschedulable
from koordinator.scheduler.plugins.priority_sort import PrioritySort
from koordinator.scheduler.plugins.resources_fit import NodeResourcesFit
from scheduler.builders import READER, node, pod
from scheduler.stories import Story


class World:
    def __init__(self):
        self.clock, self.cluster, self.story = ManualClock(), Cluster(), Story()
        self.queue = SchedulingQueue(self.clock.monotonic)
        profile = Profile(["koord-scheduler"], [PrioritySort(), NodeUnschedulable(), NodeResourcesFit()])
        self.scheduler = Scheduler(self.cluster, self.queue, [profile], self.story, 1)
        self.feed = Feed(self.scheduler, None)
        self.flying = []
        self.scheduler.submit = self.flying.append
        self.attempts = 0

    def run(self):
        while self.scheduler.schedule_one():
            self.attempts += 1

    def bind_all(self):
        for binding in self.flying:
            self.scheduler.bound(binding)
        self.flying.clear()

    def leave(self, uid):
        placed = self.cluster.remove(uid)
        self.scheduler.tell(ClusterEvent(Happening.POD_DELETE, placed.node, old=placed.info.pod))


class Liveness(RuleBasedStateMachine):
    """Random arrivals, departures, failing binds, cordons, deletions. Whoever waits refused must not fit anywhere."""

    def __init__(self):
        super().__init__()
        self.world = World()
        for name in ("a", "b"):
            self.world.feed.node_set(node(name, cpu="4", pods=4))

    @rule(cpu=st.sampled_from(["1", "2", "3"]), priority=st.integers(0, 1), count=st.integers(1, 4))
    def arrive(self, cpu, priority, count):
        for _ in range(count):
            self.world.scheduler.add_pending(READER.read(pod(cpu=cpu, priority=priority)), "koord-scheduler")
        self.world.run()

    @precondition(lambda self: self.world.flying)
    @rule(data=st.data(), fine=st.booleans())
    def bind(self, data, fine):
        binding = self.world.flying.pop(data.draw(st.integers(0, len(self.world.flying) - 1)))
        if fine:
            self.world.scheduler.bound(binding)
        else:
            self.world.scheduler.bind_failed(binding, BindFailed("conflict"))
        self.world.run()

    @precondition(lambda self: self.world.cluster.pods)
    @rule(data=st.data())
    def leave(self, data):
        flying = {binding.pod.info.uid for binding in self.world.flying}
        if there := sorted(set(self.world.cluster.pods) - flying):
            self.world.leave(data.draw(st.sampled_from(there)))

    @precondition(lambda self: len(self.world.queue))
    @rule(data=st.data())
    def delete_a_waiting_pod(self, data):
        flying = {binding.pod.info.uid for binding in self.world.flying}
        if waiting := sorted({one.info.uid for one in self.world.queue} - flying):
            self.world.scheduler.gone(data.draw(st.sampled_from(waiting)))

    @rule(name=st.sampled_from(["a", "b", "c"]), cpu=st.sampled_from(["1", "4", "6"]), closed=st.booleans())
    def change_a_node(self, name, cpu, closed):
        self.world.feed.node_set(node(name, cpu=cpu, pods=4, unschedulable=closed))

    @rule(name=st.sampled_from(["b", "c"]))
    def lose_a_node(self, name):
        if name in self.world.cluster.columns.row_of:
            self.world.feed.node_deleted(node(name))

    @invariant()
    def nobody_waits_who_would_fit(self):
        world = self.world
        world.clock.advance(11)  # pauses are over, five minutes are not
        world.queue.flush()
        world.queue._next_check = world.clock.monotonic() + 1e9
        world.run()
        columns = world.cluster.columns
        for one in world.queue:
            if one.where is Where.IN_FLIGHT:
                continue
            assert one.where is Where.UNSCHEDULABLE
            need = one.info.template.vector(columns)
            for name, row in columns.row_of.items():
                short = ((need > columns.allocatable[row] - columns.requested[row]) & (need > 0)).any()
                assert short or columns.unschedulable[row], f"{one.info.name} waits and would fit on {name}"

    @invariant()
    def nothing_is_overcommitted(self):
        columns = self.world.cluster.columns
        for name, row in columns.row_of.items():
            used = sum(one.info.template.vector(columns) for one in self.world.cluster.pods_on(name))
            assert (columns.requested[row] == used).all()


Liveness.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestLiveness = Liveness.TestCase


def test_a_flood_of_pending_pods_costs_one_attempt_an_event_and_one_a_placement():
    world = World()
    world.feed.node_set(node("a", cpu="4"))
    resident = READER.read(pod("resident", cpu="4"))
    world.cluster.place(resident, "a")
    for _ in range(2000):
        world.scheduler.add_pending(READER.read(pod(cpu="2")), "koord-scheduler")
    world.run()
    assert world.queue.counts[Where.UNSCHEDULABLE] == 2000
    world.clock.advance(20)
    world.attempts = 0
    world.leave(resident.uid)
    world.run()
    assert len(world.flying) == 2
    assert world.attempts == 3
    world.bind_all()
    assert world.queue.counts[Where.UNSCHEDULABLE] == 1998


def test_events_that_leave_too_little_room_wake_nobody():
    world = World()
    world.feed.node_set(node("a", cpu="4"))
    residents = [READER.read(pod(cpu="1")) for _ in range(4)]
    for one in residents:
        world.cluster.place(one, "a")
    world.scheduler.add_pending(READER.read(pod("big", cpu="3")), "koord-scheduler")
    world.run()
    world.clock.advance(20)
    world.attempts = 0
    for count, one in enumerate(residents[:3], 1):
        world.leave(one.uid)
        world.run()
        assert world.attempts == (count == 3)
    assert [binding.pod.info.name for binding in world.flying] == ["big"]


def test_among_equals_the_one_that_has_waited_longest_goes_first():
    world = World()
    world.feed.node_set(node("a", cpu="1"))
    resident = READER.read(pod(cpu="1"))
    world.cluster.place(resident, "a")
    for name in ("first", "second"):
        world.clock.advance(1)
        world.scheduler.add_pending(READER.read(pod(name, cpu="1")), "koord-scheduler")
        world.run()
    world.clock.advance(20)
    world.leave(resident.uid)
    world.run()
    assert [binding.pod.info.name for binding in world.flying] == ["first"]


def test_a_herald_that_vanishes_hands_its_errand_on():
    world = World()
    world.feed.node_set(node("a", cpu="1"))
    resident = READER.read(pod(cpu="1"))
    world.cluster.place(resident, "a")
    for name in ("first", "second"):
        world.scheduler.add_pending(READER.read(pod(name, cpu="1")), "koord-scheduler")
    world.run()
    world.clock.advance(20)
    world.leave(resident.uid)
    herald = next(one for one in world.queue if one.where is Where.ACTIVE)
    world.scheduler.gone(herald.info.uid)
    world.run()
    assert [binding.pod.info.name for binding in world.flying] == [{"first": "second", "second": "first"}[herald.info.name]]


def test_so_many_events_are_kept_and_a_pod_that_flew_longer_is_tried_again(monkeypatch):
    monkeypatch.setattr("koordinator.scheduler.engine.flights.MOST_EVENTS", 10)
    world = World()
    world.feed.node_set(node("a", cpu="1"))
    world.scheduler.add_pending(READER.read(pod("long", cpu="1")), "koord-scheduler")
    flying = world.queue.pop()
    for _ in range(50):
        world.scheduler.tell(ClusterEvent(Happening.POD_ADD, "a"))
    world.queue.requeue(flying, ["NodeResourcesFit"])
    assert flying.where is Where.BACKOFF
