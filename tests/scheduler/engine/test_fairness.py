"""Who goes first, and that nobody goes hungry: other orders by a plugin, floods of refused pods, pods that fail for ever."""

from koordinator.clock import ManualClock
from koordinator.scheduler.engine.events import ClusterEvent, Happening
from koordinator.scheduler.engine.framework import Plugin, QueueSortPlugin
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.engine.queue import SchedulingQueue
from koordinator.scheduler.engine.queued import Where
from koordinator.scheduler.plugins.priority_sort import PrioritySort
from scheduler.builders import info

NODE_CAME = ClusterEvent(Happening.NODE_ADD, "n")


class NeedsNodes(Plugin):
    name = "NeedsNodes"

    def events(self):
        return ((Happening.NODE_ADD, None),)


class ShortestFirst(QueueSortPlugin):
    """What asks for least goes first, whatever its priority."""

    name = "ShortestFirst"

    def sort_key(self, pod, timestamp):
        return pod.template.requests.get("cpu", 0), timestamp


class World:
    def __init__(self, sort=None):
        self.clock = ManualClock()
        self.queue = SchedulingQueue(self.clock.monotonic)
        self.profile = Profile(["x"], [sort or PrioritySort(), NeedsNodes()])

    def add(self, *infos):
        for one in infos:
            self.queue.add(one, self.profile)

    def refuse(self, count, by=("NeedsNodes",)):
        for _ in range(count):
            self.queue.requeue(self.queue.pop(), by)

    def order(self):
        names = []
        while (one := self.queue.pop()) is not None:
            names.append(one.info.name)
        return names


def test_a_plugin_may_sort_otherwise():
    world = World(ShortestFirst())
    world.add(info("large", cpu="4", priority=9), info("small", cpu="1"), info("medium", cpu="2", priority=5))
    assert world.order() == ["small", "medium", "large"]


def test_an_update_moves_a_pod_in_another_plugins_order_when_it_is_tried_again():
    world = World(ShortestFirst())
    world.add(info("a", cpu="1"), info("b", cpu="2"))
    world.refuse(2)
    world.clock.advance(5)
    world.queue.on_event(NODE_CAME)
    world.add(info("c", cpu="1500m"))
    assert world.order() == ["a", "c", "b"]


def test_a_newcomer_waits_for_one_round_of_a_flood_at_most():
    world = World()
    flood = [info(f"f{index}", cpu=f"{100 + index}m") for index in range(300)]  # each of a template of its own
    world.add(*flood)
    world.refuse(300)
    world.clock.advance(15)
    world.queue.on_event(NODE_CAME)
    world.add(info("newcomer"))
    popped = 0
    while (one := world.queue.pop()).info.name != "newcomer":
        world.queue.requeue(one, ("NeedsNodes",))
        world.queue.on_event(NODE_CAME)  # and every attempt is followed by an event that may help them all
        popped += 1
    assert popped <= 300


def test_more_important_pods_do_not_wait_for_a_flood():
    world = World()
    world.add(*[info(f"f{index}", cpu=f"{100 + index}m") for index in range(300)])
    world.refuse(300)
    world.clock.advance(15)
    world.queue.on_event(NODE_CAME)
    world.add(info("vip", priority=10))
    assert world.queue.pop().info.name == "vip"


def test_pods_that_fail_for_ever_do_so_ever_more_seldom():
    world = World()
    world.add(*[info(f"bad{index}", cpu=f"{100 + index}m") for index in range(20)])
    attempts = 0
    for _ in range(600):
        while (one := world.queue.pop()) is not None:
            world.queue.requeue(one, error=True)
            attempts += 1
        world.clock.advance(0.1)
        world.queue.flush()
    assert attempts <= 20 * (4 + 60 / 10)
    assert world.queue.counts[Where.BACKOFF] == 20
    world.add(info("good"))
    assert world.queue.pop().info.name == "good"
