"""NodeResourcesFitPlus, ScarceResourceAvoidance and LoadAwareScheduling node by node, against their rules written plainly."""

import hypothesis.strategies as st
from hypothesis import given, settings

from koordinator.api.core import Container, ResourceRequirements
from koordinator.api.meta import Condition, ObjectMeta, format_time
from koordinator.api.resources import amounts, pod_requests
from koordinator.api.slo import NodeMetric, NodeMetricInfo, NodeMetricStatus, PodMetricInfo, ResourceMap
from koordinator.clock import ManualClock
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.evaluate import Evaluator
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.plugins.load_aware.args import LoadAwareArgs
from koordinator.scheduler.plugins.load_aware.plugin import LoadAwareScheduling
from koordinator.scheduler.plugins.priority_sort import PrioritySort
from koordinator.scheduler.plugins.resources_fit_plus import FitPlusArgs, NodeResourcesFitPlus, ResourceStrategy
from koordinator.scheduler.plugins.scarce_resource_avoidance import ScarceArgs, ScarceResourceAvoidance
from scheduler.builders import PodReader, node, pod

GPU, ODD = "nvidia.com/gpu", "example.com/odd"
NAMES = ["a", "b", "c"]
MEBIBYTE = 2**20


@st.composite
def nodes(draw, name):
    extended = draw(st.dictionaries(st.sampled_from([GPU, ODD]), st.integers(0, 4), max_size=2))
    return node(name, cpu=str(draw(st.integers(0, 8))), memory=f"{draw(st.integers(0, 8))}Gi", **extended)


@st.composite
def pods(draw):
    asked = draw(st.dictionaries(st.sampled_from(["cpu", "memory", GPU, ODD]), st.integers(0, 4), max_size=4))
    requests = {name: f"{number}Gi" if name == "memory" else str(number) for name, number in asked.items()}
    one = pod(requests=requests)
    one.spec.containers = [Container(name="c", resources=ResourceRequirements(requests=requests or None))]
    return one


moves = st.lists(
    st.one_of(
        st.tuples(st.just("node"), st.sampled_from(NAMES).flatmap(nodes)),
        st.tuples(st.just("gone"), st.sampled_from(NAMES)),
        st.tuples(st.just("place"), st.tuples(pods(), st.sampled_from(NAMES))),
        st.tuples(st.just("leave"), st.integers(0, 9)),
    ),
    min_size=1,
    max_size=12,
)


class World:
    """Nodes and who is where, as told in any order; one plugin whose evaluations are kept all along."""

    def __init__(self, make):
        self.cluster, self.reader = Cluster(), PodReader()
        self.plugin = make(self.cluster)
        self.evaluator = Evaluator(Profile(["x"], [PrioritySort(), self.plugin]), self.cluster.columns)
        self.nodes, self.where = {}, {}

    def move(self, kind, what):
        if kind == "node":
            self.nodes[what.name] = what
            self.cluster.set_node(what)
        elif kind == "gone":
            self.nodes.pop(what, None)
            self.cluster.remove_node(what)
        elif kind == "place":
            one, name = what
            self.where[one.metadata.uid] = one, name
            self.cluster.place(self.reader.read(one), name)
        elif self.where:
            uid = list(self.where)[what % len(self.where)]
            del self.where[uid]
            self.cluster.remove(uid)

    def there(self, name):
        return [one for one, place in self.where.values() if place == name]

    def totals(self, one):
        columns, totals = self.cluster.columns, self.evaluator.evaluate(self.reader.read(one)).totals()
        return {name: int(totals[row]) for name, row in columns.row_of.items()}


STRATEGIES = {"cpu": ("MostAllocated", 2), GPU: ("LeastAllocated", 3), "memory": ("MostAllocated", 1)}


