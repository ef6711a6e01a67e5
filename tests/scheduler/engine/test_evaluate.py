"""What is kept between pods equals what would be computed afresh, whatever happened in between."""

import copy
from collections import Counter
from random import Random

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from koordinator.api.meta import ObjectMeta, format_time
from koordinator.api.slo import NodeMetric, NodeMetricInfo, NodeMetricStatus, ResourceMap
from koordinator.clock import ManualClock
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.columns import Change
from koordinator.scheduler.engine.evaluate import Best, Evaluation, Evaluator
from koordinator.scheduler.engine.framework import ScorePlugin
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.plugins.balanced_allocation import NodeResourcesBalancedAllocation
from koordinator.scheduler.plugins.load_aware.args import LoadAwareArgs
from koordinator.scheduler.plugins.load_aware.plugin import LoadAwareScheduling
from koordinator.scheduler.plugins.node_affinity import NodeAffinity
from koordinator.scheduler.plugins.node_unschedulable import NodeUnschedulable
from koordinator.scheduler.plugins.priority_sort import PrioritySort
from koordinator.scheduler.plugins.resources_fit import NodeResourcesFit
from koordinator.scheduler.plugins.taint_toleration import TaintToleration
from scheduler import builders
from scheduler.builders import READER, node, pod

NAMES = [f"n{index}" for index in range(6)]
MANY = 80
"""So many nodes that single changes are followed row by row and not answered by computing everything afresh."""
LOOKED_AT = [
    pod(cpu="1", memory="1Gi"),
    pod(cpu="500m", tolerations=[builders.Toleration(key="t", operator="Exists")], priority=5500),
    pod(
        affinity=builders.affinity(
            preferred=[
                (3, builders.term(builders.requirement("zone", "Exists"))),
                (5, builders.term(builders.requirement("gen", "Gt", "4"))),
            ]
        ),
        cpu="2",
    ),
    pod(node_selector={"zone": "a"}, requests={"nvidia.com/gpu": "1"}),
]


def crowd():
    """Nodes of every kind, so that normalised scores have something to normalise."""
    for index in range(MANY):
        labels = {"zone": "ab"[index % 2]} if index % 3 else {"gen": str(index % 7)}
        taint = builders.Taint(key="t", value="1", effect=builders.EFFECTS[index % 3])
        gpus = {"nvidia.com/gpu": index % 3} if index % 4 == 0 else {}
        yield node(f"m{index}", cpu=str(1 + index % 4), labels=labels, taints=[taint] if index % 5 == 0 else [], **gpus)


def metric(name, cpu, memory, at):
    usage = ResourceMap(resources={"cpu": f"{cpu}m", "memory": str(memory)})
    status = NodeMetricStatus(update_time=format_time(at), node_metric=NodeMetricInfo(node_usage=usage))
    return NodeMetric(metadata=ObjectMeta(name=name), status=status)


