"""Many pods in one place of the queue: what closes over them or breaks costs each of them once, and not once for each other."""

import time

from koordinator.clock import ManualClock
from koordinator.scheduler.engine.events import ClusterEvent, Happening
from koordinator.scheduler.engine.framework import Code, PreEnqueuePlugin, Status
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.engine.queue import SchedulingQueue
from koordinator.scheduler.engine.queued import Where
from koordinator.scheduler.plugins.node_unschedulable import NodeUnschedulable
from koordinator.scheduler.plugins.priority_sort import PrioritySort
from scheduler.builders import READER, pod


class Sluice(PreEnqueuePlugin):
    """A gate that somebody opens and closes. Nodes may open it."""

    name = "Sluice"

    def __init__(self):
        self.closed, self.asked, self.hinted = False, 0, 0

    def events(self):
        return ((Happening.NODE_ADD, self.hint),)

    def hint(self, pod, event):
        self.hinted += 1
        return True

    def pre_enqueue(self, pod):
        self.asked += 1
        return Status(Code.UNSCHEDULABLE, ("closed",)) if self.closed else None


class World:
    def __init__(self, *plugins):
        self.clock = ManualClock()
        self.queue = SchedulingQueue(self.clock.monotonic)
        self.profile = Profile(["x"], [PrioritySort(), NodeUnschedulable(), *plugins])

    def add(self, count, **options):
        for _ in range(count):
            self.queue.add(READER.read(pod(**options)), self.profile)

    def refuse_all(self, **how):
        while (popped := self.queue.pop()) is not None:
            self.queue.requeue(popped, **how)


def test_a_gate_that_closes_over_a_large_group_holds_all_of_it():
    sluice = Sluice()
    world = World(sluice)
    many = 2000
    world.add(many, cpu="1")
    world.refuse_all(rejected_by=["NodeUnschedulable"])
    assert world.queue.counts[Where.UNSCHEDULABLE] == many
    sluice.closed, sluice.asked = True, 0
    world.queue.on_event(ClusterEvent(Happening.NODE_ADD, "a"))
    assert world.queue.counts[Where.GATED] == many
    assert sluice.asked <= 2 * many


def test_a_queue_order_that_cannot_be_told_any_more_holds_a_large_group():
    world = World()
    world.add(2000, cpu="1")
    world.refuse_all(rejected_by=["NodeUnschedulable"])
    world.clock.advance(60)

    def broken(*_):
        raise RuntimeError("a bug")

    world.profile.queue_sort.sort_key = broken
    world.queue.on_event(ClusterEvent(Happening.NODE_ADD, "a"))
    assert world.queue.counts[Where.GATED] == 2000


def test_pods_that_pause_after_errors_cost_nothing_while_others_are_looked_for():
    world = World()
    world.add(5000, cpu="1")
    popped = [world.queue.pop() for _ in range(5000)]
    for one in popped:
        world.queue.requeue(one, error=True)
    began = time.process_time()
    for _ in range(5000):
        assert world.queue.pop() is None
    assert time.process_time() - began < 2.0


def test_a_pod_that_was_refused_is_tried_before_its_pause_is_over_and_one_with_an_error_is_not():
    world = World()
    world.add(2, cpu="1")
    failed, refused = world.queue.pop(), world.queue.pop()
    refused.rejected_by = frozenset(("NodeUnschedulable",))
    world.queue.on_event(ClusterEvent(Happening.NODE_ADD, "a"))
    world.queue.requeue(failed, error=True)
    world.queue.requeue(refused, ["NodeUnschedulable"])
    assert {failed.where, refused.where} == {Where.BACKOFF}
    assert world.queue.pop() is refused
    assert world.queue.pop() is None
    world.clock.advance(1)
    world.queue.flush()
    assert world.queue.pop() is failed


def test_gated_pods_are_not_looked_at_for_events_that_open_no_gate():
    sluice = Sluice()
    sluice.closed = True
    world = World(sluice)
    world.add(100, cpu="1")
    sluice.asked = 0
    world.queue.on_event(ClusterEvent(Happening.POD_DELETE, "a"))
    assert (sluice.asked, sluice.hinted) == (0, 0)
    sluice.closed = False
    world.queue.on_event(ClusterEvent(Happening.NODE_ADD, "a"))
    assert world.queue.counts[Where.ACTIVE] == 100
