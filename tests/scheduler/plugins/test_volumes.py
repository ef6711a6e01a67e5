"""VolumeZone, VolumeRestrictions and NodeVolumeLimits against their rules."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from koordinator.api.core import (
    DiskSource,
    Volume,
)
from koordinator.api.meta import ObjectMeta
from koordinator.api.storage import (
    CSINode,
    CSINodeDriver,
    CSINodeSpec,
    VolumeAttachment,
    VolumeAttachmentSource,
    VolumeAttachmentSpec,
    VolumeNodeResources,
)
from koordinator.scheduler.plugins.volumes.limits import Attachments, NodeVolumeLimits
from koordinator.scheduler.plugins.volumes.restrictions import VolumeRestrictions
from koordinator.scheduler.plugins.volumes.zone import VolumeZone
from scheduler import builders
from scheduler.builders import READER
from scheduler.storage import ZONE, World, claim, storage_class, using, volume


@pytest.mark.parametrize(
    ("labels", "fits"),
    [
        ({ZONE: "a"}, {"n1", "n3"}),
        ({ZONE: "a__b"}, {"n1", "n2", "n3"}),
        ({"failure-domain.beta.kubernetes.io/zone": "b"}, {"n2", "n3"}),
        ({"other": "x"}, {"n1", "n2", "n3"}),
    ],
)
def test_zones(labels, fits):
    world = World(VolumeZone)
    world.known.claims.object_set(claim(volume="pv"))
    world.known.volumes.object_set(volume(labels=labels))
    reason = ["node(s) had no available volume zone"]
    assert world.reasons(using("data")) == {name: [] if name in fits else reason for name in ("n1", "n2", "n3")}


def test_one_pod_only_for_a_claim_of_one_pod():
    world = World(VolumeRestrictions)
    for name in ("data", "free"):
        world.known.claims.object_set(claim(name, modes=["ReadWriteOncePod"]))
    reason = ["node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"]
    user, waiting = using("data"), using("data")
    assert world.reasons(waiting)["n1"] == []
    world.cluster.place(READER.read(user), "n1")
    assert world.reasons(waiting) == dict.fromkeys(("n1", "n2", "n3"), reason)
    assert world.reasons(using("free"))["n1"] == []
    world.cluster.remove(user.metadata.uid)
    assert world.reasons(waiting)["n1"] == []
    assert world.reasons(using("none")) == 'persistentvolumeclaim "none" not found'


disks = st.builds(
    Volume,
    name=st.just("d"),
    gce_persistent_disk=st.one_of(st.none(), st.builds(DiskSource, pd_name=st.sampled_from("ab"), read_only=st.booleans())),
    aws_elastic_block_store=st.one_of(st.none(), st.builds(DiskSource, volume_id=st.sampled_from("ab"))),
    iscsi=st.one_of(st.none(), st.builds(DiskSource, iqn=st.sampled_from("ab"), read_only=st.booleans())),
)


def _clash(one, other):
    def pair(kind, key, always=False):
        mine, theirs = getattr(one, kind), getattr(other, kind)
        same = mine is not None and theirs is not None and getattr(mine, key) == getattr(theirs, key)
        return same and (always or not (mine.read_only and theirs.read_only))

    return pair("gce_persistent_disk", "pd_name") or pair("aws_elastic_block_store", "volume_id", True) or pair("iscsi", "iqn")


@given(there=st.lists(st.tuples(disks, st.sampled_from(["n1", "n2"])), max_size=4), wanted=disks)
@settings(max_examples=80, deadline=None)
def test_disks_are_not_shared_with_a_writer(there, wanted):
    world = World(VolumeRestrictions)
    for disk, name in there:
        world.cluster.place(READER.read(builders.pod(volumes=[disk])), name)
    reasons = world.reasons(builders.pod(volumes=[wanted]))
    for name in ("n1", "n2", "n3"):
        taken = any(_clash(wanted, disk) for disk, where in there if where == name)
        assert reasons[name] == (["node(s) had no available disk"] if taken else [])


@given(
    moves=st.lists(
        st.tuples(st.sampled_from(["place", "remove", "bind", "limit"]), st.integers(0, 4), st.sampled_from(["n1", "n2"])),
        max_size=15,
    ),
    wanted=st.lists(st.integers(0, 4), min_size=1, max_size=3, unique=True),
)
@settings(max_examples=100, deadline=None)
def test_attached_volumes_are_limited(moves, wanted):
    world = World(NodeVolumeLimits)
    world.known.classes.object_set(storage_class())
    for index in range(5):
        world.known.claims.object_set(claim(f"c{index}"))
        world.known.volumes.object_set(volume(f"pv{index}", csi=f"h{index // 2}"))
    handle = {f"c{index}": f"slow-c{index}" for index in range(5)}
    limits, there = {}, {}
    for kind, index, name in moves:
        if kind == "place":
            pod = using(f"c{index}", f"c{(index + 1) % 5}")
            world.cluster.place(READER.read(pod), name)
            there[pod.metadata.uid] = name, [f"c{index}", f"c{(index + 1) % 5}"]
        elif kind == "remove" and there:
            uid = list(there)[index % len(there)]
            world.cluster.remove(uid)
            del there[uid]
        elif kind == "bind":
            world.known.claims.object_set(claim(f"c{index}", volume=f"pv{index}"))
            handle[f"c{index}"] = f"h{index // 2}"
        elif kind == "limit":
            limits[name] = index
            driver = CSINodeDriver(name="csi.example", allocatable=VolumeNodeResources(count=index))
            world.known.nodes.object_set(CSINode(metadata=ObjectMeta(name=name), spec=CSINodeSpec(drivers=[driver])))
    reasons = world.reasons(using(*[f"c{index}" for index in wanted]))
    for name in ("n1", "n2", "n3"):
        attached = {handle[one] for where, claims in there.values() if where == name for one in claims}
        used = world.plugin.attachments.driver("csi.example").used.values
        assert used[world.cluster.columns.row_of[name]] == len(attached)
        fresh = {handle[f"c{index}"] for index in wanted} - attached
        over = bool(fresh) and len(attached) + len(fresh) > limits.get(name, 10**9)
        assert reasons[name] == (["node(s) exceed max volume count"] if over else [])


def test_a_node_that_returns_has_its_attachments_and_limit_again():
    world = World(NodeVolumeLimits)
    world.known.classes.object_set(storage_class())
    world.known.claims.object_set(claim())
    world.known.claims.object_set(claim("more"))
    driver = CSINodeDriver(name="csi.example", allocatable=VolumeNodeResources(count=1))
    world.known.nodes.object_set(CSINode(metadata=ObjectMeta(name="n1"), spec=CSINodeSpec(drivers=[driver])))
    world.cluster.place(READER.read(using("data")), "n1")
    world.cluster.remove_node("n1")
    assert not world.cluster.shared(Attachments).rows
    world.cluster.set_node(builders.node("n1"))
    assert world.reasons(using("more"))["n1"] == ["node(s) exceed max volume count"]
    assert world.reasons(using("data"))["n1"] == []


def attachment(name, volume, node):
    spec = VolumeAttachmentSpec(node_name=node, source=VolumeAttachmentSource(persistent_volume_name=volume))
    return VolumeAttachment(metadata=ObjectMeta(name=name), spec=spec)


def test_a_volume_counts_until_it_is_detached():
    world = World(NodeVolumeLimits)
    world.known.classes.object_set(storage_class())
    for name in ("data", "more"):
        world.known.claims.object_set(claim(name, volume=f"pv-{name}"))
    driver = CSINodeDriver(name="csi.example", allocatable=VolumeNodeResources(count=1))
    world.known.nodes.object_set(CSINode(metadata=ObjectMeta(name="n1"), spec=CSINodeSpec(drivers=[driver])))
    full, free = {"n1": ["node(s) exceed max volume count"], "n2": [], "n3": []}, {"n1": [], "n2": [], "n3": []}
    user = READER.read(using("data"))
    world.known.attachments.object_set(attachment("at", "pv-data", "n1"))  # before its volume is known
    for name in ("data", "more"):
        world.known.volumes.object_set(volume(f"pv-{name}", csi=name))
    world.cluster.place(user, "n1")
    assert world.reasons(using("more")) == full
    world.cluster.remove(user.uid)
    assert world.reasons(using("more")) == full, "still being detached"
    assert world.reasons(using("data")) == free
    world.cluster.remove_node("n1")
    world.cluster.set_node(builders.node("n1"))
    assert world.reasons(using("more")) == full
    world.known.attachments.object_deleted(attachment("at", "pv-data", "n1"))
    assert world.reasons(using("more")) == free
    assert not world.cluster.shared(Attachments).rows
