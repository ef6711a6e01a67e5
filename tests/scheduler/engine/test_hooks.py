"""Everything that plugins may do beyond filter and score: one readable example per hook, real queue, cluster and cycle."""

import numpy as np
import pytest

from koordinator.api.features import SCHEDULER
from koordinator.clock import ManualClock
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.cycle import Scheduler
from koordinator.scheduler.engine.framework import Code, FilterPlugin, PermitPlugin, PreFilterPlugin, ReservePlugin, Status
from koordinator.scheduler.engine.hooks import (
    IGNORED_NOMINATIONS,
    ErrorHandler,
    FindOneNodePlugin,
    ForgetPlugin,
    NextPodPlugin,
    NominatePlugin,
    Nominating,
    PreferNodesPlugin,
    PreFilterTransformer,
    ResizePlugin,
    View,
    ViewPlugin,
    taken_over,
)
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.engine.queue import SchedulingQueue
from koordinator.scheduler.engine.queued import Where
from koordinator.scheduler.plugins.priority_sort import PrioritySort
from koordinator.scheduler.plugins.resources_fit import NodeResourcesFit
from scheduler.builders import READER, node, pod
from scheduler.stories import Story


class World:
    def __init__(self, *extra, gates=SCHEDULER.defaults):
        self.clock, self.cluster, self.story = ManualClock(), Cluster(), Story()
        self.queue = SchedulingQueue(self.clock.monotonic)
        self.profile = Profile(["koord-scheduler"], [PrioritySort(), NodeResourcesFit(), *extra])
        self.scheduler = Scheduler(self.cluster, self.queue, [self.profile], self.story, 1, gates)
        self.bound = {}
        self.scheduler.submit = lambda binding: self.bound.__setitem__(binding.pod.info.name, binding.node)
        for one in (node("a", cpu="4"), node("b", cpu="4")):
            self.cluster.set_node(one)

    def pods(self, *pods):
        for one in pods:
            self.scheduler.add_pending(READER.read(one), "koord-scheduler")
        return self.run()

    def run(self):
        while self.scheduler.schedule_one():
            pass
        return self

    def uid(self, name):
        return next(one.info.uid for one in self.queue if one.info.name == name)


class Gang(PermitPlugin, ReservePlugin, ForgetPlugin):
    """Lets pods go when three of them wait; waits for 30 s."""

    name = "Gang"

    def __init__(self):
        self.waiting, self.reserved, self.forgotten = None, [], []

    def permit(self, state, pod, node):
        if len(self.waiting) < 2:
            return Status(Code.WAIT, timeout_seconds=30)
        for other in self.waiting:
            self.waiting.allow(other.uid, self.name)
        return None

    def reserve(self, state, pod, node):
        self.reserved.append(pod.name)

    def unreserve(self, state, pod, node):
        self.reserved.remove(pod.name)

    def forget(self, pod, node):
        self.forgotten.append(pod.name)


@pytest.fixture
def gang():
    gang = Gang()
    world = World(gang)
    gang.waiting = world.scheduler.waiting
    return gang, world


def test_a_gang_waits_at_permit_and_goes_together(gang):
    gang, world = gang
    world.pods(pod("p0", cpu="1"), pod("p1", cpu="1"))
    assert not world.bound
    assert world.queue.counts[Where.IN_FLIGHT] == 2
    world.pods(pod("p2", cpu="1"))
    assert sorted(world.bound) == ["p0", "p1", "p2"]
    assert not len(world.scheduler.waiting)


def test_who_waits_too_long_gives_everything_back(gang):
    gang, world = gang
    world.pods(pod("p0", cpu="1"))
    world.clock.advance(29)
    world.scheduler.tick()
    assert gang.reserved == ["p0"]
    world.clock.advance(1)
    world.scheduler.tick()
    assert gang.reserved == []
    assert gang.forgotten == ["p0"]
    assert not world.cluster.pods
    assert world.story.refused["p0"] == ("0/2 nodes are available: 1 rejected due to timeout after waiting 30s at plugin Gang.")
    assert world.queue.counts[Where.UNSCHEDULABLE] == 1


