"""What plugins say would help does help: the change is made in a new cluster, and the plugin asked again."""

import re
from collections.abc import Callable
from typing import NamedTuple

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import assume, given, settings

from koordinator.api.core import (
    Affinity,
    ClaimSource,
    ContainerPort,
    DiskSource,
    NodeSelector,
    Pod,
    PodAffinity,
    PodAffinityTerm,
    ResourceRequirements,
    TopologySpreadConstraint,
    Volume,
)
from koordinator.api.meta import LabelSelector, ObjectMeta
from koordinator.api.storage import (
    BIND_COMPLETED,
    SELECTED_NODE,
    CSIDriver,
    CSIDriverSpec,
    CSINode,
    CSINodeDriver,
    CSINodeSpec,
    CSISource,
    CSIStorageCapacity,
    PersistentVolume,
    PersistentVolumeClaim,
    PersistentVolumeClaimSpec,
    PersistentVolumeSpec,
    StorageClass,
    TopologyRequirement,
    TopologyTerm,
    VolumeNodeAffinity,
    VolumeNodeResources,
)
from koordinator.clock import ManualClock
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.compile import Compiled
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from koordinator.scheduler.plugins.node_name import NodeName
from koordinator.scheduler.plugins.node_ports import NodePorts
from koordinator.scheduler.plugins.pod_topology_spread import PodTopologySpread
from koordinator.scheduler.plugins.priority_sort import PrioritySort
from koordinator.scheduler.plugins.scheduling_gates import SchedulingGates
from koordinator.scheduler.plugins.volumes.binding import VolumeBinding
from koordinator.scheduler.plugins.volumes.known import Volumes
from koordinator.scheduler.plugins.volumes.limits import NodeVolumeLimits
from koordinator.scheduler.plugins.volumes.restrictions import VolumeRestrictions
from koordinator.scheduler.plugins.volumes.zone import VolumeZone
from scheduler import builders
from scheduler.builders import READER

HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
NODES = ("n0", "n1", "n2")


class World(NamedTuple):
    """All that a plugin is asked about, as plain objects."""

    make: Callable
    nodes: dict
    residents: list
    pod: Pod
    storage: tuple = ()

    def asked(self):
        cluster = Cluster()
        plugin = self.make(cluster)
        known = cluster.shared(Volumes)
        kept = (known.claims, known.volumes, known.classes, known.drivers, known.nodes, known.capacities)
        kinds = (PersistentVolumeClaim, PersistentVolume, StorageClass, CSIDriver, CSINode, CSIStorageCapacity)
        for one in self.storage:
            kept[kinds.index(type(one))].object_set(one)
        for name, labels in self.nodes.items():
            cluster.set_node(builders.node(name, labels=labels))
        for one in self.residents:
            cluster.place(READER.read(one), one.spec.node_name)
        compiled = Compiled(Profile(["x"], [PrioritySort(), plugin]), READER.read(self.pod), cluster.columns)
        assert compiled.status is None, compiled.status
        return cluster, plugin, compiled

    def refused(self):
        """By node the remedies of those that are refused."""
        cluster, plugin, compiled = self.asked()
        if not compiled.filters:
            return {}
        codes = plugin.filter(compiled.state, compiled.pod, cluster.columns, cluster.columns.rows)
        rows = {name: row for name, row in cluster.columns.row_of.items() if codes[row]}
        return {name: plugin.remedies(compiled.state, compiled.pod, cluster.columns, row) for name, row in rows.items()}

    def without(self, keys):
        return self._replace(residents=[one for one in self.residents if f"default/{one.metadata.name}" not in keys])


def every_remedy_helps(world, apply):
    for name, remedies in world.refused().items():
        assert remedies, name
        changed = world
        for one in remedies:
            changed = apply(changed, name, one)
        assert name not in changed.refused(), remedies


def leaving(world, name, remedy):
    assert remedy.pods
    for key in remedy.pods[:3]:
        assert key in remedy.text
    return world.without(remedy.pods)


def on(one, name):
    one.spec.node_name = name
    return one


def placed(pods, most=6):
    return st.lists(st.builds(on, pods, st.sampled_from(NODES)), max_size=most)


zones = st.fixed_dictionaries({}, optional={ZONE: st.sampled_from("ab"), "rack": st.sampled_from("12")})


@st.composite
def labelled(draw):
    return {name: {HOST: name} | draw(zones) for name in NODES}


# --- ports -------------------------------------------------------------------------------------------------------------------


