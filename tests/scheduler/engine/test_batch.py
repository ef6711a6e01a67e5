"""Whole jobs in one attempt, planned by a small plugin: real queue, cluster, cycle and filters; the binder is a list."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.api.features import SCHEDULER
from koordinator.clock import ManualClock
from koordinator.scheduler.engine.binding import BindFailed
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.cycle import Scheduler
from koordinator.scheduler.engine.framework import (
    Code,
    PermitPlugin,
    PostBindPlugin,
    PreFilterPlugin,
    PreFilterResult,
    ReservePlugin,
    Status,
)
from koordinator.scheduler.engine.hooks import (
    BATCH,
    PLACEMENT_HINT,
    FindOneNodePlugin,
    ForgetPlugin,
    Plan,
    PreFilterTransformer,
)
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.engine.queue import SchedulingQueue
from koordinator.scheduler.engine.queued import Where
from koordinator.scheduler.plugins.priority_sort import PrioritySort
from koordinator.scheduler.plugins.resources_fit import NodeResourcesFit
from koordinator.scheduler.plugins.scheduling_gates import SchedulingGates
from scheduler.builders import READER, gates, info, node, pod
from scheduler.stories import Story


class Planner(FindOneNodePlugin):
    """Plans the pods whose name starts with "job" where their annotation says."""

    name = "Planner"

    def __init__(self):
        self.queue, self.asked, self.left_out = None, 0, ()

    def find_one_node(self, state, pod):
        assert BATCH not in state
        if not pod.name.startswith("job"):
            return None
        self.asked += 1
        pods = [one.info for one in self.queue if one.info.name.startswith("job")]
        nodes = {one.key: one.pod.metadata.annotations["at"] for one in pods if one.name not in self.left_out}
        return Plan(tuple(pods), nodes)


class Hooks(PreFilterTransformer, PreFilterPlugin, ReservePlugin, PermitPlugin, PostBindPlugin, ForgetPlugin):
    """Refuses, or raises, at the hook that a pod's annotation names. Permit waits for ``members`` pods."""

    name = "Hooks"

    def __init__(self):
        self.members, self.waiting = 0, None
        self.permitted, self.reserved, self.forgotten, self.done, self.hints = [], [], [], [], {}

    def _act(self, hook, pod):
        wanted = (pod.pod.metadata.annotations or {}).get("trouble", "")
        if wanted == f"{hook} raises":
            raise RuntimeError("a bug")
        return Status(Code.UNSCHEDULABLE, (f"no {hook}",)) if wanted == hook else None

    def before_pre_filter(self, state, pod):
        if PLACEMENT_HINT in state:
            self.hints[pod.name] = state[PLACEMENT_HINT]
        return self._act("transform", pod)

    def individual(self, pod):
        return (pod.pod.metadata.annotations or {}).get("trouble")

    def pre_filter(self, state, pod, nodes):
        if (pod.pod.metadata.annotations or {}).get("trouble") == "elsewhere":
            return PreFilterResult(nodes=frozenset({"elsewhere"}))
        return PreFilterResult(self._act("pre-filter", pod))

    def reserve(self, state, pod, node):
        self.reserved.append(pod.name)
        return self._act("reserve", pod)

    def unreserve(self, state, pod, node):
        if pod.name in self.reserved:
            self.reserved.remove(pod.name)

    def permit(self, state, pod, node):
        self.permitted.append(pod.name)
        refused = self._act("permit", pod)
        if refused is not None:
            return refused
        if len(self.permitted) < self.members:
            return Status(Code.WAIT, timeout_seconds=30)
        for other in self.waiting:
            self.waiting.allow(other.uid, self.name)
        if (pod.pod.metadata.annotations or {}).get("trouble") == "rejects":
            self.waiting.reject(next(iter(self.waiting)).uid, self.name, "changed my mind")
        return None

    def post_bind(self, state, pod, node):
        self.done.append(pod.name)

    def forget(self, pod, node):
        self.forgotten.append(pod.name)


