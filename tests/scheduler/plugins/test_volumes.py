"""Plugins about volumes against their rules, and claims from waiting to bound."""

import asyncio

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from koordinator.api.core import (
    ClaimSource,
    DiskSource,
    EphemeralSource,
    NodeSelector,
    ResourceRequirements,
    Volume,
)
from koordinator.api.meta import LabelSelector, ObjectMeta, ObjectReference, OwnerReference
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
    PersistentVolumeClaimStatus,
    PersistentVolumeSpec,
    StorageClass,
    TopologyRequirement,
    TopologyTerm,
    VolumeAttachment,
    VolumeAttachmentSource,
    VolumeAttachmentSpec,
    VolumeNodeAffinity,
    VolumeNodeResources,
)
from koordinator.clock import ManualClock
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.evaluate import Evaluator
from koordinator.scheduler.engine.events import ClusterEvent, Happening
from koordinator.scheduler.engine.framework import Status
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.plugins.priority_sort import PrioritySort
from koordinator.scheduler.plugins.volumes.binding import VolumeBinding
from koordinator.scheduler.plugins.volumes.known import Volumes
from koordinator.scheduler.plugins.volumes.limits import Attachments, NodeVolumeLimits
from koordinator.scheduler.plugins.volumes.restrictions import VolumeRestrictions
from koordinator.scheduler.plugins.volumes.zone import VolumeZone
from scheduler import builders
from scheduler.builders import READER

ZONE = "topology.kubernetes.io/zone"
CONFLICT = "node(s) had volume node affinity conflict"
UNMATCHED = "node(s) didn't find available persistent volumes to bind"
NO_ROOM = "node(s) did not have enough free storage"


class Recorded:
    """A store that only takes note of patches."""

    def __init__(self):
        self.patches = []

    async def patch(self, resource, name, patch, namespace=""):
        self.patches.append((resource.kind, namespace, name, patch))


class World:
    def __init__(self, make=None):
        self.cluster, self.store, self.clock = Cluster(), Recorded(), ManualClock()
        self.known = self.cluster.shared(Volumes)
        self.plugin = (make or self.binding)(self.cluster)
        self.evaluator = Evaluator(Profile(["x"], [PrioritySort(), self.plugin]), self.cluster.columns)
        for name, zone in (("n1", "a"), ("n2", "b"), ("n3", None)):
            self.cluster.set_node(builders.node(name, labels={ZONE: zone} if zone else {}))

    def binding(self, cluster):
        return VolumeBinding(cluster, self.store, self.clock, 30)

    def reasons(self, pod):
        """By node; one text when the pod fits nowhere."""
        answer = self.evaluator.evaluate(READER.read(pod))
        if isinstance(answer, Status):
            return answer.message
        columns, compiled = self.cluster.columns, answer.compiled
        found = {}
        for name, row in columns.row_of.items():
            refused = not answer.feasible[row]
            found[name] = compiled.diagnose(columns, np.array([row])).reasons if refused else {}
        return {name: sorted(reasons) for name, reasons in found.items()}


def storage_class(name="slow", mode="WaitForFirstConsumer", provisioner="csi.example", topologies=None):
    return StorageClass(
        metadata=ObjectMeta(name=name), provisioner=provisioner, volume_binding_mode=mode, allowed_topologies=topologies
    )


def claim(name="data", class_name="slow", size="10Gi", volume="", modes=("ReadWriteOnce",), selected=None, **more):
    annotations = {BIND_COMPLETED: "yes"} if volume else {}
    annotations |= {SELECTED_NODE: selected} if selected else {}
    return PersistentVolumeClaim(
        metadata=ObjectMeta(name=name, namespace="default", uid=f"claim-{name}", annotations=annotations),
        spec=PersistentVolumeClaimSpec(
            access_modes=list(modes),
            resources=ResourceRequirements(requests={"storage": size}),
            volume_name=volume,
            storage_class_name=class_name,
            **more,
        ),
    )


def volume(name="pv", zone=None, size="10Gi", *, labels=None, claim_ref=None, csi=None):
    expression = builders.term(builders.requirement(ZONE, "In", zone)) if zone else None
    affinity = VolumeNodeAffinity(required=NodeSelector(node_selector_terms=[expression])) if zone else None
    return PersistentVolume(
        metadata=ObjectMeta(name=name, labels=labels),
        spec=PersistentVolumeSpec(
            capacity={"storage": size},
            access_modes=["ReadWriteOnce"],
            storage_class_name="slow",
            node_affinity=affinity,
            claim_ref=claim_ref,
            csi=CSISource(driver="csi.example", volume_handle=csi) if csi else None,
        ),
    )