@st.composite
def with_ports(draw):
    one = builders.pod()
    one.spec.containers[0].ports = draw(
        st.lists(
            st.builds(
                ContainerPort, host_port=st.sampled_from([80, 81]), host_ip=st.sampled_from([None, "10.0.0.1", "10.0.0.2"])
            ),
            max_size=2,
        )
    )
    return one


@settings(max_examples=80, deadline=None)
@given(placed(with_ports()), with_ports())
def test_freed_ports(residents, pod):
    every_remedy_helps(World(NodePorts, dict.fromkeys(NODES), residents, pod), leaving)


def test_the_holder_of_a_port_is_named():
    holder, pod = on(builders.pod("web"), "n0"), builders.pod()
    for one in (holder, pod):
        one.spec.containers[0].ports = [ContainerPort(host_port=8080)]
    ((remedy,),) = World(NodePorts, dict.fromkeys(NODES), [holder], pod).refused().values()
    assert remedy.text == "free host port 8080/TCP on n0 (pod default/web holds it)"


# --- neighbours --------------------------------------------------------------------------------------------------------------


apps = st.sampled_from([{"app": "x"}, {"app": "y"}, {"app": "x", "tier": "db"}])
terms = st.builds(
    PodAffinityTerm,
    topology_key=st.sampled_from([HOST, ZONE, "rack"]),
    label_selector=st.builds(LabelSelector, match_labels=st.sampled_from([{"app": "x"}, {"app": "y"}, {"tier": "db"}])),
)


def sided(terms, side):
    required = PodAffinity(required_during_scheduling_ignored_during_execution=terms)
    return Affinity(pod_affinity=required) if side == "near" else Affinity(pod_anti_affinity=required)


@st.composite
def with_affinity(draw, sides=("near", "apart", "none")):
    side = draw(st.sampled_from(sides))
    affinity = None if side == "none" else sided(draw(st.lists(terms, min_size=1, max_size=2)), side)
    return builders.pod(labels=draw(apps), affinity=affinity)


def company(world, name, remedy):
    """Move pods away, label the node, or start the pod that is asked for."""
    if remedy.pods:
        return leaving(world, name, remedy)
    if found := re.fullmatch(r"label (\S+) with (\S+)", remedy.text):
        assert found[1] == name
        return world._replace(nodes=world.nodes | {name: world.nodes[name] | {found[2]: "new"}})
    found = re.match(r"start a pod that matches (.+) (?:in \S+ ?\S*|on \S+), or do not require one$", remedy.text)
    pairs = re.findall(r"(\w+)=(\w+)", found[1])
    labels = dict(pairs)
    assume(len(set(pairs)) == len(labels))  # nothing matches two values of one label
    return world._replace(residents=[*world.residents, on(builders.pod(labels=labels), name)])


@settings(max_examples=150, deadline=None)
@given(labelled(), placed(with_affinity()), with_affinity(("near", "apart")))
def test_company_and_distance(nodes, residents, pod):
    if pod.spec.affinity.pod_affinity is not None:  # what comes near by one change must not come too near for another's terms
        residents = [one for one in residents if one.spec.affinity is None or one.spec.affinity.pod_anti_affinity is None]
    every_remedy_helps(World(InterPodAffinity, nodes, residents, pod), company)


def test_what_is_said_of_neighbours():
    def said(residents, pod):
        nodes = {"n0": {HOST: "n0", ZONE: "a"}, "n1": {HOST: "n1", ZONE: "b"}}
        return {
            name: [(one.text, one.have) for one in found]
            for name, found in World(InterPodAffinity, nodes, residents, pod).refused().items()
        }

    def wanting(key, side, app="db"):
        term = PodAffinityTerm(topology_key=key, label_selector=LabelSelector(match_labels={"app": app}))
        return builders.pod("p", labels={"app": "web"}, affinity=sided([term], side))

    db = on(builders.pod("db-0", labels={"app": "db"}), "n0")
    assert said([], wanting(ZONE, "near"))["n0"] == [
        ("start a pod that matches app=db of namespace default in zone a, or do not require one", "there is no such pod")
    ]
    assert said([db], wanting(ZONE, "near")) == {
        "n1": [
            ("start a pod that matches app=db of namespace default in zone b, or do not require one", "such pods are in zone a")
        ]
    }
    assert said([db], wanting(HOST, "apart")) == {
        "n0": [("move pod default/db-0 away from node n0, which this pod's anti-affinity refuses", "")]
    }
    lone = on(wanting(ZONE, "apart", "web"), "n1")
    assert said([lone], builders.pod(labels={"app": "web"})) == {
        "n1": [("move pod default/p away from zone b, whose anti-affinity refuses this pod", "")]
    }


