"""What the API client costs: CPU of this process only; the server is another process that answers canned bytes."""

import asyncio
import json
import multiprocessing
import socket
import time

import uvloop
from aiohttp import web

from benchmarks.figures import report
from koordinator.api.registry import PODS
from koordinator.clock import SystemClock
from koordinator.kube.client import Client
from koordinator.kube.config import ClientConfig
from koordinator.kube.informer import Informer

POSTS, TASKS, PODS_LISTED, PAGE = 10_000, 100, 20_000, 500


def pod(index: int, version: int) -> dict[str, object]:
    conditions = [{"type": name, "status": "True"} for name in ("Initialized", "Ready", "ContainersReady", "PodScheduled")]
    return {
        "metadata": {
            "name": f"pod-{index}",
            "namespace": "default",
            "uid": f"uid-{index}",
            "resourceVersion": str(version),
            "labels": {"koordinator.sh/qosClass": "BE"},
            "annotations": {"note": "x" * 900},
        },
        "spec": {
            "nodeName": f"node-{index % 100}",
            "containers": [
                {"name": "c", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "1Gi"}}}
            ],
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}] * 2,
        },
        "status": {"phase": "Running", "conditions": conditions, "containerStatuses": [{"name": "c", "ready": True}]},
    }


def serve(listener: socket.socket) -> None:
    items = [json.dumps(pod(index, index)) for index in range(PODS_LISTED)]
    lines = [
        json.dumps({"type": "MODIFIED", "object": pod(index, PODS_LISTED + index)}).encode() + b"\n"
        for index in range(PODS_LISTED)
    ]

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.method == "POST":
            await request.read()
            return web.Response(body=b'{"kind":"Status","status":"Success"}', content_type="application/json")
        if not request.query.get("watch"):
            start = int(request.query.get("continue", "0"))
            end = start + PAGE
            more = f',"continue":"{end}"' if end < PODS_LISTED else ""
            meta = f'"metadata":{{"resourceVersion":"{PODS_LISTED}"{more}}}'
            return web.Response(text=f'{{{meta},"items":[{",".join(items[start:end])}]}}', content_type="application/json")
        response = web.StreamResponse()
        await response.prepare(request)
        await asyncio.sleep(0.5)
        for line in lines:
            await response.write(line)
        await asyncio.sleep(600)
        return response

    async def run() -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.SockSite(runner, listener).start()
        await asyncio.Event().wait()

    uvloop.run(run())


async def measure(port: int) -> bool:
    async with Client(ClientConfig(server=f"http://127.0.0.1:{port}", token="x")) as client:

        async def post(count: int) -> None:
            for index in range(count):
                await client.bind("default", f"pod-{index}", "node-1", uid="u")

        await post(50)
        used = time.process_time()
        await asyncio.gather(*[post(POSTS // TASKS) for _ in range(TASKS)])
        results = [report("kube-posts-per-cpu-second", POSTS / (time.process_time() - used), "posts/s", ">= 5000")]

        seen = 0

        def updated(_old: object, _new: object) -> None:
            nonlocal seen
            seen += 1

        informer = Informer(client, PODS, clock=SystemClock())
        informer.add_index("node", lambda item: [item.spec.node_name])
        informer.on(updated=updated)
        used = time.process_time()
        task = asyncio.create_task(informer.run())
        await informer.synced()
        results.append(report("kube-list-20000-pods", time.process_time() - used, "CPU s", "<= 1"))
        await asyncio.sleep(0.2)
        used = time.process_time()
        while seen < PODS_LISTED:
            await asyncio.sleep(0.02)
        results.append(report("kube-watch-events-per-cpu-second", seen / (time.process_time() - used), "events/s", ">= 10000"))
        task.cancel()
        return all(results)


def main() -> bool:
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    server = multiprocessing.get_context("fork").Process(target=serve, args=(listener,), daemon=True)
    server.start()
    try:
        return uvloop.run(measure(listener.getsockname()[1]))
    finally:
        server.kill()
        server.join()
