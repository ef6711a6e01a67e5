"""What is noted on templates belongs to who noted it, also when templates live longer: identities may be used again."""

import gc
import weakref

from koordinator.api.core import Affinity, PodAffinity, PodAffinityTerm
from koordinator.api.meta import LabelSelector
from koordinator.clock import ManualClock
from koordinator.scheduler.catalogue import built_in
from koordinator.scheduler.config.args import NodeAffinityArgs
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.columns import Columns
from koordinator.scheduler.engine.compile import Compiled
from koordinator.scheduler.engine.framework import Plugin
from koordinator.scheduler.engine.pod import PodReader
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.engine.residents import Residents
from koordinator.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from koordinator.scheduler.plugins.load_aware.args import LoadAwareArgs, defaulted
from koordinator.scheduler.plugins.load_aware.plugin import LoadAwareScheduling
from koordinator.scheduler.plugins.node_affinity import NodeAffinity
from koordinator.scheduler.plugins.priority_sort import PrioritySort
from scheduler.builders import affinity, node, pod, requirement, term

MANY = 100
"""So many owners one after the other: some surely come to lie where another lay."""


class Teller(Plugin):
    name = "Teller"

    def __init__(self, number):
        self.number = number

    def individual(self, pod):
        return self.number


def test_profiles_do_not_take_each_others_notes():
    one = PodReader().read(pod(cpu="1"))
    for number in range(MANY):
        assert str(number) in str(Profile(["x"], [PrioritySort(), Teller(number)]).signature(one))


def test_notes_do_not_pile_up_when_weights_change():
    profile, one = Profile(["x"], [PrioritySort()]), PodReader().read(pod(cpu="1"))
    profile.signature(one)
    before = len(one.template.notes)
    for _ in range(10):
        profile.set_weights({})
        profile.signature(one)
    assert len(one.template.notes) == before


def test_residents_do_not_take_each_others_notes():
    reader = PodReader()
    for number in range(MANY):
        cluster = Cluster()
        residents = cluster.shared(Residents)
        feature = residents.feature("x", number)
        if number % 2:
            residents.describe("x", lambda _, feature=feature: [feature])
        cluster.set_node(node("a"))
        cluster.place(reader.read(pod(cpu="1")), "a")
        assert residents.having(feature).tally.total == number % 2
        del cluster, residents, feature
        gc.collect()


def test_a_description_that_comes_late_counts_for_templates_of_pods_that_were_gone():
    reader, cluster = PodReader(), Cluster()
    residents = cluster.shared(Residents)
    cluster.set_node(node("a"))
    gone = reader.read(pod(cpu="1"))
    cluster.place(gone, "a")
    cluster.remove(gone.uid)
    feature = residents.feature("x", 1)
    residents.describe("x", lambda _: [feature])
    cluster.place(reader.read(pod(cpu="1")), "a")
    assert residents.having(feature).tally.total == 1


def test_estimates_belong_to_the_plugin_that_made_them():
    one = PodReader().read(pod(cpu="1"))
    for number in range(MANY):
        factor = 10 + number % 50
        args = defaulted(LoadAwareArgs(estimated_scaling_factors={"cpu": factor, "memory": 70}))
        plugin = LoadAwareScheduling(Cluster(), ManualClock(), args)
        assert plugin.signature(one)[0][1][0] == 10 * factor


def test_affinity_that_is_added_by_new_arguments_counts_for_pods_known_before():
    entry = built_in()["NodeAffinity"]
    columns = Columns()
    for name, zone in (("a", "x"), ("b", "y")):
        columns.set_labels(columns.add_node(name), {"zone": zone})
    plugin = NodeAffinity(None)
    profile = Profile(["x"], [PrioritySort(), plugin])
    one = PodReader().read(pod(cpu="1"))
    profile.signature(one)
    added = affinity(required=[term(requirement("zone", "In", "y"))]).node_affinity
    assert entry.reconfigure(plugin, NodeAffinityArgs(added_affinity=added))
    profile.set_weights({})
    compiled = Compiled(profile, one, columns)
    assert (plugin.filter(compiled.state, one, columns, columns.rows) == 0).tolist() == [False, True]


def test_what_a_signature_names_lives_as_long_as_the_signature():
    """Pods wait in groups by their signature for longer than anybody keeps what was worked out for it."""
    cluster = Cluster()
    plugin = InterPodAffinity(cluster)
    cluster.set_node(node("a"))
    away = PodAffinityTerm(label_selector=LabelSelector(match_labels={"app": "x"}), topology_key="zone")
    apart = Affinity(pod_anti_affinity=PodAffinity(required_during_scheduling_ignored_during_execution=[away]))
    reader = PodReader(remembered=0)
    resident = reader.read(pod(labels={"app": "y"}, affinity=apart))
    cluster.place(resident, "a")
    signature = plugin.individual(reader.read(pod(labels={"app": "x"})))
    features = [weakref.ref(one) for one in plugin.residents.caring("default", {"app": "x"})]
    assert features
    cluster.remove(resident.uid)
    del resident
    gc.collect()
    assert signature
    assert all(one() is not None for one in features)
