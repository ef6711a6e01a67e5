"""Objects: made, read, refused, deleted."""

import asyncio

import pytest

from conformance.world import config_map, pod
from koordinator.api.meta import parse_time
from koordinator.api.registry import CONFIG_MAPS, NAMESPACES, NODES, PODS, PRIORITY_CLASSES
from koordinator.kube import errors


async def test_what_is_created_can_be_read(world):
    made = await world.store.create(CONFIG_MAPS, config_map("a", {"app": "web"}, x="1"), world.namespace)
    read = await world.store.get(CONFIG_MAPS, "a", world.namespace)
    assert read == made
    assert (read.kind, read.api_version, read.namespace, read.name) == ("ConfigMap", "v1", world.namespace, "a")
    assert read.labels["app"] == "web"
    assert read.data == {"x": "1"}
    assert int(read.metadata.resource_version) > 0
    assert len(read.metadata.uid) == 36
    assert abs(parse_time(read.metadata.creation_timestamp) - world.clock.now()) < 60


async def test_uid_and_times_are_the_servers_to_give(world):
    body = config_map("a")
    body["metadata"] |= {"uid": "mine", "creationTimestamp": "2001-01-01T00:00:00Z", "generation": 7}
    made = await world.store.create(CONFIG_MAPS, body, world.namespace)
    assert made.metadata.uid != "mine"
    assert not made.metadata.creation_timestamp.startswith("2001")


async def test_a_name_is_taken_once(world):
    await world.store.create(CONFIG_MAPS, config_map("a"), world.namespace)
    with pytest.raises(errors.AlreadyExists, match='configmaps "a" already exists') as caught:
        await world.store.create(CONFIG_MAPS, config_map("a"), world.namespace)
    assert caught.value.code == 409


async def test_the_same_name_in_another_kind_or_life_is_another_object(world):
    first = await world.store.create(CONFIG_MAPS, config_map("a"), world.namespace)
    await world.store.create(PODS, pod("a"), world.namespace)
    await world.store.delete(CONFIG_MAPS, "a", world.namespace)
    second = await world.store.create(CONFIG_MAPS, config_map("a"), world.namespace)
    assert first.metadata.uid != second.metadata.uid
    assert int(second.metadata.resource_version) > int(first.metadata.resource_version)


async def test_generated_names_are_unique(world):
    body = {"metadata": {"generateName": "some-"}}
    made = await asyncio.gather(*[world.store.create(CONFIG_MAPS, body, world.namespace) for _ in range(20)])
    names = {one.name for one in made}
    assert len(names) == 20
    assert all(name.startswith("some-") and len(name) == 10 for name in names)


async def test_an_object_needs_a_name(world):
    with pytest.raises(errors.Invalid, match="name or generateName is required"):
        await world.store.create(CONFIG_MAPS, {"metadata": {}}, world.namespace)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "Secret"}, None),
        ({"apiVersion": "v2"}, None),
        ({"metadata": {"name": "a", "namespace": "elsewhere"}}, "does not match"),
        ({"metadata": {"name": "a", "resourceVersion": "5"}}, "resourceVersion should not be set on objects to be created"),
        ({"data": {"x": 1}}, None),
    ],
    ids=["kind", "version", "namespace", "resource version", "type"],
)
async def test_what_does_not_fit_the_collection_is_a_bad_request(world, change, said):
    with pytest.raises(errors.ApiError, match=said) as caught:
        await world.store.create(CONFIG_MAPS, config_map("a") | change, world.namespace)
    assert caught.value.code == 400


async def test_a_namespace_must_exist(world):
    with pytest.raises(errors.NotFound, match="namespaces"):
        await world.store.create(CONFIG_MAPS, config_map("a"), world.unique("nowhere"))


async def test_nothing_is_created_in_a_namespace_that_goes(world):
    name = world.unique("going")
    await world.store.create(NAMESPACES, {"metadata": {"name": name}})
    held = config_map("held")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await world.store.create(CONFIG_MAPS, held, name)
    assert (await world.store.get(NAMESPACES, name)).metadata.deletion_timestamp is None
    await world.store.delete(NAMESPACES, name)
    going = await world.store.get(NAMESPACES, name)
    assert going.metadata.deletion_timestamp
    with pytest.raises(errors.Forbidden, match="being terminated"):
        await world.store.create(CONFIG_MAPS, config_map("late"), name)
    await world.store.patch(CONFIG_MAPS, "held", {"metadata": {"finalizers": None}}, name)


async def test_cluster_scoped_objects_have_no_namespace(world):
    name = world.unique("class")
    world.created(PRIORITY_CLASSES, name)
    made = await world.store.create(PRIORITY_CLASSES, {"metadata": {"name": name}, "value": 5})
    assert (made.namespace, made.key) == ("", name)
    assert (await world.store.get(PRIORITY_CLASSES, name)).value == 5
    with pytest.raises(errors.AlreadyExists):
        await world.store.create(PRIORITY_CLASSES, {"metadata": {"name": name}, "value": 5})


@pytest.mark.parametrize("verb", ["get", "patch", "delete", "bind", "evict"])
async def test_what_is_not_there_is_not_found(world, verb):
    calls = {
        "get": lambda: world.store.get(PODS, "none", world.namespace),
        "patch": lambda: world.store.patch(PODS, "none", {}, world.namespace),
        "delete": lambda: world.store.delete(PODS, "none", world.namespace),
        "bind": lambda: world.store.bind(world.namespace, "none", "n1"),
        "evict": lambda: world.store.evict(world.namespace, "none"),
    }
    with pytest.raises(errors.NotFound, match='pods "none" not found') as caught:
        await calls[verb]()
    assert caught.value.code == 404
    assert caught.value.details["name"] == "none"


async def test_deletion_can_insist_on_an_object(world):
    made = await world.store.create(CONFIG_MAPS, config_map("a"), world.namespace)
    with pytest.raises(errors.Conflict, match="UID in precondition"):
        await world.store.delete(CONFIG_MAPS, "a", world.namespace, uid="another")
    await world.store.delete(CONFIG_MAPS, "a", world.namespace, uid=made.metadata.uid)
    with pytest.raises(errors.NotFound):
        await world.store.get(CONFIG_MAPS, "a", world.namespace)


async def test_owners_are_stored(world):
    owner = await world.store.create(CONFIG_MAPS, config_map("owner"), world.namespace)
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.metadata.uid, "controller": True}
    body = config_map("owned")
    body["metadata"]["ownerReferences"] = [reference]
    owned = await world.store.create(CONFIG_MAPS, body, world.namespace)
    assert (owned.owner.name, owned.owner.uid, owned.owner.block_owner_deletion) == ("owner", owner.metadata.uid, None)
    read = await world.store.get(CONFIG_MAPS, "owned", world.namespace)
    assert read.metadata.owner_references == owned.metadata.owner_references


async def test_a_node_keeps_the_status_it_is_registered_with(world):
    name = world.unique("node")
    world.created(NODES, name)
    node = {"metadata": {"name": name}, "status": {"capacity": {"cpu": "4", "memory": "8Gi"}}}
    made = await world.store.create(NODES, node)
    assert made.status.allocatable == {"cpu": "4", "memory": "8Gi"}
