"""HTTP extenders, real ones on a loopback port: filter, points, bind; failing, ignorable and interested ones."""

import pytest
from aiohttp import web

from koordinator.clock import ManualClock
from koordinator.scheduler.config.types import Configuration, ExtenderConfig, ManagedResource
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.cycle import Scheduler
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.engine.queue import SchedulingQueue
from koordinator.scheduler.engine.queued import Where
from koordinator.scheduler.extenders import ExtenderFailed, extenders_of
from koordinator.scheduler.plugins.priority_sort import PrioritySort
from koordinator.scheduler.plugins.resources_fit import NodeResourcesFit
from scheduler.builders import READER, node, pod
from scheduler.stories import Story


@pytest.fixture
async def extender():
    """Keeps pods off node a, likes c; says what it was asked."""
    asked = []

    async def answer(request):
        body = await request.json()
        verb = request.path.rsplit("/", 1)[1]
        asked.append((verb, body))
        if request.path.startswith("/broken"):
            return web.Response(status=500, text="out of order")
        if verb == "filter":
            names = body["NodeNames"] or [one["metadata"]["name"] for one in body["Nodes"]["items"]]
            return web.json_response(
                {"NodeNames": [name for name in names if name != "a"], "FailedNodes": {"a": "no licence"}, "Error": ""}
            )
        if verb == "prioritize":
            return web.json_response([{"Host": "b", "Score": 1}, {"Host": "c", "Score": 10}])
        if verb == "preempt":
            victims = {name: {"Pods": chosen["Pods"][:1]} for name, chosen in body["NodeNameToMetaVictims"].items()}
            return web.json_response({"NodeNameToMetaVictims": victims})
        return web.json_response({"Error": "" if body["Node"] != "nope" else "not there"})

    app = web.Application()
    app.router.add_post("/{tail:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield "http://{}:{}".format(*runner.addresses[0][:2]), asked
    await runner.cleanup()


class World:
    def __init__(self, *configs):
        self.clock, self.cluster, self.story = ManualClock(), Cluster(), Story()
        self.queue = SchedulingQueue(self.clock.monotonic)
        self.profile = Profile(["koord-scheduler"], [PrioritySort(), NodeResourcesFit()])
        self.extenders = extenders_of(Configuration(extenders=list(configs)), [self.profile], self.cluster)
        self.scheduler = Scheduler(self.cluster, self.queue, [self.profile], self.story, 1)
        self.scheduler.extenders, self.scheduler.ask_extenders = self.extenders.all, self.extenders.ask
        self.bound = {}
        self.scheduler.submit = lambda binding: self.bound.__setitem__(binding.pod.info.name, binding.node)
        for name in "abc":
            self.cluster.set_node(node(name, cpu="4"))

    async def run(self, *pods):
        for one in pods:
            self.scheduler.add_pending(READER.read(one), "koord-scheduler")
        while self.scheduler.schedule_one():
            if (question := self.scheduler.waiting_for) is not None:
                self.scheduler.waiting_for = None
                await question
        await self.extenders.close()
        return self


@pytest.mark.parametrize("names_only", [True, False])
async def test_an_extender_refuses_nodes_and_adds_points(extender, names_only):
    url, asked = extender
    config = ExtenderConfig(
        url_prefix=f"{url}/x", filter_verb="filter", prioritize_verb="prioritize", weight=5, node_cache_capable=names_only
    )
    world = await World(config).run(pod("p", cpu="1"))
    assert world.bound == {"p": "c"}
    assert [verb for verb, _ in asked] == ["filter", "prioritize"]
    assert asked[0][1]["Pod"]["metadata"]["name"] == "p"
    assert (asked[0][1]["Nodes"] is None) == names_only


async def test_what_an_extender_refused_is_counted_in_the_message(extender):
    url, _ = extender
    world = World(ExtenderConfig(url_prefix=url, filter_verb="filter", node_cache_capable=True))
    world.cluster.remove_node("b")
    world.cluster.remove_node("c")
    await world.run(pod("p", cpu="1"))
    assert world.story.refused == {"p": "0/1 nodes are available: 1 no licence."}


async def test_only_pods_that_ask_for_a_managed_resource_are_sent(extender):
    url, asked = extender
    managed = [ManagedResource(name="example.com/fpga")]
    world = World(ExtenderConfig(url_prefix=url, filter_verb="filter", managed_resources=managed))
    await world.run(pod("p", cpu="1"))
    assert "p" in world.bound
    assert asked == []


async def test_a_failing_extender_fails_the_pod_unless_it_is_ignorable(extender):
    url, _ = extender
    world = await World(ExtenderConfig(url_prefix=f"{url}/broken", filter_verb="filter")).run(pod("p", cpu="1"))
    assert "answered 500: out of order" in world.story.errors["p"]
    assert world.queue.counts[Where.BACKOFF] == 1
    world = await World(ExtenderConfig(url_prefix=f"{url}/broken", filter_verb="filter", ignorable=True)).run(pod("q", cpu="1"))
    assert "q" in world.bound
    dead = ExtenderConfig(url_prefix="http://127.0.0.1:1", filter_verb="filter", http_timeout="1s")
    world = await World(dead).run(pod("r", cpu="1"))
    assert "extender http://127.0.0.1:1/filter:" in world.story.errors["r"]


async def test_a_pod_deleted_while_an_extender_thinks_is_let_go(extender):
    url, _ = extender
    world = World(ExtenderConfig(url_prefix=url, filter_verb="filter"))
    one = READER.read(pod("p", cpu="1"))
    world.scheduler.add_pending(one, "koord-scheduler")
    world.scheduler.schedule_one()
    question, world.scheduler.waiting_for = world.scheduler.waiting_for, None
    world.scheduler.gone(one.uid)
    await question
    assert (world.bound, len(world.queue), world.cluster.pods) == ({}, 0, {})
    await world.extenders.close()


async def test_the_binding_extender_binds_what_interests_it(extender):
    url, asked = extender
    world = World(ExtenderConfig(url_prefix=url, bind_verb="bind"))
    binder = world.profile.binds[0]
    one = READER.read(pod("p", cpu="1"))
    assert await binder.bind({}, one, "b") is None
    assert asked == [("bind", {"PodName": "p", "PodNamespace": "default", "PodUID": one.uid, "Node": "b"})]
    assert "not there" in (await binder.bind({}, one, "nope")).message
    await world.extenders.close()


async def test_a_preempting_extender_shrinks_the_candidates(extender):
    url, _ = extender
    world = World(ExtenderConfig(url_prefix=url, preempt_verb="preempt", node_cache_capable=True))
    victims = [READER.read(pod(f"v{index}")) for index in range(2)]
    kept = await world.extenders.shrink(READER.read(pod("p")), {"a": victims})
    assert kept == {"a": victims[:1]}
    broken = World(ExtenderConfig(url_prefix=f"{url}/broken", preempt_verb="preempt"))
    with pytest.raises(ExtenderFailed):
        await broken.extenders.shrink(READER.read(pod("p")), {"a": victims})
    await world.extenders.close()
    await broken.extenders.close()
