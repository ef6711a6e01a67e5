"""PodTopologySpread and InterPodAffinity say what kube-scheduler's rules say, in any cluster, after any order of events."""

from random import Random

import msgspec
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from koordinator.api.core import (
    Affinity,
    PodAffinity,
    PodAffinityTerm,
    TopologySpreadConstraint,
    WeightedPodAffinityTerm,
)
from koordinator.api.meta import LabelSelector, LabelSelectorRequirement, OwnerReference
from koordinator.scheduler.config.args import PodTopologySpreadArgs
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.compile import Compiled
from koordinator.scheduler.engine.evaluate import Evaluation, Evaluator
from koordinator.scheduler.engine.framework import UNRESOLVABLE
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.engine.residents import Residents
from koordinator.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from koordinator.scheduler.plugins.owners import Owners
from koordinator.scheduler.plugins.pod_topology_spread import SYSTEM_DEFAULTS, PodTopologySpread
from koordinator.scheduler.plugins.priority_sort import PrioritySort
from koordinator.scheduler.plugins.resources_fit import NodeResourcesFit
from scheduler import builders, neighbours
from scheduler.builders import READER, node, pod

HOST = "kubernetes.io/hostname"
KEYS = ["zone", "rack", HOST]
NAMESPACES = {"default": {"team": "a"}, "other": {"team": "b"}}

labels = st.dictionaries(st.sampled_from(["app", "tier", "version"]), st.sampled_from(["x", "y"]), max_size=3)
selectors = st.one_of(
    st.none(),
    st.builds(
        LabelSelector, match_labels=st.dictionaries(st.sampled_from(["app", "tier"]), st.sampled_from(["x", "y"]), max_size=2)
    ),
    st.builds(
        LabelSelector,
        match_expressions=st.lists(
            st.one_of(
                st.builds(
                    LabelSelectorRequirement,
                    key=st.sampled_from(["app", "tier"]),
                    operator=st.sampled_from(["In", "NotIn"]),
                    values=st.lists(st.sampled_from(["x", "y"]), min_size=1, max_size=2),
                ),
                st.builds(
                    LabelSelectorRequirement,
                    key=st.sampled_from(["app", "tier"]),
                    operator=st.sampled_from(["Exists", "DoesNotExist"]),
                ),
            ),
            max_size=2,
        ),
    ),
)
label_keys = st.one_of(st.none(), st.lists(st.sampled_from(["version", "tier"]), max_size=1))
policies = st.sampled_from([None, "Honor", "Ignore"])
constraints = st.builds(
    TopologySpreadConstraint,
    max_skew=st.integers(1, 2),
    topology_key=st.sampled_from(KEYS),
    when_unsatisfiable=st.sampled_from(["DoNotSchedule", "ScheduleAnyway"]),
    label_selector=selectors,
    min_domains=st.sampled_from([None, None, 1, 3]),
    node_affinity_policy=policies,
    node_taints_policy=policies,
    match_label_keys=label_keys,
)
affinity_terms = st.builds(
    PodAffinityTerm,
    topology_key=st.sampled_from(KEYS),
    label_selector=selectors,
    namespaces=st.sampled_from([None, None, ["other"], ["default", "other"]]),
    namespace_selector=st.sampled_from([None, None, LabelSelector(), LabelSelector(match_labels={"team": "b"})]),
    match_label_keys=label_keys,
    mismatch_label_keys=label_keys,
)
pod_affinities = st.one_of(
    st.none(),
    st.builds(
        PodAffinity,
        required_during_scheduling_ignored_during_execution=st.one_of(st.none(), st.lists(affinity_terms, max_size=2)),
        preferred_during_scheduling_ignored_during_execution=st.one_of(
            st.none(),
            st.lists(
                st.builds(WeightedPodAffinityTerm, weight=st.integers(1, 9), pod_affinity_term=affinity_terms), max_size=2
            ),
        ),
    ),
)


@st.composite
def nodes(draw, name):
    values = draw(st.fixed_dictionaries({}, optional={"zone": st.sampled_from("abc"), "rack": st.sampled_from("12")}))
    hosted = {HOST: name} if draw(st.integers(0, 5)) else {}
    return node(name, labels=values | hosted | draw(builders.label_maps), taints=draw(st.lists(builders.taints, max_size=1)))