def test_a_rejected_pod_says_by_whom_and_why(gang):
    gang, world = gang
    world.pods(pod("p0", cpu="1"))
    assert world.scheduler.waiting.reject(world.uid("p0"), "Gang", "the gang is too small")
    message = 'pod "p0" rejected while waiting on permit: the gang is too small'
    assert world.story.refused["p0"] == f"0/2 nodes are available: 1 {message}."


def test_a_pod_that_is_deleted_or_bound_by_others_while_it_waits_gives_everything_back(gang):
    gang, world = gang
    world.pods(pod("p0", cpu="1"))
    world.scheduler.gone(world.uid("p0"))
    assert (gang.reserved, world.cluster.pods, len(world.queue)) == ([], {}, 0)
    assert world.story.refused == {}


class Planner(FindOneNodePlugin):
    name = "Planner"

    def find_one_node(self, state, pod):
        return {"planned": "a", "lost": "gone"}.get(pod.name) or (
            Status(Code.UNSCHEDULABLE, ("not planned",)) if pod.name == "unplanned" else None
        )


def test_a_planned_pod_goes_where_it_was_planned_or_nowhere():
    world = World(Planner())
    world.pods(pod("full", cpu="3", node_selector=None), pod("planned", cpu="1"), pod("lost"), pod("unplanned"))
    assert world.bound["planned"] == "a"
    assert world.story.refused["unplanned"] == "0/2 nodes are available: not planned."
    assert "lost" in world.story.refused


class Wish(PreferNodesPlugin):
    name = "Wish"

    def prefer_nodes(self, state, allowed):
        return ["nowhere", "b", "a"]


def test_the_first_preferred_node_that_fits_is_taken_without_scores():
    world = World(Wish()).pods(*[pod(f"p{index}", cpu="2") for index in range(4)])
    assert list(world.bound.values()) == ["b", "b", "a", "a"]


class Members(NextPodPlugin):
    name = "Members"

    def __init__(self):
        self.line = []

    def next_pod(self):
        return self.line.pop(0) if self.line else None


def test_a_plugin_may_say_who_is_next():
    members = Members()
    world = World(members)
    for one in (pod("first", priority=9), pod("second"), pod("third")):
        world.scheduler.add_pending(READER.read(one), "koord-scheduler")
    members.line = [world.uid("third"), "unknown"]
    world.run()
    assert list(world.bound) == ["third", "first", "second"]


class Reservations(ViewPlugin, NominatePlugin):
    """A pod "reserve" holds node a for pods called "owner…"."""

    name = "Reservations"

    def __init__(self):
        self.reserve, self.nominated = None, []

    def views(self, state, pod):
        return {"a": View(without=(self.reserve,))} if pod.name.startswith("owner") else {}

    def nominate(self, state, pod, node):
        self.nominated.append((pod.name, node))
        return Status(Code.UNSCHEDULABLE, ("no reservation left",)) if pod.name == "owner-late" else None


def test_an_owner_sees_the_node_without_its_reservation_and_others_do_not():
    plugin = Reservations()
    world = World(plugin)
    reserve = READER.read(pod("reserve", cpu="4"))
    world.cluster.place(reserve, "a")
    plugin.reserve = reserve.uid
    before = world.cluster.columns.requested.copy()
    world.pods(pod("filler", cpu="4"), pod("stranger", cpu="1"))
    assert world.bound == {"filler": "b"}
    world.pods(pod("owner", cpu="4"))
    assert world.bound["owner"] == "a"
    assert plugin.nominated[-1] == ("owner", "a")
    world.cluster.forget(world.uid("owner"))
    row = world.cluster.columns.row_of["a"]
    assert (world.cluster.columns.requested[row] == before[row]).all()
    world.pods(pod("owner-late", cpu="1"))
    assert "1 no reservation left" in world.story.refused["owner-late"]


class Loose(ResizePlugin):
    name = "Loose"

    def resize(self, state, one, node):
        return READER.read(_like(one, cpu="2")) if one.name == "elastic" else None


def _like(info, **asked):
    new = pod(info.name, **asked)
    new.metadata.uid = info.uid
    return new


def test_what_a_pod_was_resized_to_is_what_is_counted():
    world = World(Loose(), gates={"ResizePod"}).pods(pod("elastic", cpu="1"))
    columns = world.cluster.columns
    assert columns.requested[columns.row_of[world.bound["elastic"]], columns.resource("cpu")] == 2000


