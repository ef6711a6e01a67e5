"""Pods with claims through the real scheduler and API server; a few lines play provisioner and volume controller."""

import asyncio
import contextlib

import pytest

from koordinator.api.registry import (
    CSI_DRIVERS,
    CSI_STORAGE_CAPACITIES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    STORAGE_CLASSES,
)
from koordinator.api.storage import BIND_COMPLETED, NO_PROVISIONER, SELECTED_NODE
from scheduler.processes import running
from waiting import background, until

HOST = "kubernetes.io/hostname"
SIZE = {"requests": {"storage": "1Gi"}}


class Storage:
    """Makes volumes for claims with a selected node, and binds claims to the volumes that name them."""

    def __init__(self, client):
        self.client = client
        self.open = asyncio.Event()
        self.open.set()
        self.full: set[str] = set()
        self.given_up: list[str] = []

    async def run(self):
        while True:
            await self.open.wait()
            for claim in (await self.client.list(PERSISTENT_VOLUME_CLAIMS)).items:
                if not claim.bound:
                    await self._serve(claim)
            await asyncio.sleep(0.01)

    async def _serve(self, claim):
        volumes = (await self.client.list(PERSISTENT_VOLUMES)).items
        mine = [one for one in volumes if one.spec.claim_ref is not None and one.spec.claim_ref.name == claim.name]
        node = (claim.metadata.annotations or {}).get(SELECTED_NODE)
        if mine:
            await self._bind(claim, mine[0].name)
        elif node in self.full:
            self.given_up.append(node)
            await self.client.patch(CSI_STORAGE_CAPACITIES, f"of-{node}", {"capacity": "0"}, "default")
            await self._patch(claim, {"metadata": {"annotations": {SELECTED_NODE: None}}})
        elif node:
            await self.volume(f"made-for-{claim.name}", node, claim)

    async def _bind(self, claim, volume):
        patch = {"metadata": {"annotations": {BIND_COMPLETED: "yes"}}, "spec": {"volumeName": volume}}
        await self._patch(claim, patch)

    async def _patch(self, claim, patch):
        await self.client.patch(PERSISTENT_VOLUME_CLAIMS, claim.name, patch, "default")

    async def volume(self, name, node, claim=None, size="1Gi"):
        term = {"matchExpressions": [{"key": HOST, "operator": "In", "values": [node]}]}
        spec = {
            "capacity": {"storage": size},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "slow",
            "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
            "csi": {"driver": "csi.example", "volumeHandle": name},
        }
        if claim is not None:
            spec["claimRef"] = {"namespace": "default", "name": claim.name, "uid": claim.metadata.uid}
        await self.client.create(PERSISTENT_VOLUMES, {"metadata": {"name": name}, "spec": spec})


class World:
    def __init__(self, client, app, storage):
        self.client, self.app, self.storage = client, app, storage

    async def node(self, name):
        status = {"allocatable": {"cpu": "8", "memory": "8Gi", "pods": "110"}}
        await self.client.create(NODES, {"metadata": {"name": name, "labels": {HOST: name}}, "status": status})

    async def class_(self, provisioner="csi.example"):
        body = {"metadata": {"name": "slow"}, "provisioner": provisioner, "volumeBindingMode": "WaitForFirstConsumer"}
        await self.client.create(STORAGE_CLASSES, body)

    async def claim(self, name, owner=None):
        meta = {"name": name} | ({"ownerReferences": [owner]} if owner else {})
        spec = {"accessModes": ["ReadWriteOnce"], "resources": SIZE, "storageClassName": "slow"}
        await self.client.create(PERSISTENT_VOLUME_CLAIMS, {"metadata": meta, "spec": spec}, "default")

    async def pod(self, name, *claims, **spec):
        volumes = [{"name": one, "persistentVolumeClaim": {"claimName": one}} for one in claims]
        containers = [{"name": "main", "image": "pause"}]
        body = {"schedulerName": "koord-scheduler", "containers": containers, "volumes": volumes, **spec}
        await self.client.create(PODS, {"metadata": {"name": name}, "spec": body}, "default")

    async def get(self, name):
        return await self.client.get(PODS, name, "default")

    async def bound(self, *names):
        async def there():
            return all([(await self.get(name)).spec.node_name for name in names])

        await until(there, 20)
        return [(await self.get(name)).spec.node_name for name in names]

    async def refused(self, name, text):
        async def said():
            return any(text in (one.message or "") for one in (await self.get(name)).status.conditions or ())

        await until(said)

    async def volume_of(self, claim):
        return (await self.client.get(PERSISTENT_VOLUME_CLAIMS, claim, "default")).spec.volume_name