@st.composite
def pods(draw):
    affinity = draw(
        st.one_of(st.none(), st.builds(Affinity, pod_affinity=pod_affinities, pod_anti_affinity=pod_affinities), st.none())
    )
    one = pod(
        labels=draw(labels),
        affinity=affinity,
        topology_spread_constraints=draw(st.one_of(st.none(), st.lists(constraints, max_size=3))),
        node_selector=draw(st.sampled_from([None, None, {"zone": "a"}])),
        tolerations=draw(st.lists(builders.tolerations, max_size=1)),
    )
    one.metadata.namespace = draw(st.sampled_from(list(NAMESPACES)))
    one.metadata.deletion_timestamp = draw(st.sampled_from([None, None, "2026-01-01T00:00:00Z"]))
    return one


@st.composite
def worlds(draw):
    some = [draw(nodes(f"n{index}")) for index in range(draw(st.integers(1, 5)))]
    where = {}
    for _ in range(draw(st.integers(0, 8))):
        where.setdefault(draw(st.sampled_from(some)).name, []).append(draw(pods()))
    return neighbours.World(some, where, NAMESPACES)


def built(world):
    cluster = Cluster()
    for name, of_namespace in world.namespaces.items():
        cluster.shared(Residents).set_namespace(name, of_namespace)
    for one in world.nodes.values():
        cluster.set_node(one)
    for name, there in world.where.items():
        for one in there:
            cluster.place(READER.read(one), name)
    return cluster


def judged(plugin, cluster, one):
    """Reasons by node, the same for all rows at once, one by one, and backwards."""
    columns = cluster.columns
    asked = Compiled(Profile(["x"], [PrioritySort(), plugin]), READER.read(one), columns)
    if not asked.filters:
        return {name: [] for name in columns.row_of}
    codes = plugin.filter(asked.state, asked.pod, columns, columns.rows)
    each = [int(plugin.filter(asked.state, asked.pod, columns, slice(row, row + 1))[0]) for row in range(columns.size)]
    backwards = plugin.filter(asked.state, asked.pod, columns, np.arange(columns.size)[::-1])[::-1]
    assert codes.tolist() == each == backwards.tolist()
    explain = lambda code: plugin.explain(asked.state, code & ~UNRESOLVABLE, columns)  # noqa: E731
    return {name: explain(int(codes[row])) if codes[row] else [] for name, row in columns.row_of.items()}


def scored(plugin, cluster, one, feasible):
    """(raw, normalized) by feasible node; None when the plugin has nothing to say."""
    columns = cluster.columns
    asked = Compiled(Profile(["x"], [PrioritySort(), plugin]), READER.read(one), columns)
    if not asked.scores:
        return None
    mask = np.array([columns.names[row] in feasible for row in range(columns.size)])
    plugin.survey(asked.state, asked.pod, columns, mask)
    raw = plugin.score(asked.state, asked.pod, columns, columns.rows)
    each = [int(plugin.score(asked.state, asked.pod, columns, slice(row, row + 1))[0]) for row in range(columns.size)]
    assert raw.tolist() == each
    normal = plugin.normalize(raw, plugin.bounds(raw, mask))
    named = {columns.names[row]: row for row in range(columns.size) if mask[row]}
    return {name: int(raw[row]) for name, row in named.items()}, {name: int(normal[row]) for name, row in named.items()}


def some_of(data, world):
    return data.draw(st.lists(st.sampled_from(sorted(world.nodes)), min_size=1, unique=True))


@given(world=worlds(), one=pods())
@settings(max_examples=150, deadline=None)
def test_spread_filters(world, one):
    assert judged(PodTopologySpread(cluster := built(world)), cluster, one) == neighbours.spread_reasons(one, world)


@given(world=worlds(), one=pods(), data=st.data())
@settings(max_examples=150, deadline=None)
def test_spread_scores(world, one, data):
    feasible = some_of(data, world)
    found = scored(PodTopologySpread(cluster := built(world)), cluster, one, feasible)
    expected = neighbours.spread_scores(one, world, feasible)
    assert (found is None) == (expected is None)
    if expected is not None:
        concerned = {name: found[0][name] for name in expected[0]}
        assert (concerned, found[1]) == expected


