"""The manager asked by a plugin in the real cycle: agreed at Filter, remembered until Reserve, not remembered from what-ifs."""

import numpy as np
import pytest

from koordinator.clock import ManualClock
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.cycle import Scheduler
from koordinator.scheduler.engine.framework import Code, FilterPlugin, PostFilterPlugin, ReservePlugin, Status
from koordinator.scheduler.engine.hooks import PHASE, POST_FILTER, Hint, HintProvider
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.engine.queue import SchedulingQueue
from koordinator.scheduler.numa.hints import Zones
from koordinator.scheduler.numa.manager import Question, TopologyManager, affinities
from koordinator.scheduler.plugins.priority_sort import PrioritySort
from scheduler.builders import READER, node, pod
from scheduler.stories import Story


class Provider(HintProvider):
    def __init__(self, name, told):
        self.name, self.told, self.asked, self.given = name, told, 0, []

    def hints(self, state, pod, node):
        self.asked += 1
        return self.told

    def allocate(self, state, pod, node, hint):
        self.given.append(hint.affinity)
        return Status(Code.UNSCHEDULABLE, ("zone is full",)) if pod.name == "too-big" else None


def question(state, name="p", policy="SingleNUMANode"):
    return Question(state, READER.read(pod(name)), "a", policy, Zones((0, 1)))


def zone(*wanted):
    return [Hint(1 << one) for one in wanted]


@pytest.fixture
def providers():
    return [Provider("Cpus", {"cpu": zone(0, 1)}), Provider("Gpus", {"gpu": zone(1)})]


def test_what_was_agreed_is_not_asked_again(providers):
    manager, state = TopologyManager(Cluster(), providers), {}
    assert manager.admit(question(state)) is None
    assert affinities(state) == {"a": Hint(0b10)}
    providers[1].told = {"gpu": zone(0)}
    assert manager.admit(question(state)) is None
    assert [one.asked for one in providers] == [1, 1]
    assert [one.given for one in providers] == [[2, 2], [2, 2]]


def test_judging_asks_again_and_forgets_what_does_not_hold_any_more(providers):
    manager, state = TopologyManager(Cluster(), providers), {}
    manager.judge(question(state))
    providers[1].told = {"gpu": []}
    assert manager.judge(question(state)).reasons == ("Unsatisfied NUMA gpu",)
    assert affinities(state) == {}


def test_after_filter_has_failed_everything_is_asked_again_and_nothing_remembered(providers):
    manager, state = TopologyManager(Cluster(), providers), {}
    manager.admit(question(state))
    state[PHASE] = POST_FILTER
    providers[1].told = {"gpu": zone(0)}
    assert manager.admit(question(state)) is None
    assert providers[0].given == [2, 1]
    assert affinities(state) == {"a": Hint(0b10)}


def test_what_only_would_be_is_not_remembered(providers):
    cluster = Cluster()
    manager, state = TopologyManager(cluster, providers), {}
    with cluster.rehearsal():
        assert manager.admit(question(state)) is None
    assert affinities(state) == {}


def test_refusals_of_all_providers_are_told(providers):
    for one in providers:
        one.told = Status(Code.UNSCHEDULABLE, (f"no {one.name}",))
    refused = TopologyManager(Cluster(), providers).admit(question({}))
    assert (refused.code, refused.reasons) == (Code.UNSCHEDULABLE, ("no Cpus", "no Gpus"))


def test_zones_agreed_on_that_do_not_do_after_all_are_a_refusal(providers):
    state = {}
    refused = TopologyManager(Cluster(), providers).admit(question(state, "too-big"))
    assert refused.reasons == ("zone is full",)
    assert affinities(state) == {}
    assert providers[1].given == []


class Numa(FilterPlugin, ReservePlugin, HintProvider, PostFilterPlugin):
    """Two zones a node; a zone takes one pod."""

    name = "Numa"

    def __init__(self, manager):
        self.manager, self.taken, self.phases = manager, {}, []

    def signature(self, pod):
        return pod.name.startswith("two-zones")

    def free(self, node):
        return [zone for zone in (0, 1) if zone not in self.taken.get(node, {}).values()]

    def hints(self, state, pod, node):
        return {"cpu": [Hint(1 << zone) for zone in self.free(node)]}

    def allocate(self, state, pod, node, hint):
        return None

    def ask(self, state, pod, node):
        return Question(state, pod, node, "SingleNUMANode", Zones((0, 1)))

    def filter(self, state, pod, nodes, rows):
        names = [nodes.names[row] for row in np.arange(nodes.size)[rows]]
        return np.array([self.manager.judge(self.ask(state, pod, name)) is not None for name in names], dtype=np.int64)

    def explain(self, state, code, nodes):
        return ["node(s) had no free zone"]

    def post_filter(self, state, pod, diagnosis):
        self.phases.append(state[PHASE])
        return None, Status(Code.UNSCHEDULABLE, ("nobody to evict",))

    def reserve(self, state, pod, node):
        refused = self.manager.admit(self.ask(state, pod, node))
        self.taken.setdefault(node, {})[pod.name] = affinities(state)[node].affinity.bit_length() - 1
        return refused

    def unreserve(self, state, pod, node):
        self.taken[node].pop(pod.name, None)


def test_pods_of_one_template_get_a_zone_each_through_the_real_cycle():
    cluster, story, clock = Cluster(), Story(), ManualClock()
    manager = TopologyManager(cluster)
    numa = Numa(manager)
    queue, profile = SchedulingQueue(clock.monotonic), Profile(["koord-scheduler"], [PrioritySort(), numa])
    manager.providers = profile.hint_providers
    scheduler = Scheduler(cluster, queue, [profile], story, 1)
    for name in ("a", "b"):
        cluster.set_node(node(name))
    for index in range(5):
        scheduler.add_pending(READER.read(pod(f"p{index}")), "koord-scheduler")
    while scheduler.schedule_one():
        pass
    assert sorted((name, zone) for name, pods in numa.taken.items() for zone in pods.values()) == [
        ("a", 0),
        ("a", 1),
        ("b", 0),
        ("b", 1),
    ]
    assert list(story.refused.values()) == ["0/2 nodes are available: 2 node(s) had no free zone. nobody to evict"]
    assert numa.phases == [POST_FILTER]
    assert PHASE not in scheduler.evaluation(READER.read(pod("q")), profile).state
