"""The cycle with real queue, cluster and plugins; the binder and the world outside are lists."""

import pytest

from koordinator.clock import ManualClock
from koordinator.scheduler.engine.binding import BindFailed
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.cycle import Scheduler
from koordinator.scheduler.engine.framework import (
    Code,
    FilterPlugin,
    PermitPlugin,
    PostFilterPlugin,
    PreFilterPlugin,
    PreFilterResult,
    ReservePlugin,
    Status,
)
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.engine.queue import SchedulingQueue
from koordinator.scheduler.engine.queued import Where
from koordinator.scheduler.plugins.node_affinity import NodeAffinity
from koordinator.scheduler.plugins.node_unschedulable import NodeUnschedulable
from koordinator.scheduler.plugins.priority_sort import PrioritySort
from koordinator.scheduler.plugins.resources_fit import NodeResourcesFit
from koordinator.scheduler.plugins.scheduling_gates import SchedulingGates
from koordinator.scheduler.plugins.taint_toleration import TaintToleration
from scheduler.builders import READER, Taint, affinity, info, node, pod, requirement, term


class Story:
    """An outcome that remembers."""

    def __init__(self):
        self.refused, self.errors, self.done = {}, {}, []

    def assumed(self, binding):
        pass

    def unschedulable(self, pod, diagnosis):
        self.refused[pod.info.name] = diagnosis.message

    def error(self, pod, message):
        self.errors[pod.info.name] = message

    def bound(self, binding):
        self.done.append(binding.pod.info.name)


class World:
    def __init__(self, *extra, seed=1):
        self.clock, self.cluster, self.story = ManualClock(), Cluster(), Story()
        self.queue = SchedulingQueue(self.clock.monotonic)
        plugins = [
            PrioritySort(),
            SchedulingGates(),
            NodeUnschedulable(),
            TaintToleration(),
            NodeAffinity(),
            NodeResourcesFit(),
        ]
        self.profile = Profile(["koord-scheduler"], [*plugins, *extra])
        self.scheduler = Scheduler(self.cluster, self.queue, [self.profile], self.story, seed)
        self.bindings = []
        self.scheduler.submit = self.bindings.append

    def nodes(self, *nodes):
        for one in nodes:
            self.cluster.set_node(one)
        return self

    def pods(self, *pods):
        for one in pods:
            self.scheduler.add_pending(READER.read(one), "koord-scheduler")
        while self.scheduler.schedule_one():
            pass
        return self

    @property
    def placements(self):
        return {binding.pod.info.name: binding.node for binding in self.bindings}


def test_pods_spread_to_where_most_is_free():
    world = World().nodes(node("a", cpu="4"), node("b", cpu="64")).pods(pod("p", cpu="1"), pod("q", cpu="1"), pod("r", cpu="4"))
    assert world.placements["p"] == world.placements["q"] == "b"
    assert world.placements["r"] == "b"


def test_nothing_is_overcommitted_and_the_rest_waits():
    world = World().nodes(node("a", cpu="2"), node("b", cpu="1")).pods(*[pod(f"p{index}", cpu="1") for index in range(5)])
    assert sorted(world.placements.values()) == ["a", "a", "b"]
    assert set(world.story.refused.values()) == {"0/2 nodes are available: 2 Insufficient cpu."}
    assert world.queue.counts[Where.UNSCHEDULABLE] == 2


def test_the_failure_message_counts_reasons_of_the_first_filter_that_refused():
    world = World().nodes(
        node("a", cpu="1"), node("b", taints=[Taint(key="k", value="v", effect="NoSchedule")]), node("c", unschedulable=True)
    )
    world.pods(pod("p", cpu="2"))
    expected = "1 Insufficient cpu, 1 node(s) had untolerated taint {k: v}, 1 node(s) were unschedulable"
    assert world.story.refused == {"p": f"0/3 nodes are available: {expected}."}


def test_nodes_that_a_prefilter_left_out_are_counted_too():
    world = World().nodes(node("a"), node("b", cpu="1"), node("c"))
    only_b = affinity([term(fields=[requirement("metadata.name", "In", "b")])])
    world.pods(pod("big", cpu="2", affinity=only_b), pod("small", cpu="1", affinity=only_b))
    message = "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't satisfy plugin(s) [NodeAffinity]."
    assert world.story.refused == {"big": message}
    assert world.placements == {"small": "b"}