@given(world=worlds(), data=st.data(), listed=st.booleans())
@settings(max_examples=80, deadline=None)
def test_default_constraints_count_the_pods_of_the_owner(world, data, listed):
    feasible = some_of(data, world)
    selector = LabelSelector(match_labels={"app": "x"})
    one = pod(labels={"app": "x"})
    one.metadata.owner_references = [OwnerReference(kind="ReplicaSet", name="web", controller=True)]
    by_zone = TopologySpreadConstraint(max_skew=1, topology_key="zone", when_unsatisfiable="ScheduleAnyway")
    defaults = [by_zone] if listed else SYSTEM_DEFAULTS
    args = PodTopologySpreadArgs(defaulting_type="List", default_constraints=[by_zone]) if listed else None
    cluster = built(world)
    cluster.shared(Owners).set_owner("ReplicaSet", "default", "web", selector)
    own = [msgspec.structs.replace(each, label_selector=selector) for each in defaults]
    expected = neighbours.spread_scores(one, world, feasible, own, all_keys=listed)
    found = scored(PodTopologySpread(cluster, args), cluster, one, feasible)
    assert ({name: found[0][name] for name in expected[0]}, found[1]) == expected


@given(world=worlds(), one=pods())
@settings(max_examples=200, deadline=None)
def test_affinity_filters(world, one):
    assert judged(InterPodAffinity(cluster := built(world)), cluster, one) == neighbours.affinity_reasons(one, world)


@given(world=worlds(), one=pods(), data=st.data())
@settings(max_examples=200, deadline=None)
def test_affinity_scores(world, one, data):
    feasible = some_of(data, world)
    found = scored(InterPodAffinity(cluster := built(world)), cluster, one, feasible)
    expected = neighbours.affinity_scores(one, world, feasible)
    if found is None:
        assert set(expected[0].values()) <= {0}
    else:
        assert found == expected


MANY = 40
X = LabelSelector(match_labels={"app": "x"})


def wants(affinity="pod_affinity", *, required=(), preferred=()):
    terms = [PodAffinityTerm(topology_key=key, label_selector=X) for key in required]
    weighted = [
        WeightedPodAffinityTerm(weight=weight, pod_affinity_term=PodAffinityTerm(topology_key=key, label_selector=X))
        for weight, key in preferred
    ]
    side = PodAffinity(
        required_during_scheduling_ignored_during_execution=terms or None,
        preferred_during_scheduling_ignored_during_execution=weighted or None,
    )
    return pod(cpu="1", labels={"app": "x"}, affinity=Affinity(**{affinity: side}))


def spread(*keys, when="DoNotSchedule"):
    listed = [TopologySpreadConstraint(max_skew=1, topology_key=key, when_unsatisfiable=when, label_selector=X) for key in keys]
    return pod(cpu="1", labels={"app": "x"}, topology_spread_constraints=listed)


TYPICAL = [
    wants(required=["zone"]),
    wants(required=[HOST]),
    wants(preferred=[(5, "zone"), (3, HOST)]),
    wants("pod_anti_affinity", required=[HOST]),
    wants("pod_anti_affinity", preferred=[(2, "rack")]),
    spread("zone", HOST),
    spread("rack", "zone", when="ScheduleAnyway"),
    spread(HOST, when="ScheduleAnyway"),
]


