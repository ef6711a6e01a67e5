import asyncio
import itertools
import stat

import aiohttp
import pytest

from cluster.apiserver.programs import ServerProcess
from koordinator.api.registry import CONFIG_MAPS, NAMESPACES
from koordinator.clock import SystemClock
from koordinator.cluster.apiserver.app import ApiServerOptions, serve
from koordinator.errors import Unavailable
from koordinator.kube.client import Client
from koordinator.kube.config import ClientConfig
from koordinator.kube.errors import ApiError
from waiting import until

MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
def server(tmp_path):
    server = ServerProcess(tmp_path / "data")
    yield server
    if server.process.poll() is None:
        server.kill()


async def write_until_it_dies(server, acknowledged):
    """Many writers; every acknowledged name is noted."""
    numbers = itertools.count()
    headers = {"Authorization": f"Bearer {server.token}"}
    async with aiohttp.ClientSession(headers=headers) as session:

        async def writer():
            for number in numbers:
                body = {"metadata": {"name": f"m-{number}"}, "data": {"x": "y" * 500}}
                async with session.post(server.url + MAPS, json=body) as response:
                    if response.status == 201:
                        acknowledged.append((await response.json())["metadata"])

        await asyncio.gather(*(writer() for _ in range(16)), return_exceptions=True)


@pytest.mark.slow
async def test_acknowledged_writes_survive_sigkill(server):
    acknowledged = []
    for round_ in range(3):
        assert await asyncio.to_thread(server.start) == "ready"
        wanted = len(acknowledged) + 300
        writing = asyncio.create_task(write_until_it_dies(server, acknowledged))
        await until(lambda wanted=wanted: len(acknowledged) >= wanted, 20)
        server.kill()
        await writing
        assert round_ == 0 or len({meta["uid"] for meta in acknowledged}) == len(acknowledged)
    assert await asyncio.to_thread(server.start) == "ready"
    async with Client(ClientConfig(server=server.url, token=server.token)) as client:
        page = await client.list(CONFIG_MAPS, "default")
    stored = {item.metadata.uid: int(item.metadata.resource_version) for item in page.items}
    assert all(stored[meta["uid"]] == int(meta["resourceVersion"]) for meta in acknowledged)
    versions = [int(meta["resourceVersion"]) for meta in acknowledged]
    assert len(set(versions)) == len(versions)
    assert int(page.resource_version) >= max(versions)


async def test_a_second_server_on_the_same_data_says_who_is_there(server):
    assert await asyncio.to_thread(server.start) == "ready"
    with pytest.raises(Unavailable) as caught:
        async with serve(ApiServerOptions(data=server.data), SystemClock()):
            pass
    assert str(caught.value) == (
        f"data directory {server.data}: another API server (pid {server.process.pid}) uses it; "
        "stop that one with `koord down`, or choose another --data"
    )


async def test_a_taken_port_is_named(apiserver, tmp_path):
    port = int(apiserver.url.rpartition(":")[2])
    with pytest.raises(Unavailable) as caught:
        async with serve(ApiServerOptions(data=tmp_path / "other", port=port), SystemClock()):
            pass
    assert str(caught.value).startswith(f"port {port} on 127.0.0.1: another program listens there; ")
    async with serve(ApiServerOptions(data=tmp_path / "other"), SystemClock()):
        pass  # the failed start left nothing behind


async def test_damaged_state_is_named(tmp_path):
    options = ApiServerOptions(data=tmp_path / "data")
    async with serve(options, SystemClock()):
        pass
    (options.data / "state.db").write_bytes(b"this is not a database" * 1000)
    with pytest.raises(Unavailable, match=r"cluster state .*state.db: cannot be read .*move the file away to start empty"):
        async with serve(options, SystemClock()):
            pass


async def test_a_restart_keeps_objects_token_and_authority(tmp_path):
    options = ApiServerOptions(data=tmp_path / "data")
    async with serve(options, SystemClock()) as first:
        async with Client(ClientConfig(server=first.url, token=first.token)) as client:
            made = await client.create(NAMESPACES, {"metadata": {"name": "demo"}})
        authority = (options.data / "pki" / "ca.crt").read_bytes()
    async with serve(options, SystemClock()) as second:
        assert second.token == first.token
        assert (options.data / "pki" / "ca.crt").read_bytes() == authority
        async with Client(ClientConfig(server=second.url, token=second.token)) as client:
            kept = await client.get(NAMESPACES, "demo")
            assert kept.metadata.uid == made.metadata.uid
            later = await client.create(NAMESPACES, {"metadata": {"name": "later"}})
            assert int(later.metadata.resource_version) > int(made.metadata.resource_version)
            with pytest.raises(ApiError) as caught:
                async for _ in client.watch(NAMESPACES, resource_version="1"):
                    pass
            assert caught.value.code == 410


async def test_secrets_are_for_their_owner_only(apiserver):
    private = ["state.db", "token", "kubeconfig", "component.kubeconfig", "pki/ca.key", "pki/apiserver.key"]
    for name in private:
        assert stat.S_IMODE((apiserver.data / name).stat().st_mode) == 0o600, name
    assert stat.S_IMODE(apiserver.data.stat().st_mode) == 0o700
