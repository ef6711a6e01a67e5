"""LoadAwareScheduling beyond its vectors: time, moves, thresholds, bad input, and sums that follow every change."""

import hypothesis.strategies as st
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from koordinator.api import keys
from koordinator.api.meta import Condition, ObjectMeta, OwnerReference, format_time
from koordinator.api.slo import NodeMetric, NodeMetricInfo, NodeMetricStatus, PodMetricInfo, ResourceMap
from koordinator.clock import ManualClock
from koordinator.errors import ConfigInvalid
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.events import ClusterEvent, Happening
from koordinator.scheduler.engine.handle import Handle
from koordinator.scheduler.plugins.load_aware import figures
from koordinator.scheduler.plugins.load_aware.args import Aggregated, LoadAwareArgs, checked, defaulted, dimensions
from koordinator.scheduler.plugins.load_aware.ledger import Ledger, PlacedPod, Report
from koordinator.scheduler.plugins.load_aware.plugin import LoadAwareScheduling
from koordinator.scheduler.plugins.load_aware.thresholds import UNLIMITED, highest_passing, share
from scheduler.builders import READER, compiled, node, pod


class World:
    def __init__(self, nodes, args=None):
        self.clock, self.cluster = ManualClock(), Cluster()
        self.plugin = LoadAwareScheduling(self.cluster, self.clock, args)
        for one in nodes:
            self.cluster.set_node(one)

    def report(self, name="n1", cpu="1", memory="1Gi", age=0, pods=()):
        usage = NodeMetricInfo(node_usage=ResourceMap(resources={"cpu": cpu, "memory": memory}))
        status = NodeMetricStatus(update_time=format_time(self.clock.now() - age), node_metric=usage, pods_metric=list(pods))
        self.plugin.object_set(NodeMetric(metadata=ObjectMeta(name=name), status=status))

    def reasons(self, one):
        asked, columns = compiled(self.plugin, self.cluster.columns, READER.read(one)), self.cluster.columns
        if not asked.filters:
            return [None] * columns.size
        codes = self.plugin.filter(asked.state, asked.pod, columns, columns.rows).tolist()
        return [self.plugin.explain(asked.state, code, columns)[0] if code else None for code in codes]

    def scores(self, one):
        asked, columns = compiled(self.plugin, self.cluster.columns, READER.read(one)), self.cluster.columns
        return self.plugin.score(asked.state, asked.pod, columns, columns.rows).tolist()


def test_the_cooler_node_scores_higher_and_an_unknown_one_nothing():
    world = World([node("cool"), node("hot"), node("unknown")])
    world.report("cool", cpu="1")
    world.report("hot", cpu="3")
    cool, hot, unknown = world.scores(pod(cpu="100m", memory="100Mi"))
    assert cool > hot > unknown == 0


def test_a_hot_node_is_refused_and_a_daemon_goes_there_anyway():
    world = World([node("n1", cpu="4")])
    world.report(cpu="3")
    assert world.reasons(pod()) == ["node(s) cpu usage exceed threshold"]
    daemon = pod()
    daemon.metadata.owner_references = [OwnerReference(kind="DaemonSet", name="d")]
    assert world.reasons(daemon) == [None]


def test_pods_just_placed_count_before_they_are_reported():
    world = World([node("n1", cpu="10")])
    world.report(cpu="5")
    asking = pod(cpu="1")
    assert world.reasons(asking) == [None]
    placed = READER.read(pod(cpu="1"))
    world.cluster.assume(placed, "n1")
    assert world.reasons(asking) == ["node(s) cpu usage exceed threshold"]
    world.cluster.forget(placed.uid)
    assert world.reasons(asking) == [None]


def test_a_report_that_covers_the_pod_replaces_its_estimate():
    world = World([node("n1", cpu="10")])
    placed = pod("p", cpu="2")
    world.cluster.place(READER.read(placed), "n1")
    world.clock.advance(120)
    mine = PodMetricInfo(name="p", namespace="default", pod_usage=ResourceMap(resources={"cpu": "100m"}))
    world.report(cpu="1", pods=[mine])
    assert world.plugin.ledgers["n1"].node_delta == (0, 0)