class Neighbours(RuleBasedStateMachine):
    """What is kept between pods, and the tallies below it, equal what would be counted afresh."""

    def __init__(self):
        super().__init__()
        self.cluster, self.random = Cluster(), Random(3)
        self.plugins = [PrioritySort(), NodeResourcesFit(), PodTopologySpread(self.cluster), InterPodAffinity(self.cluster)]
        self.profile = Profile(["x"], self.plugins, {"PodTopologySpread": 2, "InterPodAffinity": 2})
        self.evaluator = Evaluator(self.profile, self.cluster.columns)
        self.residents = self.cluster.shared(Residents)
        self.namespaces = {}
        self.looked_at = []

    @initialize(data=st.data())
    def crowd(self, data):
        for index in range(MANY):
            values = {"zone": "abc"[index % 3], HOST: f"m{index}"} | ({"rack": str(index % 5)} if index % 4 else {})
            self.cluster.set_node(node(f"m{index}", cpu="4", labels=values))
        self.looked_at = [*TYPICAL, data.draw(pods())]

    @rule(data=st.data(), name=st.sampled_from(["n0", "n1", "m3", "m7"]))
    def set_node(self, data, name):
        self.cluster.set_node(data.draw(nodes(name)))

    @rule(name=st.sampled_from(["n0", "n1", "m3", "m5"]))
    def remove_node(self, name):
        self.cluster.remove_node(name)

    @rule(one=pods())
    def look(self, one):
        self.looked_at.append(one)

    @rule(index=st.integers(0, MANY - 1), cpu=st.sampled_from(["0", "1", "4"]))
    def resize(self, index, cpu):
        if (known := self.cluster.nodes.get(f"m{index}")) is not None:
            self.cluster.set_node(node(known.name, cpu=cpu, labels=known.labels, taints=known.spec.taints))

    @rule(one=pods(), place=st.integers(0, MANY - 1))
    def place(self, one, place):
        self.cluster.place(READER.read(one), f"m{place}")

    @rule(place=st.integers(0, 50), change=st.sampled_from(["labels", "terminating", "gone"]), data=st.data())
    def change(self, place, change, data):
        if not self.cluster.pods:
            return
        placed = list(self.cluster.pods.values())[place % len(self.cluster.pods)]
        if change == "gone":
            self.cluster.remove(placed.info.uid)
            return
        old = placed.info.pod
        new = pod(old.name, labels=old.labels)
        new.spec, new.metadata.uid, new.metadata.namespace = old.spec, old.metadata.uid, old.metadata.namespace
        new.metadata.labels = data.draw(labels) if change == "labels" else old.labels
        new.metadata.deletion_timestamp = "2026-01-01T00:00:00Z" if change == "terminating" else None
        assert self.cluster.place(READER.read(new), placed.node) in (True, False)

    @rule(place=st.integers(0, 20), count=st.sampled_from([1, 4, 20]))
    def schedule(self, place, count):
        if not self.looked_at:
            return
        one = self.looked_at[place % len(self.looked_at)]
        for _ in range(count):
            copy = pod(labels=one.labels)
            copy.spec, copy.metadata.namespace = one.spec, one.metadata.namespace
            info = READER.read(copy)
            row = self.evaluator.evaluate(info).choose(self.random)
            if row is not None:
                self.cluster.assume(info, self.cluster.columns.names[row])

    @rule(name=st.sampled_from(list(NAMESPACES)), of_namespace=st.sampled_from([None, {"team": "a"}, {"team": "b"}]))
    def relabel_namespace(self, name, of_namespace):
        self.residents.set_namespace(name, of_namespace)
        self.namespaces[name] = of_namespace or {}

    @invariant()
    def kept_equals_fresh(self):
        columns, size = self.cluster.columns, self.cluster.columns.size
        for one in (*self.looked_at[: len(TYPICAL)], *self.looked_at[-2:]):
            info = READER.read(one)
            kept = self.evaluator.evaluate(info)
            fresh = Evaluation(Compiled(self.profile, info, columns), columns)
            fresh.refresh()
            assert kept.feasible[:size].tolist() == fresh.feasible[:size].tolist()
            assert kept.total[:size].tolist() == fresh.total[:size].tolist()
            row, best = kept.choose(Random(0)), fresh.total[:size].max(initial=-1)
            assert row is None or fresh.total[row] == best

    @invariant()
    def rules_hold(self):
        cluster = self.cluster
        where = {name: [placed.info.pod for placed in cluster.pods_on(name)] for name in cluster.nodes}
        world = neighbours.World(cluster.nodes.values(), where, self.namespaces)
        for one in (*self.looked_at[: len(TYPICAL)], *self.looked_at[-2:]):
            kept = self.evaluator.evaluate(READER.read(one))
            refused = neighbours.spread_reasons(one, world), neighbours.affinity_reasons(one, world)
            for name, row in cluster.columns.row_of.items():
                if refused[0][name] or refused[1][name]:
                    assert not kept.feasible[row]

    @invariant()
    def tallies_equal_counts(self):
        columns = self.cluster.columns
        for known in self.residents._known.values():
            counts = np.zeros(columns.size, dtype=np.int64)
            for sort in self.residents._sorts.values():
                if known.tally in sort.tallies:
                    for row, number in sort.rows.items():
                        counts[row] += number
            assert known.tally.counts.values[: columns.size].tolist() == counts.tolist()
            assert known.tally.total == counts.sum()


Neighbours.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
TestNeighbours = Neighbours.TestCase


def test_pods_of_one_template_with_other_labels_are_told_apart():
    """The first of a group may start it anywhere; its twin that is not of the group may not, whoever is asked about first."""
    for order in (("x", "y"), ("y", "x")):
        cluster = Cluster()
        evaluator = Evaluator(Profile(["x"], [PrioritySort(), InterPodAffinity(cluster)]), cluster.columns)
        cluster.set_node(node("n0", labels={"zone": "a"}))
        fits = {}
        for app in order:
            one = wants(required=["zone"])
            one.metadata.labels = {"app": app}
            answer = evaluator.evaluate(READER.read(one))
            assert isinstance(answer, Evaluation)
            fits[app] = answer.fits(0)
        assert fits == {"x": True, "y": False}
