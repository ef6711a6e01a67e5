"""The whole scheduler on a real API server."""

import asyncio
import contextlib

import aiohttp
import pytest

from koordinator.api.registry import EVENTS, NODE_METRICS, NODES, PODS
from koordinator.errors import Unavailable
from koordinator.scheduler.engine.queued import Where
from scheduler.processes import running
from waiting import until


class Driver:
    """A running scheduler and a client to make things happen."""

    def __init__(self, client, app):
        self.client, self.app = client, app

    async def node(self, name, cpu="4", labels=None, **spec):
        meta = {"name": name, "labels": labels or {}}
        status = {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"}}
        await self.client.create(NODES, {"metadata": meta, "spec": spec, "status": status})

    async def pod(self, name, cpu="100m", scheduler="koord-scheduler", **spec):
        containers = [{"name": "main", "image": "pause", "resources": {"requests": {"cpu": cpu}}}]
        body = {"metadata": {"name": name}, "spec": {"schedulerName": scheduler, "containers": containers, **spec}}
        await self.client.create(PODS, body, "default")

    async def where(self, name):
        return (await self.client.get(PODS, name, "default")).spec.node_name

    async def bound(self, *names):
        async def all_bound():
            return all([await self.where(name) for name in names])

        await until(all_bound)

    async def condition(self, name):
        found = (await self.client.get(PODS, name, "default")).status.conditions or []
        return next(((one.status, one.reason, one.message) for one in found if one.type == "PodScheduled"), None)

    async def events(self, name):
        return [
            (one.type, one.reason, one.message)
            for one in (await self.client.list(EVENTS, "default")).items
            if one.involved_object.name == name
        ]


@contextlib.asynccontextmanager
async def scheduling(apiserver, **options):
    async with running(apiserver.client, **options) as app:
        yield Driver(apiserver.client, app)


@pytest.fixture
async def world(apiserver):
    async with scheduling(apiserver) as driver:
        yield driver


async def test_pods_are_bound_spread_and_told_about(world):
    await world.node("a")
    await world.node("b")
    names = [f"p{index}" for index in range(6)]
    for name in names:
        await world.pod(name)
    await world.pod("theirs", scheduler="somebody-else")
    await world.bound(*names)
    assert sorted([await world.where(name) for name in names]) == ["a", "a", "a", "b", "b", "b"]
    assert await world.where("theirs") == ""
    node = await world.where("p0")
    await until(lambda: told(world, "p0", ("Normal", "Scheduled", f"Successfully assigned default/p0 to {node}")))


async def told(world, name, event):
    return event in await world.events(name)


async def test_a_pod_that_fits_nowhere_says_why_once_and_goes_when_room_appears(world):
    await world.node("a", cpu="1")
    await world.pod("big", cpu="2")
    unhelpful = "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    message = f"0/1 nodes are available: 1 Insufficient cpu. {unhelpful}"
    await until(lambda: told(world, "big", ("Warning", "FailedScheduling", message)))

    async def says_so():
        return await world.condition("big") == ("False", "Unschedulable", message)

    await until(says_so)
    await world.node("b", cpu="4")
    await world.bound("big")
    assert await world.where("big") == "b"
    assert (await world.condition("big"))[0] == "True"


async def test_a_deleted_pod_makes_room(world):
    await world.node("a", cpu="1")
    await world.pod("first", cpu="1")
    await world.bound("first")
    await world.pod("second", cpu="1")
    await until(lambda: world.app.queue.counts[Where.UNSCHEDULABLE] == 1)
    await world.client.delete(PODS, "first", "default", grace_seconds=0)
    await world.bound("second")


async def test_a_label_or_an_uncordoned_node_lets_a_pod_in(world):
    await world.node("a", unschedulable=True)
    await world.pod("picky", nodeSelector={"disk": "ssd"})
    await until(lambda: world.app.queue.counts[Where.UNSCHEDULABLE] == 1)
    await world.client.patch(NODES, "a", {"metadata": {"labels": {"disk": "ssd"}}})
    await world.client.patch(NODES, "a", {"spec": {"unschedulable": None}})
    await world.bound("picky")


async def test_usage_decides_between_equal_nodes(world):
    for name, cpu in (("cool", "100m"), ("hot", "3500m")):
        await world.node(name)
        await world.client.create(NODE_METRICS, {"metadata": {"name": name}, "spec": {}})
        usage = {
            "nodeMetric": {"nodeUsage": {"resources": {"cpu": cpu, "memory": "1Gi"}}},
            "updateTime": "2999-01-01T00:00:00Z",
        }
        await world.client.patch(NODE_METRICS, name, {"status": usage}, subresource="status")
    ledgers = world.app.profile.plugins["LoadAwareScheduling"].ledgers
    await until(
        lambda: all(name in ledgers and ledgers[name].report and ledgers[name].report.usage for name in ("cool", "hot"))
    )
    await world.pod("p")
    await world.bound("p")
    assert await world.where("p") == "cool"


async def test_a_restart_counts_what_is_there(apiserver):
    async with scheduling(apiserver) as world:
        await world.node("a", cpu="1")
        await world.pod("first", cpu="600m")
        await world.bound("first")
    await world.pod("second", cpu="600m")
    async with scheduling(apiserver) as world:
        await until(lambda: world.app.queue.counts[Where.UNSCHEDULABLE] == 1)
        assert await world.where("second") == ""


async def test_somebody_else_may_bind_first(world):
    await world.pod("p")
    await until(lambda: world.app.queue.counts[Where.UNSCHEDULABLE] == 1)
    await world.client.bind("default", "p", "elsewhere")
    await until(lambda: len(world.app.queue) == 0)
    await world.node("elsewhere", cpu="1")
    await until(lambda: "elsewhere" in world.app.scheduler.cluster.columns.row_of)
    columns = world.app.scheduler.cluster.columns
    assert columns.requested[columns.row_of["elsewhere"], columns.resource("cpu")] == 100


async def test_only_the_leader_schedules(apiserver):
    async with scheduling(apiserver, leader_elect=True) as first:
        await until(lambda: first.app.leading)
        async with scheduling(apiserver, leader_elect=True) as second:
            await first.node("a")
            await first.pod("p")
            await first.bound("p")
            assert not second.app.leading


async def test_health_and_metrics(apiserver):
    async with scheduling(apiserver, http_port=0) as world, aiohttp.ClientSession() as session:
        await until(lambda: world.app.http_address)
        await world.node("a")
        await world.pod("p")
        await world.bound("p")
        base = "http://{}:{}".format(*world.app.http_address)
        async with session.get(f"{base}/healthz") as answer:
            assert await answer.text() == "ok"
        async with session.get(f"{base}/metrics") as answer:
            lines = (await answer.text()).splitlines()
    assert 'scheduler_schedule_attempts_total{profile="koord-scheduler",result="scheduled"} 1.0' in lines
    assert 'scheduler_pending_pods{queue="active"} 0.0' in lines
    assert 'scheduler_pod_scheduling_sli_duration_seconds_count{attempts="1"} 1.0' in lines
    assert 'scheduler_scheduler_cache_size{type="pods"} 1.0' in lines


async def test_an_occupied_port_is_one_clear_error(apiserver):
    taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    with pytest.raises(Unavailable, match=f"scheduler metrics on 127.0.0.1:{port}"):
        async with scheduling(apiserver, http_port=port):
            pass
    taken.close()