@st.composite
def constraints(draw):
    return TopologySpreadConstraint(
        max_skew=draw(st.integers(1, 2)),
        topology_key=draw(st.sampled_from([HOST, ZONE, "rack"])),
        when_unsatisfiable="DoNotSchedule",
        label_selector=LabelSelector(match_labels={"app": draw(st.sampled_from("xy"))}),
        min_domains=draw(st.sampled_from([None, None, 4])),
    )


@settings(max_examples=200, deadline=None)
@given(
    labelled(),
    placed(st.builds(lambda labels: builders.pod(labels=labels), apps), most=9),
    st.lists(constraints(), min_size=1, max_size=2),
    apps,
    st.booleans(),
)
def test_looser_or_emptier(nodes, residents, wanted, labels, looser):
    pod = builders.pod(labels=labels, topology_spread_constraints=wanted)
    world = World(PodTopologySpread, nodes, residents, pod)
    for name, remedies in world.refused().items():
        for one in remedies:
            if one.kind == "node":
                assert one.text.endswith(f"do not spread over {one.have[6:-8]}")
        if any(one.kind == "node" for one in remedies) and len(wanted) > 1:
            continue  # other nodes then count for the other constraint
        changed = world
        for one in remedies:
            changed = _spread(changed, name, one, looser=looser)
        assert name not in changed.refused(), (remedies, residents)


def _spread(world, name, remedy, *, looser):
    constraints = world.pod.spec.topology_spread_constraints
    if remedy.kind == "node":
        if looser or not remedy.text.startswith("label "):
            return world._replace(pod=_with(world.pod, topology_spread_constraints=[]))
        (key,) = (one.topology_key for one in constraints)
        return world._replace(nodes=world.nodes | {name: world.nodes[name] | {key: "new"}})
    key, old, new = re.match(r"raise maxSkew over (\S+) from (\d+) to (\d+)", remedy.text).groups()
    if looser or not remedy.pods:
        raised = [
            msgspec.structs.replace(one, max_skew=int(new)) if (one.topology_key, one.max_skew) == (key, int(old)) else one
            for one in constraints
        ]
        return world._replace(pod=_with(world.pod, topology_spread_constraints=raised))
    fewer = int(re.search(r"or move (\d+) pods? away", remedy.text)[1])
    there = [one for one in remedy.pods if one in {f"default/{other.metadata.name}" for other in world.residents}]
    gone = len(remedy.pods) - len(there)  # another remedy has moved some already
    return world.without(there[: max(fewer - gone, 0)])


def _with(pod, **spec):
    return msgspec.structs.replace(pod, spec=msgspec.structs.replace(pod.spec, **spec))


def test_the_skew_and_who_makes_it_are_named():
    residents = [on(builders.pod(f"w{index}", labels={"app": "x"}), "n0") for index in range(2)]
    wanted = TopologySpreadConstraint(
        max_skew=1,
        topology_key=ZONE,
        when_unsatisfiable="DoNotSchedule",
        label_selector=LabelSelector(match_labels={"app": "x"}),
    )
    pod = builders.pod(labels={"app": "x"}, topology_spread_constraints=[wanted])
    refused = World(PodTopologySpread, {"n0": {ZONE: "a"}, "n1": {ZONE: "b"}}, residents, pod).refused()
    ((remedy,),) = refused.values()
    assert (
        remedy.text == f"raise maxSkew over {ZONE} from 1 to 3, or move 2 pods away from zone a (pods default/w0, default/w1)"
    )
    assert remedy.have == "zone a: 2 pods, the emptiest has 0, maxSkew 1"


# --- volumes -----------------------------------------------------------------------------------------------------------------


def binding(cluster):
    return VolumeBinding(cluster, None, ManualClock())


def claim(name, volume="", class_name="slow", size=10, modes=("ReadWriteOnce",), selected=None):
    marks = ({BIND_COMPLETED: "yes"} if volume else {}) | ({SELECTED_NODE: selected} if selected else {})
    spec = PersistentVolumeClaimSpec(
        access_modes=list(modes),
        resources=ResourceRequirements(requests={"storage": f"{size}Gi"}),
        volume_name=volume,
        storage_class_name=class_name,
    )
    return PersistentVolumeClaim(metadata=ObjectMeta(name=name, namespace="default", uid=name, annotations=marks), spec=spec)


