"""Schedulers that run inside the test, and the few objects that they need."""

import contextlib

from koordinator.api.registry import NODES, PODS
from koordinator.clock import SystemClock
from koordinator.scheduler.app import App, SchedulerOptions
from waiting import component


@contextlib.asynccontextmanager
async def running(store, clock=None, catalogue=None, **options):
    """A scheduler that is ready, or has ended with an error that the block then raises."""
    app = App(store, SchedulerOptions(seed=1, **options), clock or SystemClock(), catalogue)
    async with component(app.run):
        yield app


async def add_node(client, name, cpu="4"):
    status = {"allocatable": {"cpu": cpu, "memory": "8Gi", "pods": "110"}}
    await client.create(NODES, {"metadata": {"name": name}, "status": status})


async def add_pod(client, name, cpu="100m", **spec):
    containers = [{"name": "main", "image": "pause", "resources": {"requests": {"cpu": cpu}}}]
    body = {"metadata": {"name": name}, "spec": {"schedulerName": "koord-scheduler", "containers": containers, **spec}}
    return await client.create(PODS, body, "default")


async def bound(client, name):
    return bool((await client.get(PODS, name, "default")).spec.node_name)
