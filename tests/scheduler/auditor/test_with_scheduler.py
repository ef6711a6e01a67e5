"""The auditor and the tree of the network in a whole scheduler, on a real API server."""

import aiohttp
import pytest

from koordinator.api import keys
from koordinator.api.networktopology import NODE_LAYER
from koordinator.api.registry import CLUSTER_NETWORK_TOPOLOGIES, NODES, PODS
from koordinator.cli.scheduler import options_of
from koordinator.errors import ConfigInvalid
from koordinator.scheduler.auditor.options import AuditorOptions
from koordinator.scheduler.auditor.story import Thresholds
from scheduler.processes import running
from waiting import until


async def node(client, name, **labels):
    status = {"allocatable": {"cpu": "2", "memory": "8Gi", "pods": "110"}}
    await client.create(NODES, {"metadata": {"name": name, "labels": labels}, "status": status})


async def pod(client, name, **spec):
    containers = [{"name": "main", "image": "pause", "resources": {"requests": {"cpu": "2"}}}]
    whole = {"schedulerName": "koord-scheduler", "containers": containers, "terminationGracePeriodSeconds": 0, **spec}
    meta = {"name": name, "labels": {"app": name, keys.PRIORITY_CLASS: "koord-prod"}}
    await client.create(PODS, {"metadata": meta, "spec": whole}, "default")


async def metrics(app, prefix):
    host, port = app.http_address
    async with aiohttp.ClientSession() as session, session.get(f"http://{host}:{port}/metrics") as response:
        lines = (await response.text()).splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines) if name.startswith(prefix)}


async def test_a_preemption_is_counted_from_end_to_end(apiserver):
    client = apiserver.client
    await node(client, "n1")
    async with running(apiserver.client, http_port=0, auditor=AuditorOptions(labels=(("app", "app"),))) as app:

        async def placed(name):
            return (await client.get(PODS, name, "default")).spec.node_name == "n1"

        await pod(client, "small")
        await until(lambda: placed("small"))
        await pod(client, "big", priorityClassName="system-cluster-critical")
        await until(lambda: placed("big"))
        await until(lambda: not len(app.auditor))
        prefix = "scheduler_workload_auditor_"
        found = await metrics(app, prefix)
        events = {name: value for name, value in found.items() if "before_outcome_sum" in name and 'app="big"' in name}
        kinds = ("create", "preemptNominated", "victimAllDeleted", "scheduled")
        assert [any(f'event_type="{kind}"' in name for name in events) for kind in kinds] == [True] * 4
        labels = '{app="big",priority="koord-prod"}'
        assert found[f"{prefix}preemption_to_victim_deleted_seconds_count{labels}"] == 1
        assert found[f"{prefix}victim_reschedule_duration_seconds_count{labels}"] == 1
        assert found[f'{prefix}record_method_duration_seconds_count{{method="RecordPodScheduleResult"}}'] == 2
        assert not any(f"{prefix}repeated" in name and "_total" in name for name in found)
        app.reset_metrics()
        assert not [name for name in await metrics(app, prefix) if "_count" in name]


async def test_nobody_audits_unless_asked(apiserver):
    async with running(apiserver.client, http_port=0) as app:
        assert app.auditor is None
        assert app.network is None
        assert await metrics(app, "scheduler_workload_auditor_") == {}
        assert all(handle.auditor is None for handle in [plugin._handle for plugin in preemptions(app)])


def preemptions(app):
    return [profile.plugins["DefaultPreemption"] for profile in app.profiles]


async def test_the_tree_of_the_network_is_kept_shown_and_can_be_read_by_plugins(apiserver):
    client = apiserver.client
    await node(client, "n1", spine="s1")
    layers = [{"topologyLayer": "Spine", "labelKey": ["spine"]}, {"topologyLayer": NODE_LAYER, "parentTopologyLayer": "Spine"}]
    body = {"metadata": {"name": "default"}, "spec": {"networkTopologySpec": layers}}
    await client.create(CLUSTER_NETWORK_TOPOLOGIES, body)
    async with running(apiserver.client, http_port=0, network_topology=True) as app:
        handle = app.profile.plugins["DefaultPreemption"]._handle

        async def shown():
            status = (await client.get(CLUSTER_NETWORK_TOPOLOGIES, "default")).status
            return [one.topology_info.topology_name for one in status.detail_status or []] == ["", "s1"]

        await until(lambda: handle.network.tree is not None)
        assert [one.name for one in handle.network.tree.above("n1")] == ["s1", ""]
        await until(shown, seconds=15)


def test_flags_reach_the_auditor_and_the_tree():
    flags = ["--enable-workload-auditor", "--enable-network-topology-manager", "--workload-auditor-metric-labels=team=t"]
    limits = [
        "--workload-auditor-victim-reschedule-duration=1s",
        "--workload-auditor-victim-deletion-duration=2s",
        "--workload-auditor-victim-deleting-retries=4",
        "--workload-auditor-scheduling-event-interval=1m",
    ]
    _, options = options_of([*flags, *limits])
    thresholds = Thresholds(victim_reschedule=1, victim_deletion=2, victim_deleting_retries=4, event_interval=60)
    assert options.auditor == AuditorOptions(thresholds=thresholds, labels=(("team", "t"),))
    assert options.network_topology
    _, plain = options_of([])
    assert (plain.auditor, plain.network_topology) == (None, False)
    with pytest.raises(ConfigInvalid, match="workload-auditor-metric-labels"):
        options_of([*flags[:2], "--workload-auditor-metric-labels=team"])