def volume(name, zone=None, size=10, handle=None, **labels):
    wanted = NodeSelector(node_selector_terms=[builders.term(builders.requirement(ZONE, "In", zone))]) if zone else None
    spec = PersistentVolumeSpec(
        capacity={"storage": f"{size}Gi"},
        access_modes=["ReadWriteOnce"],
        storage_class_name="slow",
        node_affinity=VolumeNodeAffinity(required=wanted) if zone else None,
        csi=CSISource(driver="csi.example", volume_handle=handle) if handle else None,
    )
    return PersistentVolume(metadata=ObjectMeta(name=name, labels=labels or None), spec=spec)


def using(*names):
    return builders.pod(volumes=[Volume(name=one, persistent_volume_claim=ClaimSource(claim_name=one)) for one in names])


def drop(world, name):
    left = [one for one in world.pod.spec.volumes if one.persistent_volume_claim.claim_name != name]
    return world._replace(pod=_with(world.pod, volumes=left))


@settings(max_examples=60, deadline=None)
@given(labelled(), st.lists(st.sampled_from(["a", "b", "a__b", None]), min_size=1, max_size=3))
def test_zones(nodes, places):
    names = [f"c{index}" for index in range(len(places))]
    storage = [claim(name, f"pv-{name}") for name in names]
    storage += [volume(f"pv-{name}", **({ZONE: place} if place else {})) for name, place in zip(names, places, strict=True)]

    def apply(world, name, remedy):
        return drop(world, re.match(r"use another claim than default/(\w+), whose volume pv-\w+ is in zone", remedy.text)[1])

    every_remedy_helps(World(VolumeZone, nodes, [], using(*names), tuple(storage)), apply)


@st.composite
def storages(draw):
    provisioner = draw(st.sampled_from(["csi.example", "kubernetes.io/no-provisioner"]))
    topologies = draw(st.sampled_from([None, ["a"], ["a", "b"]]))
    listed = topologies and [TopologyTerm(match_label_expressions=[TopologyRequirement(key=ZONE, values=topologies)])]
    found = [
        StorageClass(
            metadata=ObjectMeta(name="slow"),
            provisioner=provisioner,
            volume_binding_mode="WaitForFirstConsumer",
            allowed_topologies=listed,
        )
    ]
    told = draw(st.booleans())
    found.append(CSIDriver(metadata=ObjectMeta(name="csi.example"), spec=CSIDriverSpec(storage_capacity=told)))
    for zone in ("a", "b"):
        room = draw(st.integers(0, 20))
        found.append(
            CSIStorageCapacity(
                metadata=ObjectMeta(name=zone, namespace="csi"),
                storage_class_name="slow",
                node_topology=LabelSelector(match_labels={ZONE: zone}),
                capacity=f"{room}Gi",
            )
        )
    free = draw(st.lists(st.tuples(st.sampled_from(["a", "b", None]), st.integers(1, 20)), max_size=3))
    found += [volume(f"free{index}", zone, size) for index, (zone, size) in enumerate(free)]
    names = [f"c{index}" for index in range(draw(st.integers(1, 3)))]
    for name in names:
        kind = draw(st.sampled_from(["waits", "waits", "selected", "bound", "gone"]))
        selected = draw(st.sampled_from(NODES)) if kind == "selected" else None
        bound = f"pv-{name}" if kind in ("bound", "gone") else ""
        found.append(claim(name, bound, size=draw(st.integers(1, 15)), selected=selected))
        if kind == "bound":
            found.append(volume(f"pv-{name}", draw(st.sampled_from(["a", "b", None]))))
    return tuple(found), names


def provided(world, name, remedy):
    """Make the volume, the room or the change that is asked for."""
    storage, text = list(world.storage), remedy.text
    if found := re.match(r"restore PersistentVolume (\S+),", text):
        return world._replace(storage=(*storage, volume(found[1])))
    if found := re.match(r"use another claim than default/(\w+),", text):
        return drop(world, found[1])
    if found := re.match(r"add a PersistentVolume of class slow with (\d+)Gi or more on \w+ for claim default/(\w+)", text):
        return world._replace(storage=(*storage, volume(f"for-{found[2]}", size=int(found[1]))))
    if found := re.match(r"wait for the volume that csi.example makes, or use another claim than default/(\w+)", text):
        done = [one for one in storage if one.metadata.name != found[1]]
        return world._replace(storage=(*done, claim(found[1], f"made-{found[1]}"), volume(f"made-{found[1]}")))
    assert re.match(r"free \d+Gi of storage of class slow for \w+ \(claim default/\w+\), or ask for less", text)
    place = CSIStorageCapacity(
        metadata=ObjectMeta(name="more", namespace="csi"),
        storage_class_name="slow",
        node_topology=LabelSelector(match_labels={HOST: name}),
        capacity="1Ti",
    )
    return world._replace(storage=(*storage, place))


