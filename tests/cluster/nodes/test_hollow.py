"""Hollow nodes on a real API server."""

import asyncio
import contextlib

import pytest

from koordinator.api.registry import DEVICES, LEASES, NODE_METRICS, NODE_RESOURCE_TOPOLOGIES, NODES, PODS
from koordinator.clock import SystemClock
from koordinator.cluster.nodes.app import NodesOptions, serve
from koordinator.cluster.nodes.hollow import HollowNodes, HollowOptions
from koordinator.errors import ConfigInvalid
from waiting import component, until

pytestmark = pytest.mark.slow


@contextlib.asynccontextmanager
async def hollow(client, complaints=None, **options):
    """Hollow nodes for the length of a ``with`` block."""
    complain = lambda pod, why: complaints.append((pod.name, why)) if complaints is not None else None  # noqa: E731
    nodes = HollowNodes(HollowOptions(**{"stop_seconds": 0.0} | options), client, SystemClock(), complain)
    async with component(nodes.run):
        yield nodes


def manifest(name, node, annotations=None, **spec):
    container = {"name": "main", "image": "pause:1", "resources": {"requests": {"cpu": "2", "memory": "4Gi"}}}
    return {
        "metadata": {"name": name, "annotations": annotations or {}},
        "spec": {"nodeName": node, "containers": [container], **spec},
    }


async def phase(client, name):
    return (await client.get(PODS, name, "default")).status.phase


async def test_nodes_register_with_their_shape_and_a_lease(apiserver):
    client = apiserver.client
    async with hollow(client, count=3, shape="cpu=8,memory=32Gi,zone=a|b"):
        nodes = {node.name: node for node in (await client.list(NODES)).items}
        assert sorted(nodes) == ["hollow-0", "hollow-1", "hollow-2"]
        assert nodes["hollow-1"].status.allocatable["memory"] == "32Gi"
        zones = [nodes[name].labels["topology.kubernetes.io/zone"] for name in sorted(nodes)]
        assert zones == ["a", "b", "a"]
        await until(lambda: _leases(client, 3))
        lease = await client.get(LEASES, "hollow-2", "kube-node-lease")
        assert lease.metadata.owner_references[0].uid == nodes["hollow-2"].metadata.uid
        assert len({address.address for node in nodes.values() for address in node.status.addresses}) == 6


async def _leases(client, count):
    return len((await client.list(LEASES, "kube-node-lease")).items) == count


async def test_a_smaller_restart_takes_over_and_removes_the_surplus(apiserver):
    client = apiserver.client
    async with hollow(client, count=3):
        before = (await client.get(NODES, "hollow-0")).metadata.uid
    async with hollow(client, count=2, shape="cpu=4"):
        nodes = (await client.list(NODES)).items
        assert sorted(node.name for node in nodes) == ["hollow-0", "hollow-1"]
        assert nodes[0].metadata.uid == before
        assert nodes[0].status.capacity["cpu"] == "4"


async def _versions(client):
    """Name and version of everything that was reported of hardware."""
    found = {}
    for resource in (NODE_RESOURCE_TOPOLOGIES, DEVICES):
        for obj in (await client.list(resource)).items:
            found[resource.kind, obj.name] = (obj.metadata.resource_version, obj.metadata.owner_references[0].uid)
    return found


async def test_hardware_is_reported_once_and_again_when_the_shape_changes(apiserver):
    client = apiserver.client
    shape = "cpu=8,memory=32Gi,gpu=2:T4,numa=2"

    async def all_there(objects=4):
        return len(await _versions(client)) == objects

    async with hollow(client, count=2, shape=shape):
        await until(all_there)
        topology = await client.get(NODE_RESOURCE_TOPOLOGIES, "hollow-1")
        assert [zone.name for zone in topology.zones] == ["node-0", "node-1"]
        device = await client.get(DEVICES, "hollow-1")
        assert [gpu.topology.node_id for gpu in device.spec.devices] == [0, 1]
        node = await client.get(NODES, "hollow-1")
        assert device.metadata.owner_references[0].uid == node.metadata.uid
    before = await _versions(client)
    async with hollow(client, count=2, shape=shape) as nodes:
        await until(lambda: nodes._inventory._queue.idle and len(nodes._inventory._uids) == 2)
        assert await _versions(client) == before
        assert (await client.get(NODES, "hollow-1")).metadata.resource_version == node.metadata.resource_version
    async with hollow(client, count=2, shape=shape.replace("gpu=2:T4", "numa=1").replace(",numa=2", "")):

        async def changed():
            found = await client.list(NODE_RESOURCE_TOPOLOGIES)
            return all(len(one.zones) == 1 for one in found.items) and not (await client.list(DEVICES)).items

        await until(changed)


async def test_pods_run_end_and_are_deleted(apiserver):
    client = apiserver.client
    async with hollow(client, count=2):
        await client.create(PODS, manifest("service", "hollow-0"), "default")
        notes = {"hollow.koordinator.sh/duration": "0s"}
        await client.create(PODS, manifest("task", "hollow-1", notes, restartPolicy="Never"), "default")
        await client.create(PODS, manifest("elsewhere", "real-node"), "default")
        await until(lambda: _is(client, "service", "Running"))
        await until(lambda: _is(client, "task", "Succeeded"))
        assert await phase(client, "elsewhere") == "Pending"
        service = await client.get(PODS, "service", "default")
        assert service.status.pod_ip.startswith("10.128.0.")
        assert service.status.host_ip == "10.64.0.0"
        await client.delete(PODS, "service", "default")
        await until(lambda: _gone(client, "service"))


