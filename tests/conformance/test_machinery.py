"""What is built on the store, over each store: finalizers, election, events, informers."""

import asyncio

import pytest

from conformance.world import config_map, pod
from koordinator.api.registry import CONFIG_MAPS, EVENTS, LEASES, PODS
from koordinator.kube import errors, finalizers
from koordinator.kube.events import Recorder
from koordinator.kube.informer import Informer
from koordinator.kube.leader import LeaderElector, LeaseTimes
from waiting import background, until

HOLD = "example.com/hold"


async def test_finalizers_hold_an_object_until_the_last_is_gone(world):
    body = config_map("a")
    body["metadata"]["finalizers"] = [HOLD, "example.com/other"]
    await world.store.create(CONFIG_MAPS, body, world.namespace)
    await world.store.delete(CONFIG_MAPS, "a", world.namespace)
    held = await world.store.get(CONFIG_MAPS, "a", world.namespace)
    assert held.metadata.deletion_timestamp
    await world.store.delete(CONFIG_MAPS, "a", world.namespace)  # again: nothing new
    again = await world.store.get(CONFIG_MAPS, "a", world.namespace)
    assert again.metadata.resource_version == held.metadata.resource_version
    await world.store.patch(CONFIG_MAPS, "a", {"metadata": {"finalizers": [HOLD]}}, world.namespace)
    last = await world.store.patch(CONFIG_MAPS, "a", {"metadata": {"finalizers": None}}, world.namespace)
    assert last.name == "a"
    with pytest.raises(errors.NotFound):
        await world.store.get(CONFIG_MAPS, "a", world.namespace)


async def test_no_finalizer_is_added_to_what_is_being_deleted(world):
    body = config_map("a")
    body["metadata"]["finalizers"] = [HOLD]
    await world.store.create(CONFIG_MAPS, body, world.namespace)
    await world.store.delete(CONFIG_MAPS, "a", world.namespace)
    with pytest.raises(errors.Invalid, match="no new finalizers can be added"):
        await world.store.patch(CONFIG_MAPS, "a", {"metadata": {"finalizers": [HOLD, "example.com/late"]}}, world.namespace)


async def test_a_held_deletion_is_a_modification_and_then_a_deletion(world):
    body = config_map("a")
    body["metadata"]["finalizers"] = [HOLD]
    made = await world.store.create(CONFIG_MAPS, body, world.namespace)
    await world.store.delete(CONFIG_MAPS, "a", world.namespace)
    await world.store.patch(CONFIG_MAPS, "a", {"metadata": {"finalizers": None}}, world.namespace)
    types = []
    async for event in world.store.watch(CONFIG_MAPS, world.namespace, resource_version=made.metadata.resource_version):
        types.append(event.type)
        if event.type == "DELETED":
            break
    assert types == ["MODIFIED", "DELETED"]


async def test_one_candidate_leads_and_the_next_takes_over(world):
    times = LeaseTimes(lease_duration=3, renew_deadline=2, retry_period=0.3)
    leading = []

    async def candidate(name):
        async def lead():
            leading.append(name)
            await asyncio.Event().wait()

        await LeaderElector(world.store, world.namespace, "election", name, world.clock, times=times).run(lead)

    async with background(candidate("first")) as first:
        await until(lambda: leading == ["first"])
        async with background(candidate("second")):
            lease = await world.store.get(LEASES, "election", world.namespace)
            assert lease.spec.holder_identity == "first"
            first.cancel()
            await until(lambda: leading == ["first", "second"])
            lease = await world.store.get(LEASES, "election", world.namespace)
            assert (lease.spec.holder_identity, lease.spec.lease_transitions) == ("second", 1)


async def test_events_are_counted(world):
    web = await world.store.create(PODS, pod("web"), world.namespace)
    recorder = Recorder(world.store, "conformance", world.clock)
    for _ in range(3):
        recorder.event(web, "Normal", "Tested", "this happened")
        await recorder.flush()
    about = f"involvedObject.uid={web.metadata.uid},reason=Tested"
    page = await world.store.list(EVENTS, world.namespace, field_selector=about)
    assert [(event.type, event.count, event.message) for event in page.items] == [("Normal", 3, "this happened")]


async def test_an_informer_is_current(world):
    informer = Informer(world.store, CONFIG_MAPS, clock=world.clock, namespace=world.namespace, label_selector="own")
    heard = []
    informer.on(
        added=lambda obj: heard.append(("+", obj.name)),
        updated=lambda old, new: heard.append(("~", new.name, old.data, new.data)),
        deleted=lambda obj: heard.append(("-", obj.name)),
    )
    await world.store.create(CONFIG_MAPS, config_map("before", {"own": ""}), world.namespace)
    async with background(informer.run()):
        await asyncio.wait_for(informer.synced(), 10)
        assert heard == [("+", "before")]
        await world.store.create(CONFIG_MAPS, config_map("during", {"own": ""}, x="1"), world.namespace)
        await world.store.patch(CONFIG_MAPS, "during", {"data": {"x": "2"}}, world.namespace)
        await world.store.create(CONFIG_MAPS, config_map("foreign"), world.namespace)
        await world.store.delete(CONFIG_MAPS, "before", world.namespace)
        await until(lambda: heard[-1] == ("-", "before"))
    assert heard[1:-1] == [("+", "during"), ("~", "during", {"x": "1"}, {"x": "2"})]
    assert informer.get(f"{world.namespace}/during").data == {"x": "2"}
    assert [obj.name for obj in informer.items()] == ["during"]


@pytest.mark.slow
async def test_an_informer_keeps_up_with_a_crowd(world):
    informer = Informer(world.store, CONFIG_MAPS, clock=world.clock, namespace=world.namespace, label_selector="crowd")
    async with background(informer.run()):
        await asyncio.wait_for(informer.synced(), 10)
        names = [f"m{number}" for number in range(300)]

        async def live(name, number):
            await world.store.create(CONFIG_MAPS, config_map(name, {"crowd": ""}), world.namespace)
            await world.store.patch(CONFIG_MAPS, name, {"data": {"x": str(number)}}, world.namespace)
            if number % 3 == 0:
                await world.store.delete(CONFIG_MAPS, name, world.namespace)

        await asyncio.gather(*[live(name, number) for number, name in enumerate(names)])
        left = {name: {"x": str(number)} for number, name in enumerate(names) if number % 3}
        await until(lambda: {obj.name: obj.data for obj in informer.items()} == left)


async def test_helpers_share_finalizers_with_other_writers(world):
    seen = await world.store.create(CONFIG_MAPS, config_map("a"), world.namespace)
    names = [f"example.com/f{number}" for number in range(4)]
    held = await asyncio.gather(*[finalizers.add(world.store, CONFIG_MAPS, seen, name) for name in names])
    assert all(held)
    await world.store.delete(CONFIG_MAPS, "a", world.namespace)
    left = await asyncio.gather(*[finalizers.remove(world.store, CONFIG_MAPS, seen, name) for name in names])
    assert left.count(None) == 1
    with pytest.raises(errors.NotFound):
        await world.store.get(CONFIG_MAPS, "a", world.namespace)
