import asyncio
import contextlib

import pytest

from koordinator.api.core import Node, Pod
from koordinator.api.meta import ObjectMeta
from koordinator.api.registry import EVENTS
from koordinator.kube.errors import Forbidden, ServerUnavailable
from koordinator.kube.events import QUEUE_LIMIT, Recorder
from kube.fake_server import FastClock, until
from kube.memory_store import MemoryStore


def pod(name="web", uid="u1"):
    return Pod(api_version="v1", kind="Pod", metadata=ObjectMeta(name=name, namespace="shop", uid=uid, resource_version="3"))


class World:
    def __init__(self):
        self.clock, self.store = FastClock(), MemoryStore()
        self.view = self.store.view()
        self.recorder = Recorder(self.view, "koord-scheduler", self.clock)

    async def events(self):
        return await self.store.all(EVENTS)


@pytest.fixture
def world():
    return World()


async def test_an_event_says_what_happened_to_whom(world):
    world.recorder.event(pod(), "Normal", "Scheduled", "Successfully assigned shop/web to n1")
    await world.recorder.flush()
    (event,) = await world.events()
    assert event.name.startswith("web.")
    assert (event.namespace, event.involved_object.kind, event.involved_object.uid) == ("shop", "Pod", "u1")
    assert (event.type, event.reason, event.message, event.count) == (
        "Normal",
        "Scheduled",
        "Successfully assigned shop/web to n1",
        1,
    )
    assert (event.source.component, event.first_timestamp, event.last_timestamp) == ("koord-scheduler",) + (
        "2026-01-01T00:00:00Z",
    ) * 2


async def test_events_of_cluster_scoped_objects_live_in_default(world):
    world.recorder.event(Node(kind="Node", metadata=ObjectMeta(name="n1")), "Warning", "Hot", "")
    await world.recorder.flush()
    assert (await world.events())[0].namespace == "default"


async def test_a_repeated_event_is_counted_not_repeated(world):
    for _ in range(3):
        world.recorder.event(pod(), "Warning", "FailedScheduling", "0/1 nodes are available")
    await world.recorder.flush()
    world.clock.time += 60
    world.recorder.event(pod(), "Warning", "FailedScheduling", "0/1 nodes are available")
    await world.recorder.flush()
    (event,) = await world.events()
    assert event.count == 4
    assert (event.first_timestamp, event.last_timestamp) == ("2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z")
    assert [call[0] for call in world.store.calls] == ["create", "patch"]


async def test_too_many_similar_events_are_folded_into_one(world):
    for index in range(15):
        world.recorder.event(pod(), "Warning", "FailedScheduling", f"reason {index}")
    await world.recorder.flush()
    combined = [event for event in await world.events() if event.message.startswith("(combined from similar events): ")]
    assert len(await world.events()) == 11
    assert [(event.count, event.message[-9:]) for event in combined] == [(5, "reason 14")]


async def test_one_noisy_object_is_limited_and_the_others_are_not(world):
    for index in range(100):
        world.recorder.event(pod(), "Normal", f"R{index}", "m")
    world.recorder.event(pod("quiet", "u2"), "Normal", "R", "m")
    await world.recorder.flush()
    assert len(await world.events()) == 26
    assert world.recorder.dropped == 75
    world.clock.time += 300
    world.recorder.event(pod(), "Normal", "later", "m")
    await world.recorder.flush()
    assert len(await world.events()) == 27


async def test_a_full_queue_drops_and_counts_and_nobody_waits(world):
    for index in range(QUEUE_LIMIT + 7):
        world.recorder.event(pod(f"p{index}"), "Normal", "R", "m")
    assert world.recorder.dropped == 7


async def test_an_unreachable_server_is_waited_for_and_a_refusal_is_not(world, caplog):
    unavailable = ServerUnavailable(0, "ServerUnavailable", "down")
    world.view.failures = [unavailable, unavailable, Forbidden(403, "Forbidden", "namespace is terminating")]
    world.recorder.event(pod(), "Normal", "A", "m")
    await world.recorder.flush()
    assert world.recorder.dropped == 1
    assert "namespace is terminating" in caplog.text
    world.view.failures = [unavailable, unavailable]
    world.recorder.event(pod(), "Normal", "B", "m")
    await world.recorder.flush()
    assert [event.reason for event in await world.events()] == ["B"]


async def test_an_event_that_expired_on_the_server_begins_again(world):
    for _ in range(2):
        world.recorder.event(pod(), "Normal", "R", "m")
        await world.recorder.flush()
        await world.store.clear(EVENTS)
    world.recorder.event(pod(), "Normal", "R", "m")
    await world.recorder.flush()
    assert (await world.events())[0].count == 3


async def test_run_writes_behind(world):
    task = asyncio.create_task(world.recorder.run())
    world.recorder.event(pod(), "Normal", "R", "m")
    await until(lambda: world.store.calls)
    world.recorder.event(pod(), "Normal", "S", "m")
    await until(lambda: len(world.store.calls) == 2 and not world.recorder.pending)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
