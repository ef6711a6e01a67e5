"""The process: HTTPS, hand-over, changed configuration files, and an API that is gone for five minutes."""

import contextlib

import pytest

from koordinator.api.registry import LEASES, PODS, PRIORITY_CLASSES
from koordinator.clock import ManualClock
from koordinator.errors import ConfigInvalid
from koordinator.kube.errors import Conflict, ServerUnavailable
from koordinator.scheduler.app import App, SchedulerOptions
from koordinator.scheduler.engine.queued import Where
from koordinator.scheduler.options import Election
from koordinator.scheduler.reload import take_up
from scheduler.processes import add_node, add_pod, bound, running
from waiting import until

HEAD = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"
WEIGHTS = """
podMaxBackoffSeconds: {pause}
profiles:
- schedulerName: koord-scheduler
  plugins: {{score: {{enabled: [{{name: NodeResourcesFit, weight: {weight}}}, {{name: LoadAwareScheduling}}]}}{more}}}
  pluginConfig:
  - name: LoadAwareScheduling
    args: {{usageThresholds: {{cpu: {threshold}}}}}
  - name: DefaultPreemption
    args: {{minCandidateNodesAbsolute: 7}}
"""


async def test_the_lease_is_the_configured_one_and_is_given_back(apiserver):
    election = Election(namespace="kube-system", name="mine")
    async with running(apiserver.client, leader_elect=True, election=election) as app:
        await until(lambda: app.leading)
        lease = await apiserver.client.get(LEASES, "mine", "kube-system")
        assert lease.spec.holder_identity == app.life.elector.identity
    lease = await apiserver.client.get(LEASES, "mine", "kube-system")
    assert lease.spec.holder_identity == ""


class Broken:
    """A store that fails as told, else passes on."""

    def __init__(self, store):
        self._store, self.down, self.refuse, self.calls = store, False, [], 0

    def __getattr__(self, name):
        return getattr(self._store, name)

    async def bind(self, namespace, pod, node, uid=""):
        self.calls += 1
        if self.down:
            raise ServerUnavailable(0, "ServerUnavailable", "connection refused")
        if self.refuse:
            raise self.refuse.pop()
        await self._store.bind(namespace, pod, node, uid)


async def test_a_pod_whose_bind_meets_a_conflict_is_tried_again(apiserver):
    store = Broken(apiserver.client)
    store.refuse = [Conflict(409, "Conflict", "try later")]
    async with running(store) as app:
        await add_node(apiserver.client, "a")
        await add_pod(apiserver.client, "p")
        await until(lambda: bound(apiserver.client, "p"))
        assert store.calls == 2
        assert len(app.scheduler.cluster.pods) == 1


async def test_an_api_that_is_down_for_five_minutes_costs_no_pod(apiserver):
    """Time is ours: every bind fails for five minutes, the pauses grow to their limit, and then all pods are bound."""
    clock, store = ManualClock(), Broken(apiserver.client)
    store.down = True
    async with running(store, clock) as app:
        await add_node(apiserver.client, "a")
        for index in range(5):
            await add_pod(apiserver.client, f"p{index}")
        await until(lambda: app.queue.counts[Where.BACKOFF] == 5)
        for _ in range(30):
            before = store.calls
            clock.advance(10)
            await until(lambda before=before: store.calls >= before + 5 and app.queue.counts[Where.BACKOFF] == 5)
        assert not app.scheduler.cluster.pods
        assert 5 * 20 <= store.calls <= 5 * 40
        store.down = False
        for index in range(5):

            async def there(name=f"p{index}"):
                clock.advance(1)
                return await bound(apiserver.client, name)

            await until(there)
        assert len(app.scheduler.cluster.pods) == 5