class World:
    def __init__(self, nodes, gate=True, snapshot=True):
        self.clock, self.cluster, self.story = ManualClock(), Cluster(), Story()
        self.queue = SchedulingQueue(self.clock.monotonic)
        self.planner, self.hooks = Planner(), Hooks()
        plugins = [PrioritySort(), SchedulingGates(), NodeResourcesFit(), self.planner, self.hooks]
        on = SCHEDULER.defaults | ({"EnableInlineBatchSchedule"} if gate else set())
        on -= set() if snapshot else {"EnableBatchScheduleNodeSnapshot"}
        self.scheduler = Scheduler(self.cluster, self.queue, [Profile(["koord-scheduler"], plugins)], self.story, 1, on)
        self.planner.queue, self.hooks.waiting = self.queue, self.scheduler.waiting
        self.bindings = []
        self.scheduler.submit = self.bindings.append
        for one in nodes:
            self.cluster.set_node(one)

    def pods(self, *pods):
        for one in pods:
            self.scheduler.add_pending(READER.read(one), "koord-scheduler")
        return self

    def once(self):
        self.scheduler.schedule_one()
        return self

    def run(self):
        while self.scheduler.schedule_one():
            pass
        return self

    @property
    def placed(self):
        return {binding.pod.info.name: binding.node for binding in self.bindings}

    @property
    def stats(self):
        return self.scheduler.batch.stats

    def refused(self, name):
        total = len(self.cluster.columns)
        return self.story.refused[name].removeprefix(f"0/{total} nodes are available: ").removesuffix(".")


def member(name, at, cpu="1", trouble="", **spec):
    annotations = {"at": at} | ({"trouble": trouble} if trouble else {})
    return pod(f"job-{name}", cpu=cpu, annotations=annotations, **spec)


def two_nodes(**kwargs):
    return World([node("a", cpu="2"), node("b", cpu="2")], **kwargs)


# --- the good case ----------------------------------------------------------------------------------------------------------


def test_a_job_gets_its_nodes_in_one_attempt():
    world = two_nodes().pods(member("0", "a"), member("1", "a"), member("2", "b")).once()
    assert world.placed == {"job-0": "a", "job-1": "a", "job-2": "b"}
    assert world.planner.asked == 1
    assert world.queue.counts[Where.IN_FLIGHT] == 3
    assert not world.scheduler.schedule_one(), "siblings are on their way, nobody else waits"
    for binding in world.bindings:
        world.scheduler.bound(binding)
    assert len(world.queue) == 0
    assert sorted(world.hooks.done) == sorted(world.story.done) == ["job-0", "job-1", "job-2"]
    assert not world.queue.counts[Where.IN_FLIGHT]


def test_siblings_are_taken_from_wherever_they_wait():
    world = World([node("a", cpu="2")])
    world.pods(pod("filler", cpu="2"), member("0", "a")).run()
    assert world.queue.counts[Where.UNSCHEDULABLE] == 1
    world.cluster.forget(world.bindings.pop().pod.info.uid)
    world.pods(member("1", "a")).once()
    assert world.placed == {"job-0": "a", "job-1": "a"}


def test_pods_that_go_or_have_a_node_are_left_out():
    going, there = member("1", "a"), member("2", "a")
    going.metadata.deletion_timestamp = "2026-01-01T00:00:00Z"
    world = two_nodes().pods(member("0", "a"), going, there)
    world.cluster.place(READER.read(there), "b")
    world.once()
    assert world.placed == {"job-0": "a"}


def test_waiting_at_permit_ends_with_the_word_of_the_last():
    world = two_nodes()
    world.hooks.members = 3
    world.pods(member("0", "a"), member("1", "a"), member("2", "b")).once()
    assert len(world.bindings) == 3
    assert len(world.placed) == 3
    assert not len(world.scheduler.waiting)