async def _is(client, name, wanted):
    return await phase(client, name) == wanted


async def _gone(client, name):
    return all(pod.name != name for pod in (await client.list(PODS, "default")).items)


async def test_a_thousand_pods_start_with_one_write_each(apiserver):
    client = apiserver.client
    async with hollow(client, count=10):
        await asyncio.gather(*(client.create(PODS, manifest(f"p{i}", f"hollow-{i % 10}"), "default") for i in range(1000)))

        async def all_running():
            return len((await client.list(PODS, "default", field_selector="status.phase=Running")).items) == 1000

        await until(all_running, 20)
        addresses = [pod.status.pod_ip for pod in (await client.list(PODS, "default")).items]
        assert len(set(addresses)) == 1000


async def test_restarting_the_nodes_carries_on_with_their_pods(apiserver):
    client = apiserver.client
    notes = {"hollow.koordinator.sh/duration": "2s"}
    async with hollow(client, count=1):
        await client.create(PODS, manifest("task", "hollow-0", notes, restartPolicy="Never"), "default")
        await until(lambda: _is(client, "task", "Running"))
    async with hollow(client, count=1):
        await until(lambda: _is(client, "task", "Succeeded"))


async def test_leases_are_renewed_and_a_lost_one_is_made_again(apiserver):
    client = apiserver.client
    async with hollow(client, count=1, beat_seconds=0.05):
        await until(lambda: _leases(client, 1))
        first = (await client.get(LEASES, "hollow-0", "kube-node-lease")).spec.renew_time

        async def renewed():
            return (await client.get(LEASES, "hollow-0", "kube-node-lease")).spec.renew_time != first

        await until(renewed)
        await client.delete(LEASES, "hollow-0", "kube-node-lease")
        await until(lambda: _leases(client, 1))


def test_many_nodes_beat_slower_and_say_so():
    nodes = HollowNodes(HollowOptions(count=5000), None, SystemClock(), lambda pod, why: None)
    assert (nodes.beat_seconds, nodes.lease_seconds) == (50.0, 200)
    few = HollowNodes(HollowOptions(count=5), None, SystemClock(), lambda pod, why: None)
    assert (few.beat_seconds, few.lease_seconds) == (10.0, 40)


async def test_metrics_are_reported_once_the_manager_asks(apiserver):
    client = apiserver.client
    async with hollow(client, count=2, shape="cpu=16,memory=64Gi"):
        notes = {"hollow.koordinator.sh/usage": "cpu=1500m,memory=1Gi"}
        await client.create(PODS, manifest("fixed", "hollow-0", notes), "default")
        await until(lambda: _is(client, "fixed", "Running"))
        policy = {"reportIntervalSeconds": 1, "nodeAggregatePolicy": {"durations": ["5m"]}}
        await client.create(NODE_METRICS, {"metadata": {"name": "hollow-0"}, "spec": {"metricCollectPolicy": policy}})

        async def reported():
            status = (await client.get(NODE_METRICS, "hollow-0")).status
            return status.update_time and status.pods_metric

        await until(reported)
        status = (await client.get(NODE_METRICS, "hollow-0")).status
        (one,) = status.pods_metric
        assert (one.namespace, one.name, one.qos, one.priority) == ("default", "fixed", "LS", "koord-prod")
        assert one.pod_usage.resources == {"cpu": "1500m", "memory": "1Gi"}
        assert status.node_metric.aggregated_node_usages[0].duration == "5m0s"
        assert set(status.node_metric.aggregated_node_usages[0].usage) == {"avg", "p50", "p90", "p95", "p99"}
        assert status.prod_reclaimable_metric.resource.resources["cpu"] != "0"
        first = status.update_time

        async def again():
            return (await client.get(NODE_METRICS, "hollow-0")).status.update_time != first

        await until(again)
        await client.delete(NODE_METRICS, "hollow-0")


async def test_a_bad_annotation_is_told_once_and_the_pod_runs(apiserver):
    client, complaints = apiserver.client, []
    async with hollow(client, complaints, count=1):
        notes = {"hollow.koordinator.sh/duration": "soon", "hollow.koordinator.sh/usage": "gpu=1"}
        await client.create(PODS, manifest("odd", "hollow-0", notes), "default")
        await until(lambda: _is(client, "odd", "Running"))
        await until(lambda: len(complaints) == 2)
    assert all("it counts as absent" in why for _, why in complaints)


async def test_a_deleted_node_stays_deleted_and_the_others_live(apiserver):
    client = apiserver.client
    async with hollow(client, count=2, beat_seconds=0.05) as nodes:
        await client.delete(NODES, "hollow-0")
        await until(lambda: len(nodes.fleet) == 1)
        await client.create(PODS, manifest("p", "hollow-1"), "default")
        await until(lambda: _is(client, "p", "Running"))


async def test_options_that_make_no_sense_are_refused(apiserver):
    with pytest.raises(ConfigInvalid, match="must be at least 1"):
        HollowNodes(HollowOptions(count=0), apiserver.client, SystemClock(), lambda pod, why: None)
    with pytest.raises(ConfigInvalid, match="must be a quantity"):
        await serve(NodesOptions(hollow=HollowOptions(shape="cpu=x")), apiserver.client, SystemClock())
