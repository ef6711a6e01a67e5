"""Per plugin: what cannot help leaves a refused pod asleep, what can wakes it."""

import copy

import pytest

from koordinator.api import keys
from koordinator.api.core import ContainerPort, DiskSource, TopologySpreadConstraint, Volume
from koordinator.api.meta import LabelSelector, ObjectMeta, format_time
from koordinator.api.slo import NodeMetric, NodeMetricInfo, NodeMetricStatus, ResourceMap
from koordinator.scheduler.engine.queued import Where
from scheduler.builders import Taint, gates, node, pod
from scheduler.mirror import EVERY_PLUGIN, Follower, Truth
from scheduler.plugins.test_neighbours import HOST, wants
from scheduler.plugins.test_volumes import ZONE, claim, storage_class, using, volume

TAINTS = {"taints": [Taint(key="t", value="1", effect="NoSchedule")]}


class World(Follower):
    def __init__(self):
        super().__init__(Truth(), configuration=EVERY_PLUGIN.replace("prodUsageThresholds: {cpu: 40}", ""))
        self.profile.plugins["DefaultPreemption"].evict = lambda _: None

    def node(self, name="a", **fields):
        fields.setdefault("labels", {HOST: name})
        return self.feed.node_set(node(name, **fields))

    def resident(self, one, name="a"):
        there = copy.deepcopy(one)
        there.spec.node_name = name
        self.feed.pod_added(there)
        return there

    def kept(self, plural, obj):
        for plugin in self.watchers:
            if plugin.resource.plural == plural:
                self.feed.object_set(plugin, obj)

    def usage(self, name, cpu):
        used = NodeMetricInfo(node_usage=ResourceMap(resources={"cpu": cpu}))
        status = NodeMetricStatus(update_time=format_time(self.clock.now()), node_metric=used)
        self.kept("nodemetrics", NodeMetric(kind="NodeMetric", metadata=ObjectMeta(name=name), status=status))


def with_port(number):
    one = pod()
    one.spec.containers[0].ports = [ContainerPort(host_port=number)]
    return one


def with_disk(name):
    return pod(volumes=[Volume(name="d", gce_persistent_disk=DiskSource(pd_name=name))])


def labelled(app):
    return pod(labels={"app": app})


# Each case: set up and return (the refused pod, what cannot help, what helps).


def resources_fit(world):
    world.node(cpu="1")
    useless = [
        lambda: world.node("b", cpu="2"),
        lambda: world.node(cpu="1", labels={"new": "label"}),
        lambda: world.node(cpu="3", labels={"new": "label"}),
        lambda: world.feed.pod_deleted(world.resident(pod(cpu="1"))),
    ]
    return pod(cpu="4"), useless, lambda: world.node("c", cpu="4")


def node_unschedulable(world):
    world.node(unschedulable=True)
    return pod(), [lambda: world.node("b", unschedulable=True)], world.node


def taint_toleration(world):
    world.node(**TAINTS)
    other = {"taints": [Taint(key="u", effect="NoExecute")]}
    return pod(), [lambda: world.node("b", **TAINTS), lambda: world.node(**other)], world.node


def node_affinity(world):
    world.node()
    useless = [lambda: world.node("b", labels={"zone": "b"}), lambda: world.node(labels={"zone": "c"})]
    return pod(node_selector={"zone": "a"}), useless, lambda: world.node("b", labels={"zone": "a"})


def scheduling_hint(world):
    world.node()
    hinted = pod(annotations={keys.SCHEDULING_HINT: '{"nodeNames":["x"]}'})
    return hinted, [lambda: world.node("b")], lambda: world.node("x")


def node_ports(world):
    world.node()
    holder, other = world.resident(with_port(80)), world.resident(with_port(443))
    return with_port(80), [lambda: world.feed.pod_deleted(other)], lambda: world.feed.pod_deleted(holder)


def volume_restrictions(world):
    world.node()
    holder, other = world.resident(with_disk("a")), world.resident(with_disk("b"))
    return with_disk("a"), [lambda: world.feed.pod_deleted(other)], lambda: world.feed.pod_deleted(holder)