def test_a_binding_time_learnt_later_replaces_the_time_of_the_decision():
    world = World([node("n1")])
    placed = pod("p", cpu="2")
    world.cluster.assume(READER.read(placed), "n1")
    at = world.clock.now() - 600
    placed.status.conditions = [Condition(type="PodScheduled", status="True", last_transition_time=format_time(at))]
    world.cluster.place(READER.read(placed), "n1")
    assert world.plugin.ledgers["n1"].pods[placed.metadata.uid].timestamp == at


def test_a_pod_that_is_initialized_after_it_was_bound_has_another_deadline():
    args = LoadAwareArgs(estimated_seconds_after_pod_scheduled=30, estimated_seconds_after_initialized=300)
    world = World([node("n1", cpu="10")], args)
    placed, at = pod("p", cpu="1"), world.clock.now()
    bound = Condition(type="PodScheduled", status="True", last_transition_time=format_time(at))
    placed.status.conditions = [bound]
    world.cluster.place(READER.read(placed), "n1")
    world.clock.advance(120)
    mine = PodMetricInfo(name="p", namespace="default", pod_usage=ResourceMap(resources={"cpu": "100m"}))
    world.report(cpu="1", pods=[mine])
    assert world.plugin.ledgers["n1"].node_delta[0] == 0
    ready = Condition(type="Initialized", status="True", last_transition_time=format_time(at + 100))
    placed = msgspec.structs.replace(placed, status=msgspec.structs.replace(placed.status, conditions=[bound, ready]))
    world.cluster.place(READER.read(placed), "n1")
    assert world.plugin.ledgers["n1"].pods[placed.metadata.uid].deadline == at + 400
    assert world.plugin.ledgers["n1"].node_delta[0] == 750


def test_a_binding_time_that_changes_no_sum_moves_nothing():
    world = World([node("n1", cpu="10")])
    world.report(cpu="5")
    placed = pod("p", cpu="1")
    world.cluster.assume(READER.read(placed), "n1")
    position, at = world.cluster.columns.position, world.clock.now() + 1
    placed.status.conditions = [Condition(type="PodScheduled", status="True", last_transition_time=format_time(at))]
    world.cluster.place(READER.read(placed), "n1")
    assert world.plugin.ledgers["n1"].pods[placed.metadata.uid].timestamp == at
    assert world.cluster.columns.position == position


def test_only_what_makes_room_on_a_node_wakes_a_refused_pod():
    world = World([node("hot", cpu="4"), node("warm", cpu="4")])
    world.report("hot", cpu="3")
    world.report("warm", cpu="3")
    refused = READER.read(pod(cpu="1"))
    ((kinds, hint),) = world.plugin.events()

    def wakes(kind, name):
        return bool(kinds & kind) and hint(refused, ClusterEvent(kind, name))

    world.report("hot", cpu="2900m")
    assert not wakes(Happening.NODE_METRIC, "hot")
    world.report("warm", cpu="1")
    assert wakes(Happening.NODE_METRIC, "warm")
    assert not wakes(Happening.NODE_METRIC, "hot")
    world.cluster.set_node(node("hot", cpu="4", annotations={keys.USAGE_THRESHOLDS: '{"usageThresholds":{"cpu":99}}'}))
    assert wakes(Happening.NODE_ANNOTATION, "hot")
    assert not wakes(Happening.NODE_METRIC, "vanished")
    assert not wakes(Happening.NODE_TAINT, "warm")


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 40), st.integers(0, 400)), min_size=1, max_size=8))
def test_the_hint_says_what_the_filter_says(reports):
    args = LoadAwareArgs(prod_usage_thresholds={"cpu": 40}, node_metric_expiration_seconds=200)
    world = World([node("a", cpu="4"), node("b", cpu="4")], args)
    ((_, hint),) = world.plugin.events()
    asking = [pod(cpu="1"), pod(cpu="200m", labels={"koordinator.sh/priority-class": "koord-prod"})]
    for name, tenths, age in reports:
        world.report(name, cpu=f"{tenths}00m", age=age)
        for one in asking:
            told = dict(zip(["a", "b"], world.reasons(one), strict=True))
            assert hint(READER.read(one), ClusterEvent(Happening.NODE_METRIC, name)) == (told[name] is None)