@contextlib.asynccontextmanager
async def scheduling(apiserver, **options):
    storage = Storage(apiserver.client)
    async with running(apiserver.client, **options) as app, background(storage.run()):
        yield World(apiserver.client, app, storage)


@pytest.fixture
async def world(apiserver):
    async with scheduling(apiserver) as made:
        yield made


async def test_a_volume_is_made_where_the_pod_goes(world):
    await world.class_()
    await world.claim("data")
    await world.node("n1")
    await world.pod("p", "data")
    assert await world.bound("p") == ["n1"]
    claim = await world.client.get(PERSISTENT_VOLUME_CLAIMS, "data", "default")
    assert (claim.metadata.annotations[SELECTED_NODE], claim.spec.volume_name) == ("n1", "made-for-data")


async def test_a_volume_that_exists_decides_where_the_pod_goes_and_goes_to_one_claim_only(world):
    await world.class_(NO_PROVISIONER)
    for name in ("n1", "n2"):
        await world.node(name)
    await world.storage.volume("local", "n2")
    for name in ("one", "two"):
        await world.claim(name)
    await world.pod("first", "one")
    assert await world.bound("first") == ["n2"]
    assert await world.volume_of("one") == "local"
    await world.pod("second", "two")
    await world.refused("second", "2 node(s) didn't find available persistent volumes to bind")
    await world.storage.volume("more", "n1")
    assert await world.bound("second") == ["n1"]


async def test_where_provisioning_fails_another_node_is_taken(world):
    await world.class_()
    await world.client.create(CSI_DRIVERS, {"metadata": {"name": "csi.example"}, "spec": {"storageCapacity": True}})
    for name, capacity in (("n1", "5Gi"), ("n2", "0")):
        body = {"storageClassName": "slow", "nodeTopology": {"matchLabels": {HOST: name}}, "capacity": capacity}
        await world.client.create(CSI_STORAGE_CAPACITIES, {"metadata": {"name": f"of-{name}"}, **body}, "default")
        await world.node(name)
    await world.claim("data")
    world.storage.full.add("n1")  # its driver says that there is room, and then there is none
    await world.pod("p", "data")
    await until(lambda: world.storage.given_up == ["n1"])
    await world.refused("p", "node(s) did not have enough free storage")
    await world.client.patch(CSI_STORAGE_CAPACITIES, "of-n2", {"capacity": "5Gi"}, "default")
    assert await world.bound("p") == ["n2"]
    assert world.storage.given_up == ["n1"]


async def test_a_claim_that_comes_later_lets_its_pod_in(world):
    await world.class_()
    await world.node("n1")
    await world.pod("p", "data")
    await world.refused("p", 'persistentvolumeclaim "data" not found')
    await world.claim("data")
    assert await world.bound("p") == ["n1"]


async def test_an_ephemeral_claim_is_waited_for(world):
    await world.class_()
    await world.node("n1")
    template = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": SIZE, "storageClassName": "slow"}}
    await world.pod("p", volumes=[{"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}])
    await world.refused("p", 'waiting for ephemeral volume controller to create the persistentvolumeclaim "p-scratch"')
    uid = (await world.get("p")).metadata.uid
    await world.claim("p-scratch", {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid, "controller": True})
    assert await world.bound("p") == ["n1"]


async def test_more_pods_that_wait_for_volumes_than_workers_hold_nobody_up(apiserver):
    async with scheduling(apiserver, bind_concurrency=2) as world:
        await world.class_()
        await world.node("n1")
        world.storage.open.clear()
        slow = [f"slow-{index}" for index in range(6)]
        for name in slow:
            await world.claim(name)
            await world.pod(name, name)
        await until(lambda: world.app.binder.waiting == 6)
        await world.pod("quick")
        assert await world.bound("quick") == ["n1"]
        assert world.app.binder.waiting == 6
        world.storage.open.set()
        assert await world.bound(*slow) == ["n1"] * 6


async def test_two_pods_of_one_claim_want_its_volume_made_once(world):
    await world.class_()
    world.storage.open.clear()
    for name in ("n1", "n2", "n3"):
        await world.node(name)
    await world.claim("shared")
    for name in ("a", "b", "c"):
        await world.pod(name, "shared")
    await until(lambda: world.app.binder.waiting == 3)
    world.storage.open.set()
    assert len(set(await world.bound("a", "b", "c"))) == 1
