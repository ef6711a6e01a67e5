"""The client and all that is built on it against the embedded API server, over real sockets."""

import asyncio
import contextlib

import msgspec
import pytest

from koordinator.api.core import Pod
from koordinator.api.registry import CONFIG_MAPS, EVENTS, LEASES, NODES, PODS
from koordinator.clock import SystemClock
from koordinator.cluster.apiserver.app import ApiServerOptions, serve
from koordinator.kube import errors
from koordinator.kube.apply import apply, read_manifests
from koordinator.kube.client import Client
from koordinator.kube.config import load
from koordinator.kube.events import Recorder
from koordinator.kube.informer import Informer
from koordinator.kube.leader import LeaderElector
from koordinator.kube.store import PatchType
from kube.fake_server import until
from waiting import background

CLOCK = SystemClock()


@pytest.fixture
async def server(tmp_path):
    async with serve(ApiServerOptions(data=tmp_path / "data"), CLOCK) as running:
        yield running


@pytest.fixture(params=["https", "http"])
async def client(request, server):
    kubeconfig = server.kubeconfig if request.param == "https" else server.component_kubeconfig
    async with Client(load(str(kubeconfig)), CLOCK) as client:
        yield client


def config_map(name, **data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def pod(name):
    container = {"name": "c", "image": "busybox", "resources": {"requests": {"cpu": "1"}}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container]}}


async def test_every_verb(client):
    made = await client.create(CONFIG_MAPS, config_map("a", x="1"), "default")
    assert (await client.get(CONFIG_MAPS, "a", "default")).data == {"x": "1"}
    with pytest.raises(errors.AlreadyExists):
        await client.create(CONFIG_MAPS, config_map("a"), "default")
    changed = await client.patch(CONFIG_MAPS, "a", {"data": {"y": "2"}}, "default")
    assert changed.data == {"x": "1", "y": "2"}
    stale = {"metadata": {"resourceVersion": made.metadata.resource_version}, "data": {"z": "3"}}
    with pytest.raises(errors.Conflict):
        await client.patch(CONFIG_MAPS, "a", stale, "default")
    await client.patch(CONFIG_MAPS, "a", [{"op": "remove", "path": "/data/x"}], "default", type=PatchType.JSON)
    with pytest.raises(errors.Conflict):
        await client.delete(CONFIG_MAPS, "a", "default", uid="another")
    await client.delete(CONFIG_MAPS, "a", "default", uid=made.metadata.uid)
    with pytest.raises(errors.NotFound, match="a"):
        await client.get(CONFIG_MAPS, "a", "default")


async def test_a_pod_is_bound_and_changed_by_a_strategic_patch(client):
    await client.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})
    made = await client.create(PODS, pod("web"), "default")
    await client.bind("default", "web", "n1", uid=made.metadata.uid)
    with pytest.raises(errors.Conflict):
        await client.bind("default", "web", "n1")
    patch = {"spec": {"containers": [{"name": "c", "image": "busybox:2"}]}}
    changed = await client.patch(PODS, "web", patch, "default", type=PatchType.STRATEGIC)
    assert changed.spec.node_name == "n1"
    assert changed.spec.containers[0].image == "busybox:2"
    assert changed.spec.containers[0].resources.requests == {"cpu": "1"}
    status = {"status": {"phase": "Running"}}
    assert (await client.patch(PODS, "web", status, "default", subresource="status")).status.phase == "Running"


async def test_a_long_list_comes_in_pages(client):
    await asyncio.gather(*[client.create(CONFIG_MAPS, config_map(f"m{index}"), "default") for index in range(700)])
    page = await client.list(CONFIG_MAPS, "default", label_selector="!nosuch")
    assert len({item.name for item in page.items}) >= 700
    assert page.resource_version


@pytest.mark.slow
async def test_an_informer_lives_through_a_restart_of_the_server(tmp_path):
    options = ApiServerOptions(data=tmp_path / "data")
    async with contextlib.AsyncExitStack() as stack:
        async with serve(options, CLOCK) as running:
            config = load(str(running.component_kubeconfig))
            port = int(running.url.rsplit(":", 1)[1].strip("/"))
            client = await stack.enter_async_context(Client(config, CLOCK))
            informer = Informer(client, PODS, clock=CLOCK)
            heard = []
            informer.on(added=lambda obj: heard.append(obj.name), deleted=lambda obj: heard.append(f"-{obj.name}"))
            await stack.enter_async_context(background(informer.run()))
            await informer.synced()
            await client.create(PODS, pod("before"), "default")
            await until(lambda: heard == ["before"])
        async with serve(msgspec.structs.replace(options, http_port=port), CLOCK):
            await client.create(PODS, pod("after"), "default")
            await client.delete(PODS, "before", "default", grace_seconds=0)
            await until(lambda: heard == ["before", "after", "-before"])
            assert isinstance(informer.get("default/after"), Pod)


async def test_leases_and_events(client):
    leading = asyncio.Event()

    async def lead():
        leading.set()
        await asyncio.Event().wait()

    elector = LeaderElector(client, "koordinator-system", "koord-scheduler", "me", CLOCK)
    async with background(elector.run(lead)):
        await asyncio.wait_for(leading.wait(), 5)
        assert (await client.get(LEASES, "koord-scheduler", "koordinator-system")).spec.holder_identity == "me"
    assert not (await client.get(LEASES, "koord-scheduler", "koordinator-system")).spec.holder_identity
    recorder = Recorder(client, "test", CLOCK)
    web = await client.create(PODS, pod("web"), "default")
    for _ in range(3):
        recorder.event(web, "Normal", "Scheduled", "assigned")
        await recorder.flush()
    page = await client.list(EVENTS, "default", field_selector=f"involvedObject.uid={web.metadata.uid}")
    assert [(event.reason, event.count) for event in page.items] == [("Scheduled", 3)]
    assert recorder.dropped == 0


async def test_a_wrong_token_is_refused(server):
    config = msgspec.structs.replace(load(str(server.component_kubeconfig)), token="wrong")
    async with Client(config, CLOCK) as client:
        with pytest.raises(errors.Unauthorized):
            await client.list(PODS)


@pytest.mark.parametrize(
    "kind", ["topology.node.k8s.io/v1alpha1 NodeResourceTopology", "scheduling.sigs.k8s.io/v1alpha1 PodGroup"]
)
async def test_custom_resources_of_kubernetes_own_groups_are_applied_twice(client, kind):
    api_version, _, name = kind.partition(" ")
    text = f"apiVersion: {api_version}\nkind: {name}\nmetadata: {{name: a, labels: {{x: '%s'}}}}\n"
    if name == "NodeResourceTopology":
        text += "topologyPolicies: [None]\nzones: []\n"
    outcomes = []
    for value in ("1", "1", "2"):
        (manifest,) = read_manifests(text % value, "x.yaml")
        outcomes.append((await apply(client, manifest)).outcome)
    assert outcomes == ["created", "unchanged", "configured"]
