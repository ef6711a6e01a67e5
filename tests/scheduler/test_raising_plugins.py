"""A plugin that raises, at each of its hooks in turn: the pod hears which plugin and why, all other pods go on, no room leaks."""

import asyncio

import pytest

from koordinator.clock import ManualClock
from koordinator.scheduler.engine import framework as fw
from koordinator.scheduler.engine import hooks
from koordinator.scheduler.engine.binding import Binder
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.cycle import Scheduler
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.engine.queue import SchedulingQueue, Where
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


@pytest.mark.parametrize(("base", "hook", "point"), HOOKS, ids=[hook for _, hook, _ in HOOKS])
async def test_the_pod_hears_of_it_and_others_go_on(base, hook, point, caplog):
    if base is hooks.PreFilterTransformer:
        base = type("Both", (hooks.PreFilterTransformer, fw.PreFilterPlugin), {"pre_filter": lambda *_: None})
    if base is hooks.ScoreTransformer:
        base = type("Both", (hooks.ScoreTransformer, fw.ScorePlugin), {})
    world = World(poisonous(base, hook))
    world.feed.node_set(node("a", cpu="3"))
    for name in ("before", "poison", "after"):
        world.feed.pod_added(pod(name, cpu="1", labels={"koordinator.sh/name": name}))  # a template of its own
    await world.run()
    [said] = world.said()
    assert f'running {point} plugin "Poisonous": RuntimeError: a bug' in said
    assert sorted(placed.info.name for placed in world.cluster.pods.values()) == ["after", "before"]
    assert [one.info.name for one in world.queue] == ["poison"]
    columns = world.cluster.columns
    assert columns.requested[columns.row_of["a"], columns.resource("cpu")] == 2000
