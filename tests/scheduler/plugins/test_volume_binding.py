"""VolumeBinding: where claims let a pod go, which volumes they get, and how these are bound."""

import asyncio

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given, settings

from koordinator.api.core import (
    EphemeralSource,
    Volume,
)
from koordinator.api.meta import LabelSelector, LabelSelectorRequirement, ObjectMeta, ObjectReference, OwnerReference
from koordinator.api.storage import (
    SELECTED_NODE,
    CSIDriver,
    CSIDriverSpec,
    CSIStorageCapacity,
    PersistentVolumeClaimStatus,
    TopologyRequirement,
    TopologyTerm,
)
from koordinator.scheduler.engine.events import ClusterEvent, Happening
from scheduler import builders
from scheduler.builders import READER
from scheduler.storage import CONFLICT, NO_ROOM, UNMATCHED, ZONE, World, claim, storage_class, using, volume


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


def test_a_free_volume_that_moves_is_found_where_it_is_now():
    world = World()
    world.known.classes.object_set(storage_class(provisioner="kubernetes.io/no-provisioner"))
    world.known.claims.object_set(claim())
    for zone, there in (("a", "n1"), ("b", "n2")):
        world.known.volumes.object_set(volume("pv", zone=zone))
        assert [name for name, why in world.reasons(using("data")).items() if not why] == [there]


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


@pytest.mark.parametrize(
    ("topology", "reached"),
    [
        pytest.param({"match_labels": {}}, ["n1", "n2", "n3"], id="everywhere"),
        pytest.param({"match_labels": {ZONE: "a", "none": ""}}, [], id="all labels"),
        pytest.param({"match_expressions": [("NotIn", ["a"])]}, ["n2", "n3"], id="not there"),
        pytest.param({"match_expressions": [("Exists", None)]}, ["n1", "n2"], id="some zone"),
        pytest.param({"match_labels": {ZONE: "b"}, "match_expressions": [("In", ["a", "b"])]}, ["n2"], id="both"),
    ],
)
def test_where_the_storage_of_a_capacity_is_reached(topology, reached):
    world = World()
    world.known.claims.object_set(claim())
    world.known.classes.object_set(storage_class())
    told = CSIDriver(metadata=ObjectMeta(name="csi.example"), spec=CSIDriverSpec(storage_capacity=True))
    world.known.drivers.object_set(told)
    wanted = [LabelSelectorRequirement(ZONE, *one) for one in topology.pop("match_expressions", ())]
    selector = LabelSelector(**topology, match_expressions=wanted)
    capacity = CSIStorageCapacity(metadata=ObjectMeta(name="c", namespace="csi"), storage_class_name="slow", capacity="1Ti")
    world.known.capacities.object_set(msgspec.structs.replace(capacity, node_topology=selector))
    assert [name for name, why in world.reasons(using("data")).items() if not why] == reached


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


# --- while a pod is bound ----------------------------------------------------------------------------------------------------


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


# --- several pods, several claims --------------------------------------------------------------------------------------------


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