@settings(max_examples=200, deadline=None)
@given(labelled(), storages())
def test_volumes_that_can_be_had(nodes, storage):
    objects, names = storage
    every_remedy_helps(World(binding, nodes, [], using(*names), objects), provided)


disks = st.builds(
    Volume,
    name=st.just("d"),
    gce_persistent_disk=st.builds(DiskSource, pd_name=st.sampled_from("ab"), read_only=st.booleans()),
)


@settings(max_examples=60, deadline=None)
@given(placed(st.builds(lambda disk: builders.pod(volumes=[disk]), disks)), disks)
def test_disks_of_others(residents, disk):
    every_remedy_helps(World(VolumeRestrictions, dict.fromkeys(NODES), residents, builders.pod(volumes=[disk])), leaving)


@settings(max_examples=40, deadline=None)
@given(placed(st.builds(using, st.sampled_from(["one", "many"])), most=3))
def test_claims_of_one_pod(residents):
    storage = (claim("one", "pv", modes=["ReadWriteOncePod"]), claim("many", "pv"))
    every_remedy_helps(World(VolumeRestrictions, dict.fromkeys(NODES), residents, using("one", "many"), storage), leaving)


@settings(max_examples=120, deadline=None)
@given(
    residents=placed(
        st.builds(lambda names: using(*names), st.lists(st.sampled_from("abcd"), min_size=1, max_size=2, unique=True))
    ),
    wanted=st.lists(st.sampled_from("abcdef"), min_size=1, max_size=3, unique=True),
    limit=st.integers(0, 3),
)
def test_volumes_to_detach(residents, wanted, limit):
    storage = [claim(name, f"pv-{name}") for name in "abcdef"] + [volume(f"pv-{name}", handle=name) for name in "abcdef"]
    driver = CSINodeDriver(name="csi.example", allocatable=VolumeNodeResources(count=limit))
    storage += [CSINode(metadata=ObjectMeta(name=name), spec=CSINodeSpec(drivers=[driver])) for name in NODES]
    world = World(NodeVolumeLimits, dict.fromkeys(NODES), residents, using(*wanted), tuple(storage))

    def apply(changed, name, remedy):
        fewer = re.search(r"use (\d+) volumes? of csi.example fewer", remedy.text)
        changed = changed.without(remedy.pods)
        if fewer is None:
            return changed
        mine = [one.persistent_volume_claim.claim_name for one in changed.pod.spec.volumes]
        there = {
            each.name for one in changed.residents if one.spec.node_name == name for each in one.spec.volumes
        }  # volumes are named like their claims here
        for one in [each for each in mine if each not in there][: int(fewer[1])]:
            changed = drop(changed, one)
        return changed

    every_remedy_helps(world, apply)


# --- the rest ----------------------------------------------------------------------------------------------------------------


def test_another_node_than_the_one_that_is_named():
    world = World(lambda _: NodeName(), dict.fromkeys(NODES), [], on(builders.pod(), "n9"))
    for name, (remedy,) in world.refused().items():
        assert remedy.text == f"name node {name} instead of n9, or none"
        assert remedy.have == "the pod names n9, which does not exist"


def test_gates_are_named():
    pod = READER.read(builders.pod(scheduling_gates=builders.gates("quota", "audit")))
    texts = [one.text for one in SchedulingGates().advice(pod)]
    assert texts == [
        f"remove the scheduling gate {gate}, as whoever has set it does when it is time" for gate in ("quota", "audit")
    ]


@pytest.mark.parametrize(
    ("storage", "text"),
    [
        ((), "create PersistentVolumeClaim default/data"),
        ((claim("data"),), "create StorageClass slow, which claim default/data names"),
        ((claim("data", class_name=None),), "have a volume without a class bound to claim default/data, which names none"),
        (
            (claim("data"), StorageClass(metadata=ObjectMeta(name="slow"), provisioner="csi.example")),
            "have a volume of class slow bound to claim default/data (is csi.example running?)",
        ),
    ],
)
def test_claims_that_keep_a_pod_from_every_node(storage, text):
    cluster = Cluster()
    plugin, known = binding(cluster), cluster.shared(Volumes)
    for one in storage:
        (known.claims if isinstance(one, PersistentVolumeClaim) else known.classes).object_set(one)
    assert [one.text for one in plugin.advice(READER.read(using("data")))] == [text]
