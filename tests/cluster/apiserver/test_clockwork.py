"""What happens by itself as time passes: bookmarks, forgotten history, events that expire."""

import msgspec
import pytest

from koordinator.clock import ManualClock
from koordinator.cluster.apiserver.calls import Call, Target
from koordinator.cluster.apiserver.server import Server
from koordinator.kube.errors import ApiError
from waiting import until


class World:
    def __init__(self, server):
        self.server = server

    async def call(self, method, plural, name="", body=None, **query):
        kind = self.server.catalog.get("", "v1", plural)
        call = Call(method, Target("", "v1", plural, "default", name), kind, query, "application/json")
        call.body = msgspec.json.encode(body) if body is not None else b""
        return await self.server.router.answer(call)


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
async def world(tmp_path, clock):
    async with Server.open(tmp_path, clock) as server:
        yield World(server)


async def test_watches_that_ask_for_bookmarks_get_one_every_minute(world, clock):
    rv = str(world.server.store.rv)
    watch = await world.call("GET", "configmaps", watch="1", allowWatchBookmarks="true", resourceVersion=rv)
    silent = await world.call("GET", "configmaps", watch="1", resourceVersion=rv)
    await world.call("POST", "pods", body={"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    await clock.run(61)
    event = msgspec.json.decode(await anext(watch))
    assert event["type"] == "BOOKMARK"
    assert event["object"]["metadata"]["resourceVersion"] == str(world.server.store.rv)
    await world.call("POST", "configmaps", body={"metadata": {"name": "a"}})
    assert msgspec.json.decode(await anext(silent))["type"] == "ADDED"
    for stream in (watch, silent):
        await stream.aclose()


async def test_history_is_forgotten_after_five_minutes(world, clock):
    rv = str(world.server.store.rv)
    await world.call("POST", "configmaps", body={"metadata": {"name": "a"}})
    await (await world.call("GET", "configmaps", watch="1", resourceVersion=rv)).aclose()
    await clock.run(6 * 60 + 1)
    with pytest.raises(ApiError, match="too old resource version") as caught:
        await world.call("GET", "configmaps", watch="1", resourceVersion=rv)
    assert caught.value.code == 410


async def test_events_expire_an_hour_after_their_last_change(world, clock):
    for name in ("a", "b"):
        await world.call("POST", "events", body={"metadata": {"name": name}, "involvedObject": {"namespace": "default"}})
    await clock.run(50 * 60)
    patch = Call(
        "PATCH",
        Target("", "v1", "events", "default", "b"),
        world.server.catalog.get("", "v1", "events"),
        {},
        "application/merge-patch+json",
    )
    patch.body = b'{"count":2}'
    await world.server.router.answer(patch)
    await clock.run(15 * 60)
    events = world.server.store.collection("events")
    await until(lambda: len(events) <= 1)
    assert [entry.name for entry in events.entries()] == ["b"]


async def test_a_watch_has_the_time_that_it_asked_for(world, clock):
    watch = await world.call("GET", "configmaps", watch="1", timeoutSeconds="30", resourceVersion=str(world.server.store.rv))
    await clock.run(31)
    with pytest.raises(StopAsyncIteration):
        await anext(watch)
    await watch.aclose()