def using(*names, **more):
    volumes = [
        Volume(name=f"v{index}", persistent_volume_claim=ClaimSource(claim_name=name)) for index, name in enumerate(names)
    ]
    return builders.pod(volumes=volumes, **more)


# --- VolumeBinding -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_claim", "class_mode", "reason"),
    [
        (None, None, 'persistentvolumeclaim "data" not found'),
        (claim(), "Immediate", "pod has unbound immediate PersistentVolumeClaims"),
        (claim(), None, "pod has unbound immediate PersistentVolumeClaims"),
    ],
)
def test_claims_that_fit_nowhere(given_claim, class_mode, reason):
    world = World()
    if given_claim is not None:
        world.known.claims.object_set(given_claim)
    if class_mode is not None:
        world.known.classes.object_set(storage_class(mode=class_mode))
    assert world.reasons(using("data")) == reason


def test_a_claim_being_deleted_or_lost_is_said():
    world = World()
    gone = claim(volume="pv")
    gone.metadata.deletion_timestamp = "2026-01-01T00:00:00Z"
    world.known.claims.object_set(gone)
    assert world.reasons(using("data")) == 'persistentvolumeclaim "data" is being deleted'
    lost = claim(volume="pv")
    lost.status = PersistentVolumeClaimStatus(phase="Lost")
    world.known.claims.object_set(lost)
    assert world.reasons(using("data")) == 'persistentvolumeclaim "data" bound to non-existent persistentvolume "pv"'


def test_bound_volumes_decide_where():
    world = World()
    world.known.claims.object_set(claim(volume="pv"))
    gone = ["node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"]
    assert world.reasons(using("data")) == {"n1": gone, "n2": gone, "n3": gone}
    world.known.volumes.object_set(volume(zone="a"))
    assert world.reasons(using("data")) == {"n1": [], "n2": [CONFLICT], "n3": [CONFLICT]}


def test_an_ephemeral_claim_must_be_the_pods_own():
    world = World()
    pod = builders.pod("web", volumes=[Volume(name="scratch", ephemeral=EphemeralSource())])
    waits = 'waiting for ephemeral volume controller to create the persistentvolumeclaim "web-scratch"'
    assert world.reasons(pod) == waits
    own = claim("web-scratch", volume="pv")
    world.known.claims.object_set(own)
    world.known.volumes.object_set(volume())
    assert world.reasons(pod) == "PVC default/web-scratch was not created for pod default/web (pod is not owner)"
    own.metadata.owner_references = [OwnerReference(kind="Pod", name="web", uid=pod.metadata.uid, controller=True)]
    world.known.claims.object_set(own)
    assert set(map(tuple, world.reasons(pod).values())) == {()}


def test_waiting_claims_take_volumes_that_exist_or_can_be_made():
    world = World()
    world.known.claims.object_set(claim())
    world.known.classes.object_set(storage_class(provisioner="kubernetes.io/no-provisioner"))
    assert world.reasons(using("data"))["n1"] == [UNMATCHED]
    world.known.volumes.object_set(volume("small", zone="a", size="1Gi"))
    world.known.volumes.object_set(volume("fits", zone="a", size="20Gi"))
    assert world.reasons(using("data")) == {"n1": [], "n2": [UNMATCHED], "n3": [UNMATCHED]}
    topologies = [TopologyTerm(match_label_expressions=[TopologyRequirement(key=ZONE, values=["b"])])]
    world.known.classes.object_set(storage_class(topologies=topologies))
    assert world.reasons(using("data")) == {"n1": [], "n2": [], "n3": [UNMATCHED]}


def test_drivers_that_tell_their_capacity_must_have_room():
    world = World()
    world.known.claims.object_set(claim())
    world.known.classes.object_set(storage_class())
    world.known.drivers.object_set(
        CSIDriver(metadata=ObjectMeta(name="csi.example"), spec=CSIDriverSpec(storage_capacity=True))
    )
    assert world.reasons(using("data"))["n1"] == [NO_ROOM]
    for name, zone, capacity, largest in (("a", "a", "100Gi", None), ("b", "b", "100Gi", "5Gi")):
        world.known.capacities.object_set(
            CSIStorageCapacity(
                metadata=ObjectMeta(name=name, namespace="csi"),
                storage_class_name="slow",
                node_topology=LabelSelector(match_labels={ZONE: zone}),
                capacity=capacity,
                maximum_volume_size=largest,
            )
        )
    assert world.reasons(using("data")) == {"n1": [], "n2": [NO_ROOM], "n3": [NO_ROOM]}


