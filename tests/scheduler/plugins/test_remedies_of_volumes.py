"""What volume plugins say would help does help."""

import re

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from koordinator.api.core import (
    ClaimSource,
    DiskSource,
    NodeSelector,
    ResourceRequirements,
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
from koordinator.scheduler.plugins.volumes.binding import VolumeBinding
from koordinator.scheduler.plugins.volumes.known import Volumes
from koordinator.scheduler.plugins.volumes.limits import NodeVolumeLimits
from koordinator.scheduler.plugins.volumes.restrictions import VolumeRestrictions
from koordinator.scheduler.plugins.volumes.zone import VolumeZone
from scheduler import builders
from scheduler.builders import READER
from scheduler.remedies import HOST, NODES, ZONE, World, changed, every_remedy_helps, labelled, leaving, placed


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
    return world._replace(pod=changed(world.pod, volumes=left))


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
