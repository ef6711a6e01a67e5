"""Preemption: against a naive oracle that tries every subset of rules by hand, and one readable example per rule."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koordinator.api.core import (
    Affinity,
    PodAffinity,
    PodAffinityTerm,
    PodDisruptionBudget,
    PodDisruptionBudgetSpec,
    PodDisruptionBudgetStatus,
)
from koordinator.api.meta import LabelSelector, ObjectMeta, format_time
from koordinator.clock import ManualClock
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.cycle import Scheduler
from koordinator.scheduler.engine.framework import Change, Code, FilterPlugin
from koordinator.scheduler.engine.handle import Handle
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.engine.queue import SchedulingQueue
from koordinator.scheduler.plugins.default_preemption.plugin import DefaultPreemption
from koordinator.scheduler.plugins.node_unschedulable import NodeUnschedulable
from koordinator.scheduler.plugins.priority_sort import PrioritySort
from koordinator.scheduler.plugins.resources_fit import NodeResourcesFit
from koordinator.scheduler.profiles import default_profile
from scheduler.builders import READER, node, pod

NOW = ManualClock().now()


class Story:
    def __init__(self):
        self.refused, self.errors = {}, {}

    def assumed(self, binding): ...

    def bound(self, binding): ...

    def unschedulable(self, pod, diagnosis):
        self.refused[pod.info.name] = diagnosis.message

    def error(self, pod, message):
        self.errors[pod.info.name] = message


class Neighbourly(FilterPlugin):
    """Refuses nodes with a pod labelled "loud": nothing that resources could tell, so the filters themselves are asked."""

    name = "Neighbourly"
    reads = Change.PODS

    def __init__(self, cluster):
        self.cluster = cluster

    def filter(self, state, pod, nodes, rows):
        loud = [
            any((placed.info.pod.metadata.labels or {}).get("loud") for placed in self.cluster.pods_on(name))
            for name in nodes.names[: nodes.size]
        ]
        return np.array(loud, dtype=np.int64)[rows]

    def explain(self, state, code, nodes):
        return ["too loud"]


class World:
    def __init__(self, *, neighbourly=False):
        self.clock, self.cluster, self.story = ManualClock(), Cluster(), Story()
        self.queue = SchedulingQueue(self.clock.monotonic)
        handle = Handle(self.cluster, None, self.clock, "koord-scheduler")
        self.plugin = DefaultPreemption(handle)
        self.evicted = []
        self.plugin.evict = self.evicted.append
        plugins = [PrioritySort(), NodeUnschedulable(), NodeResourcesFit()]
        plugins += [Neighbourly(self.cluster)] if neighbourly else []
        self.profile = Profile(["koord-scheduler"], [*plugins, self.plugin])
        self.scheduler = Scheduler(self.cluster, self.queue, [self.profile], self.story, 1)
        self.bindings = []
        self.scheduler.submit = self.bindings.append

    def resident(self, name, on, cpu, priority=0, started=0.0, **more):
        one = pod(name, cpu=cpu, priority=priority, **more)
        one.status.start_time = format_time(NOW + started)
        one.spec.node_name = on
        self.cluster.place(READER.read(one), on)
        return one

    def budget(self, name, allowed, disrupted=None, **labels):
        self.plugin.object_set(
            PodDisruptionBudget(
                metadata=ObjectMeta(name=name, namespace="default"),
                spec=PodDisruptionBudgetSpec(selector=LabelSelector(match_labels=labels)),
                status=PodDisruptionBudgetStatus(disruptions_allowed=allowed, disrupted_pods=disrupted),
            )
        )

    def schedule(self, *pods):
        for one in pods:
            self.scheduler.add_pending(READER.read(one), "koord-scheduler")
        while self.scheduler.schedule_one():
            pass
        return self

    def leave(self):
        """Every victim goes."""
        for preemption in self.evicted:
            for victim in preemption.victims.pods:
                self.cluster.remove(victim.uid)
        self.evicted.clear()

    @property
    def decisions(self):
        return [(one.pod.name, one.node, [victim.name for victim in one.victims.pods]) for one in self.evicted]


@pytest.fixture
def world():
    world = World()
    world.cluster.set_node(node("a", cpu="4"))
    world.cluster.set_node(node("b", cpu="4"))
    return world


def test_the_cheapest_victim_goes_and_the_pod_gets_the_node_that_it_was_promised(world):
    world.resident("dear", "a", "3", priority=100)
    world.resident("cheap", "b", "3", priority=50)
    world.schedule(pod("p", cpu="2", priority=1000))
    assert world.decisions == [("p", "b", ["cheap"])]
    assert world.story.refused["p"] == "0/2 nodes are available: 2 Insufficient cpu."
    assert [one.name for one in world.cluster.nominator.on("b")] == ["p"]
    world.leave()
    world.queue.activate(next(iter(world.queue)).info.uid)
    world.schedule(pod("thief", cpu="2", priority=500))
    assert {binding.pod.info.name: binding.node for binding in world.bindings} == {"p": "b", "thief": "b"}
    assert not len(world.cluster.nominator)


def test_a_promised_node_is_not_given_to_a_pod_of_lower_priority(world):
    world.resident("x", "a", "4", priority=10)
    world.resident("y", "b", "4", priority=20)
    world.schedule(pod("p", cpu="3", priority=1000))
    assert world.decisions == [("p", "a", ["x"])]
    world.leave()
    world.schedule(pod("thief", cpu="2", priority=5), pod("small", cpu="1", priority=5))
    assert [binding.pod.info.name for binding in world.bindings] == ["small"]
    assert "Insufficient cpu" in world.story.refused["thief"]


def test_pods_are_spared_the_most_important_first_but_protected_ones_before_all(world):
    world.cluster.remove_node("b")
    world.resident("low", "a", "2", priority=1, labels={"app": "x"})
    world.resident("high", "a", "2", priority=2)
    world.schedule(pod("p", cpu="2", priority=9))
    assert world.decisions == [("p", "a", ["low"])]
    world.evicted.clear()
    world.cluster.nominator.forget(world.queue.get(next(iter(world.queue)).info.uid).info.uid)
    world.budget("guard", 0, app="x")
    world.schedule(pod("q", cpu="2", priority=9))
    assert world.decisions[-1] == ("q", "a", ["high"])


def test_of_two_nodes_the_one_without_a_violation_and_pods_being_disrupted_do_not_count(world):
    world.resident("guarded", "a", "4", priority=0, labels={"app": "x"})
    world.resident("free", "b", "4", priority=5)
    world.budget("guard", 0, app="x")
    world.schedule(pod("p", cpu="2", priority=9))
    assert world.decisions == [("p", "b", ["free"])]
    world.evicted.clear()
    world.cluster.nominator.forget(next(iter(world.queue)).info.uid)
    world.budget("guard", 0, {"guarded": {}}, app="x")
    world.schedule(pod("q", cpu="2", priority=9))
    assert world.decisions == [("q", "a", ["guarded"])]


@pytest.mark.parametrize(
    ("priority", "policy", "text"),
    [
        (0, None, "preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod."),
        (9, "Never", "preemption: not eligible due to preemptionPolicy=Never."),
    ],
)
def test_who_may_not_preempt_is_told_why(world, priority, policy, text):
    world.resident("x", "a", "4", priority=0)
    world.resident("y", "b", "4", priority=0)
    world.schedule(pod("p", cpu="2", priority=priority, preemption_policy=policy))
    assert world.story.refused["p"] == f"0/2 nodes are available: 2 Insufficient cpu. {text}"
    assert not world.evicted


def test_nodes_where_evicting_cannot_help_say_so(world):
    world.cluster.set_node(node("closed", unschedulable=True))
    world.resident("x", "a", "4", priority=0)
    world.resident("y", "b", "4", priority=9)
    world.schedule(pod("p", cpu="5", priority=8))
    assert world.story.refused["p"].endswith("preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.")
    world.schedule(pod("q", cpu="2", priority=0))
    assert world.story.refused["q"].endswith(
        "preemption: 0/3 nodes are available: 1 Preemption is not helpful for scheduling, "
        "2 No preemption victims found for incoming pod."
    )


def test_nobody_preempts_again_while_victims_are_on_their_way_out(world):
    victim = world.resident("x", "a", "4", priority=0)
    world.resident("y", "b", "4", priority=9)
    world.schedule(pod("p", cpu="2", priority=8))
    assert world.decisions == [("p", "a", ["x"])]
    victim.metadata.deletion_timestamp = format_time(NOW)
    world.cluster.place(READER.read(victim), "a")
    world.queue.activate(next(iter(world.queue)).info.uid)
    world.schedule()
    assert len(world.evicted) == 1
    assert world.story.refused["p"].endswith("preemption: not eligible due to a terminating pod on the nominated node.")


def test_filters_that_look_at_pods_are_asked_themselves():
    world = World(neighbourly=True)
    world.cluster.set_node(node("a", cpu="4"))
    world.resident("loud", "a", "1", priority=0, labels={"loud": "yes"})
    world.resident("quiet", "a", "1", priority=0)
    before = world.cluster.columns.position
    requested = world.cluster.columns.requested.copy()
    world.schedule(pod("p", cpu="1", priority=8))
    assert world.decisions == [("p", "a", ["loud"])]
    assert world.cluster.columns.position == before
    assert (world.cluster.columns.requested == requested).all()
    assert len(world.cluster.pods) == 2


# --- a naive oracle --------------------------------------------------------------------------------------------------------


def fits(free, demand):
    return demand <= free


def naive(nodes, residents, budgets, preemptor):
    """Every node, one pod at a time, straight from the rules. (node, victims, violations) or None."""
    best = None
    for order, (name, cpu) in enumerate(nodes):
        here = [one for one in residents if one["on"] == name]
        lesser = [one for one in here if one["priority"] < preemptor["priority"]]
        lesser.sort(key=lambda one: (-one["priority"], one["started"]))
        used = sum(one["cpu"] for one in here if one not in lesser)
        if not lesser or used + preemptor["cpu"] > cpu:
            continue
        left, guarded = dict(budgets), []
        for one in lesser:
            if one["app"] in left:
                left[one["app"]] -= 1
            guarded.append(one["app"] in left and left[one["app"]] < 0)
        protected = [one for one, kept in zip(lesser, guarded, strict=True) if kept]
        others = [one for one, kept in zip(lesser, guarded, strict=True) if not kept]
        victims, violations = [], 0
        for one in (*protected, *others):
            if used + one["cpu"] + preemptor["cpu"] <= cpu:
                used += one["cpu"]
            else:
                victims.append(one)
                violations += one in protected
        if not victims:
            continue
        victims.sort(key=lesser.index)
        top = max(one["priority"] for one in victims)
        earliest = min(one["started"] for one in victims if one["priority"] == top)
        total = sum(one["priority"] + 2**31 for one in victims)
        price = (violations, top, total, len(victims), -earliest, order)
        if best is None or price < best[0]:
            best = (price, name, [one["name"] for one in victims], violations)
    return best and best[1:]


numbers = itertools.count()


@st.composite
def situations(draw):
    nodes = [(f"n{index}", draw(st.integers(1, 6))) for index in range(draw(st.integers(1, 4)))]
    residents = []
    for name, cpu in nodes:
        left = cpu
        while left > 0 and draw(st.booleans()):
            size = draw(st.integers(1, left))
            left -= size
            residents.append(
                {
                    "name": f"r{next(numbers)}",
                    "on": name,
                    "cpu": size,
                    "priority": draw(st.integers(-2, 3)),
                    "started": float(draw(st.integers(-3, 0))),
                    "app": draw(st.sampled_from(["x", "y", "none"])),
                }
            )
    budgets = draw(st.dictionaries(st.sampled_from(["x", "y"]), st.integers(0, 1), max_size=2))
    preemptor = {"cpu": draw(st.integers(1, 6)), "priority": draw(st.integers(-2, 4))}
    return nodes, residents, budgets, preemptor


@settings(max_examples=300, deadline=None)
@given(situation=situations(), generic=st.booleans())
def test_the_decision_is_the_oracles_and_never_costs_an_equal(situation, generic):
    nodes, residents, budgets, preemptor = situation
    world = World(neighbourly=generic)
    for name, cpu in nodes:
        world.cluster.set_node(node(name, cpu=str(cpu)))
    priority = {}
    for one in residents:
        labels = {"app": one["app"]}
        world.resident(one["name"], one["on"], str(one["cpu"]), one["priority"], one["started"], labels=labels)
        priority[one["name"]] = one["priority"]
    for app, allowed in budgets.items():
        world.budget(app, allowed, app=app)
    free = {name: cpu - sum(one["cpu"] for one in residents if one["on"] == name) for name, cpu in nodes}
    world.schedule(pod("p", cpu=str(preemptor["cpu"]), priority=preemptor["priority"]))
    expected = None if any(preemptor["cpu"] <= left for left in free.values()) else naive(*situation)
    found = [(one.node, [victim.name for victim in one.victims.pods], one.victims.violations) for one in world.evicted]
    assert found == ([] if expected is None else [expected])
    assert all(priority[name] < preemptor["priority"] for _, names, _ in found for name in names)


@settings(max_examples=60, deadline=None)
@given(
    situation=situations(), cpus=st.lists(st.integers(1, 4), min_size=2, max_size=6), leaves=st.lists(st.booleans(), min_size=6)
)
def test_what_is_remembered_is_what_would_be_found_afresh(situation, cpus, leaves):
    """Preemptors one after the other, victims leaving or lingering: prices kept between them equal those asked anew."""
    nodes, residents, budgets, _ = situation
    world = World()
    for name, cpu in nodes:
        world.cluster.set_node(node(name, cpu=str(cpu)))
    for one in residents:
        world.resident(one["name"], one["on"], str(one["cpu"]), one["priority"], one["started"], labels={"app": one["app"]})
    for app, allowed in budgets.items():
        world.budget(app, allowed, app=app)
    for index, cpu in enumerate(cpus):
        kept = world.plugin._known
        world.schedule(pod(f"p{index}", cpu=str(cpu), priority=4))
        kept_decisions, world.plugin._known = world.decisions[-1:], {}
        again = pod(f"q{index}", cpu=str(cpu), priority=4)
        world.cluster.nominator.forget(next((one.info.uid for one in world.queue if one.info.name == f"p{index}"), ""))
        before = len(world.evicted)
        placed = len(world.bindings)
        if kept_decisions and kept_decisions[0][0] == f"p{index}":
            world.schedule(again)
            assert len(world.evicted) == before + 1
            assert world.decisions[-1][1:] == kept_decisions[0][1:]
        assert len(world.bindings) >= placed
        world.plugin._known = kept
        if leaves[index % len(leaves)]:
            world.leave()


def test_the_result_of_a_preemption_is_success_and_of_none_a_refusal(world):
    world.resident("x", "a", "4", priority=0)
    diagnosis = world.scheduler.evaluation(READER.read(pod("p", cpu="5", priority=3)), world.profile).diagnose()
    assert world.plugin.post_filter({}, READER.read(pod("p", cpu="5", priority=3)), diagnosis)[1].code is Code.UNSCHEDULABLE


def test_a_pod_that_keeps_another_away_is_evicted_for_it():
    """Anti-affinity: no resources are short, and verdicts of one node depend on others."""
    world = World()
    handle = Handle(world.cluster, None, world.clock, "koord-scheduler")
    profile = default_profile(("koord-scheduler",), world.cluster, None, world.clock)
    preemption = profile.plugins["DefaultPreemption"]
    preemption.evict = world.evicted.append
    scheduler = Scheduler(world.cluster, world.queue, [profile], world.story, 1)
    scheduler.submit = world.bindings.append
    for name in ("a", "b"):
        world.cluster.set_node(node(name, cpu="8", labels={"kubernetes.io/hostname": name}))
    world.resident("rival", "a", "1", priority=0, labels={"app": "db"})
    world.resident("bystander", "a", "1", priority=0)
    world.resident("strong", "b", "1", priority=99, labels={"app": "db"})
    term = PodAffinityTerm(
        topology_key="kubernetes.io/hostname", label_selector=LabelSelector(match_labels={"app": "db"}), namespaces=None
    )
    apart = Affinity(pod_anti_affinity=PodAffinity(required_during_scheduling_ignored_during_execution=[term]))
    scheduler.add_pending(READER.read(pod("p", cpu="1", priority=9, affinity=apart)), "koord-scheduler")
    before = world.cluster.columns.requested.copy()
    while scheduler.schedule_one():
        pass
    assert handle.nominator is world.cluster.nominator
    assert world.decisions == [("p", "a", ["rival"])]
    assert (world.cluster.columns.requested == before).all()
    world.leave()
    world.queue.activate(next(iter(world.queue)).info.uid)
    while scheduler.schedule_one():
        pass
    assert [(binding.pod.info.name, binding.node) for binding in world.bindings] == [("p", "a")]