class Incremental(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.clock, self.cluster, self.random = ManualClock(), Cluster(), Random(5)
        self.load_aware = LoadAwareScheduling(self.cluster, self.clock, LoadAwareArgs(node_metric_expiration_seconds=60))
        plugins = [
            PrioritySort(),
            NodeUnschedulable(),
            TaintToleration(),
            NodeAffinity(),
            NodeResourcesFit(),
            self.load_aware,
            NodeResourcesBalancedAllocation(),
        ]
        self.profile = Profile(["x"], plugins, {"TaintToleration": 3, "NodeAffinity": 2})
        self.evaluator = Evaluator(self.profile, self.cluster.columns)
        for one in crowd():
            self.cluster.set_node(one)
        infos = [READER.read(one) for one in LOOKED_AT]
        self.kept = {self.profile.signature(one): one for one in infos}

    @rule(data=st.data(), name=st.sampled_from(NAMES))
    def set_node(self, data, name):
        self.cluster.set_node(data.draw(builders.nodes(name)))

    @rule(index=st.integers(0, MANY - 1), labels=builders.label_maps)
    def relabel(self, index, labels):
        self._change(index, lambda one: setattr(one.metadata, "labels", labels))

    @rule(index=st.integers(0, MANY - 1), taints=st.lists(builders.taints, max_size=2), cordon=st.booleans())
    def taint(self, index, taints, cordon):
        self._change(index, lambda one: (setattr(one.spec, "taints", taints), setattr(one.spec, "unschedulable", cordon)))

    @rule(index=st.integers(0, MANY - 1), cpu=st.integers(0, 6))
    def resize(self, index, cpu):
        self._change(index, lambda one: one.status.allocatable.update(cpu=str(cpu)))

    def _change(self, index, change):
        """One kind of change of one node, and no other."""
        one = copy.deepcopy(self.cluster.nodes[f"m{index}"])
        change(one)
        self.cluster.set_node(one)

    @rule(name=st.sampled_from(NAMES))
    def remove_node(self, name):
        self.cluster.remove_node(name)

    @rule(one=st.sampled_from(LOOKED_AT), count=st.sampled_from([1, 5, 60]))
    def schedule(self, one, count):
        """As the cycle does it: choose, assume, again."""
        for _ in range(count):
            info = READER.read(pod(cpu="1"))
            info.template = READER.read(one).template
            row = self.evaluator.evaluate(READER.read(one)).choose(self.random)
            if row is not None:
                self.cluster.assume(info, self.cluster.columns.names[row])

    @rule(one=builders.pods(), name=st.sampled_from(NAMES))
    def place(self, one, name):
        self.cluster.place(READER.read(one), name)

    @rule(place=st.integers(0, 20))
    def remove(self, place):
        if self.cluster.pods:
            self.cluster.remove(list(self.cluster.pods)[place % len(self.cluster.pods)])

    @rule(name=st.sampled_from(NAMES), cpu=st.integers(0, 5000), memory=st.integers(0, 5 * 2**30), age=st.integers(0, 90))
    def report(self, name, cpu, memory, age):
        self.load_aware.object_set(metric(name, cpu, memory, self.clock.now() - age))

    @rule(name=st.sampled_from(NAMES))
    def lose_report(self, name):
        self.load_aware.object_deleted(metric(name, 0, 0, 0))

    @rule(seconds=st.integers(1, 40))
    def wait(self, seconds):
        self.clock.advance(seconds)
        self.load_aware.tick(self.clock.now())

    @rule(one=builders.pods())
    def look(self, one):
        """Another pod signature joins those that are kept."""
        info = READER.read(one)
        self.kept[self.profile.signature(info)] = info

    @invariant()
    def kept_equals_fresh(self):
        for info in self.kept.values():
            kept = self.evaluator.evaluate(info)
            if not isinstance(kept, Evaluation):
                continue
            fresh = Evaluator(self.profile, self.cluster.columns).evaluate(info)
            size = self.cluster.columns.size
            assert kept.feasible[:size].tolist() == fresh.feasible[:size].tolist()
            assert kept.total[:size].tolist() == fresh.total[:size].tolist()
            row = kept.choose(Random(0))
            best = fresh.total[:size].max(initial=-1)
            assert (row is None) == (best < 0)
            assert row is None or fresh.total[row] == best
            assert kept.diagnose().reasons == fresh.diagnose().reasons


Incremental.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestIncremental = Incremental.TestCase


@given(
    totals=st.lists(st.integers(-1, 3), min_size=1, max_size=8),
    moves=st.lists(st.tuples(st.integers(0, 7), st.integers(-1, 4)), max_size=20),
)
@settings(deadline=None)
def test_best_is_the_maximum_after_any_moves(totals, moves):
    total = np.array(totals, dtype=np.int32)
    best, random = Best(len(total)), Random(1)
    best.draw(total, random)
    for place, score in moves:
        row = place % len(total)
        total[row] = score
        best.update(row, score)
        drawn = best.draw(total, random)
        assert (drawn is None) == (total.max() < 0)
        assert drawn is None or total[drawn] == total.max()


def test_ties_are_drawn_evenly():
    total, random = np.zeros(4, dtype=np.int32), Random(7)
    best = Best(4)
    best.draw(total, random)
    total[3] = -1
    best.update(3, -1)
    drawn = Counter(best.draw(total, random) for _ in range(3000))
    assert set(drawn) == {0, 1, 2}
    assert min(drawn.values()) > 800


class Fixed(ScorePlugin):
    """Points by node name."""

    name = "Fixed"
    score_reads = Change.NODE

    def __init__(self, points):
        self.points = points

    def score(self, state, pod, nodes, rows):
        return np.array([self.points.get(name, 0) for name in np.array(nodes.names)[rows]], dtype=np.int64)


class Relative(Fixed):
    """The same, as a share of the largest."""

    name = "Relative"
    score_reads = Change.USAGE
    normalizes = True


def test_a_rescale_finds_the_new_best_row():
    """One node's score falls, and by that those of all others rise: the best need be none that moved itself."""
    cluster = Cluster()
    for one in crowd():
        cluster.set_node(one)
    relative = Relative({"m1": 100, "m2": 1000})
    plugins = [PrioritySort(), Fixed({"m0": 100, "m1": 75}), relative]
    evaluator = Evaluator(Profile(["x"], plugins, {"Fixed": 2}), cluster.columns)
    info, names = READER.read(pod()), cluster.columns.names
    assert names[evaluator.evaluate(info).choose(Random(1))] == "m0"  # 200; m1 has 150 + 10, m2 has 100
    relative.points["m2"] = 0
    cluster.columns.touch(cluster.columns.row_of["m2"], Change.USAGE)
    assert names[evaluator.evaluate(info).choose(Random(1))] == "m1"  # 150 + 100


def test_too_many_signatures_push_out_the_oldest():
    cluster = Cluster()
    cluster.set_node(node())
    profile = Profile(["x"], [PrioritySort(), NodeResourcesFit()])
    evaluator = Evaluator(profile, cluster.columns, limit=3000)
    evaluations = [evaluator.evaluate(READER.read(pod(cpu=str(index)))) for index in range(20)]
    again = evaluator.evaluate(READER.read(pod(cpu="19")))
    assert again is evaluations[19]
    assert evaluator.evaluate(READER.read(pod(cpu="0"))) is not evaluations[0]
    assert sum(one.bytes for one in evaluator._known.values()) <= 3000
