"""Feature gates of the cycle: each on and off, by what happens to pods."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.api.core import Affinity, PodAffinity, PodAffinityTerm
from koordinator.api.features import SCHEDULER
from koordinator.api.meta import LabelSelector
from koordinator.clock import ManualClock
from koordinator.scheduler.engine.binding import BindFailed
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.cycle import Scheduler
from koordinator.scheduler.engine.framework import Code, ReservePlugin, Status
from koordinator.scheduler.engine.hooks import ResizePlugin
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.engine.queue import SchedulingQueue
from koordinator.scheduler.feed import Feed
from koordinator.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from koordinator.scheduler.plugins.priority_sort import PrioritySort
from koordinator.scheduler.plugins.resources_fit import NodeResourcesFit
from scheduler.builders import READER, node, pod
from scheduler.stories import Story


class Reports:
    def unreadable(self, pod, reason): ...


class World:
    def __init__(self, *gates, plugins=None):
        self.clock, self.cluster, self.story = ManualClock(), Cluster(), Story()
        self.queue = SchedulingQueue(self.clock.monotonic)
        made = plugins(self.cluster) if plugins else []
        self.profile = Profile(["koord-scheduler"], [PrioritySort(), NodeResourcesFit(), *made])
        gates = SCHEDULER.defaults ^ set(gates)
        self.scheduler = Scheduler(self.cluster, self.queue, [self.profile], self.story, 1, gates)
        self.feed = Feed(self.scheduler, Reports())
        self.bindings = []
        self.scheduler.submit = self.bindings.append

    def run(self):
        while self.scheduler.schedule_one():
            pass

    def placed(self):
        return {binding.pod.info.name: binding.node for binding in self.bindings}


# --- CrossSchedulerNomination -------------------------------------------------------------------------------------------------


def theirs(name="theirs", promised="a", **changes):
    one = pod(name, cpu="3", priority=changes.pop("priority", 9), scheduler_name="another", **changes)
    one.status.nominated_node_name = promised
    return one


@pytest.fixture
def neighbours():
    """One node of four CPUs, three of which another scheduler has promised to a pod of priority 9."""
    world = World("CrossSchedulerNomination")
    world.feed.node_set(node("a", cpu="4"))
    one = theirs()
    world.feed.pod_added(one)
    return world, one


def ours(world, **spec):
    one = pod(cpu="2", **spec)
    world.feed.pod_added(one)
    world.run()
    return one.name in world.placed()


@pytest.mark.parametrize(("priority", "placed"), [(8, False), (9, True), (10, True)])
def test_promises_of_other_schedulers_count_against_lower_priorities_only(neighbours, priority, placed):
    world, _ = neighbours
    assert ours(world, priority=priority) == placed
    if not placed:
        assert list(world.story.refused.values()) == ["0/1 nodes are available: 1 Insufficient cpu."]


def test_without_the_gate_they_do_not_count():
    world = World()
    world.feed.node_set(node("a", cpu="4"))
    world.feed.pod_added(theirs())
    assert ours(world)
    assert not len(world.cluster.nominator)


@pytest.mark.parametrize("how", ["deleted", "elsewhere", "bound", "taken over", "ended", "withdrawn"])
def test_a_promise_that_ends_lets_those_in_that_waited_for_it(neighbours, how):
    world, one = neighbours
    world.feed.node_set(node("b", cpu="1"))
    assert not ours(world)
    now = copy.deepcopy(one)
    match how:
        case "deleted":
            world.feed.pod_deleted(one)
        case "elsewhere":
            now.status.nominated_node_name = "b"
        case "bound":
            now.spec.node_name = "b"
        case "taken over":
            now.spec.scheduler_name, now.spec.node_selector = "koord-scheduler", {"no": "such"}
            now.spec.priority, now.status.nominated_node_name = -1, None
        case "ended":
            now.status.phase = "Failed"
        case "withdrawn":
            now.status.nominated_node_name = None
    if how != "deleted":
        world.feed.pod_updated(one, now)
    world.clock.advance(1)
    world.queue.flush()
    world.run()
    assert [node for name, node in world.placed().items() if name != "theirs"] == ["a"]
    assert world.cluster.nominator.elsewhere(one.metadata.uid) == ("b" if how == "elsewhere" else "")


def test_a_promise_made_before_its_node_is_known_counts_once_it_is(neighbours):
    world, _ = neighbours
    world.feed.pod_added(theirs("early", "b"))
    world.feed.node_set(node("b", cpu="4"))
    assert not ours(world)
    assert world.cluster.nominator.standing("b", READER.read(pod(priority=0)))


def test_a_pod_of_another_scheduler_that_cannot_be_read_is_left_out(neighbours, caplog):
    world, _ = neighbours
    world.feed.pod_added(theirs("odd", requests={"cpu": "many"}))
    assert "pod default/odd of another scheduler, promised node a, is not counted there" in caplog.text


def test_our_preemption_leaves_promises_of_others_alone(neighbours):
    world, _ = neighbours
    assert list(world.cluster.nominator.on("a")) == []


# --- SkipFilterWithNominatedPods ---------------------------------------------------------------------------------------------


def near(labels):
    term = PodAffinityTerm(label_selector=LabelSelector(match_labels=labels), topology_key="host")
    return Affinity(pod_affinity=PodAffinity(required_during_scheduling_ignored_during_execution=[term]))


def company(*gates):
    """A pod wants to be near a pod that has so far only been promised the node."""
    world = World(*gates, plugins=lambda cluster: [InterPodAffinity(cluster)])
    world.feed.node_set(node("a", cpu="4", labels={"host": "a"}))
    promised = READER.read(pod("promised", cpu="1", priority=5, labels={"app": "db"}))
    world.cluster.nominator.nominate(promised, "a")
    world.feed.pod_added(pod("follower", cpu="1", affinity=near({"app": "db"})))
    world.feed.pod_added(pod("big", cpu="4"))
    world.run()
    return world


def test_a_pod_must_fit_with_promised_pods_and_without_them():
    world = company()
    assert world.placed() == {}


def test_with_the_gate_fitting_beside_promised_pods_is_enough():
    world = company("SkipFilterWithNominatedPods")
    assert world.placed() == {"follower": "a"}
    assert world.story.refused["big"] == "0/1 nodes are available: 1 Insufficient cpu."


# --- ResizePod --------------------------------------------------------------------------------------------------------------


class Shrinks(ResizePlugin, ReservePlugin):
    name = "Shrinks"

    def __init__(self):
        self.reserved, self.unreserved = [], []

    def resize(self, state, one, node):
        if one.name == "broken":
            raise RuntimeError("a bug")
        if one.name == "rigid":
            return Status(Code.UNSCHEDULABLE, ("cannot be resized",))
        smaller = copy.deepcopy(one.pod)
        smaller.spec.containers[0].resources.requests = {"cpu": "1"}
        return READER.read(smaller)

    def reserve(self, state, pod, node):
        self.reserved.append(pod.template.requests["cpu"])

    def unreserve(self, state, pod, node):
        self.unreserved.append(pod.name)


@pytest.mark.parametrize(("gates", "counted"), [((), 3000), (("ResizePod",), 1000)])
def test_pods_are_resized_only_with_the_gate_and_reserve_sees_them_so(gates, counted):
    plugin = Shrinks()
    world = World(*gates, plugins=lambda _: [plugin])
    world.feed.node_set(node("a", cpu="4"))
    world.feed.pod_added(pod("p", cpu="3"))
    world.run()
    assert plugin.reserved == [counted]
    assert world.cluster.columns.requested[0, world.cluster.columns.resource("cpu")] == counted


def test_a_pod_that_cannot_be_resized_leaves_nothing_behind():
    plugin = Shrinks()
    world = World("ResizePod", plugins=lambda _: [plugin])
    world.feed.node_set(node("a", cpu="4"))
    for name in ("rigid", "broken"):
        world.feed.pod_added(pod(name, cpu="3"))
    world.run()
    assert plugin.unreserved == ["rigid", "broken"]
    assert not world.cluster.pods
    assert world.story.refused == {"rigid": "0/1 nodes are available: 1 cannot be resized."}
    assert "a bug" in world.story.errors["broken"]


# --- DynamicSchedulerCheck --------------------------------------------------------------------------------------------------


def changed_while_binding(how, *gates):
    world = World(*gates)
    world.feed.node_set(node("a", cpu="4"))
    one = pod("p", cpu="1")
    world.feed.pod_added(one)
    world.run()
    now = copy.deepcopy(one)
    match how:
        case "deleted":
            world.feed.pod_deleted(one)
        case "going":
            now.metadata.deletion_timestamp = "2026-01-01T00:00:00Z"
            world.feed.pod_updated(one, now)
        case "other scheduler":
            now.metadata.labels = {"scheduling.koordinator.sh/scheduler-name": "another"}
            world.feed.pod_updated(one, now)
    return world


@pytest.mark.parametrize("how", ["deleted", "going", "other scheduler"])
def test_a_pod_that_is_not_ours_any_more_is_not_bound(how):
    world = changed_while_binding(how)
    (binding,) = world.bindings
    assert world.scheduler.obstacle(binding.pod) == BindFailed("pod is gone", gone=True)


def test_a_pod_that_is_still_ours_is():
    world = changed_while_binding("not at all")
    assert world.scheduler.obstacle(world.bindings[0].pod) is None


def test_without_the_gate_nobody_looks_again():
    world = changed_while_binding("deleted", "DynamicSchedulerCheck")
    assert world.scheduler.obstacle(world.bindings[0].pod) is None


# --- promises, in general ---------------------------------------------------------------------------------------------------

promises = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(1, 4), st.integers(0, 3), st.booleans()), max_size=5
)


@given(
    promised=promises,
    cpus=st.tuples(*[st.integers(1, 6)] * 3),
    priority=st.integers(0, 3),
    asks=st.integers(1, 4),
    once=st.booleans(),
)
def test_a_pod_goes_only_where_it_fits_beside_whom_it_must_wait_for(promised, cpus, priority, asks, once):
    world = World("CrossSchedulerNomination", *(["SkipFilterWithNominatedPods"] if once else []))
    free = dict(zip("abc", cpus, strict=True))
    for name, cpu in free.items():
        world.feed.node_set(node(name, cpu=str(cpu)))
    for where, cpu, its, own in promised:
        one = pod(cpu=str(cpu), priority=its, scheduler_name="koord-scheduler" if own else "another")
        one.status.nominated_node_name = where
        if own:
            world.cluster.nominator.nominate(READER.read(one), where)
        else:
            world.feed.pod_added(one)
        if its >= priority + (not own):
            free[where] -= cpu
    world.feed.pod_added(pod("asks", cpu=str(asks), priority=priority))
    world.run()
    fitting = {name for name, cpu in free.items() if cpu >= asks}
    assert (world.placed().get("asks") in fitting) if fitting else ("asks" in world.story.refused)
    if not fitting:
        assert world.story.refused["asks"] == "0/3 nodes are available: 3 Insufficient cpu."