def test_a_claim_that_is_being_provisioned_stays_with_its_node():
    world = World()
    world.known.classes.object_set(storage_class())
    world.known.claims.object_set(claim(selected="n2"))
    assert world.reasons(using("data")) == {"n1": [UNMATCHED], "n2": [], "n3": [UNMATCHED]}


@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=5),
    zones=st.lists(st.sampled_from([None, "a", "b"]), min_size=5, max_size=5),
    wanted=st.integers(1, 5),
    reserved=st.integers(-1, 4),
)
@settings(max_examples=80, deadline=None)
def test_the_smallest_volume_that_fits_is_chosen(sizes, zones, wanted, reserved):
    world = World()
    world.known.classes.object_set(storage_class(provisioner="kubernetes.io/no-provisioner"))
    world.known.claims.object_set(claim(size=f"{wanted}Gi"))
    for index, size in enumerate(sizes):
        other = ObjectReference(namespace="default", name="other") if index == reserved else None
        world.known.volumes.object_set(volume(f"pv{index}", zones[index], f"{size}Gi", claim_ref=other))
    pod = using("data")
    for node, zone in (("n1", "a"), ("n2", "b"), ("n3", None)):
        fitting = [
            (size, f"pv{index}")
            for index, size in enumerate(sizes)
            if size >= wanted and index != reserved and zones[index] in (None, zone)
        ]
        assert (world.reasons(pod)[node] == []) == bool(fitting)
        if fitting:
            state = {}
            assert world.plugin.reserve(state, READER.read(pod), node) is None
            assert dict(world.known.promised.items()) == {min(fitting)[1]: "default/data"}
            world.plugin.unreserve(state, READER.read(pod), node)
            assert not len(world.known.promised)


def test_two_claims_do_not_get_one_volume_nor_two_pods():
    world = World()
    world.known.classes.object_set(storage_class(provisioner="kubernetes.io/no-provisioner"))
    for name in ("data", "logs"):
        world.known.claims.object_set(claim(name))
    world.known.volumes.object_set(volume())
    assert world.reasons(using("data", "logs"))["n1"] == [UNMATCHED]
    first, second = using("data"), using("logs")
    assert world.reasons(second)["n1"] == []
    assert world.plugin.reserve({}, READER.read(first), "n1") is None
    assert world.reasons(second)["n1"] == [UNMATCHED]
    assert world.plugin.reserve({}, READER.read(second), "n1").reasons == (UNMATCHED,)


async def _prebound(world, pod, node, then):
    info, state = READER.read(pod), {}
    assert world.plugin.reserve(state, info, node) is None

    async def both():
        return await world.plugin.pre_bind(state, info, node) or await world.plugin.wait(state, info, node)

    task = asyncio.create_task(both())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    then()
    for _ in range(400):
        if task.done():
            break
        world.clock.advance(0.2)
        await asyncio.sleep(0)
    return await task


async def test_pre_bind_writes_the_binding_and_waits_for_it():
    world = World()
    world.known.classes.object_set(storage_class(provisioner="kubernetes.io/no-provisioner"))
    world.known.claims.object_set(claim())
    world.known.volumes.object_set(volume())
    bound = lambda: world.known.claims.object_set(claim(volume="pv"))  # noqa: E731
    assert await _prebound(world, using("data"), "n1", bound) is None
    ((kind, _, name, patch),) = world.store.patches
    ref = patch["spec"]["claimRef"]
    assert (kind, name, ref["namespace"], ref["name"], ref["uid"]) == (
        "PersistentVolume",
        "pv",
        "default",
        "data",
        "claim-data",
    )
    assert dict(world.known.promised.items()) == {"pv": "default/data"}, "until the volume itself says whose it is"
    world.known.volumes.object_set(volume(claim_ref=ObjectReference(namespace="default", name="data")))
    assert not len(world.known.promised)


async def test_pre_bind_names_the_node_for_provisioning_and_gives_up_in_time():
    world = World()
    world.known.classes.object_set(storage_class())
    world.known.claims.object_set(claim())
    status = await _prebound(world, using("data"), "n2", lambda: None)
    assert status.reasons == ("binding volumes: not bound after 30 seconds",)
    ((kind, namespace, name, patch),) = world.store.patches
    assert (kind, namespace, name) == ("PersistentVolumeClaim", "default", "data")
    assert patch["metadata"]["annotations"] == {SELECTED_NODE: "n2"}


async def test_provisioning_that_fails_is_noticed():
    world = World()
    world.known.classes.object_set(storage_class())
    world.known.claims.object_set(claim(selected="n2"))

    def taken_back():
        world.known.claims.object_set(claim())

    status = await _prebound(world, using("data"), "n2", taken_back)
    assert status.reasons == ('provisioning failed for PVC "data"',)


