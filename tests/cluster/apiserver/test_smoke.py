import pytest

from koordinator.api.registry import NAMESPACES, PODS
from koordinator.kube.errors import Forbidden, NotFound
from koordinator.kube.store import PatchType

POD = {"metadata": {"generateName": "p-"}, "spec": {"containers": [{"name": "main", "image": "pause:3"}]}}


async def test_a_pod_lives_and_dies(apiserver):
    client = apiserver.client
    pod = await client.create(PODS, POD, "default")
    assert pod.status.phase == "Pending"
    await client.bind("default", pod.name, "n1", pod.metadata.uid)
    await client.patch(PODS, pod.name, {"status": {"phase": "Running"}}, "default", type=PatchType.MERGE, subresource="status")
    assert (await client.get(PODS, pod.name, "default")).status.phase == "Running"
    await client.delete(PODS, pod.name, "default")
    assert (await client.get(PODS, pod.name, "default")).metadata.deletion_timestamp
    await client.delete(PODS, pod.name, "default", grace_seconds=0)
    assert (await client.list(PODS, "default")).items == []


async def test_the_namespaces_of_a_new_cluster(apiserver):
    names = {namespace.name for namespace in (await apiserver.client.list(NAMESPACES)).items}
    assert {"default", "kube-system", "koordinator-system", "kube-node-lease"} <= names


async def test_a_namespace_goes_when_its_finalizer_does(apiserver):
    client = apiserver.client
    await client.create(NAMESPACES, {"metadata": {"name": "demo"}})
    await client.create(PODS, POD, "demo")
    await client.delete(NAMESPACES, "demo")
    assert (await client.get(NAMESPACES, "demo")).status.phase == "Terminating"
    with pytest.raises(Forbidden, match="unable to create new content in namespace demo because it is being terminated"):
        await client.create(PODS, POD, "demo")
    await client.patch(NAMESPACES, "demo", {"spec": {"finalizers": []}}, subresource="finalize")
    with pytest.raises(NotFound):
        await client.get(NAMESPACES, "demo")
