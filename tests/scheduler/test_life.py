"""Who leads, from when on a cache is kept, and what plugins do beside scheduling."""

import asyncio
import contextlib
import itertools

import pytest

from koordinator.api.features import SCHEDULER
from koordinator.api.meta import Object
from koordinator.api.registry import POD_DISRUPTION_BUDGETS, PODS, Resource
from koordinator.clock import ManualClock, SystemClock
from koordinator.errors import Unavailable
from koordinator.kube.errors import ServerUnavailable
from koordinator.kube.informer import Informer
from koordinator.kube.leader import LeadershipLost, LeaseTimes
from koordinator.scheduler.app import App, SchedulerOptions
from koordinator.scheduler.catalogue import built_in, foreign
from koordinator.scheduler.controllers import controllers_of, enabled, keep_running
from koordinator.scheduler.engine.framework import PostBindPlugin
from koordinator.scheduler.engine.hooks import ControllerPlugin, StartPlugin
from koordinator.scheduler.options import BarrierPod, Election
from koordinator.scheduler.sync_barrier import ANNOTATION, Barrier
from koordinator.scheduler.watching import left_out
from scheduler.processes import add_node, add_pod, bound, running
from waiting import until

HEAD = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"
QUICK = Election(namespace="kube-system", name="mine", times=LeaseTimes(lease_duration=3, renew_deadline=2, retry_period=0.1))
GATES = SCHEDULER.defaults | {"SyncBarrier"}


# --- the cache of a replica that stands by -----------------------------------------------------------------------------------


async def test_a_delayed_cache_is_filled_when_the_lease_is_won(apiserver):
    await add_node(apiserver.client, "a")
    options = {"leader_elect": True, "election": QUICK, "delay_cache": True}
    async with running(apiserver.client, **options) as first, running(apiserver.client, **options) as second:
        await until(lambda: first.leading and first.life.watching.synced)
        await add_pod(apiserver.client, "p")
        await until(lambda: bound(apiserver.client, "p"))
        assert second.life.ready
        assert not second.scheduler.cluster.nodes
        assert not second.life.watching.synced
    assert not first.leading


async def test_without_an_election_a_cache_cannot_be_delayed(apiserver):
    async with running(apiserver.client, delay_cache=True) as app:
        assert app.life.watching.synced


class Severed:
    """A store that answers no more when told so."""

    def __init__(self, store):
        self._store, self.down = store, False

    def __getattr__(self, name):
        call = getattr(self._store, name)

        async def answer(*args, **kwargs):
            if self.down:
                raise ServerUnavailable(0, "ServerUnavailable", "connection refused")
            return await call(*args, **kwargs)

        return call if name == "watch" else answer


async def test_losing_the_lease_ends_the_scheduler_with_an_error(apiserver, caplog):
    store = Severed(apiserver.client)
    app = App(store, SchedulerOptions(leader_elect=True, election=QUICK), clock := ManualClock())
    task = asyncio.create_task(app.run())
    await until(lambda: app.leading)
    store.down = True
    for _ in range(30):
        clock.advance(0.1)
        await asyncio.sleep(0)
    with pytest.raises(LeadershipLost, match="kube-system/mine could not be renewed"):
        await asyncio.wait_for(task, 30)
    assert "leaderelection lost" in caplog.text


# --- the barrier -------------------------------------------------------------------------------------------------------------


class Lagging:
    """A store whose watch of pods tells nothing while it is held."""

    def __init__(self, store):
        self._store, self.free = store, asyncio.Event()
        self.free.set()

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def watch(self, resource, *args, **kwargs):
        async for event in self._store.watch(resource, *args, **kwargs):
            if resource is PODS:
                await self.free.wait()
            yield event


async def barrier_pod(client):
    containers = [{"name": "main", "image": "pause"}]
    body = {"metadata": {"name": "koord-scheduler-sync-barrier"}, "spec": {"schedulerName": "nobody", "containers": containers}}
    return await client.create(PODS, body, "kube-system")


async def marks(client):
    pod = await client.get(PODS, "koord-scheduler-sync-barrier", "kube-system")
    return (pod.metadata.annotations or {}).get(f"{ANNOTATION}mine")


async def test_a_new_leader_first_sees_what_the_old_one_has_bound(apiserver):
    """The second scheduler's watch is held before the first binds: it believes that the node is empty."""
    client, lagging = apiserver.client, Lagging(apiserver.client)
    options = {"leader_elect": True, "election": QUICK, "gates": GATES}
    await barrier_pod(client)
    async with contextlib.AsyncExitStack() as reign:
        first = await reign.enter_async_context(running(client, **options))
        await until(lambda: marks(client))
        before = await marks(client)
        async with running(lagging, **options) as second:
            for name in ("one", "other"):
                await add_pod(client, name, cpu="1")
            await until(lambda: len(second.queue) == 2)
            lagging.free.clear()
            await add_node(client, "a", cpu="1")
            await until(lambda: len(first.scheduler.cluster.pods) == 1 and first.quiet)
            await reign.aclose()

            async def written():
                return await marks(client) != before

            await until(written)
            await until(lambda: "a" in second.scheduler.cluster.nodes)
            assert second.leading
            assert second.metrics.attempts == {}
            assert not second.scheduler.cluster.pods
            lagging.free.set()
            await until(lambda: ("koord-scheduler", "unschedulable") in second.metrics.attempts)
            assert len(second.scheduler.cluster.pods) == 1
            assert [await bound(client, name) for name in ("one", "other")].count(True) == 1


