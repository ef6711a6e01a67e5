"""A bare HTTP client, so that tests see the very answers."""

import io
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgspec
import pytest

PODS = "/api/v1/namespaces/default/pods"


class Reply(msgspec.Struct, frozen=True):
    code: int
    body: Any

    @property
    def message(self) -> str:
        return self.body["message"]


class Http:
    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url, self.session = url, session

    async def call(self, method: str, path: str, body: Any = None, *, type_: str = "application/json", **headers: str) -> Reply:
        data = body if isinstance(body, bytes | io.BytesIO) or body is None else msgspec.json.encode(body)
        headers = {"Content-Type": type_, **headers}
        async with self.session.request(method, self.url + path, data=data, headers=headers) as response:
            raw = await response.read()
        return Reply(response.status, msgspec.json.decode(raw) if raw[:1] in (b"{", b"[") else raw.decode())

    async def get(self, path: str, **headers: str) -> Reply:
        return await self.call("GET", path, **headers)

    async def post(self, path: str, body: Any) -> Reply:
        return await self.call("POST", path, body)

    async def put(self, path: str, body: Any) -> Reply:
        return await self.call("PUT", path, body)

    async def delete(self, path: str, body: Any = None) -> Reply:
        return await self.call("DELETE", path, body)

    async def patch(self, path: str, body: Any, kind: str = "merge") -> Reply:
        return await self.call("PATCH", path, body, type_=f"application/{kind}-patch+json")

    async def pod(self, name: str = "p", **spec: Any) -> Any:
        """Create a plain pod in the default namespace."""
        containers = spec.pop("containers", [{"name": "main", "image": "pause:3"}])
        reply = await self.post(PODS, {"metadata": {"name": name}, "spec": {"containers": containers, **spec}})
        assert reply.code == 201, reply.body
        return reply.body


@pytest.fixture
async def http(apiserver) -> AsyncIterator[Http]:
    headers = {"Authorization": f"Bearer {apiserver.token}"}
    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield Http(apiserver.url, session)
