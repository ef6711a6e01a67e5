"""A plugin that raises, at each hook in turn: the pod hears which plugin and why, all other pods go on, no room leaks."""

import asyncio

import pytest

from koordinator.clock import ManualClock
from koordinator.scheduler.engine import framework as fw
from koordinator.scheduler.engine import hooks
from koordinator.scheduler.engine.binding import Binder
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.cycle import Scheduler
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.engine.queue import SchedulingQueue
from koordinator.scheduler.feed import Feed
from koordinator.scheduler.metrics import Metrics
from koordinator.scheduler.plugins.node_unschedulable import NodeUnschedulable
from koordinator.scheduler.plugins.priority_sort import PrioritySort
from koordinator.scheduler.plugins.resources_fit import NodeResourcesFit
from koordinator.scheduler.report import Reporter
from scheduler.builders import node, pod
from scheduler.mirror import Quiet


class Binds(fw.BindPlugin):
    name = "Binds"

    async def bind(self, state, pod, node):
        return None


class Writes(fw.PreBindPlugin):
    """Has something to write, so that there is a patch to apply."""

    name = "Writes"

    async def pre_bind(self, state, pod, node):
        hooks.changes_of(state).annotations["wrote"] = "yes"


class Base(fw.Plugin):
    name = "Poisonous"

    def signature(self, pod):
        return pod.name == "poison"

    def tells_apart(self, pod):
        return True


QUIET = {
    "reserve": None,
    "unreserve": None,
    "permit": None,
    "pre_filter": None,
    "pre_score": None,
    "post_filter": (None, fw.Status(fw.Code.UNSCHEDULABLE, ("no",))),
    "views": {},
    "find_one_node": None,
    "prefer_nodes": (),
    "sort_key": (0,),
}
"""What hooks say that have nothing to say; others of the same base may not be left out."""


def poisonous(base, hook, point=None):
    """A plugin of the base whose hook raises for the pod called poison."""

    def poison(self, *args):
        infos = [one for one in args if hasattr(one, "template")]
        if any(one.name == "poison" for one in infos) or (not infos and self.awake):
            raise RuntimeError("a bug")
        if hook in ("filter", "score"):
            return args[2].alive[args[3]] * 0
        if hook == "normalize":
            return args[0]
        return QUIET.get(hook)

    async def later(self, *args):
        return poison(self, *args)

    own = {hook: later if hook in ("pre_bind", "bind", "apply_patch") else poison, "awake": hook == "explain"}
    if base is hooks.ApplyPatchPlugin:
        own["pre_bind"] = Writes.pre_bind
    if issubclass(base, fw.PreFilterPlugin):
        own = {"pre_filter": lambda *_: None, "individual": lambda *_: None} | own
    if issubclass(base, fw.ReservePlugin):
        own = {"reserve": lambda *_: None, "unreserve": lambda *_: None} | own
    if issubclass(base, fw.ScorePlugin):
        own = {"score": lambda _, state, pod, nodes, rows: nodes.alive[rows] * 0, "normalizes": True, "score_far": True} | own
    if issubclass(base, fw.FilterPlugin):
        refuses = lambda _, state, pod, nodes, rows: nodes.alive[rows] * (pod.name == "poison")  # noqa: E731
        own = {"filter": refuses} | own
    bases = (Base, base, fw.PreBindPlugin) if base is hooks.ApplyPatchPlugin else (Base, base)
    return type("Poisonous", bases, own)()


class World:
    def __init__(self, plugin):
        self.clock, self.cluster, self.events = ManualClock(), Cluster(), Quiet()
        reporter = Reporter(None, self.events, self.clock, Metrics())
        self.queue = SchedulingQueue(self.clock.monotonic)
        sorts = [] if isinstance(plugin, fw.QueueSortPlugin) else [PrioritySort()]
        plugins = [*sorts, NodeUnschedulable(), NodeResourcesFit(), plugin, Writes(), Binds()]
        self.profile = Profile(["koord-scheduler"], plugins)
        self.scheduler = Scheduler(self.cluster, self.queue, [self.profile], reporter, seed=1, gates=frozenset({"ResizePod"}))
        self.feed = Feed(self.scheduler, reporter)

    async def run(self):
        binder = Binder(self.scheduler.bound, self.scheduler.bind_failed)
        self.scheduler.submit = binder.submit
        working = asyncio.create_task(binder.run())
        for _ in range(3):
            while self.scheduler.schedule_one():
                pass
            async with asyncio.timeout(5):
                await binder.drained()
        working.cancel()

    def said(self):
        return [
            message
            for _, key, _, reason, message in self.events.seen
            if (key, reason) == ("default/poison", "FailedScheduling")
        ]