class Disguise(PreFilterTransformer, PreFilterPlugin):
    name = "Disguise"

    def pre_filter(self, state, pod, nodes):
        return None

    def before_pre_filter(self, state, one):
        if one.name == "refused":
            return Status(Code.UNSCHEDULABLE, ("papers, please",))
        return READER.read(_like(one, cpu="1")) if one.name == "big" else None

    def after_pre_filter(self, state, pod, only):
        return Status(Code.UNSCHEDULABLE, ("too late",)) if pod.name == "late" else None


def test_a_transformed_pod_is_judged_in_its_place_and_only_then():
    world = World(Disguise()).pods(pod("big", cpu="64"), pod("refused"), pod("late"))
    assert "big" in world.bound
    assert world.story.refused == {
        "refused": "0/2 nodes are available: papers, please.",
        "late": "0/2 nodes are available: too late.",
    }
    columns = world.cluster.columns
    assert columns.requested[columns.row_of[world.bound["big"]], columns.resource("cpu")] == 64000


class Silencer(ErrorHandler):
    name = "Silencer"

    def __init__(self):
        self.after = []

    def before_error(self, pod, failure):
        if pod.name == "bug":
            raise RuntimeError("a handler with a bug")
        return pod.name == "hushed"

    def after_error(self, pod, failure):
        self.after.append((pod.name, failure.plugin))
        return True


def test_error_handlers_hear_of_failures_and_may_swallow_them(caplog):
    handler = Silencer()
    world = World(handler).pods(pod("hushed", cpu="9"), pod("told", cpu="9"), pod("bug", cpu="9"))
    assert sorted(world.story.refused) == ["bug", "told"]
    assert world.story.hushed == ["hushed"]
    assert sorted(handler.after) == [(name, "NodeResourcesFit") for name in ("bug", "hushed", "told")]
    assert len(world.queue) == 3


class Job(PreFilterPlugin):
    """Pods of one job do not stand in each other's way."""

    name = "Job"
    per_pod = True
    members = frozenset()

    def pre_filter(self, state, pod, nodes):
        state[IGNORED_NOMINATIONS] = self.members


def test_promises_to_pods_of_the_same_job_do_not_count():
    job = Job()
    world = World(job)
    world.cluster.remove_node("b")
    promised = READER.read(pod("promised", cpu="4", priority=5))
    world.cluster.nominator.nominate(promised, "a")
    world.pods(pod("other", cpu="4"))
    assert world.story.refused["other"] == "0/1 nodes are available: 1 Insufficient cpu."
    job.members = frozenset({promised.uid})
    world.pods(pod("member", cpu="4"))
    assert world.bound == {"member": "a"}


@pytest.mark.parametrize(
    ("code", "plugin", "refuser", "expected"),
    [
        ("Unschedulable", "x", "JobPreemptionSuccessPlugin", Nominating("override", "n1")),
        ("Unschedulable", "JobRejectPlugin", "JobRejectPlugin", Nominating("noop")),
        ("Unschedulable", "JobPreemptionFailurePlugin", "", Nominating("override")),
        ("Error", "x", "JobPreemptionSuccessPlugin", Nominating("override", "kept")),
        ("Unschedulable", "x", "y", Nominating("override", "kept")),
    ],
)
def test_job_plugins_decide_about_the_promise(code, plugin, refuser, expected):
    assert taken_over(Nominating("override", "kept"), code, plugin, refuser, "n1") == expected


class Raises(FilterPlugin):
    name = "Raises"

    def signature(self, pod):
        return pod.name

    def filter(self, state, pod, nodes, rows):
        if pod.name == "poison":
            raise ZeroDivisionError("one over none")
        return np.zeros(len(nodes.alive[rows]), dtype=np.int64)


def test_a_plugin_that_raises_is_named_and_others_go_on(caplog):
    world = World(Raises()).pods(pod("poison"), pod("fine"))
    assert world.story.errors == {"poison": 'running Filter plugin "Raises": ZeroDivisionError: one over none'}
    assert "fine" in world.bound
    assert world.queue.counts[Where.BACKOFF] == 1