def test_promises_among_siblings_do_not_count_and_are_kept_by_a_job_that_fails():
    world = two_nodes().pods(member("0", "a", cpu="2"), member("1", "b", cpu="2"))
    other = world.queue.get(next(one.info.uid for one in world.queue if one.info.name == "job-1")).info
    world.cluster.nominator.nominate(other, "a")
    world.once()
    assert world.placed == {"job-0": "a", "job-1": "b"}
    assert not len(world.cluster.nominator)


@pytest.mark.parametrize(("snapshot", "skips"), [(True, [False, True, False]), (False, [True, True, True])])
def test_plugins_get_a_hint_where_the_pod_is_going(snapshot, skips):
    world = two_nodes(snapshot=snapshot).pods(member("0", "a"), member("1", "a"), member("2", "b")).once()
    hints = [world.hooks.hints[f"job-{index}"] for index in range(3)]
    assert [hint.nodes for hint in hints] == [("a",), ("a",), ("b",)]
    assert [hint.extensions["Reservation"]["skipRestoreNodeInfo"] for hint in hints] == skips
    assert hints[0].extensions.keys() == {"NodeNUMAResource", "DeviceShare", "Reservation"}


def test_without_the_gate_a_plan_is_a_word_about_one_pod():
    world = two_nodes(gate=False).pods(member("0", "a"), member("1", "b")).run()
    assert world.placed == {"job-0": "a", "job-1": "b"}
    assert world.planner.asked == 2
    world.planner.left_out = ("job-2",)
    world.pods(member("2", "b")).once()
    assert world.story.errors["job-2"] == 'FindOneNodePlugin "Planner" succeeded but produced no node for pod default/job-2'


# --- what goes wrong ----------------------------------------------------------------------------------------------------------

FAILURES = {
    "transform": "pre-filter failed for pod {who}, no transform",
    "pre-filter": "pre-filter failed for pod {who}, no pre-filter",
    "transform raises": 'pre-filter failed for pod {who}, running BeforePreFilter plugin "Hooks": RuntimeError: a bug',
    "elsewhere": "node b is pre-filter out for pod {who}",
    "reserve": "reserve pod {who} on node b failed, err: no reserve",
    "reserve raises": 'reserve pod {who} on node b failed, err: running Reserve plugin "Hooks": RuntimeError: a bug',
}


def nothing_is_left(world):
    columns = world.cluster.columns
    assert not world.cluster.pods
    assert not columns.requested[: columns.size].any()
    assert world.hooks.reserved == world.bindings == []
    assert not len(world.scheduler.waiting)


@pytest.mark.parametrize("trouble", FAILURES)
def test_one_that_fails_takes_all_along(trouble):
    world = two_nodes().pods(member("0", "a"), member("1", "b"), member("2", "b", trouble=trouble), member("3", "b")).once()
    uid = next(one.info.uid for one in world.queue if one.info.name == "job-2")
    reason = FAILURES[trouble].format(who=f"default/job-2/{uid}")
    assert world.refused("job-0") == (
        "job failed due to job batch schedule failed, assumed 2 pods, failed 2 pods, "
        f"first failed pod default/job-2@b failed due to {reason}, assumed pods on node b: default/job-1"
    )
    nothing_is_left(world)
    assert world.queue.counts[Where.UNSCHEDULABLE] == 1
    assert world.queue.counts[Where.ACTIVE] == 3, "siblings wait where they waited"
    assert world.hooks.forgotten == []
    assert world.stats.cleanups == {("batch_schedule_failure",): 2}


def test_no_room_is_told_in_the_filters_words():
    world = two_nodes().pods(member("0", "a", cpu="2"), member("1", "a", cpu="1")).once()
    assert "on node a failed, err: Insufficient cpu, assumed pods on node a: default/job-0" in world.refused("job-0")
    nothing_is_left(world)


