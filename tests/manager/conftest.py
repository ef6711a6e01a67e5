"""The whole manager against a real API server."""

import contextlib
import time

import pytest

from koordinator.api.features import MANAGER
from koordinator.api.meta import format_time
from koordinator.api.registry import CONFIG_MAPS, EVENTS, NODE_METRICS, NODES, PODS
from koordinator.clock import SystemClock
from koordinator.kube.errors import AlreadyExists
from koordinator.manager.app import Manager, ManagerOptions
from waiting import component

BATCH_CPU, BATCH_MEMORY = "kubernetes.io/batch-cpu", "kubernetes.io/batch-memory"
ON = '{"enable": true, "cpuReclaimThresholdPercent": 75, "memoryReclaimThresholdPercent": 75}'


class Cluster:
    """What the tests do to a cluster, in their words."""

    def __init__(self, client):
        self.client = client

    async def node(self, name="n1", annotations=None, **amounts):
        given = {"cpu": "16", "memory": "64Gi", **amounts}
        metadata = {"name": name, "annotations": {"any": "thing"} if annotations is None else annotations}
        status = {"capacity": given, "allocatable": given}
        await self.client.create(NODES, {"metadata": metadata, "status": status})
        await self.client.patch(NODES, name, {"status": status}, subresource="status")

    async def configure(self, **data):
        texts = {key.replace("_", "-"): text for key, text in data.items()}
        name = "slo-controller-config"
        try:
            await self.client.create(CONFIG_MAPS, {"metadata": {"name": name}, "data": texts}, "koordinator-system")
        except AlreadyExists:
            await self.client.patch(CONFIG_MAPS, name, {"data": texts}, "koordinator-system")

    async def report(self, node="n1", *, age=0.0, system=("1", "4Gi"), pods=()):
        """What koordlet would write. ``pods``: (name, cpu, memory)."""
        cpu, memory = system
        metrics = [
            {"namespace": "default", "name": name, "priority": "koord-prod", "podUsage": {"resources": {"cpu": c, "memory": m}}}
            for name, c, m in pods
        ]
        status = {
            "updateTime": format_time(time.time() - age),
            "nodeMetric": {"systemUsage": {"resources": {"cpu": cpu, "memory": memory}}},
            "podsMetric": metrics,
        }
        await self.client.patch(NODE_METRICS, node, {"status": status}, subresource="status")

    async def pod(self, name, node="", cpu="4", memory="8Gi", **more):
        amounts = {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}}
        spec = {"containers": [{"name": "main", "image": "x", "resources": amounts}], **more.pop("spec", {})}
        if node:
            spec["nodeName"] = node
        return await self.client.create(PODS, {"metadata": {"name": name, **more}, "spec": spec}, "default")

    async def sold(self, node="n1"):
        """(batch CPU, batch memory) as the node offers them; None where it does not."""
        offered = (await self.client.get(NODES, node)).status.allocatable or {}
        return offered.get(BATCH_CPU), offered.get(BATCH_MEMORY)

    async def events(self, reason):
        return [event for event in (await self.client.list(EVENTS)).items if event.reason == reason]


@pytest.fixture
async def cluster(apiserver):
    return Cluster(apiserver.client)


@contextlib.asynccontextmanager
async def running(client, options=None, gates=""):
    """A manager for the length of a ``with`` block."""
    manager = Manager(client, SystemClock(), options or ManagerOptions(), MANAGER.parse(gates))
    async with component(manager.run):
        yield manager


@pytest.fixture
def run_manager():
    return running


@pytest.fixture
async def manager(cluster):
    async with running(cluster.client) as one:
        yield one


@pytest.fixture
def spec_of(cluster):
    """The spec of a cluster-scoped custom object as plain JSON; None when it is not there."""

    async def read(resource, name):
        page = await cluster.client.request("GET", resource.path())
        found = [item["spec"] for item in page["items"] if item["metadata"]["name"] == name]
        return found[0] if found else None

    return read