def test_without_nodes_the_pod_waits_for_one():
    world = World().pods(pod("p"))
    assert world.story.refused["p"] == "0/0 nodes are available: no nodes available to schedule pods."
    assert world.queue.counts[Where.UNSCHEDULABLE] == 1


def test_a_seed_makes_placements_repeatable():
    def run(seed):
        world = World(seed=seed).nodes(*[node(f"n{index}") for index in range(8)])
        return world.pods(*[pod(f"p{index}", cpu="1") for index in range(16)]).placements

    assert run(3) == run(3)
    assert run(3) != run(4)


def test_deleting_and_already_placed_pods_are_let_go():
    world = World().nodes(node("a"))
    going = pod("going")
    going.metadata.deletion_timestamp = "2026-01-01T00:00:00Z"
    placed = pod("placed")
    world.cluster.place(READER.read(placed), "a")
    world.pods(going, placed)
    assert world.placements == {}
    assert world.story.errors == {"going": "skip schedule deleting pod"}
    assert len(world.queue) == 0


def test_a_failed_bind_gives_the_room_back_and_tries_again():
    world = World().nodes(node("a", cpu="1")).pods(pod("first", cpu="1"), pod("second", cpu="1"))
    binding = world.bindings.pop()
    world.scheduler.bind_failed(binding, BindFailed("the object has been modified"))
    assert world.story.errors == {"first": "binding rejected: the object has been modified"}
    world.pods()
    assert world.placements == {"second": "a"}, "the pod that was refused for lack of room gets it"
    world.scheduler.bound(world.bindings[0])
    world.clock.advance(1)
    world.queue.flush()
    world.pods()
    assert world.story.refused["first"] == "0/1 nodes are available: 1 Insufficient cpu."


def test_a_pod_that_is_gone_at_bind_is_not_tried_again():
    world = World().nodes(node("a")).pods(pod("p", cpu="1"))
    world.scheduler.bind_failed(world.bindings[0], BindFailed('pods "p" not found', gone=True))
    assert len(world.queue) == len(world.cluster.pods) == 0


def test_a_late_failure_does_not_take_back_what_the_api_server_confirmed():
    world = World().nodes(node("a")).pods(pod("p", cpu="1"))
    binding = world.bindings[0]
    world.cluster.place(binding.pod.info, "a")
    world.queue.remove(binding.pod.info.uid)
    world.scheduler.bind_failed(binding, BindFailed("timed out"))
    assert len(world.cluster.pods) == 1
    assert len(world.queue) == 0


class Touchy(PreFilterPlugin, FilterPlugin):
    """Raises for pods that ask for two CPUs."""

    name = "Touchy"

    def signature(self, pod):
        return pod.template.requests.get("cpu")

    def pre_filter(self, state, pod, nodes):
        return None

    def filter(self, state, pod, nodes, rows):
        if pod.template.requests.get("cpu") == 2000:
            raise ZeroDivisionError("by zero")
        return nodes.allocatable[rows][:, 0] * 0


def test_a_plugin_that_raises_costs_only_that_pod_an_attempt(caplog):
    world = World(Touchy()).nodes(node("a")).pods(pod("bad", cpu="2"), pod("good", cpu="1"))
    assert world.story.errors == {"bad": 'running Filter plugin "Touchy": ZeroDivisionError: by zero'}
    assert world.placements == {"good": "a"}
    assert world.queue.counts[Where.BACKOFF] == 1


class Gatekeeper(PreFilterPlugin, ReservePlugin, PermitPlugin):
    """Refuses by pod name, at the point that the name tells."""

    name = "Gatekeeper"
    per_pod = True

    def __init__(self):
        self.reserved = []

    def pre_filter(self, state, pod, nodes):
        if pod.name == "pre-filter":
            return PreFilterResult(Status(Code.UNSCHEDULABLE, ("quota exceeded",)))
        if pod.name == "broken":
            return PreFilterResult(Status(Code.ERROR, ("no quota tree",)))
        return None

    def reserve(self, state, pod, node):
        self.reserved.append(pod.name)
        return Status(Code.UNSCHEDULABLE, ("no device left",)) if pod.name == "reserve" else None

    def unreserve(self, state, pod, node):
        self.reserved.remove(pod.name)

    def permit(self, state, pod, node):
        return Status(Code.ERROR, ("gang failed",)) if pod.name == "permit" else None