# --- the others --------------------------------------------------------------------------------------------------------------


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


def test_pods_that_share_a_claim_are_promised_the_same_volume_until_the_last_gives_it_back():
    world = World()
    world.known.classes.object_set(storage_class(provisioner="kubernetes.io/no-provisioner"))
    world.known.claims.object_set(claim())
    world.known.volumes.object_set(volume("here", zone="a", size="20Gi"))
    world.known.volumes.object_set(volume("there", zone="b", size="10Gi"))
    one, other, states = using("data"), using("data"), ({}, {})
    assert world.plugin.reserve(states[0], READER.read(one), "n1") is None
    assert world.reasons(other) == {"n1": [], "n2": [UNMATCHED], "n3": [UNMATCHED]}
    assert world.plugin.reserve(states[1], READER.read(other), "n1") is None
    world.plugin.unreserve(states[0], READER.read(one), "n1")
    assert dict(world.known.promised.items()) == {"here": "default/data"}
    world.plugin.unreserve(states[1], READER.read(other), "n1")
    assert world.reasons(other) == {"n1": [], "n2": [], "n3": [UNMATCHED]}


def test_a_claim_whose_volume_is_about_to_be_made_ties_other_pods_to_that_node():
    world = World()
    world.known.classes.object_set(storage_class())
    world.known.claims.object_set(claim())
    one, state = using("data"), {}
    assert set(map(tuple, world.reasons(one).values())) == {()}
    assert world.plugin.reserve(state, READER.read(one), "n2") is None
    assert world.reasons(using("data")) == {"n1": [UNMATCHED], "n2": [], "n3": [UNMATCHED]}
    world.plugin.unreserve(state, READER.read(one), "n2")
    assert set(map(tuple, world.reasons(using("data")).values())) == {()}


def test_a_volume_that_names_a_claim_is_its_only_choice():
    world = World()
    world.known.classes.object_set(storage_class(provisioner="kubernetes.io/no-provisioner"))
    world.known.claims.object_set(claim())
    world.known.volumes.object_set(volume("free", zone="b"))
    mine = ObjectReference(namespace="default", name="data")
    world.known.volumes.object_set(volume("mine", zone="a", size="50Gi", claim_ref=mine))
    assert world.reasons(using("data")) == {"n1": [], "n2": [UNMATCHED], "n3": [UNMATCHED]}
    world.known.volumes.object_deleted(volume("mine", claim_ref=mine))
    assert world.reasons(using("data")) == {"n1": [UNMATCHED], "n2": [], "n3": [UNMATCHED]}


def test_what_cannot_be_read_of_one_volume_hides_no_other():
    world = World()
    world.known.classes.object_set(storage_class())
    world.known.claims.object_set(claim())
    with pytest.raises(ValueError, match="odd"):
        world.known.volumes.object_set(volume("bad", size="odd"))
    told = CSIDriver(metadata=ObjectMeta(name="csi.example"), spec=CSIDriverSpec(storage_capacity=True))
    world.known.drivers.object_set(told)
    for name, capacity in (("odd", "much"), ("good", "20Gi")):
        world.known.capacities.object_set(
            CSIStorageCapacity(
                metadata=ObjectMeta(name=name, namespace="csi"),
                storage_class_name="slow",
                node_topology=LabelSelector(match_labels={ZONE: "a"}),
                capacity=capacity,
            )
        )
    assert world.reasons(using("data")) == {"n1": [], "n2": [NO_ROOM], "n3": [NO_ROOM]}


async def test_a_volume_made_where_the_node_cannot_reach_it_is_noticed():
    world = World()
    world.known.classes.object_set(storage_class())
    world.known.claims.object_set(claim())

    def made():
        world.known.volumes.object_set(volume("far", zone="a"))
        world.known.claims.object_set(claim(volume="far"))

    status = await _prebound(world, using("data"), "n2", made)
    assert status.reasons == ('pv "far" node affinity doesn\'t match node "n2"',)


def test_a_failed_bind_wakes_those_who_could_use_its_volumes():
    world = World()
    hints = [hint for kinds, hint in world.plugin.events() if kinds & Happening.POD_DELETE]
    waiting = READER.read(using("data"))
    assert [hint(waiting, ClusterEvent(Happening.POD_DELETE, old=using("other"))) for hint in hints] == [True]
    assert [hint(waiting, ClusterEvent(Happening.POD_DELETE, old=builders.pod())) for hint in hints] == [False]
