"""API servers on loopback that do what a test tells them: ``Scripted`` answers by scenario, ``Live`` keeps objects."""

import asyncio
import contextlib
import json
from collections import defaultdict
from dataclasses import dataclass, field

from aiohttp import web

from koordinator.kube.config import ClientConfig

LOOPBACK = "127.0.0.1"


@dataclass
class Reply:
    """One answer. ``chunks`` makes it a stream: bytes are sent as they are, numbers are seconds to wait."""

    status: int = 200
    body: object = field(default_factory=dict)
    headers: dict = field(default_factory=dict)
    chunks: list | None = None
    reset: bool = False
    delay: float = 0.0


def event(type_, obj):
    return json.dumps({"type": type_, "object": obj}).encode() + b"\n"


def config_map(name, version, value="", **extra):
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", "resourceVersion": str(version)} | extra,
        "data": {"value": value},
    }


def listing(version, *items, **meta):
    return {"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": str(version)} | meta, "items": list(items)}


def status(code, reason, message="", **details):
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message}
    return body | ({"details": details} if details else {})


def refusal(code, reason, message="", headers=None, **details):
    return Reply(code, status(code, reason, message, **details), headers or {})


class Server:
    """Start and stop, on a free port."""

    def __init__(self):
        self.requests = []
        self.bodies = []
        self.port = 0

    async def __aenter__(self):
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, LOOPBACK, self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_):
        await self._runner.cleanup()

    @property
    def config(self):
        return ClientConfig(server=f"http://{LOOPBACK}:{self.port}")


class Scripted(Server):
    """Answers the n-th request for ``METHOD /path`` with the n-th reply of its script, the last one for ever."""

    def __init__(self, script):
        super().__init__()
        self.script = script
        self.asked = defaultdict(int)

    async def handle(self, request):
        kind = "WATCH" if request.query.get("watch") else request.method
        key = f"{kind} {request.path}"
        self.requests.append((kind, request.path, dict(request.query), dict(request.headers)))
        self.bodies.append(await request.read())
        replies = self.script.get(key)
        if replies is None:
            return web.json_response(status(404, "NotFound", f"nothing scripted for {key}"), status=404)
        reply = replies[min(self.asked[key], len(replies) - 1)]
        self.asked[key] += 1
        if reply.delay:
            await asyncio.sleep(reply.delay)
        if reply.reset:
            request.transport.abort()
            return web.Response()
        if reply.chunks is None:
            body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            return web.Response(status=reply.status, body=body, headers=reply.headers, content_type="application/json")
        return await self._stream(request, reply)

    async def _stream(self, request, reply):
        response = web.StreamResponse(status=reply.status, headers=reply.headers)
        response.enable_chunked_encoding()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            for chunk in reply.chunks:
                if chunk == "reset":
                    request.transport.abort()
                elif isinstance(chunk, bytes):
                    await response.write(chunk)
                else:
                    await asyncio.sleep(chunk)
        return response


class Live(Server):
    """ConfigMaps with list and watch, history that can be forgotten, connections that can be cut."""

    def __init__(self):
        super().__init__()
        self.version = 1
        self.forgotten = 0
        self.objects = {}
        self.history = []
        self.streams = set()
        self.generation = defaultdict(int)

    def put(self, name, value, readable=True):
        self.version += 1
        known = self.objects.get(name)
        if known is None:
            self.generation[name] += 1
        obj = config_map(name, self.version, value, uid=f"{name}-{self.generation[name]}")
        if not readable:
            obj["data"] = ["not", "a", "map"]
        self.objects[name] = obj
        self._publish("MODIFIED" if known else "ADDED", obj)

    def delete(self, name):
        if obj := self.objects.pop(name, None):
            self.version += 1
            last = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.version)}}
            self._publish("DELETED", last)

    def bookmark(self):
        meta = {"resourceVersion": str(self.version)}
        for queue in self.streams:
            queue.put_nowait(event("BOOKMARK", {"kind": "ConfigMap", "metadata": meta}))

    def cut(self):
        for queue in self.streams:
            queue.put_nowait(None)

    def forget(self):
        self.forgotten = self.version
        self.history.clear()

    def readable(self):
        return {f"default/{name}": obj["data"]["value"] for name, obj in self.objects.items() if isinstance(obj["data"], dict)}

    def _publish(self, type_, obj):
        line = event(type_, obj)
        self.history.append((self.version, line))
        for queue in self.streams:
            queue.put_nowait(line)

    async def handle(self, request):
        if not request.query.get("watch"):
            return web.json_response(listing(self.version, *self.objects.values()))
        since = int(request.query["resourceVersion"])
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        queue = asyncio.Queue()
        if since < self.forgotten:
            queue.put_nowait(event("ERROR", status(410, "Expired", "too old resource version")))
            queue.put_nowait(None)
        for version, line in self.history:
            if version > since:
                queue.put_nowait(line)
        self.streams.add(queue)
        await response.prepare(request)
        try:
            while (line := await queue.get()) is not None:
                await response.write(line)
            request.transport.abort()
        except ConnectionError:
            pass
        finally:
            self.streams.discard(queue)
        return response


class FastClock:
    """Sleeps yield to the loop once and move the clock: back-off costs nothing, order stays."""

    def __init__(self):
        self.time = 1_767_225_600.0
        self.slept = []

    def now(self):
        return self.time

    def monotonic(self):
        return self.time

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.time += seconds
        await asyncio.sleep(0.001)


async def until(condition, seconds=5.0):
    """Wait for a condition, at most so long."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.001)
