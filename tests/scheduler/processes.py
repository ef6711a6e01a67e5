"""Schedulers that run inside the test, and the few objects that they need."""

import asyncio
import contextlib

from koordinator.api.registry import NODES, PODS
from koordinator.clock import SystemClock
from koordinator.scheduler.app import App, SchedulerOptions


@contextlib.asynccontextmanager
async def running(store, clock=None, catalogue=None, **options):
    """A scheduler that is ready, or has ended with an error that the block then raises."""
    app = App(store, SchedulerOptions(seed=1, **options), clock or SystemClock(), catalogue)
    ready = asyncio.Event()
    task = asyncio.create_task(app.run(ready.set))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    try:
        if task.done():
            task.result()
        yield app
    finally:
        waiting.cancel()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def add_node(client, name, cpu="4"):
    status = {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"}}
    await client.create(NODES, {"metadata": {"name": name}, "status": status})


async def add_pod(client, name, cpu="100m", **spec):
    containers = [{"name": "main", "image": "pause", "resources": {"requests": {"cpu": cpu}}}]
    body = {"metadata": {"name": name}, "spec": {"schedulerName": "koord-scheduler", "containers": containers, **spec}}
    return await client.create(PODS, body, "default")


async def bound(client, name):
    return bool((await client.get(PODS, name, "default")).spec.node_name)
