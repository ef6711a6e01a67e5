"""Too many requests at a time: some are asked to come back; what keeps the cluster alive is not."""

import asyncio

import aiohttp
import pytest

from cluster.apiserver.conftest import Http
from koordinator.clock import SystemClock
from koordinator.cluster.apiserver.app import ApiServerOptions, serve
from koordinator.cluster.apiserver.writes import Writer

MAPS = "/api/v1/namespaces/default/configmaps"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"


@pytest.fixture
async def narrow(tmp_path):
    """A server that works on two writes at a time."""
    async with serve(ApiServerOptions(data=tmp_path / "data", max_writes=2), SystemClock()) as server:
        headers = {"Authorization": f"Bearer {server.token}"}
        async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=20)) as session:
            yield Http(server.url, session)


async def test_one_too_many_is_asked_to_come_back(narrow, monkeypatch):
    disk = asyncio.Event()
    commit = Writer.commit

    async def slow(self, call, *arguments, **options):
        if call.kind.key == "configmaps":
            await disk.wait()
        return await commit(self, call, *arguments, **options)

    monkeypatch.setattr(Writer, "commit", slow)
    writes = [asyncio.create_task(narrow.post(MAPS, {"metadata": {"name": f"m{number}"}})) for number in range(3)]
    (refused,), waiting = await asyncio.wait(writes, return_when=asyncio.FIRST_COMPLETED)
    reply = refused.result()
    assert (reply.code, reply.body["reason"], reply.body["details"]["retryAfterSeconds"]) == (429, "TooManyRequests", 1)
    async with narrow.session.post(narrow.url + MAPS, json={}) as response:
        assert response.headers["Retry-After"] == "1"

    assert (await narrow.get(MAPS)).code == 200
    assert (await narrow.post(LEASES, {"metadata": {"name": "l"}})).code == 201
    async with narrow.session.get(f"{narrow.url}{MAPS}?watch=1") as watch:
        assert watch.status == 200
    metrics = (await narrow.get("/metrics")).body
    assert 'apiserver_current_inflight_requests{request_kind="mutating"} 2\n' in metrics
    assert 'apiserver_rejected_requests_total{request_kind="mutating"} 2\n' in metrics

    disk.set()
    assert [task.result().code for task in (await asyncio.wait(waiting))[0]] == [201, 201]
    assert (await narrow.post(MAPS, {"metadata": {"name": "after"}})).code == 201