def test_refusals_at_every_point_leave_nothing_behind(caplog):
    keeper = Gatekeeper()
    world = World(keeper).nodes(node("a"))
    world.pods(*[pod(name, cpu="1") for name in ("pre-filter", "broken", "reserve", "permit", "fine")])
    assert world.story.refused == {
        "pre-filter": "0/1 nodes are available: quota exceeded.",
        "reserve": "0/1 nodes are available: 1 no device left.",
    }
    assert world.story.errors == {
        "broken": 'running PreFilter plugin "Gatekeeper": RuntimeError: no quota tree',
        "permit": 'running plugin "Gatekeeper": gang failed',
    }
    assert world.placements == {"fine": "a"}
    assert keeper.reserved == ["fine"]
    assert len(world.cluster.pods) == 1


class Preemptor(PostFilterPlugin):
    name = "Preemptor"

    def post_filter(self, state, pod, diagnosis):
        helpless = int(diagnosis.unresolvable.sum())
        text = f"preemption: 0/{diagnosis.nodes} nodes are available: {helpless} Preemption is not helpful for scheduling."
        return None, Status(Code.UNSCHEDULABLE, (text,))


def test_post_filter_learns_where_preemption_cannot_help_and_ends_the_message():
    world = World(Preemptor()).nodes(node("a", cpu="1"), node("b", cpu="3"), node("c", cpu="3"))
    world.pods(pod("resident", cpu="2"), pod("other", cpu="2"), pod("p", cpu="2"))
    assert world.story.refused["p"] == (
        "0/3 nodes are available: 3 Insufficient cpu. "
        "preemption: 0/3 nodes are available: 1 Preemption is not helpful for scheduling."
    )


def test_a_profile_needs_exactly_one_queue_sort():
    with pytest.raises(ValueError, match="exactly one QueueSortPlugin, this has 0"):
        Profile(["x"], [NodeResourcesFit()])


def test_info_is_read_only_once_per_template():
    assert info(cpu="1").template is info(cpu="1").template


class Clumsy(ReservePlugin, FilterPlugin):
    """Fails outside the hooks whose failures have a name."""

    name = "Clumsy"

    def signature(self, pod):
        return pod.name == "inexplicable"

    def filter(self, state, pod, nodes, rows):
        return nodes.alive[rows] * (pod.name == "inexplicable")

    def explain(self, state, code, nodes):
        raise RuntimeError("no words")

    def reserve(self, state, pod, node):
        return Status(Code.UNSCHEDULABLE, ("no",)) if pod.name == "bad" else None

    def unreserve(self, state, pod, node):
        raise RuntimeError("cannot undo")


def test_a_bug_that_one_pod_runs_into_stops_nobody_else_and_costs_no_room(caplog):
    world = World(Clumsy()).nodes(node("a", cpu="1")).pods(pod("bad", cpu="1"), pod("inexplicable"), pod("good", cpu="1"))
    assert world.story.errors == {"inexplicable": 'running Filter plugin "Clumsy": RuntimeError: no words'}
    assert world.story.refused == {"bad": "0/1 nodes are available: 1 no."}
    assert world.placements == {"good": "a"}
    assert len(world.queue) == 3


class Curious:
    """An extender that wants to be asked about everybody."""

    name = "curious"

    def wants(self, pod):
        return True


async def test_an_answer_about_a_pod_that_has_gone_meanwhile_is_nothing_to_tell_of():
    world = World().nodes(node("a"))

    async def unreachable(*_):
        raise ConnectionError("extender is down")

    world.scheduler.extenders, world.scheduler.ask_extenders = [Curious()], unreachable
    for name in ("gone", "stays"):
        one = READER.read(pod(name, cpu="1"))
        world.scheduler.add_pending(one, "koord-scheduler")
        world.scheduler.schedule_one()
        if name == "gone":
            world.scheduler.gone(one.uid)
        await world.scheduler.waiting_for
    assert world.story.errors == {"stays": "extender is down"}
