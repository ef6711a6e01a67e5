"""Binds that succeed, fail, or succeed unheard; pods deleted, relabelled or bound by others; nodes that come and go;
watches that are cut off. Whatever the order: no pod is lost or bound twice, nothing is overcommitted, no room leaks, and who
could run does.
"""

import copy
from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from koordinator.api.core import ContainerPort, DiskSource, Namespace, Volume
from koordinator.api.meta import LabelSelector, ObjectMeta, ObjectReference, format_time
from koordinator.api.resources import amounts, pod_requests
from koordinator.api.slo import NodeMetric, NodeMetricInfo, NodeMetricStatus, ResourceMap
from koordinator.api.storage import CSINode, CSINodeDriver, CSINodeSpec, VolumeNodeResources
from koordinator.clock import ManualClock
from koordinator.scheduler.catalogue import Entry
from koordinator.scheduler.engine.binding import BindFailed
from koordinator.scheduler.engine.framework import Code, PermitPlugin, Status
from koordinator.scheduler.engine.queued import Timings, Where
from scheduler import builders
from scheduler.mirror import Follower, Truth
from scheduler.plugins.test_neighbours import HOST, spread, wants
from scheduler.plugins.test_volumes import claim, storage_class, using, volume

NODES = ["n0", "n1", "n2", "n3"]
OURS = "koord-scheduler"
CONFIGURATION = """
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- schedulerName: koord-scheduler
  plugins:
    multiPoint: {enabled: [{name: Patience}, {name: LoadAwareScheduling}]}
    postFilter: {disabled: [{name: DefaultPreemption}]}
"""


class Patience(PermitPlugin):
    """Pods that are labelled so wait at Permit."""

    name = "Patience"

    def permit(self, state, pod, node):
        waits = (pod.pod.metadata.labels or {}).get("wait") == "yes"
        return Status(Code.WAIT, timeout_seconds=60) if waits else None


ENTRY = Entry(Patience, lambda *_: Patience())


def zoned(zone, name):
    return {"zone": zone, "topology.kubernetes.io/zone": zone, HOST: name}


def of_team(one):
    """Its term means pods in namespaces of team a."""
    for term in one.spec.affinity.pod_anti_affinity.required_during_scheduling_ignored_during_execution:
        term.namespace_selector = LabelSelector(match_labels={"team": "a"})
    return one


def waiting_pod(kind, cpu):
    if kind == "wait":
        return builders.pod(cpu=cpu, labels={"wait": "yes"})
    if kind == "port":
        one = builders.pod(cpu=cpu)
        one.spec.containers[0].ports = [ContainerPort(host_port=80)]
        return one
    if kind == "zone":
        return builders.pod(cpu=cpu, node_selector={"zone": "a"})
    made = {
        "near": lambda: wants(required=["zone"]),
        "apart": lambda: wants("pod_anti_affinity", required=[HOST]),
        "far apart": lambda: wants("pod_anti_affinity", required=["zone"]),
        "elsewhere": lambda: of_team(wants("pod_anti_affinity", required=["zone"])),
        "spread": lambda: spread("zone"),
        "tolerant": lambda: builders.pod(cpu=cpu, tolerations=[builders.Toleration(key="t", operator="Exists")]),
        "data": lambda: using("data", cpu=cpu),
        "both": lambda: using("data", "more", cpu=cpu),
        "once": lambda: using("once", cpu=cpu),
        "disk": lambda: builders.pod(cpu=cpu, volumes=[Volume(name="d", gce_persistent_disk=DiskSource(pd_name="a"))]),
    }
    return made[kind]() if kind in made else builders.pod(cpu=cpu)


KINDS = ["", "", "wait", "port", "zone", "near", "apart", "far apart", "elsewhere", "spread", "tolerant"]
KINDS += ["data", "both", "once", "disk"]


