"""After any order of events, missed ones included, every plugin says what it says in a scheduler that has just started.

Truth changes at random: nodes are relabelled, resized, tainted, removed and come back; pods, reports, claims, volumes, budgets,
namespaces and services come, change and go. Watches of single kinds are cut off and list again later.
"""

import copy

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from koordinator.api import keys
from koordinator.api.core import (
    ClaimSource,
    Container,
    ContainerImage,
    ContainerPort,
    DiskSource,
    Namespace,
    PodDisruptionBudget,
    PodDisruptionBudgetSpec,
    PodDisruptionBudgetStatus,
    Service,
    ServiceSpec,
    Volume,
)
from koordinator.api.meta import Condition, LabelSelector, ObjectMeta, format_time
from koordinator.api.slo import NodeMetric, NodeMetricInfo, NodeMetricStatus, PodMetricInfo, ResourceMap
from koordinator.api.storage import CSINode, CSINodeDriver, CSINodeSpec, VolumeNodeResources
from koordinator.clock import ManualClock
from scheduler import builders
from scheduler.mirror import Follower, Truth
from scheduler.plugins.test_neighbours import labels, nodes, pods
from scheduler.plugins.test_volumes import claim, storage_class, using, volume

HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
CROWD, MOVING = 24, ["m0", "m1", "m2", "ghost"]
NAMES = [f"m{index}" for index in range(CROWD)]
CLAIMS, VOLUMES = ["data", "more", "once"], ["pv", "other"]
GPU = "nvidia.com/gpu"


def crowd(index):
    values = {"zone": "abc"[index % 3], ZONE: "ab"[index % 2], HOST: f"m{index}", "rack": str(index % 5)}
    return builders.node(f"m{index}", cpu="8", labels=values, **({GPU: 2} if index % 6 == 0 else {}))


def looked_at():
    """A pod for what each plugin looks at."""
    port = [Container(name="c", image="app:1", ports=[ContainerPort(host_port=80)])]
    with_port = builders.pod(labels={"app": "x"})
    with_port.spec.containers = port
    disk = Volume(name="d", gce_persistent_disk=DiskSource(pd_name="a"))
    return [
        builders.pod(cpu="2", memory="1Gi", labels={"app": "x"}),
        builders.pod(cpu="1", labels={"koordinator.sh/priority-class": "koord-prod"}, requests={GPU: "1"}, limits={GPU: "1"}),
        with_port,
        builders.pod(volumes=[disk]),
        using("data"),
        using("more", "once"),
        builders.pod(tolerations=[builders.Toleration(key="t", operator="Exists")], node_selector={"zone": "a"}),
        builders.pod(annotations={keys.SCHEDULING_HINT: '{"nodeNames":["m0","m1","m5"]}'}),
    ]


@st.composite
def residents(draw):
    """A pod on a node, with something for some plugin."""
    one = draw(pods())
    one.spec.containers[0].resources.requests = {"cpu": draw(st.sampled_from(["100m", "1", "3"]))}
    kind = draw(st.sampled_from(["", "port", "disk", "claim", "once"]))
    if kind == "port":
        one.spec.containers[0].ports = [ContainerPort(host_port=draw(st.sampled_from([80, 443])))]
    elif kind == "disk":
        one.spec.volumes = [Volume(name="d", gce_persistent_disk=DiskSource(pd_name="a"))]
    elif kind:
        name = "once" if kind == "once" else draw(st.sampled_from(CLAIMS))
        one.metadata.namespace = "default"
        one.spec.volumes = [Volume(name="v", persistent_volume_claim=ClaimSource(claim_name=name))]
    one.spec.priority = draw(st.sampled_from([None, 9500]))
    one.spec.node_name = draw(st.sampled_from([*NAMES[:6], "m9", "ghost"]))
    at = format_time(draw(st.integers(0, 600)))
    one.status.conditions = [Condition(type="PodScheduled", status="True", last_transition_time=at)]
    return one


