"""Patches: three dialects, preconditions, the status apart, generations."""

import asyncio

import pytest

from conformance.world import config_map, pod
from koordinator.api.registry import CONFIG_MAPS, NODES, PODS
from koordinator.kube import errors
from koordinator.kube.store import PatchType


async def test_merge_patches_set_change_and_remove(world):
    await world.store.create(CONFIG_MAPS, config_map("a", {"l": "1"}, x="1", y="1"), world.namespace)
    patch = {"data": {"x": None, "y": "2", "z": "3"}, "metadata": {"labels": {"m": "2"}, "annotations": {"n": "3"}}}
    changed = await world.store.patch(CONFIG_MAPS, "a", patch, world.namespace)
    assert changed.data == {"y": "2", "z": "3"}
    assert changed.labels == {"l": "1", "m": "2"}
    assert changed.annotations == {"n": "3"}
    assert changed == await world.store.get(CONFIG_MAPS, "a", world.namespace)


async def test_json_patches(world):
    await world.store.create(CONFIG_MAPS, config_map("a", x="1"), world.namespace)
    patch = [
        {"op": "test", "path": "/data/x", "value": "1"},
        {"op": "add", "path": "/data/a~1b", "value": "2"},
        {"op": "remove", "path": "/data/x"},
    ]
    changed = await world.store.patch(CONFIG_MAPS, "a", patch, world.namespace, type=PatchType.JSON)
    assert changed.data == {"a/b": "2"}
    with pytest.raises(errors.Invalid):
        await world.store.patch(CONFIG_MAPS, "a", patch, world.namespace, type=PatchType.JSON)
    assert (await world.store.get(CONFIG_MAPS, "a", world.namespace)).data == {"a/b": "2"}


async def test_strategic_patches_find_list_members_by_key(world):
    body = pod("a")
    body["spec"]["containers"].append({"name": "side", "image": "registry.invalid/side:1"})
    await world.store.create(PODS, body, world.namespace)
    patch = {"spec": {"containers": [{"name": "side", "image": "registry.invalid/side:2"}]}}
    changed = await world.store.patch(PODS, "a", patch, world.namespace, type=PatchType.STRATEGIC)
    images = {container.name: container.image for container in changed.spec.containers}
    assert images == {"main": "registry.invalid/none:1", "side": "registry.invalid/side:2"}


async def test_conditions_are_merged_by_type(world):
    name = world.unique("node")
    world.created(NODES, name)
    await world.store.create(NODES, {"metadata": {"name": name}})
    for type_ in ("Ready", "Warm"):
        patch = {"status": {"conditions": [{"type": type_, "status": "True"}]}}
        node = await world.store.patch(NODES, name, patch, type=PatchType.STRATEGIC, subresource="status")
    assert {condition.type for condition in node.status.conditions} == {"Ready", "Warm"}


async def test_a_version_that_has_passed_is_a_conflict(world):
    made = await world.store.create(CONFIG_MAPS, config_map("a", x="1"), world.namespace)
    seen = {"metadata": {"resourceVersion": made.metadata.resource_version}}
    await world.store.patch(CONFIG_MAPS, "a", seen | {"data": {"x": "2"}}, world.namespace)
    with pytest.raises(errors.Conflict, match="the object has been modified") as caught:
        await world.store.patch(CONFIG_MAPS, "a", seen | {"data": {"x": "3"}}, world.namespace)
    assert caught.value.code == 409
    assert (await world.store.get(CONFIG_MAPS, "a", world.namespace)).data == {"x": "2"}


async def test_another_uid_is_a_conflict(world):
    await world.store.create(CONFIG_MAPS, config_map("a"), world.namespace)
    with pytest.raises(errors.Conflict):
        await world.store.patch(CONFIG_MAPS, "a", {"metadata": {"uid": "another"}, "data": {"x": "1"}}, world.namespace)


async def test_of_writers_that_saw_the_same_version_one_wins(world):
    made = await world.store.create(CONFIG_MAPS, config_map("a"), world.namespace)

    async def write(number):
        patch = {"metadata": {"resourceVersion": made.metadata.resource_version}, "data": {"winner": str(number)}}
        try:
            return (await world.store.patch(CONFIG_MAPS, "a", patch, world.namespace)).data["winner"]
        except errors.Conflict:
            return None

    won = [one for one in await asyncio.gather(*[write(number) for number in range(8)]) if one]
    assert won == [(await world.store.get(CONFIG_MAPS, "a", world.namespace)).data["winner"]]


async def test_writers_that_do_not_insist_all_win(world):
    await world.store.create(CONFIG_MAPS, config_map("a"), world.namespace)
    patches = [{"data": {f"k{number}": "1"}} for number in range(8)]
    await asyncio.gather(*[world.store.patch(CONFIG_MAPS, "a", patch, world.namespace) for patch in patches])
    assert len((await world.store.get(CONFIG_MAPS, "a", world.namespace)).data) == 8


async def test_status_is_written_apart(world):
    body = pod("a") | {"status": {"phase": "Running"}}
    made = await world.store.create(PODS, body, world.namespace)
    assert made.status.phase == "Pending"
    both = {"status": {"phase": "Running"}, "metadata": {"labels": {"x": "1"}}}
    changed = await world.store.patch(PODS, "a", both, world.namespace)
    assert (changed.status.phase, changed.labels) == ("Pending", {"x": "1"})
    both = {"status": {"phase": "Running"}, "spec": {"activeDeadlineSeconds": 5}}
    changed = await world.store.patch(PODS, "a", both, world.namespace, subresource="status")
    assert changed.status.phase == "Running"
    assert changed.status.qos_class == "Burstable"
    assert (await world.store.patch(PODS, "a", {}, world.namespace)).status.phase == "Running"


async def test_a_kind_without_a_status_has_no_such_subresource(world):
    await world.store.create(CONFIG_MAPS, config_map("a"), world.namespace)
    with pytest.raises(errors.NotFound):
        await world.store.patch(CONFIG_MAPS, "a", {"status": {}}, world.namespace, subresource="status")


async def test_identity_cannot_be_patched(world):
    made = await world.store.create(CONFIG_MAPS, config_map("a"), world.namespace)
    patch = {"metadata": {"creationTimestamp": "2001-01-01T00:00:00Z"}, "data": {"x": "1"}}
    changed = await world.store.patch(CONFIG_MAPS, "a", patch, world.namespace)
    assert changed.metadata.creation_timestamp == made.metadata.creation_timestamp
    assert changed.metadata.uid == made.metadata.uid


async def test_a_pods_node_is_set_by_binding_alone(world):
    await world.store.create(PODS, pod("a"), world.namespace)
    with pytest.raises(errors.Invalid, match="pod updates may not change fields"):
        await world.store.patch(PODS, "a", {"spec": {"nodeName": "n1"}}, world.namespace)


async def test_what_does_not_fit_its_type_is_refused(world):
    await world.store.create(CONFIG_MAPS, config_map("a", x="1"), world.namespace)
    with pytest.raises(errors.ApiError) as caught:
        await world.store.patch(CONFIG_MAPS, "a", {"data": {"x": {"y": 1}}}, world.namespace)
    assert caught.value.code in (400, 422)
    assert (await world.store.get(CONFIG_MAPS, "a", world.namespace)).data == {"x": "1"}