def volume_binding(world):
    world.node()
    world.kept("storageclasses", storage_class())
    useless = [lambda: world.node(**TAINTS), world.node, lambda: world.feed.pod_deleted(world.resident(pod()))]
    return using("data"), useless, lambda: world.kept("persistentvolumeclaims", claim())


def volume_zone(world):
    world.node(labels={ZONE: "b"})
    world.kept("persistentvolumes", volume(labels={ZONE: "a"}))
    world.kept("persistentvolumeclaims", claim(volume="pv"))
    useless = [lambda: world.node(labels={ZONE: "b"}, **TAINTS), lambda: world.feed.pod_deleted(world.resident(pod()))]
    return using("data"), useless, lambda: world.node(labels={ZONE: "a"})


def pod_topology_spread(world):
    for name, zone in (("a", "a"), ("b", "b")):
        world.node(name, labels={"zone": zone})
    world.resident(labelled("x"))
    constraint = TopologySpreadConstraint(
        max_skew=1,
        topology_key="zone",
        when_unsatisfiable="DoNotSchedule",
        label_selector=LabelSelector(match_labels={"app": "x"}),
        node_affinity_policy="Ignore",
    )
    one = pod(labels={"app": "x"}, topology_spread_constraints=[constraint], node_selector={"zone": "a"})
    return one, [lambda: world.resident(labelled("y"), "b")], lambda: world.resident(labelled("x"), "b")


def inter_pod_affinity(world):
    world.node(labels={"zone": "a"})
    one = wants(required=["zone"])
    one.metadata.labels = None
    useless = [lambda: world.resident(labelled("y")), lambda: world.feed.pod_deleted(world.resident(labelled("z")))]
    return one, useless, lambda: world.resident(labelled("x"))


def who_kept_away_vanishes_with_its_node(world):
    world.node(labels={"zone": "a"})
    world.node("b", labels={"zone": "a"})
    world.resident(labelled("x"), "b")
    one = wants("pod_anti_affinity", required=["zone"])
    return one, [lambda: world.resident(labelled("y"))], lambda: world.feed.node_deleted(node("b"))


def load_aware(world):
    world.node(cpu="4")
    world.usage("a", "3900m")
    useless = [lambda: world.usage("a", "3800m"), lambda: world.node(cpu="4", **TAINTS), lambda: world.node(cpu="4")]
    return pod(cpu="1"), useless, lambda: world.usage("a", "100m")


CASES = [
    resources_fit,
    node_unschedulable,
    taint_toleration,
    node_affinity,
    scheduling_hint,
    node_ports,
    volume_restrictions,
    volume_binding,
    volume_zone,
    pod_topology_spread,
    inter_pod_affinity,
    who_kept_away_vanishes_with_its_node,
    load_aware,
]


@pytest.mark.parametrize("case", CASES)
def test_only_what_can_help_wakes(case):
    world = World()
    one, useless, helpful = case(world)
    world.feed.pod_added(one)
    world.run()
    queued = world.queue.get(one.metadata.uid)
    assert queued.where is Where.UNSCHEDULABLE
    for number, happens in enumerate(useless):
        happens()
        assert queued.where is Where.UNSCHEDULABLE, f"woken by the useless event {number}"
    helpful()
    assert queued.where in (Where.BACKOFF, Where.ACTIVE)
    world.clock.advance(15)
    world.queue.flush()
    world.run()
    assert [binding.pod for binding in world.bindings] == [queued]


def test_a_gated_pod_is_woken_by_its_own_update_alone():
    world = World()
    world.node()
    gated = pod(scheduling_gates=gates("wait"))
    world.feed.pod_added(gated)
    world.node("b")
    queued = world.queue.get(gated.metadata.uid)
    assert queued.where is Where.GATED
    free = copy.deepcopy(gated)
    free.spec.scheduling_gates = None
    world.feed.pod_updated(gated, free)
    assert queued.where is Where.ACTIVE