class Gaps(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.truth, self.clock = Truth(), ManualClock(1000.0)
        self.asked = looked_at()

    @initialize()
    def start(self):
        for index in range(CROWD):
            self.truth.set("nodes", crowd(index))
        self.truth.set("storageclasses", storage_class())
        self.truth.set("persistentvolumeclaims", claim("once", modes=["ReadWriteOncePod"]))
        self.live = Follower(self.truth, self.clock)

    def put(self, plural, obj):
        self.truth.set(plural, obj)
        self.live.changed(plural, obj.key)

    def drop(self, plural, key):
        self.truth.delete(plural, key)
        self.live.changed(plural, key)

    def next_version(self, plural, key):
        return copy.deepcopy(self.truth.of(plural)[key])

    # -- nodes

    @rule(data=st.data(), name=st.sampled_from(MOVING))
    def node(self, data, name):
        new = data.draw(nodes(name))
        if (old := self.truth.of("nodes").get(name)) is not None:
            new.metadata.uid = old.metadata.uid
        self.put("nodes", new)

    @rule(name=st.sampled_from(MOVING), back=st.booleans())
    def node_goes(self, name, back):
        """And perhaps another of its name comes before anybody looks."""
        gone = self.truth.delete("nodes", name)
        if gone is None or not back:
            self.live.changed("nodes", name)
            return
        again = copy.deepcopy(gone)
        again.metadata.uid, again.metadata.labels = "", {"zone": "c"}
        self.put("nodes", again)

    @rule(
        name=st.sampled_from(NAMES),
        kind=st.sampled_from(["labels", "cordon", "taint", "cpu", "image", "thresholds", "garbage"]),
        data=st.data(),
    )
    def node_changes(self, name, kind, data):
        if name not in self.truth.of("nodes"):
            return
        one = self.next_version("nodes", name)
        if kind == "labels":
            one.metadata.labels = {
                **one.labels,
                "zone": data.draw(st.sampled_from("abc")),
                ZONE: data.draw(st.sampled_from("ab")),
            }
        elif kind == "cordon":
            one.spec.unschedulable = not one.spec.unschedulable
        elif kind == "taint":
            one.spec.taints = data.draw(st.lists(builders.taints, max_size=2))
        elif kind == "cpu":
            one.status.allocatable = {**one.status.allocatable, "cpu": data.draw(st.sampled_from(["0", "2", "8", "32"]))}
        elif kind == "image":
            size = data.draw(st.sampled_from([50, 900]))
            one.status.images = [ContainerImage(names=["app:1"], size_bytes=size * 2**20)] if data.draw(st.booleans()) else None
        else:
            text = '{"usageThresholds":{"cpu":90}}' if kind == "thresholds" else "{"
            one.metadata.annotations = {keys.USAGE_THRESHOLDS: text}
        self.put("nodes", one)

    # -- pods

    @rule(one=residents())
    def pod_is_bound(self, one):
        self.put("pods", one)

    @rule(
        place=st.integers(0, 30), kind=st.sampled_from(["labels", "going", "ended", "gone", "resized", "again"]), data=st.data()
    )
    def pod_changes(self, place, kind, data):
        known = list(self.truth.of("pods"))
        if not known:
            return
        key = known[place % len(known)]
        if kind == "gone":
            self.drop("pods", key)
            return
        one = self.next_version("pods", key)
        if kind == "labels":
            one.metadata.labels = data.draw(labels)
        elif kind == "going":
            one.metadata.deletion_timestamp = "2026-01-01T00:00:00Z"
        elif kind == "ended":
            one.status.phase = "Succeeded"
        elif kind == "resized":
            one.spec.containers[0].resources.requests = {"cpu": data.draw(st.sampled_from(["50m", "2", "5"]))}
        else:
            one.metadata.uid, one.spec.node_name = "", data.draw(st.sampled_from(NAMES))
        self.put("pods", one)

    # -- what plugins watch

    @rule(
        name=st.sampled_from([*NAMES[:5], "ghost"]), cpu=st.integers(0, 9), age=st.sampled_from([5, 200, 290]), data=st.data()
    )
    def report(self, name, cpu, age, data):
        usage = NodeMetricInfo(node_usage=ResourceMap(resources={"cpu": str(cpu), "memory": "1Gi"}))
        there = [pod for pod in self.truth.of("pods").values() if pod.spec.node_name == name]
        used = [
            PodMetricInfo(
                name=pod.name,
                namespace=pod.metadata.namespace,
                priority="koord-prod",
                pod_usage=ResourceMap(resources={"cpu": "1"}),
            )
            for pod in there[: data.draw(st.integers(0, 2))]
        ]
        status = NodeMetricStatus(update_time=format_time(self.clock.now() - age), node_metric=usage, pods_metric=used)
        self.put("nodemetrics", NodeMetric(kind="NodeMetric", metadata=ObjectMeta(name=name), status=status))

    @rule(name=st.sampled_from(CLAIMS), state=st.sampled_from(["waiting", "bound", "gone", "big"]), of=st.sampled_from(VOLUMES))
    def claim(self, name, state, of):
        modes = ["ReadWriteOncePod"] if name == "once" else ["ReadWriteOnce"]
        if state == "gone":
            self.drop("persistentvolumeclaims", f"default/{name}")
        else:
            size = "50Gi" if state == "big" else "10Gi"
            self.put("persistentvolumeclaims", claim(name, size=size, volume=of if state == "bound" else "", modes=modes))

    @rule(
        name=st.sampled_from(VOLUMES),
        zone=st.sampled_from([None, "a", "b"]),
        csi=st.sampled_from([None, "h"]),
        there=st.booleans(),
    )
    def volume(self, name, zone, csi, there):
        if there:
            self.put("persistentvolumes", volume(name, zone, labels={ZONE: zone} if zone else None, csi=csi))
        else:
            self.drop("persistentvolumes", name)

    @rule(mode=st.sampled_from(["WaitForFirstConsumer", "Immediate", None]))
    def storage(self, mode):
        if mode is None:
            self.drop("storageclasses", "slow")
        else:
            self.put("storageclasses", storage_class(mode=mode))

    @rule(name=st.sampled_from(NAMES[:4]), most=st.sampled_from([None, 0, 1, 2]))
    def attach_limit(self, name, most):
        if most is None:
            self.drop("csinodes", name)
            return
        driver = CSINodeDriver(name="csi.example", allocatable=VolumeNodeResources(count=most))
        self.put("csinodes", CSINode(metadata=ObjectMeta(name=name), spec=CSINodeSpec(drivers=[driver])))

    @rule(name=st.sampled_from(["default", "other"]), team=st.sampled_from([None, "a", "b"]))
    def namespace(self, name, team):
        if team is None:
            self.drop("namespaces", name)
        else:
            self.put("namespaces", Namespace(metadata=ObjectMeta(name=name, labels={"team": team})))

    @rule(app=st.sampled_from([None, "x", "y"]))
    def service(self, app):
        if app is None:
            self.drop("services", "default/web")
        else:
            meta = ObjectMeta(namespace="default", name="web")
            self.put("services", Service(metadata=meta, spec=ServiceSpec(selector={"app": app})))

    @rule(allowed=st.sampled_from([None, 0, 1]), app=st.sampled_from("xy"))
    def budget(self, allowed, app):
        if allowed is None:
            self.drop("poddisruptionbudgets", "default/web")
        else:
            spec = PodDisruptionBudgetSpec(selector=LabelSelector(match_labels={"app": app}))
            status = PodDisruptionBudgetStatus(disruptions_allowed=allowed)
            meta = ObjectMeta(namespace="default", name="web")
            self.put("poddisruptionbudgets", PodDisruptionBudget(metadata=meta, spec=spec, status=status))

    # -- watches and time

    @rule(data=st.data())
    def cut_off(self, data):
        self.live.cut.add(data.draw(st.sampled_from(self.live.kinds)))

    @rule()
    def reconnect(self):
        self.live.reconnect()

    @rule(seconds=st.sampled_from([1, 20, 120]))
    def wait(self, seconds):
        self.clock.advance(seconds)
        for plugin in self.live.watchers:
            plugin.tick(self.clock.now())

    @rule(one=pods())
    def look(self, one):
        self.asked.append(one)

    @invariant()
    def equals_a_fresh_start(self):
        if self.live.cut:
            for one in self.asked[-3:]:  # what is kept is used meanwhile, right or not
                self.live.verdicts(one)
            return
        fresh = Follower(self.truth, self.clock)
        for one in (*self.asked[:8], *self.asked[8:][-2:]):
            kept, expected = self.live.verdicts(one), fresh.verdicts(one)
            for plugin, said in expected.items():
                assert kept[plugin] == said, (plugin, one)
        budgets = [follower.profile.plugins["DefaultPreemption"]._budgets for follower in (self.live, fresh)]
        assert repr(sorted(budgets[0].items())) == repr(sorted(budgets[1].items()))
        assert self.live.cluster.pods.keys() == fresh.cluster.pods.keys()

    def teardown(self):
        if hasattr(self, "live"):
            self.live.reconnect()
            self.equals_a_fresh_start()


Gaps.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestGaps = Gaps.TestCase
