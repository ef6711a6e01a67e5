"""Pods that claim devices, from template to GPU and back: API server, controllers, hollow nodes and scheduler together."""

import asyncio
import contextlib

import pytest

from koordinator.api.registry import DEVICE_CLASSES, PODS, RESOURCE_CLAIM_TEMPLATES, RESOURCE_CLAIMS, RESOURCE_SLICES
from koordinator.clock import SystemClock
from koordinator.cluster.controllers.app import ControllersOptions
from koordinator.cluster.controllers.app import serve as control
from koordinator.cluster.nodes.hollow import HollowNodes, HollowOptions
from koordinator.kube.errors import NotFound
from koordinator.kube.events import Recorder
from koordinator.scheduler.app import App, SchedulerOptions
from waiting import until

GPU = "device.driver == 'gpu.nvidia.com' && device.attributes['gpu.nvidia.com'].productName == 'A100'"


class Running:
    def __init__(self, client):
        self.client = client

    async def pod(self, name, template="one-gpu"):
        claim = {"name": "gpu", "resourceClaimTemplateName": template}
        container = {"name": "main", "image": "cuda", "resources": {"claims": [{"name": "gpu"}]}}
        spec = {"schedulerName": "koord-scheduler", "containers": [container], "resourceClaims": [claim]}
        await self.client.create(PODS, {"metadata": {"name": name}, "spec": spec}, "default")

    async def get(self, name):
        return await self.client.get(PODS, name, "default")

    async def running(self, *names):
        async def all_run():
            return all([(await self.get(name)).status.phase == "Running" for name in names])

        await until(all_run, 20, f"{names} to run")

    async def refusal(self, name):
        found = (await self.get(name)).status.conditions or []
        return next((one.message for one in found if one.type == "PodScheduled" and one.status == "False"), None)

    async def claims(self):
        return (await self.client.list(RESOURCE_CLAIMS, "default")).items

    async def devices(self):
        """Every device in use, once per claim that has it."""
        found = [claim.status.allocation.devices.results for claim in await self.claims() if claim.status.allocation]
        return sorted(result.device for results in found for result in results)


@contextlib.asynccontextmanager
async def everything(apiserver, shape, store=None, **scheduler):
    client, clock = apiserver.client, SystemClock()
    recorder = Recorder(client, "koord-controllers", clock)
    app = App(store or client, SchedulerOptions(seed=1, **scheduler), clock)
    hollow = HollowOptions(count=1, shape=shape, stop_seconds=0.0)
    nodes = HollowNodes(hollow, client, clock, lambda pod, why: None)
    ready = [asyncio.Event() for _ in range(3)]
    jobs = [
        recorder.run(),
        control(client, recorder, ControllersOptions(), clock, ready[0].set),
        nodes.run(ready[1].set),
        app.run(ready[2].set),
    ]
    tasks = [asyncio.create_task(job) for job in jobs]
    try:
        await asyncio.wait_for(asyncio.gather(*(event.wait() for event in ready)), 20)
        yield Running(client)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def offer(client):
    """What an administrator and a user write."""
    selectors = [{"cel": {"expression": GPU}}]
    await client.create(DEVICE_CLASSES, {"metadata": {"name": "a100"}, "spec": {"selectors": selectors}})
    requests = [{"name": "gpu", "exactly": {"deviceClassName": "a100"}}]
    spec = {"spec": {"devices": {"requests": requests}}}
    await client.create(RESOURCE_CLAIM_TEMPLATES, {"metadata": {"name": "one-gpu"}, "spec": spec}, "default")


@pytest.fixture
async def world(apiserver):
    async with everything(apiserver, "gpu=8:A100") as running:
        await until(lambda: published(apiserver.client), 10)
        yield running


async def published(client):
    return len((await client.list(RESOURCE_SLICES)).items) == 1


async def test_eight_pods_get_eight_gpus_and_the_ninth_waits_until_one_ends(world):
    await offer(world.client)
    names = [f"p{index}" for index in range(8)]
    for name in names:
        await world.pod(name)
    await world.running(*names)
    assert await world.devices() == [f"gpu-{index}" for index in range(8)]
    await world.pod("ninth")
    await until(lambda: world.refusal("ninth"))
    assert "1 cannot allocate all claims" in await world.refusal("ninth")
    await world.client.delete(PODS, "p3", "default", grace_seconds=0)
    await world.running("ninth")
    await until(lambda: claims_are(world, 8))
    assert await world.devices() == [f"gpu-{index}" for index in range(8)]


async def claims_are(world, count):
    return len(await world.claims()) == count


async def test_a_pod_waits_for_its_template_and_class_and_says_so(world):
    await world.pod("early")
    await offer(world.client)
    await world.running("early")
    (claim,) = await world.claims()
    pod = await world.get("early")
    assert [one.resource_claim_name for one in pod.status.resource_claim_statuses] == [claim.name]
    assert [one.uid for one in claim.status.reserved_for] == [pod.metadata.uid]
    assert claim.metadata.finalizers == ["resource.kubernetes.io/delete-protection"]
    await world.client.delete(PODS, "early", "default", grace_seconds=0)
    await until(lambda: claims_are(world, 0))


async def test_where_the_group_is_not_watched_the_pod_is_told(apiserver):
    gates = frozenset({"DisableDynamicResourceAllocationInformer"})
    async with everything(apiserver, "gpu=8:A100", gates=gates) as world:
        await offer(world.client)
        await world.pod("p")
        await until(lambda: world.refusal("p"))
        assert "this scheduler does not support resource claims (spec.resourceClaims: gpu)" in await world.refusal("p")


class WithoutDevices:
    """An API server that does not serve the group."""

    def __init__(self, client):
        self._client = client

    def __getattr__(self, name):
        return getattr(self._client, name)

    async def list(self, resource, *args, **kwargs):
        self._refuse(resource)
        return await self._client.list(resource, *args, **kwargs)

    def watch(self, resource, *args, **kwargs):
        self._refuse(resource)
        return self._client.watch(resource, *args, **kwargs)

    def _refuse(self, resource):
        if resource.group == "resource.k8s.io":
            raise NotFound(404, "NotFound", "the server could not find the requested resource")


async def test_a_cluster_without_the_group_works_as_before(apiserver):
    async with everything(apiserver, "cpu=4", store=WithoutDevices(apiserver.client)) as world:
        containers = [{"name": "main", "image": "web"}]
        spec = {"schedulerName": "koord-scheduler", "containers": containers}
        await world.client.create(PODS, {"metadata": {"name": "web"}, "spec": spec}, "default")
        await world.running("web")
        claims = [{"name": "gpu", "resourceClaimName": "mine"}]
        await world.client.create(PODS, {"metadata": {"name": "p"}, "spec": {**spec, "resourceClaims": claims}}, "default")
        await until(lambda: world.refusal("p"))
        assert 'resourceclaim "mine" not found' in await world.refusal("p")
