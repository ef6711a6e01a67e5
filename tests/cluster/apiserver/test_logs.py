import asyncio
import ssl
from types import SimpleNamespace

import pytest
from aiohttp import web

from koordinator.cluster.apiserver import pki

PODS = "/api/v1/namespaces/default/pods"


@pytest.fixture
async def kubelet(apiserver):
    """A kubelet's log endpoint: two lines, then more when released."""
    (apiserver.data / "kubelet-token").write_text("secret")
    certificate, key = pki.issue(pki.Pki(apiserver.data / "pki"), "kubelet", ("127.0.0.1",), 1_700_000_000)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    more = asyncio.Event()

    async def answer(request):
        if request.headers.get("Authorization") != "Bearer secret":
            return web.Response(status=401)
        if request.path != "/containerLogs/default/p/main":
            return web.Response(status=404, text="no such container")
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"one\ntwo\n")
        if request.query.get("follow") == "true":
            await more.wait()
            await response.write(b"three\n")
        return response

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    yield SimpleNamespace(more=more, port=runner.addresses[0][1])
    await runner.cleanup()


async def place(http, kubelet):
    addresses = [{"type": "InternalIP", "address": "127.0.0.1"}]
    status = {"addresses": addresses, "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet.port}}}
    await http.post("/api/v1/nodes", {"metadata": {"name": "n1"}, "status": status})
    await http.pod()
    await http.post(f"{PODS}/p/binding", {"target": {"kind": "Node", "name": "n1"}})


async def test_logs_come_from_the_node(http, kubelet):
    await place(http, kubelet)
    assert (await http.get(f"{PODS}/p/log")).body == "one\ntwo\n"
    wrong = await http.get(f"{PODS}/p/log?container=other")
    assert (wrong.code, wrong.message) == (400, "container other is not valid for pod p")


async def test_logs_are_followed(http, kubelet):
    await place(http, kubelet)
    async with http.session.get(f"{http.url}{PODS}/p/log?follow=true") as response:
        assert await response.content.readline() == b"one\n"
        assert await response.content.readline() == b"two\n"
        kubelet.more.set()
        assert await response.content.readline() == b"three\n"
        assert await response.content.read() == b""


async def test_nodes_that_have_no_logs(http):
    await http.pod()
    assert (await http.get(f"{PODS}/p/log")).body == ""
    await http.post(f"{PODS}/p/binding", {"target": {"kind": "Node", "name": "n1"}})
    assert (await http.get(f"{PODS}/p/log")).message == 'nodes "n1" not found'
    await http.post("/api/v1/nodes", {"metadata": {"name": "n1"}})
    reply = await http.get(f"{PODS}/p/log")
    assert (reply.code, "node n1 has no kubelet endpoint: there are no container logs" in reply.message) == (500, True)
    assert (await http.get(f"{PODS}/none/log")).code == 404