async def test_without_a_barrier_pod_scheduling_starts(apiserver, caplog):
    await add_node(apiserver.client, "a")
    async with running(apiserver.client, leader_elect=True, election=QUICK, gates=GATES):
        await add_pod(apiserver.client, "p")
        await until(lambda: bound(apiserver.client, "p"))
    assert "there is no pod kube-system/koord-scheduler-sync-barrier" in caplog.text


@contextlib.asynccontextmanager
async def barrier_over(store, clock):
    """A barrier in a scheduler that counts nothing by itself."""
    app = App(store, SchedulerOptions(), clock)
    pods = Informer(store, PODS, clock=SystemClock())
    task = asyncio.create_task(pods.run())
    try:
        await pods.synced()
        yield app, Barrier(store, pods, app.feed, clock)
    finally:
        task.cancel()


async def test_an_api_that_is_down_holds_a_leader_up_for_no_longer_than_the_limit(apiserver, caplog):
    store, clock = Severed(apiserver.client), ManualClock()
    async with barrier_over(store, clock) as (_, barrier):
        store.down = True
        passing = asyncio.create_task(barrier.passed(BarrierPod(timeout=60), "mine"))
        await clock.run(59)
        assert not passing.done()
        await clock.run(2)
        assert await passing is False
    assert "not passed within 60s" in caplog.text


async def test_no_name_is_no_barrier(apiserver):
    async with barrier_over(apiserver.client, ManualClock()) as (_, barrier):
        assert await barrier.passed(BarrierPod(name=""), "mine") is False


async def test_the_cache_must_hold_the_youngest_placed_pod(apiserver):
    """Pods that have ended and pods that cannot be read are never counted, and so not waited for."""
    client = apiserver.client
    await barrier_pod(client)
    await add_node(client, "a")
    for name in ("old", "young", "ended"):
        await add_pod(client, name)
        await client.bind("default", name, "a")
    await client.patch(PODS, "ended", {"status": {"phase": "Succeeded"}}, "default", subresource="status")
    async with barrier_over(client, SystemClock()) as (app, barrier):
        passing = asyncio.create_task(barrier.passed(BarrierPod(), "mine"))
        await until(lambda: marks(client))
        app.feed.pod_added(await client.get(PODS, "old", "default"))
        await asyncio.sleep(0.2)
        assert not passing.done()
        app.feed.pod_added(await client.get(PODS, "young", "default"))
        assert await asyncio.wait_for(passing, 30)


async def test_a_youngest_pod_that_goes_meanwhile_is_waited_for_no_longer(apiserver):
    client = apiserver.client
    await barrier_pod(client)
    await add_node(client, "a")
    await add_pod(client, "young")
    await client.bind("default", "young", "a")
    async with barrier_over(client, SystemClock()) as (_, barrier):
        passing = asyncio.create_task(barrier.passed(BarrierPod(), "mine"))
        await until(lambda: marks(client))
        await asyncio.sleep(0.2)
        assert not passing.done()
        await client.delete(PODS, "young", "default", grace_seconds=0)
        assert await asyncio.wait_for(passing, 30)


async def test_a_barrier_pod_that_goes_meanwhile_ends_the_barrier(apiserver):
    client = apiserver.client
    await barrier_pod(client)
    lagging = Lagging(client)
    async with barrier_over(lagging, SystemClock()) as (_, barrier):
        lagging.free.clear()
        passing = asyncio.create_task(barrier.passed(BarrierPod(), "mine"))
        await until(lambda: marks(client))
        await client.delete(PODS, "koord-scheduler-sync-barrier", "kube-system", grace_seconds=0)
        assert not passing.done()
        lagging.free.set()
        await asyncio.wait_for(passing, 30)


# --- plugins' controllers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "runs"),
    [
        (["*"], True),
        ([], False),
        (["Census"], True),
        (["Other"], False),
        (["-Census", "*"], False),
        (["*", "-Census"], False),
        (["Census", "-Census"], True),
        (["-Census", "Census"], False),
        (["-Other", "*"], True),
    ],
)
def test_the_first_entry_that_names_the_plugin_decides(wanted, runs):
    assert enabled("Census", wanted) is runs