HOOKS = [
    (fw.QueueSortPlugin, "sort_key", "QueueSort"),
    (fw.PreEnqueuePlugin, "pre_enqueue", "PreEnqueue"),
    (fw.PreFilterPlugin, "pre_filter", "PreFilter"),
    (fw.PreFilterPlugin, "signature", "PreFilter"),
    (fw.PreFilterPlugin, "individual", "PreFilter"),
    (fw.PreFilterPlugin, "tells_apart", "PreFilter"),
    (fw.FilterPlugin, "filter", "Filter"),
    (fw.FilterPlugin, "explain", "Filter"),
    (fw.PreScorePlugin, "pre_score", "PreScore"),
    (fw.ScorePlugin, "survey", "PreScore"),
    (fw.ScorePlugin, "score", "Score"),
    (fw.PostFilterPlugin, "post_filter", "PostFilter"),
    (hooks.PostFilterTransformer, "after_post_filter", "AfterPostFilter"),
    (fw.ReservePlugin, "reserve", "Reserve"),
    (fw.PermitPlugin, "permit", "Permit"),
    (fw.PreBindPlugin, "pre_bind", "PreBind"),
    (fw.BindPlugin, "bind", "Bind"),
    (hooks.PreFilterTransformer, "before_pre_filter", "BeforePreFilter"),
    (hooks.PreFilterTransformer, "after_pre_filter", "AfterPreFilter"),
    (hooks.ScoreTransformer, "before_score", "BeforeScore"),
    (hooks.ViewPlugin, "views", "BeforeFilter"),
    (hooks.FindOneNodePlugin, "find_one_node", "FindOneNodePlugin"),
    (hooks.NominatePlugin, "nominate", "ReservationNominate"),
    (hooks.ResizePlugin, "resize", "ResizePod"),
    (hooks.ApplyPatchPlugin, "apply_patch", "PreBind"),
]


BOTH = {hooks.PreFilterTransformer: fw.PreFilterPlugin, hooks.ScoreTransformer: fw.ScorePlugin}
"""Transformers are heard only where the plugin is enabled at the native point."""


async def outcome(plugin, cpu="1"):
    """Three pods, one of them poison, on a node that has room for them all."""
    world = World(plugin)
    world.feed.node_set(node("a", cpu="3"))
    for name in ("before", "poison", "after"):
        asked = cpu if name == "poison" else "1"
        world.feed.pod_added(pod(name, cpu=asked, labels={"koordinator.sh/name": name}))  # a template of its own
    await world.run()
    return world


def placed(world):
    columns = world.cluster.columns
    there = sorted(one.info.name for one in world.cluster.pods.values())
    assert columns.requested[columns.row_of["a"], columns.resource("cpu")] == 1000 * len(there)
    return there


@pytest.mark.parametrize(("base", "hook", "point"), HOOKS, ids=[hook for _, hook, _ in HOOKS])
async def test_the_pod_hears_of_it_and_others_go_on(base, hook, point, caplog):
    if base in BOTH:
        base = type("Both", (base, BOTH[base]), {"pre_filter": lambda *_: None})
    if base is hooks.PostFilterTransformer:
        refuses = {"post_filter": lambda *_: QUIET["post_filter"]}
        base = type("Both", (base, fw.PostFilterPlugin), refuses)
    world = await outcome(poisonous(base, hook), cpu="9" if point.endswith("PostFilter") else "1")
    [said] = world.said()
    assert f'running {point} plugin "Poisonous": RuntimeError: a bug' in said
    assert placed(world) == ["after", "before"]
    assert [one.info.name for one in world.queue] == ["poison"]


@pytest.mark.parametrize(
    ("base", "hook"),
    [
        (fw.PostBindPlugin, "post_bind"),
        (hooks.NextPodPlugin, "next_pod"),
        (hooks.ErrorHandler, "before_error"),
        (hooks.ForgetPlugin, "forget"),
        (fw.ReservePlugin, "unreserve"),
    ],
)
async def test_hooks_that_nobody_waits_for_hold_up_nobody(base, hook, caplog):
    plugin = poisonous(base, hook)
    plugin.awake = hook == "next_pod"
    world = await outcome(plugin)
    assert placed(world) == ["after", "before", "poison"]
    assert len(world.queue) == 0


async def test_a_hint_that_raises_wakes_the_pod():
    class Poisonous(Base):
        def events(self):
            def hint(pod, event):
                raise RuntimeError("a bug")

            return ((fw.Happening.NODE_ADD, hint),)

    class Refuses(Poisonous, fw.FilterPlugin):
        def filter(self, state, pod, nodes, rows):
            return nodes.alive[rows] * (pod.name == "poison" and len(nodes) == 1)

        def explain(self, state, code, nodes):
            return ["not alone"]

    world = await outcome(Refuses())
    assert placed(world) == ["after", "before"]
    world.feed.node_set(node("b", cpu="3"))
    await world.run()
    assert len(world.cluster.pods) == 3


class Deaf:
    """A plugin's listener that takes note of nothing."""

    def __getattr__(self, name):
        if name not in ("pod_placed", "pod_updated", "pod_removed", "node_set", "node_removed"):
            raise AttributeError(name)

        def hear(*_):
            raise RuntimeError(f"no {name}")

        return hear


async def test_a_listener_that_raises_keeps_nothing_from_the_others(caplog):
    world = World(poisonous(fw.PostBindPlugin, "post_bind"))
    heard = []

    class Hears:
        def __getattr__(self, name):
            return lambda *_: heard.append(name)

    world.cluster.listeners[:] = [Deaf(), Hears()]
    world.feed.node_set(node("a"))
    one = pod("one", cpu="1")
    world.feed.pod_added(one)
    await world.run()
    world.feed.pod_deleted(one)
    world.feed.node_deleted(node("a"))
    assert heard == ["node_set", "pod_placed", "pod_removed", "node_removed"]
    assert "Deaf did not take note of pod default/one" in caplog.text
    assert len(world.queue) == len(world.cluster.pods) == 0