def test_a_node_that_is_not_there():
    world = two_nodes().pods(member("0", "gone")).once()
    assert world.refused("job-0").endswith('on node gone failed, err: node "gone" not found')


def test_a_pod_that_is_held_back_or_not_known_fails_the_job():
    world = two_nodes().pods(member("0", "a"), member("1", "a", scheduling_gates=gates("later"))).once()
    assert "default/job-1@a failed due to pre-filter failed" in world.refused("job-0")
    assert "waiting for scheduling gates: [later]" in world.refused("job-0")
    world = two_nodes().pods(member("0", "a"))
    stranger = info("job-9", annotations={"at": "a"})
    world.planner.find_one_node = lambda state, pod: Plan((pod, stranger), {pod.key: "a", stranger.key: "a"})
    world.once()
    assert "it does not wait to be scheduled" in world.refused("job-0")
    nothing_is_left(world)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (lambda pod: Plan((), {}), "no pods to schedule"),
        (lambda pod: Plan((pod,), {}), "batch schedule plan missing node for pod default/job-0"),
        (lambda pod: Plan((STRANGER,), {STRANGER.key: "a"}), "batch schedule plan does not contain pod default/job-0"),
    ],
)
def test_plans_that_make_no_sense_are_errors(plan, message):
    world = two_nodes().pods(member("0", "a"))
    world.planner.find_one_node = lambda state, pod: plan(pod)
    world.once()
    assert world.story.errors == {"job-0": message}
    assert world.queue.counts[Where.BACKOFF] == 1
    nothing_is_left(world)


STRANGER = info("stranger")


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        ("permit", "permit failed for pod default/job-1@b: no permit"),
        ("permit raises", 'permit failed for pod default/job-1@b: running Permit plugin "Hooks": RuntimeError: a bug'),
    ],
)
def test_a_refusal_at_permit_takes_all_along(trouble, message):
    world = two_nodes()
    world.hooks.members = 2
    world.pods(member("0", "a"), member("1", "b", trouble=trouble)).once()
    assert world.refused("job-0") == message
    nothing_is_left(world)
    assert world.stats.cleanups == {("batch_permit_failure",): 2}


def test_a_job_whose_last_pod_still_waits_fails():
    world = two_nodes()
    world.hooks.members = 9
    world.pods(member("0", "a"), member("1", "b")).once()
    assert world.refused("job-0") == (
        "inline batch permit did not complete: 2 pods are still waiting after all pods were permitted"
    )
    nothing_is_left(world)


def test_a_sibling_rejected_meanwhile_fails_the_job():
    world = two_nodes()
    world.hooks.members = 2
    world.hooks.permit = lambda state, one, node: _rejecting(world, one)
    world.pods(member("0", "a"), member("1", "b")).once()
    assert world.refused("job-0") == (
        'permit failed for pod default/job-0@a: pod "job-0" rejected while waiting on permit: changed my mind'
    )
    nothing_is_left(world)


def _rejecting(world, one):
    for other in world.scheduler.waiting:
        world.scheduler.waiting.reject(other.uid, "Hooks", "changed my mind")
        return None
    return Status(Code.WAIT, timeout_seconds=30)


def test_a_bug_in_the_middle_leaves_nothing_behind(caplog):
    world = two_nodes().pods(member("0", "a"), member("1", "b"))
    world.scheduler.batch._permit = lambda members: 1 // 0
    world.once()
    assert world.story.errors["job-0"].startswith("internal error: ZeroDivisionError")
    nothing_is_left(world)
    assert len(world.queue) == 2


# --- on the way to the API server -------------------------------------------------------------------------------------------


