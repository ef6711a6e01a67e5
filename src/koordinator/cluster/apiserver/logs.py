"""``pods/log``: passed through from the kubelet endpoint of the pod's node, as a stream."""

import ssl
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING

from koordinator.cluster.apiserver.calls import Answer, Call
from koordinator.cluster.apiserver.kinds.base import Json
from koordinator.cluster.apiserver.refusals import Refused, bad_request, broken, not_found
from koordinator.cluster.apiserver.store import Store

if TYPE_CHECKING:
    import aiohttp

_PASSED = ("follow", "tailLines", "previous", "timestamps", "sinceSeconds", "sinceTime", "limitBytes")


class PodLogs:
    """Finds the kubelet of a pod and reads from it."""

    def __init__(self, store: Store, data: Path) -> None:
        self._store, self._data = store, data
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def read(self, call: Call) -> AsyncGenerator[bytes, None] | Answer:
        """The log as a stream. Raises: Refused (400, 404, 500)."""
        entry = self._store.get("pods", call.namespace, call.name)
        if entry is None:
            raise not_found("pods", "", call.name)
        pod = entry.decode()
        container = _container(pod, call.query.get("container", ""))
        node = pod["spec"].get("nodeName", "")
        if not node:
            return Answer(200, b"", "text/plain")
        url = f"{self._kubelet(node)}/containerLogs/{call.namespace}/{call.name}/{container}"
        query = {key: call.query[key] for key in _PASSED if key in call.query}
        response = await self._open(url, query, node)
        return _chunks(response)

    def _kubelet(self, node: str) -> str:
        entry = self._store.get("nodes", "", node)
        if entry is None:
            raise not_found("nodes", "", node)
        status = entry.decode().get("status") or {}
        port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port")
        addresses = {item.get("type"): item.get("address") for item in status.get("addresses") or ()}
        address = addresses.get("InternalIP") or addresses.get("Hostname")
        if not port or not address:
            raise broken(f"node {node} has no kubelet endpoint: there are no container logs")
        return f"https://{address}:{port}"

    async def _open(self, url: str, query: dict[str, str], node: str) -> "aiohttp.ClientResponse":
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None, sock_connect=10))
        try:
            token = (self._data / "kubelet-token").read_text().strip()
            context = ssl.create_default_context(cafile=str(self._data / "pki" / "ca.crt"))
            headers = {"Authorization": f"Bearer {token}"}
            response = await self._session.get(url, params=query, headers=headers, ssl=context)
        except (aiohttp.ClientError, OSError) as err:
            raise broken(f'error trying to reach the kubelet of node "{node}" at {url}: {err}') from None
        if response.status == 200:
            return response
        text = (await response.text())[:500].strip()
        response.release()
        raise Refused(
            response.status, "BadRequest" if response.status == 400 else "InternalError", text or f"HTTP {response.status}"
        )


async def _chunks(response: "aiohttp.ClientResponse") -> AsyncGenerator[bytes, None]:
    try:
        async for chunk in response.content.iter_any():
            yield chunk
    finally:
        response.close()


def _container(pod: Json, wanted: str) -> str:
    """The container whose log is meant. Raises: Refused (400)."""
    own = [container["name"] for container in pod["spec"]["containers"]]
    initial = [container["name"] for container in pod["spec"].get("initContainers") or ()]
    name = pod["metadata"]["name"]
    if wanted:
        if wanted not in own + initial:
            raise bad_request(f"container {wanted} is not valid for pod {name}")
        return wanted
    if len(own) > 1:
        raise bad_request(f"a container name must be specified for pod {name}, choose one of: [{' '.join(own)}]")
    return str(own[0])