async def test_preemption_end_to_end(apiserver):
    async with running(apiserver.client):
        await add_node(apiserver.client, "a", cpu="1")
        low = await add_pod(apiserver.client, "low", cpu="1")
        await until(lambda: bound(apiserver.client, "low"))
        await apiserver.client.create(
            PRIORITY_CLASSES,
            {"metadata": {"name": "vip"}, "value": 1000},
        )
        await add_pod(apiserver.client, "high", cpu="1", priorityClassName="vip")

        async def promised():
            pod = await apiserver.client.get(PODS, "high", "default")
            victims = [one for one in (await apiserver.client.list(PODS, "default")).items if one.name == "low"]
            going = not victims or victims[0].metadata.deletion_timestamp is not None
            return pod.status.nominated_node_name == "a" and going

        await until(promised)
        with contextlib.suppress(Exception):
            await apiserver.client.delete(PODS, "low", "default", grace_seconds=0, uid=low.metadata.uid)
        await until(lambda: bound(apiserver.client, "high"))


async def test_profiles_share_what_they_watch_and_each_schedules_its_own(apiserver, tmp_path):
    file = tmp_path / "config.yaml"
    usage = "plugins: {score: {enabled: [{name: LoadAwareScheduling}]}}"
    file.write_text(HEAD + f"profiles: [{{schedulerName: one, {usage}}}, {{schedulerName: other, {usage}}}]\n")
    async with running(apiserver.client, config=str(file)) as app:
        assert [profile.name for profile in app.profiles] == ["one", "other"]
        assert len(app.life.watching.informers) < len(app.watchers)
        await add_node(apiserver.client, "a")
        for name in ("one", "other"):
            await add_pod(apiserver.client, name, schedulerName=name)
        for name in ("one", "other"):
            await until(lambda name=name: bound(apiserver.client, name))


def test_without_a_file_one_profile_serves_all_names():
    app = App(None, SchedulerOptions(), ManualClock())
    assert len(app.profiles) == 1
    assert app.scheduler.wants("koord-scheduler")
    assert app.scheduler.wants("default-scheduler")


# --- changed files -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "config.yaml"

    def write(**values):
        file.write_text(HEAD + WEIGHTS.format(**{"pause": 10, "weight": 1, "threshold": 65, "more": ""} | values))
        return str(file)

    return write


def test_safe_fields_are_taken_up_and_others_are_named(file, caplog):
    app = App(None, SchedulerOptions(config=file()), ManualClock())
    plugin = app.profile.plugins["LoadAwareScheduling"]
    file(pause=30, weight=9, threshold=80)
    assert take_up(app) == []
    assert app.queue.timings.max_backoff == 30
    assert {one.name: weight for one, weight in app.profile.scores}["NodeResourcesFit"] == 9
    assert app.profile.plugins["LoadAwareScheduling"] is plugin
    assert plugin.args.usage_thresholds["cpu"] == 80
    file(
        pause=30, weight=9, threshold=80, more=", permit: {disabled: [{name: '*'}]}, filter: {disabled: [{name: NodeAffinity}]}"
    )
    assert take_up(app) == ["profiles[0].plugins"]
    assert "profiles[0].plugins has changed; it counts after a restart" in caplog.text


def test_a_broken_file_changes_nothing(file, caplog):
    app = App(None, SchedulerOptions(config=file()), ManualClock())
    file(threshold=120)
    assert take_up(app) == []
    assert app.profile.plugins["LoadAwareScheduling"].args.usage_thresholds["cpu"] == 65
    assert "profiles[0].pluginConfig[0].args.usageThresholds[cpu] is 120" in caplog.text


async def test_a_changed_file_is_noticed(apiserver, file):
    clock = ManualClock()
    async with running(apiserver.client, clock, config=file()) as app:
        file(pause=33)

        def noticed():
            clock.advance(5)
            return app.queue.timings.max_backoff == 33

        await until(noticed)


def test_a_broken_file_does_not_start(file):
    with pytest.raises(ConfigInvalid):
        App(None, SchedulerOptions(config=file(threshold=-1)), ManualClock())