def test_time_alone_expires_a_report():
    world = World([node("n1")], LoadAwareArgs(node_metric_expiration_seconds=60))
    world.report(age=10)
    position = world.cluster.columns.position
    world.clock.advance(49)
    world.plugin.tick(world.clock.now())
    assert world.reasons(pod()) == [None]
    assert world.cluster.columns.position == position
    world.clock.advance(1)
    world.plugin.tick(world.clock.now())
    assert world.reasons(pod()) == ["node(s) nodeMetric expired"]
    assert world.scores(pod()) == [0]
    assert world.cluster.columns.position > position, "kept verdicts must be computed again"


def test_a_node_that_comes_back_finds_its_report_again():
    world = World([node("n1")])
    world.report(cpu="3")
    before = world.scores(pod())
    world.cluster.remove_node("n1")
    world.cluster.set_node(node("n1"))
    assert world.scores(pod()) == before


def test_an_unreadable_report_leaves_the_last_one_in_force():
    world = World([node("n1", cpu="4")])
    world.report(cpu="3")
    with pytest.raises(ValueError, match="cpu: 'hot' is not a quantity"):
        world.report(cpu="hot")
    assert world.reasons(pod()) == ["node(s) cpu usage exceed threshold"]


def test_a_nodes_own_thresholds_and_what_cannot_be_read_of_them():
    key = "scheduling.koordinator.sh/usage-thresholds"
    world = World([node("own", annotations={key: '{"usageThresholds":{"cpu":80}}'}), node("bad", annotations={key: "{"})])
    world.report("own", cpu="3")
    world.report("bad", cpu="3")
    assert world.reasons(pod()) == ["node(s) cpu usage exceed threshold", "node(s) cpu usage exceed threshold"]
    world.report("own", cpu="2900m")
    world.report("bad", cpu="2900m")
    assert world.reasons(pod()) == [None, "node(s) cpu usage exceed threshold"]


@given(percent=st.integers(1, 100), total=st.integers(1, 2**45), used=st.integers(0, 2**46))
def test_one_comparison_decides_as_the_rounded_share_would(percent, total, used):
    assert (used <= highest_passing(percent, total)) == (share(used, total) <= percent)


def test_no_threshold_and_no_capacity_limit_nothing():
    assert highest_passing(0, 100) == highest_passing(50, 0) == UNLIMITED
    assert highest_passing(10**15, 2**40) == UNLIMITED  # an annotation may say so


VECTOR = st.tuples(st.integers(0, 9), st.integers(0, 9))
PODS = st.builds(
    PlacedPod,
    key=st.sampled_from(["a", "b", "c"]),
    prod=st.booleans(),
    timestamp=st.sampled_from([0.0, 100.0]),
    estimate=st.one_of(st.none(), VECTOR),
    deadline=st.sampled_from([None, 90.0, 200.0]),
)
REPORTS = st.builds(
    Report,
    updated_at=st.sampled_from([None, 110.0]),
    interval=st.just(60.0),
    usage=st.one_of(st.none(), VECTOR),
    system=VECTOR,
    aggregated=st.just({}),
    pods=st.dictionaries(st.sampled_from(["a", "b", "c"]), VECTOR),
    prod_pods=st.frozensets(st.sampled_from(["a", "b", "c"])),
)


class LedgerMachine(RuleBasedStateMachine):
    """Sums kept while pods come and go equal sums taken afresh."""

    def __init__(self):
        super().__init__()
        self.ledger = Ledger(2, include_system=True)

    @rule(uid=st.integers(0, 3), one=PODS)
    def put(self, uid, one):
        self.ledger.put(str(uid), one)

    @rule(uid=st.integers(0, 3))
    def take(self, uid):
        self.ledger.take(str(uid))

    @rule(report=st.one_of(st.none(), REPORTS))
    def set_report(self, report):
        self.ledger.set_report(report)

    @invariant()
    def sums(self):
        fresh = Ledger(2, include_system=True)
        fresh.set_report(self.ledger.report)
        for uid, one in self.ledger.pods.items():
            fresh.put(uid, PlacedPod(one.key, one.prod, one.timestamp, one.estimate, one.deadline))
        for name in ("node_delta", "prod_delta", "prod_usage", "estimated"):
            assert getattr(self.ledger, name) == getattr(fresh, name)


LedgerMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
TestLedger = LedgerMachine.TestCase


@given(cpu=st.lists(st.integers(0, 5000), min_size=1, max_size=5), ask=st.integers(0, 3000))
@settings(max_examples=50, deadline=None)
def test_rows_do_not_influence_each_other(cpu, ask):
    world = World([node(f"n{index}") for index in range(len(cpu))])
    for index, used in enumerate(cpu):
        world.report(f"n{index}", cpu=f"{used}m")
    plugin, columns = world.plugin, world.cluster.columns
    asked = compiled(plugin, columns, READER.read(pod(cpu=f"{ask}m")))
    for hook in (plugin.filter, plugin.score):
        together = hook(asked.state, asked.pod, columns, columns.rows).tolist()
        alone = [int(hook(asked.state, asked.pod, columns, slice(row, row + 1))[0]) for row in range(columns.size)]
        assert together == alone == hook(asked.state, asked.pod, columns, np.arange(columns.size)).tolist()


@pytest.mark.parametrize(
    ("args", "field"),
    [
        (LoadAwareArgs(node_metric_expiration_seconds=0), "nodeMetricExpirationSeconds"),
        (LoadAwareArgs(resource_weights={"cpu": 0}), "resourceWeights[cpu]"),
        (LoadAwareArgs(resource_weights={"nvidia.com/gpu": 1}), "resourceWeights[nvidia.com/gpu]"),
        (LoadAwareArgs(usage_thresholds={"cpu": 101}), "usageThresholds[cpu]"),
        (LoadAwareArgs(estimated_scaling_factors={"cpu": 110}), "estimatedScalingFactors[cpu]"),
        (LoadAwareArgs(dominant_resource_weight=101), "dominantResourceWeight"),
        (LoadAwareArgs(aggregated=Aggregated(usage_aggregation_type="p42")), "aggregated.usageAggregationType"),
        (LoadAwareArgs(aggregated=Aggregated(score_aggregated_duration="soon")), "aggregated.scoreAggregatedDuration"),
    ],
)
def test_wrong_arguments_name_their_field(args, field):
    with pytest.raises(ConfigInvalid) as caught:
        checked(defaulted(args))
    assert caught.value.where == f"LoadAwareSchedulingArgs.{field}"


def test_dimensions_are_all_names_that_the_arguments_mention():
    args = defaulted(LoadAwareArgs(prod_usage_thresholds={"x/y": 1}, supported_resources=["a/b"]))
    assert dimensions(args) == ("a/b", "cpu", "memory", "x/y")


def test_what_is_known_of_nodes_usage_is_counted_and_told():
    nodes = [node(name, cpu="4") for name in ("cool", "hot", "old", "mute", "none")]
    world = World(nodes, LoadAwareArgs(node_metric_expiration_seconds=60))
    handle = Handle(world.cluster, None, world.clock, "p")
    figures.show(handle, world.plugin)
    world.report("cool", cpu="1")
    world.report("hot", cpu="5")
    world.report("old", cpu="1", age=61)
    status = NodeMetricStatus(update_time=format_time(world.clock.now()))
    world.plugin.object_set(NodeMetric(metadata=ObjectMeta(name="mute"), status=status))
    shown = {name: family.shown() for name, family in handle.metrics.families.items() if name.startswith("load_aware")}
    states = {state: number for (_, state), number in shown["load_aware_nodes"].items()}
    assert states == {"fresh": 2, "expired": 1, "empty": 1, "missing": 1}
    used = {(resource, percent): n for (_, resource, percent), n in shown["load_aware_utilization_nodes"].items() if n}
    assert used == {("cpu", "20-30"): 1, ("cpu", "100+"): 1, ("memory", "10-20"): 2}
    assert [world.plugin.about_node(name) for name in ("cool", "old", "mute", "none")] == [
        ["usage report 0 s old"],
        ["usage report 61 s old: too old to score by"],
        ["usage report 0 s old, but it tells no usage"],
        ["no usage report (NodeMetric): usage keeps no pod away, and adds nothing to the score"],
    ]