class Census(PostBindPlugin, ControllerPlugin, StartPlugin):
    """Counts the pods that it has seen bound, into a list that a test can read."""

    name = "Census"
    started: list[str]
    steps: list[str]
    fails: str = ""

    def __init__(self, handle):
        self.handle = handle

    def post_bind(self, state, pod, node):
        self.steps.append(f"bound {pod.name}")

    async def after_plugin_caches(self):
        if self.fails:
            raise RuntimeError(self.fails)
        self.steps.append(f"{len(self.handle.cluster.nodes)} nodes, {len(self.handle.cluster.pods)} pods")

    async def after_caches(self):
        self.steps.append(f"{len(self.handle.cluster.nodes)} nodes, {len(self.handle.cluster.pods)} pods")

    def controllers(self):
        return {"count": self.count}

    async def count(self):
        self.started.append(self.handle.profile)
        try:
            await asyncio.Event().wait()
        finally:
            self.started.append("ended")


@pytest.fixture
def census():
    class Fresh(Census):
        started, steps = [], []

    return Fresh, {**built_in(), "Census": foreign("Census", Fresh)}


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "config.yaml"
    profiles = [
        f"{{schedulerName: {name}, plugins: {{postBind: {{enabled: [{{name: Census}}]}}}}}}" for name in ("one", "other")
    ]
    file.write_text(HEAD + "leaderElection: {leaderElect: true}\n" + f"profiles: [{', '.join(profiles)}]\n")
    return str(file)


async def test_controllers_run_on_the_leader_only_and_once_for_all_profiles(apiserver, census, config):
    plugin, catalogue = census
    await add_node(apiserver.client, "a")
    options = {"leader_elect": True, "election": QUICK, "config": config}
    async with running(apiserver.client, None, catalogue, **options) as first:
        await until(lambda: first.leading)
        async with running(apiserver.client, None, catalogue, **options):
            await add_pod(apiserver.client, "p", schedulerName="other")
            await until(lambda: bound(apiserver.client, "p"))
            await until(lambda: plugin.started)
            assert plugin.started == ["one"]
    assert plugin.started[:2] == ["one", "ended"]


async def test_controllers_can_be_turned_off(census, config):
    plugin, catalogue = census
    app = App(None, SchedulerOptions(config=config), ManualClock(), catalogue)
    assert list(controllers_of(app.profiles, ["*"])) == ["Census/count"]
    assert controllers_of(app.profiles, ["-Census", "*"]) == {}
    assert plugin.started == []


async def test_plugins_start_between_nodes_and_pods_and_after_pods(apiserver, census, config):
    plugin, catalogue = census
    await add_node(apiserver.client, "a")
    await add_pod(apiserver.client, "p")
    await apiserver.client.bind("default", "p", "a")
    async with running(apiserver.client, None, catalogue, config=config):
        assert plugin.steps == ["1 nodes, 0 pods"] * 2 + ["1 nodes, 1 pods"] * 2


async def test_a_plugin_that_cannot_start_keeps_the_scheduler_from_starting(apiserver, census, config):
    plugin, catalogue = census
    plugin.fails = "no tree"
    with pytest.raises(Unavailable, match="plugin Census: RuntimeError: no tree; the scheduler does not start"):
        async with running(apiserver.client, None, catalogue, config=config):
            pass


async def test_a_controller_that_fails_starts_again_after_a_pause_that_grows(caplog):
    clock, starts = ManualClock(), []

    async def controller():
        starts.append(clock.monotonic())
        if len(starts) < 4:
            raise RuntimeError("not yet")

    task = asyncio.create_task(keep_running("Census/count", controller, clock))
    await clock.run(20)
    await asyncio.wait_for(task, 30)
    first, *rest = [later - sooner for sooner, later in itertools.pairwise(starts)]
    assert 0.5 <= first <= 1
    assert [0.5 * 2**index <= pause <= 2**index for index, pause in enumerate((first, *rest))] == [True] * 3
    assert "controller Census/count failed" in caplog.text


# --- gates for clusters that lack kinds --------------------------------------------------------------------------------------


def test_gates_leave_kinds_unwatched():
    claims = Resource("resource.k8s.io", "v1", "resourceclaims", "ResourceClaim", Object)
    assert not left_out(POD_DISRUPTION_BUDGETS, SCHEDULER.defaults)
    assert left_out(POD_DISRUPTION_BUDGETS, frozenset({"DisablePodDisruptionBudgetInformer"}))
    assert left_out(claims, frozenset({"DisableDynamicResourceAllocationInformer"}))
    assert not left_out(PODS, frozenset({"DisableDynamicResourceAllocationInformer"}))
    app = App(None, SchedulerOptions(gates=frozenset({"DisablePodDisruptionBudgetInformer"})), ManualClock())
    assert POD_DISRUPTION_BUDGETS not in {plugin.resource for plugin in app.watchers}