def test_one_that_cannot_be_bound_is_tried_again_at_once_and_then_after_pauses():
    world = two_nodes().pods(member("0", "a"), member("1", "b")).once()
    first, second = world.bindings
    world.bindings.clear()
    world.scheduler.bind_failed(second, BindFailed("volume not ready", phase="PreBind"))
    assert world.hooks.forgotten == ["job-1"]
    assert world.hooks.reserved == ["job-0"]
    world.scheduler.bound(first)
    assert world.stats.partial_jobs == {(): 1}
    assert world.stats.partial_pods == {("success",): 1, ("failure",): 1}
    assert world.stats.bind_failures == {("pre_bind_error", "PreBind"): 1}
    assert world.queue.get(second.pod.info.uid).where is Where.ACTIVE
    world.once()
    assert world.placed == {"job-1": "b"}
    world.scheduler.bind_failed(world.bindings.pop(), BindFailed("no"))
    assert world.queue.get(second.pod.info.uid).where is Where.BACKOFF


def test_a_job_of_which_no_pod_could_be_bound_is_not_bound_in_part():
    world = two_nodes().pods(member("0", "a"), member("1", "b")).once()
    for binding in list(world.bindings):
        world.scheduler.bind_failed(binding, BindFailed("down"))
    assert not world.stats.partial_jobs
    assert len(world.queue) == 2


def test_what_is_counted():
    world = two_nodes().pods(member("0", "a"), member("1", "a"), member("2", "b")).once()
    world.pods(member("3", "a", cpu="9")).once()

    def counted(histogram):
        return {labels: int(buckets[-1][1]) for labels, buckets, _ in histogram.rows()}

    assert counted(world.stats.duration) == {("success",): 1, ("failure",): 1}
    assert counted(world.stats.by_node) == {(): 4}
    assert counted(world.stats.by_pod) == {(): 4}


# --- in general -------------------------------------------------------------------------------------------------------------


@st.composite
def jobs(draw):
    trouble, node, cpu = (st.sampled_from(["", "", "", "", "", *FAILURES, "permit"]), *map(st.sampled_from, ("abb", "012")))
    count = draw(st.integers(1, 6))
    return [member(str(index), draw(node), cpu=draw(cpu), trouble=draw(trouble)) for index in range(count)]


@given(rounds=st.lists(jobs(), min_size=1, max_size=3), data=st.data())
def test_all_or_nothing_and_never_too_much_and_nobody_lost(rounds, data):
    world = two_nodes()
    expected = set()
    for number, job in enumerate(rounds):
        for one in job:
            one.metadata.name = f"job-{number}-{one.metadata.name}"
        others = [pod(f"other-{number}-{index}", cpu="1") for index in range(data.draw(st.integers(0, 2)))]
        names = {one.metadata.name for one in job}
        expected |= names | {one.metadata.name for one in others}
        world.pods(*data.draw(st.permutations([*job, *others])))
        before = len(world.bindings)
        world.once()
        placed = {binding.pod.info.name for binding in world.bindings[before:]}
        waiting = {one.info.name for one in world.queue if one.where is not Where.IN_FLIGHT}
        assert placed & waiting == set()
        started_job = {name for name in placed if name.startswith("job")}
        assert not started_job or not any(name.startswith("job") for name in waiting), "all or nothing"
        check(world)
        for binding in list(world.bindings):
            fate = data.draw(st.sampled_from(["bound", "failed", "later"]))
            if fate == "later":
                continue
            world.bindings.remove(binding)
            if fate == "bound":
                world.scheduler.bound(binding)
                world.cluster.place(binding.pod.info, binding.node)
            else:
                world.scheduler.bind_failed(binding, BindFailed("no"))
        check(world)
        known = {one.info.name for one in world.queue} | {one.info.name for one in world.cluster.pods.values()}
        assert known == expected


def check(world):
    columns = world.cluster.columns
    over = columns.requested[: columns.size] > columns.allocatable[: columns.size]
    assert not over.any()
    for row in range(columns.size):
        there = [one.info for one in world.cluster.pods_on(columns.names[row])]
        assert columns.requested[row, 1] == sum(one.template.requests.get("cpu", 0) for one in there)
    assert sorted(world.hooks.reserved) == sorted(one.info.name for one in world.cluster.pods.values())