class Interleavings(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.truth, self.clock = Truth(), ManualClock(1000.0)
        self.binds = Counter()
        self.excused = set()
        """Nodes that somebody else has filled, or that have shrunk, or where a pod of ours was bound unheard."""

    @initialize()
    def start(self):
        for index, name in enumerate(NODES[:3]):
            self.truth.set("nodes", builders.node(name, cpu="4", labels=zoned("ab"[index % 2], name)))
        self.truth.set("storageclasses", storage_class())
        self.truth.set("persistentvolumeclaims", claim("once", modes=["ReadWriteOncePod"], volume="pv-once"))
        self.truth.set("persistentvolumes", volume("pv-once"))
        self.truth.set("namespaces", Namespace(metadata=ObjectMeta(name="default", labels={"team": "a"})))
        self.live = Follower(self.truth, self.clock, CONFIGURATION, [ENTRY])

    def put(self, plural, obj):
        self.truth.set(plural, obj)
        self.live.changed(plural, obj.key)

    def pods(self):
        return self.truth.of("pods")

    def one_of(self, things, data):
        return data.draw(st.sampled_from(list(things)))

    # -- pods

    @rule(
        kind=st.sampled_from(KINDS),
        cpu=st.sampled_from(["500m", "1", "3"]),
        count=st.integers(1, 4),
    )
    def create(self, kind, cpu, count):
        for _ in range(count):
            self.put("pods", waiting_pod(kind, cpu))

    @rule(
        data=st.data(), kind=st.sampled_from(["gone", "going", "theirs", "ours", "others bind", "ended", "relabelled", "again"])
    )
    def pod_moves(self, data, kind):
        if not self.pods():
            return
        key = self.one_of(self.pods(), data)
        one = copy.deepcopy(self.pods()[key])
        if kind == "gone":
            self.truth.delete("pods", key)
            self.live.changed("pods", key)
            return
        if kind == "going":
            one.metadata.deletion_timestamp = "2026-01-01T00:00:00Z"
        elif kind in ("theirs", "ours"):
            one.spec.scheduler_name = OURS if kind == "ours" else "theirs"
        elif kind == "others bind" and not one.spec.node_name:
            one.spec.node_name = data.draw(st.sampled_from(NODES))
            self.excused.add(one.spec.node_name)
        elif kind == "ended" and one.spec.node_name:
            one.status.phase = "Succeeded"
        elif kind == "relabelled":
            one.metadata.labels = data.draw(st.sampled_from([{"app": "x"}, {"app": "y"}, None]))
        elif kind == "again":
            one.metadata.uid, one.spec.node_name = "", None
            one.status.phase, one.metadata.deletion_timestamp = "", None
        self.put("pods", one)

    # -- nodes

    @rule(
        name=st.sampled_from(NODES),
        kind=st.sampled_from(["gone", "there", "smaller", "larger", "zone", "cordon", "taint", "another"]),
    )
    def node_moves(self, name, kind):
        known = self.truth.of("nodes").get(name)
        if known is None or kind in ("there", "another"):
            fresh = builders.node(name, cpu="4", labels=zoned("a" if kind == "another" else "b", name))
            if known is not None and int(known.status.allocatable["cpu"]) > 4:
                self.excused.add(name)
            self.put("nodes", fresh)
            return
        if kind == "gone":
            self.truth.delete("nodes", name)
            self.live.changed("nodes", name)
            return
        one = copy.deepcopy(known)
        if kind in ("smaller", "larger"):
            one.status.allocatable["cpu"] = "2" if kind == "smaller" else "8"
            if kind == "smaller":
                self.excused.add(name)
        elif kind == "zone":
            one.metadata.labels = zoned("b" if one.labels["zone"] == "a" else "a", name)
        elif kind == "taint":
            one.spec.taints = [] if one.spec.taints else [builders.Taint(key="t", value="1", effect="NoSchedule")]
        else:
            one.spec.unschedulable = not one.spec.unschedulable
        self.put("nodes", one)

    # -- what plugins watch

    @rule(name=st.sampled_from(["data", "more"]), state=st.sampled_from(["gone", "waiting", "bound", "elsewhere"]))
    def claim_moves(self, name, state):
        if state == "gone":
            self.truth.delete("persistentvolumeclaims", f"default/{name}")
            self.live.changed("persistentvolumeclaims", f"default/{name}")
        else:
            pv = {"bound": f"pv-{name}", "elsewhere": "pv-elsewhere"}.get(state, "")
            self.put("persistentvolumeclaims", claim(name, volume=pv))

    @rule(
        name=st.sampled_from(["pv-data", "pv-more", "pv-elsewhere"]),
        zone=st.sampled_from([None, "a", "b"]),
        there=st.booleans(),
    )
    def volume_moves(self, name, zone, there):
        if there:
            taken = ObjectReference(namespace="default", name="taken", uid="claim-taken")  # no waiting claim can have it
            self.put("persistentvolumes", volume(name, zone, csi=name, claim_ref=taken))
        else:
            self.truth.delete("persistentvolumes", name)
            self.live.changed("persistentvolumes", name)

    @rule(mode=st.sampled_from(["WaitForFirstConsumer", "Immediate"]))
    def class_moves(self, mode):
        self.put("storageclasses", storage_class(mode=mode))

    @rule(name=st.sampled_from(NODES), most=st.sampled_from([0, 1, 9]))
    def limit_moves(self, name, most):
        driver = CSINodeDriver(name="csi.example", allocatable=VolumeNodeResources(count=most))
        self.put("csinodes", CSINode(metadata=ObjectMeta(name=name), spec=CSINodeSpec(drivers=[driver])))

    @rule(team=st.sampled_from(["a", "b"]))
    def namespace_moves(self, team):
        self.put("namespaces", Namespace(metadata=ObjectMeta(name="default", labels={"team": team})))

    @rule(name=st.sampled_from(NODES), cpu=st.sampled_from(["100m", "3900m"]))
    def usage_moves(self, name, cpu):
        usage = NodeMetricInfo(node_usage=ResourceMap(resources={"cpu": cpu}))
        status = NodeMetricStatus(update_time=format_time(self.clock.now() + 1e6), node_metric=usage)
        self.put("nodemetrics", NodeMetric(kind="NodeMetric", metadata=ObjectMeta(name=name), status=status))

    # -- the scheduler

    @rule(cycles=st.integers(1, 6))
    def schedule(self, cycles):
        for _ in range(cycles):
            self.live.scheduler.schedule_one()

    @rule(data=st.data(), how=st.sampled_from(["ok", "ok", "told first", "409", "503", "unheard"]))
    def bind(self, data, how):
        if self.live.bindings:
            place = data.draw(st.integers(0, len(self.live.bindings) - 1))
            self.answer(self.live.bindings.pop(place), how)

    def answer(self, binding, how="ok"):
        """What binder and API server make of a binding."""
        scheduler, info = self.live.scheduler, binding.pod.info
        obstacle = scheduler.obstacle(binding.pod)
        current = self.pods().get(info.key)
        if obstacle is not None:
            scheduler.bind_failed(binding, obstacle)
        elif current is None or current.metadata.uid != info.uid:
            scheduler.bind_failed(binding, BindFailed("not found", gone=True))
        elif current.spec.node_name:
            scheduler.bind_failed(binding, BindFailed("pod is already assigned to a node"))
        elif how in ("409", "503"):
            scheduler.bind_failed(binding, BindFailed(how))
        else:
            self.take(binding, current, how)

    def take(self, binding, current, how):
        scheduler = self.live.scheduler
        bound = copy.deepcopy(current)
        bound.spec.node_name = binding.node
        self.binds[bound.metadata.uid] += 1
        if how == "told first":
            self.put("pods", bound)
            scheduler.bound(binding)
        elif how == "unheard":
            self.excused.add(binding.node)
            scheduler.bind_failed(binding, BindFailed("timeout"))
            self.put("pods", bound)
        else:
            scheduler.bound(binding)
            self.put("pods", bound)

    @rule(allow=st.booleans())
    def permit(self, allow):
        for waiting in self.live.scheduler.waiting:
            if allow:
                self.live.scheduler.waiting.allow(waiting.uid, "Patience")
            else:
                self.live.scheduler.waiting.reject(waiting.uid, "Patience", "no")

    @rule(seconds=st.sampled_from([0.5, 3, 70]))
    def wait(self, seconds):
        self.clock.advance(seconds)
        self.live.queue.flush()
        self.live.scheduler.tick()

    @rule(kind=st.sampled_from(["pods", "nodes", "persistentvolumeclaims", "nodemetrics"]))
    def cut_off(self, kind):
        self.live.cut.add(kind)

    @rule()
    def reconnect(self):
        self.live.reconnect()

    # -- what always holds

    @invariant()
    def nothing_is_overcommitted(self):
        for name, node in self.truth.of("nodes").items():
            asked = sum(pod_requests(pod).get("cpu", 0) for pod in self.there(name))
            assert name in self.excused or asked <= amounts(node.status.allocatable)["cpu"]

    def there(self, name):
        return [pod for pod in self.pods().values() if pod.spec.node_name == name and not pod.terminated]

    @invariant()
    def nobody_is_bound_twice(self):
        assert all(count == 1 for count in self.binds.values())

    @invariant()
    def nobody_is_lost(self):
        cluster, queue = self.live.cluster, self.live.queue
        there = {pod.metadata.uid for pod in self.pods().values()}
        for pod in self.live.caches["pods"].items():
            if pod.metadata.uid not in there:
                continue
            ours = not pod.spec.node_name and pod.spec.scheduler_name == OURS and pod.metadata.deletion_timestamp is None
            assert not ours or pod.metadata.uid in queue or pod.metadata.uid in cluster.pods

    @invariant()
    def no_room_leaks(self):
        """Whoever is assumed is on the way to the API server, or there, or has waited for a word that is yet to come."""
        scheduler = self.live.scheduler
        on_the_way = {one.pod.info.uid for one in self.live.bindings} | {one.uid for one in scheduler.waiting}
        assumed = {uid for uid, placed in self.live.cluster.pods.items() if placed.assumed}
        assert len(assumed) == self.live.cluster.assumed
        assert assumed - on_the_way <= set(self.binds)

    def teardown(self):
        """In the end everything is heard of, every bind is answered, and whoever fits somewhere is there."""
        if not hasattr(self, "live"):
            return
        live = self.live
        live.queue.timings = Timings(max_unschedulable=1e9)  # nobody is to be woken by time alone
        live.reconnect()
        for _ in range(8):
            live.run()
            self.permit(allow=True)
            while live.bindings:
                self.answer(live.bindings.pop())
            self.clock.advance(15)
            live.queue.flush()
            for one in live.queue:
                if "Patience" in one.rejected_by:
                    live.queue.activate(one.info.uid)
        self.nothing_is_overcommitted()
        assert live.cluster.assumed == 0
        bound = {pod.metadata.uid for pod in self.pods().values() if pod.spec.node_name and not pod.terminated}
        assert set(live.cluster.pods) == bound
        left = {pod.metadata.uid for pod in self.pods().values() if self.is_waiting(pod)}
        assert {one.info.uid for one in live.queue} == left
        assert live.queue.counts[Where.UNSCHEDULABLE] == len(left)
        fresh = Follower(self.truth, self.clock, CONFIGURATION, [ENTRY])
        fresh.run()
        assert not fresh.cluster.assumed, "a pod that fits was not tried again"
        kept, expected = live.verdicts(builders.pod(cpu="1")), fresh.verdicts(builders.pod(cpu="1"))
        for plugin, said in expected.items():
            assert kept[plugin] == said, plugin

    def is_waiting(self, pod):
        ours = pod.spec.scheduler_name == OURS and not pod.terminated
        return ours and not pod.spec.node_name and pod.metadata.deletion_timestamp is None


Interleavings.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestInterleavings = Interleavings.TestCase
