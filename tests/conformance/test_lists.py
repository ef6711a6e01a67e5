"""Lists: selections, order, versions, and collections too long for one answer."""

import asyncio

import pytest

from conformance.world import config_map, pod
from koordinator.api.registry import CONFIG_MAPS, PODS
from koordinator.kube import errors


async def names(world, resource=CONFIG_MAPS, **selectors):
    return [obj.name for obj in (await world.store.list(resource, world.namespace, **selectors)).items]


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ("", "abc"),
        ("app=web", "ab"),
        ("app==web,tier=front", "a"),
        ("app!=web", "c"),
        ("tier!=front", "bc"),
        ("tier", "ab"),
        ("!tier", "c"),
        ("tier in (front, back)", "ab"),
        ("tier notin (front)", "bc"),
        ("app=nothing", ""),
    ],
)
async def test_label_selectors(world, selector, selected):
    for name, labels in {"a": {"app": "web", "tier": "front"}, "b": {"app": "web", "tier": "back"}, "c": {"app": "db"}}.items():
        await world.store.create(CONFIG_MAPS, config_map(name, labels | {"test": "labels"}), world.namespace)
    whole = f"test=labels,{selector}" if selector else "test=labels"
    assert await names(world, label_selector=whole) == list(selected)


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ("metadata.name=a", "a"),
        ("metadata.name!=a", "b"),
        ("spec.nodeName=n1", "b"),
        ("spec.nodeName=", "a"),
        ("spec.nodeName!=n1,status.phase=Pending", "a"),
        ("status.phase!=Pending", ""),
        ("spec.schedulerName=nobody", "ab"),
    ],
)
async def test_field_selectors_of_pods(world, selector, selected):
    await world.store.create(PODS, pod("a"), world.namespace)
    await world.store.create(PODS, pod("b"), world.namespace)
    await world.store.bind(world.namespace, "b", "n1")
    assert await names(world, PODS, field_selector=selector) == list(selected)


async def test_both_selectors_must_match(world):
    for name in "ab":
        await world.store.create(CONFIG_MAPS, config_map(name, {"app": "web"}), world.namespace)
    assert await names(world, label_selector="app=web", field_selector="metadata.name=b") == ["b"]


@pytest.mark.parametrize("selectors", [{"field_selector": "spec.nonsense=1"}, {"label_selector": "a in ("}])
async def test_selectors_that_cannot_be_are_bad_requests(world, selectors):
    with pytest.raises(errors.ApiError) as caught:
        await world.store.list(PODS, world.namespace, **selectors)
    assert caught.value.code == 400


async def test_a_list_of_all_namespaces_has_ours(world):
    await world.store.create(CONFIG_MAPS, config_map("a", {"of": world.namespace}), world.namespace)
    page = await world.store.list(CONFIG_MAPS, label_selector=f"of={world.namespace}")
    assert [(obj.namespace, obj.name) for obj in page.items] == [(world.namespace, "a")]


async def test_items_say_what_they_are_and_the_list_how_new_it_is(world):
    made = await world.store.create(CONFIG_MAPS, config_map("a"), world.namespace)
    page = await world.store.list(CONFIG_MAPS, world.namespace)
    assert {(obj.kind, obj.api_version) for obj in page.items} == {("ConfigMap", "v1")}
    assert int(page.resource_version) >= int(made.metadata.resource_version)
    same = await world.store.list(CONFIG_MAPS, world.namespace, resource_version=page.resource_version)
    assert [obj.key for obj in same.items] == [obj.key for obj in page.items]
    whenever = await world.store.list(CONFIG_MAPS, world.namespace, resource_version="0")
    assert {obj.name for obj in whenever.items} >= {"a"}


@pytest.mark.slow
async def test_a_long_collection_comes_whole_and_in_order(world):
    wanted = [f"m{number:04}" for number in range(1_100)]
    await asyncio.gather(*[world.store.create(CONFIG_MAPS, config_map(name, {"long": ""}), world.namespace) for name in wanted])
    assert await names(world, label_selector="long") == wanted
