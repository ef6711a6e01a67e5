import asyncio

import pytest

from koordinator.api.registry import CONFIG_MAPS
from koordinator.clock import ManualClock
from koordinator.kube import errors, finalizers
from koordinator.kube.memory import MemoryStore

OURS, THEIRS = "example.com/ours", "example.com/theirs"


@pytest.fixture
def store():
    return MemoryStore(ManualClock())


async def made(store, *names):
    return await store.create(CONFIG_MAPS, {"metadata": {"name": "a", "finalizers": list(names)}}, "default")


async def test_added_once_and_removed_once(store):
    held = await finalizers.add(store, CONFIG_MAPS, await made(store), OURS)
    assert held.metadata.finalizers == [OURS]
    assert finalizers.has(held, OURS)
    assert await finalizers.add(store, CONFIG_MAPS, held, OURS) is held
    freed = await finalizers.remove(store, CONFIG_MAPS, held, OURS)
    assert not freed.metadata.finalizers
    assert await finalizers.remove(store, CONFIG_MAPS, freed, OURS) == freed


async def test_nobody_elses_is_lost_though_ours_was_read_before(store):
    seen = await made(store)
    await finalizers.add(store, CONFIG_MAPS, seen, THEIRS)
    held = await finalizers.add(store, CONFIG_MAPS, seen, OURS)
    assert held.metadata.finalizers == [THEIRS, OURS]
    left = await finalizers.remove(store, CONFIG_MAPS, held, THEIRS)
    assert left.metadata.finalizers == [OURS]


async def test_a_hold_that_the_cache_does_not_show_yet_is_removed_all_the_same(store):
    seen = await made(store)
    await finalizers.add(store, CONFIG_MAPS, seen, OURS)
    assert not (await finalizers.remove(store, CONFIG_MAPS, seen, OURS)).metadata.finalizers


async def test_many_at_once(store):
    seen = await made(store)
    names = [f"example.com/f{number}" for number in range(6)]
    await asyncio.gather(*[finalizers.add(store, CONFIG_MAPS, seen, name) for name in names])
    assert set((await store.get(CONFIG_MAPS, "a", "default")).metadata.finalizers) == set(names)


async def test_the_last_one_lets_the_object_go(store):
    held = await made(store, OURS)
    await store.delete(CONFIG_MAPS, "a", "default")
    assert await finalizers.remove(store, CONFIG_MAPS, held, OURS) is None
    with pytest.raises(errors.NotFound):
        await store.get(CONFIG_MAPS, "a", "default")
    assert await finalizers.remove(store, CONFIG_MAPS, held, OURS) is None


async def test_too_late_to_hold(store):
    seen = await made(store, THEIRS)
    await store.delete(CONFIG_MAPS, "a", "default")
    assert await finalizers.add(store, CONFIG_MAPS, seen, OURS) is None
    assert (await store.get(CONFIG_MAPS, "a", "default")).metadata.finalizers == [THEIRS]


async def test_a_later_object_of_the_name_is_left_alone(store):
    seen = await made(store)
    await store.delete(CONFIG_MAPS, "a", "default")
    await made(store, OURS)
    assert await finalizers.add(store, CONFIG_MAPS, seen, THEIRS) is None
    assert await finalizers.remove(store, CONFIG_MAPS, await store.get(CONFIG_MAPS, "a", "default"), THEIRS)
    assert (await store.get(CONFIG_MAPS, "a", "default")).metadata.finalizers == [OURS]