def fit_plus(one, there, here):
    """The weighted mean over the configured resources that the pod asks for; 100 when it asks for none of them."""
    has, asked, total, weights = amounts(here.status.allocatable), pod_requests(one), 0, 0
    for name, (strategy, weight) in STRATEGIES.items():
        if not asked.get(name):
            continue
        used = sum(counted(other, name) for other in there) + asked.get(name, 0)
        weights += weight
        capacity = has.get(name, 0)
        counts = min(used, capacity) if strategy == "MostAllocated" else max(capacity - used, 0)
        total += weight * (counts * 100 // capacity) if capacity else 0
    return total // weights if weights else 100


def counted(one, name):
    """Pods that are there and do not say count as a little."""
    listed = one.spec.containers[0].resources.requests or {}
    least = {"cpu": 100, "memory": 200 * MEBIBYTE}
    return pod_requests(one).get(name, 0) if name in listed else least.get(name, 0)


@given(steps=moves, asking=pods())
@settings(max_examples=150, deadline=None)
def test_fit_plus(steps, asking):
    resources = {name: ResourceStrategy(strategy, weight) for name, (strategy, weight) in STRATEGIES.items()}
    world = World(lambda _: NodeResourcesFitPlus(FitPlusArgs(resources=resources)))
    for step in steps:
        world.move(*step)
        assert world.totals(asking) == {name: fit_plus(asking, world.there(name), one) for name, one in world.nodes.items()}


def scarce(one, here):
    """How few of the kinds of resources that the pod does not want are scarce."""
    has = {name for name, number in amounts(here.status.allocatable).items() if number > 0} - {"pods"}
    unwanted = has - {name for name, number in pod_requests(one).items() if number > 0}
    few = unwanted & {GPU}
    return 100 if not few else (len(unwanted) - len(few)) * 100 // len(unwanted)


@given(steps=moves, asking=pods())
@settings(max_examples=150, deadline=None)
def test_scarce_resources(steps, asking):
    world = World(lambda _: ScarceResourceAvoidance(ScarceArgs(resources=[GPU])))
    for step in steps:
        world.move(*step)
        assert world.totals(asking) == {name: scarce(asking, one) for name, one in world.nodes.items()}


# --- LoadAwareScheduling -----------------------------------------------------------------------------------------------------

THRESHOLDS, FACTORS = {"cpu": 60, "memory": 80}, {"cpu": 85, "memory": 70}
INTERVAL, EXPIRES = 60, 180


def estimate(one):
    asked, found = pod_requests(one), {}
    for name, least in (("cpu", 250), ("memory", 200 * MEBIBYTE)):
        number = asked.get(name, 0)
        found[name] = int(number * FACTORS[name] / 100 + 0.5) if number else least
    return found


def used_now(there, report, bound_at):
    """Reported usage, and for each pod that the report cannot show in full what its estimate is above its own usage."""
    total = dict(report["usage"])
    for one in there:
        own, seen = report["pods"].get(one.name), bound_at[one.metadata.uid] <= report["at"] - INTERVAL
        for name, number in estimate(one).items():
            if own is None:
                total[name] += number
            elif not seen:
                total[name] += max(number - own[name], 0)
    return total


def load_aware(one, there, here, report, bound_at, now):
    """-1 refused, else the score."""
    if report is None:
        return 0
    has, mine = amounts(here.status.allocatable), estimate(one)
    if report["at"] + EXPIRES <= now:
        return -1
    total, score = used_now(there, report, bound_at), 0
    for name in ("cpu", "memory"):
        capacity, used = has.get(name, 0), total[name] + mine[name]
        if capacity and int(used / capacity * 100 + 0.5) > THRESHOLDS[name]:
            return -1
        score += max(capacity - used, 0) * 100 // capacity if capacity else 0
    return score // 2


reports = st.tuples(
    st.sampled_from(NAMES), st.integers(0, 8000), st.integers(0, 8), st.sampled_from([0, 30, 170, 400]), st.booleans()
)


@given(
    steps=st.lists(st.one_of(moves.map(lambda some: some[0]), st.tuples(st.just("report"), reports)), min_size=1, max_size=14),
    ages=st.lists(st.sampled_from([0, 45, 100, 300]), min_size=14, max_size=14),
    asking=pods(),
)
@settings(max_examples=150, deadline=None)
def test_load_aware(steps, ages, asking):
    clock = ManualClock()
    args = LoadAwareArgs(usage_thresholds=THRESHOLDS, estimated_scaling_factors=FACTORS, node_metric_expiration_seconds=EXPIRES)
    world = World(lambda cluster: LoadAwareScheduling(cluster, clock, args))
    known, bound_at = {}, {}
    for (kind, what), age in zip(steps, ages, strict=False):
        if kind == "report":
            name, cpu, memory, old, of_pods = what
            known[name] = report = {
                "at": clock.now() - old,
                "usage": {"cpu": cpu, "memory": memory * 2**30},
                "pods": {one.name: {"cpu": 100, "memory": MEBIBYTE} for one in world.there(name)} if of_pods else {},
            }
            world.plugin.object_set(as_metric(name, report))
        else:
            if kind == "place":
                bound_at[what[0].metadata.uid] = clock.now() - age
                at = format_time(clock.now() - age)
                what[0].status.conditions = [Condition(type="PodScheduled", status="True", last_transition_time=at)]
            world.move(kind, what)
        now = clock.now()
        expected = {
            name: load_aware(asking, world.there(name), one, known.get(name), bound_at, now)
            for name, one in world.nodes.items()
        }
        assert world.totals(asking) == expected


def as_metric(name, report):
    def wire(usage):
        return ResourceMap(resources={"cpu": f"{usage['cpu']}m", "memory": str(usage["memory"])})

    used = [PodMetricInfo(name=one, namespace="default", pod_usage=wire(usage)) for one, usage in report["pods"].items()]
    status = NodeMetricStatus(
        update_time=format_time(report["at"]), node_metric=NodeMetricInfo(node_usage=wire(report["usage"])), pods_metric=used
    )
    return NodeMetric(metadata=ObjectMeta(name=name), status=status)
