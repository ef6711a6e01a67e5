"""Watches: from where they begin, in which order, what a selection sees, and what is forgotten."""

import asyncio

import pytest

from conformance.world import config_map, pod, take
from koordinator.api.registry import CONFIG_MAPS, PODS
from koordinator.kube import errors
from waiting import background


async def seen(world, version, count, resource=CONFIG_MAPS, **selectors):
    events = world.store.watch(resource, world.namespace, resource_version=version, **selectors)
    return [(event.type, event.object.name) for event in await take(events, count)]


async def now(world, resource=CONFIG_MAPS):
    return (await world.store.list(resource, world.namespace)).resource_version


async def test_changes_after_a_version_arrive_in_order_once(world):
    version = await now(world)
    made = await world.store.create(CONFIG_MAPS, config_map("a", x="1"), world.namespace)
    await world.store.patch(CONFIG_MAPS, "a", {"data": {"x": "2"}}, world.namespace)
    await world.store.create(CONFIG_MAPS, config_map("b"), world.namespace)
    await world.store.delete(CONFIG_MAPS, "a", world.namespace)
    all_of_it = [("ADDED", "a"), ("MODIFIED", "a"), ("ADDED", "b"), ("DELETED", "a")]
    assert await seen(world, version, 4) == all_of_it
    assert await seen(world, made.metadata.resource_version, 3) == all_of_it[1:]


async def test_versions_grow_and_are_those_of_the_objects(world):
    version = await now(world)
    for number in range(5):
        await world.store.create(CONFIG_MAPS, config_map(f"m{number}"), world.namespace)
    await world.store.delete(CONFIG_MAPS, "m0", world.namespace)
    events = await take(world.store.watch(CONFIG_MAPS, world.namespace, resource_version=version), 6)
    versions = [int(event.resource_version) for event in events]
    assert versions == sorted(set(versions))
    assert [event.object.metadata.resource_version for event in events] == [event.resource_version for event in events]
    assert versions[0] > int(version)


async def test_a_watch_hears_of_what_happens_while_it_waits(world):
    version = await now(world)
    async with background(seen(world, version, 2)) as watching:
        await asyncio.sleep(0.05)
        await world.store.create(CONFIG_MAPS, config_map("a"), world.namespace)
        await world.store.create(CONFIG_MAPS, config_map("b"), world.namespace)
        assert await asyncio.wait_for(watching, 10) == [("ADDED", "a"), ("ADDED", "b")]


async def test_many_watches_hear_the_same(world):
    version = await now(world)
    watches = [asyncio.create_task(seen(world, version, 50)) for _ in range(5)]
    await asyncio.gather(*[world.store.create(CONFIG_MAPS, config_map(f"m{n}"), world.namespace) for n in range(50)])
    heard = await asyncio.gather(*watches)
    assert all(one == heard[0] for one in heard)
    assert {name for _, name in heard[0]} == {f"m{n}" for n in range(50)}


async def test_without_a_version_what_there_is_comes_first(world):
    await world.store.create(CONFIG_MAPS, config_map("a", {"w": "1"}), world.namespace)
    await world.store.create(CONFIG_MAPS, config_map("b", {"w": "1"}), world.namespace)
    assert sorted(await seen(world, "0", 2, label_selector="w=1")) == [("ADDED", "a"), ("ADDED", "b")]


async def test_a_selection_is_entered_and_left_by_changes(world):
    version = await now(world)
    await world.store.create(CONFIG_MAPS, config_map("a"), world.namespace)
    await world.store.create(CONFIG_MAPS, config_map("b", {"in": "yes"}), world.namespace)
    for value in ("yes", "yes2", "no"):
        patch = {"metadata": {"labels": {"in": value.rstrip("2")}}, "data": {"value": value}}
        await world.store.patch(CONFIG_MAPS, "a", patch, world.namespace)
    await world.store.delete(CONFIG_MAPS, "a", world.namespace)
    await world.store.delete(CONFIG_MAPS, "b", world.namespace)
    wanted = [("ADDED", "b"), ("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a"), ("DELETED", "b")]
    assert await seen(world, version, 5, label_selector="in=yes") == wanted


async def test_leaving_a_selection_carries_the_version_of_the_change(world):
    version = await now(world)
    await world.store.create(CONFIG_MAPS, config_map("a", {"in": "yes"}), world.namespace)
    changed = await world.store.patch(CONFIG_MAPS, "a", {"metadata": {"labels": {"in": "no"}}}, world.namespace)
    events = world.store.watch(CONFIG_MAPS, world.namespace, resource_version=version, label_selector="in=yes")
    _, left = await take(events, 2)
    assert (left.type, left.resource_version) == ("DELETED", changed.metadata.resource_version)
    assert left.object.labels["in"] == "yes"


async def test_unbound_pods_leave_the_selection_by_being_bound(world):
    version = await now(world, PODS)
    await world.store.create(PODS, pod("a"), world.namespace)
    await world.store.bind(world.namespace, "a", "n1")
    assert await seen(world, version, 2, PODS, field_selector="spec.nodeName=") == [("ADDED", "a"), ("DELETED", "a")]
    assert await seen(world, version, 1, PODS, field_selector="spec.nodeName=n1") == [("ADDED", "a")]


async def test_one_object_can_be_watched(world):
    version = await now(world)
    for name in "abc":
        await world.store.create(CONFIG_MAPS, config_map(name), world.namespace)
    assert await seen(world, version, 1, field_selector="metadata.name=b") == [("ADDED", "b")]


async def test_a_change_that_changes_nothing_is_no_event(world):
    version = await now(world)
    made = await world.store.create(CONFIG_MAPS, config_map("a", x="1"), world.namespace)
    same = await world.store.patch(CONFIG_MAPS, "a", {"data": {"x": "1"}}, world.namespace)
    assert same.metadata.resource_version == made.metadata.resource_version
    await world.store.delete(CONFIG_MAPS, "a", world.namespace)
    assert await seen(world, version, 2) == [("ADDED", "a"), ("DELETED", "a")]


async def test_forgotten_versions_are_gone(world):
    await world.store.create(CONFIG_MAPS, config_map("a"), world.namespace)
    try:
        await take(world.store.watch(CONFIG_MAPS, world.namespace, resource_version="1"), 1)
    except errors.Gone as err:
        assert err.code == 410  # noqa: PT017 — what else may happen is below
    else:
        assert world.name == "kubeconfig"
        pytest.skip("this cluster is young, it has forgotten nothing yet")


@pytest.mark.slow
async def test_bookmarks_say_how_far_the_world_has_come(world):
    version = await now(world)
    made = await world.store.create(CONFIG_MAPS, config_map("a"), world.namespace)
    selected = {"resource_version": version, "label_selector": "nobody=has"}

    async def bookmark():
        events = world.store.watch(CONFIG_MAPS, world.namespace, **selected)
        return await anext(
            event async for event in events if int(event.resource_version) >= int(made.metadata.resource_version)
        )

    async with background(bookmark()) as waiting:
        await asyncio.sleep(0.05)
        await world.remind()
        event = await asyncio.wait_for(waiting, 90)
    assert (event.type, event.object) == ("BOOKMARK", None)
