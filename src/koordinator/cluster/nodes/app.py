"""Starts the cluster's nodes: hollow ones, this machine as a process node, or both."""

import asyncio
from collections.abc import Callable

import msgspec

from koordinator.clock import Clock
from koordinator.cluster.nodes.hollow import HollowOptions
from koordinator.cluster.nodes.process.options import ProcessOptions
from koordinator.errors import readable
from koordinator.kube.store import Store


class NodesOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Which nodes, and at which API server (kubeconfig and master as everywhere)."""

    kubeconfig: str | None = None
    master: str | None = None
    hollow: HollowOptions | None = None
    process: ProcessOptions | None = None


async def run(options: NodesOptions, clock: Clock, on_ready: Callable[[], None] = lambda: None) -> None:
    """Until cancelled. Raises: ConfigInvalid, Unavailable."""
    from koordinator.kube.client import Client
    from koordinator.kube.config import load

    async with Client(load(options.kubeconfig, options.master)) as client:
        await serve(options, client, clock, on_ready)


async def serve(options: NodesOptions, store: Store, clock: Clock, on_ready: Callable[[], None] = lambda: None) -> None:
    """Run the nodes against any store, until cancelled. Ready when every sort of node is."""
    from koordinator.cluster.nodes import hollow, process

    waiting = {name for name, chosen in (("hollow", options.hollow), ("process", options.process)) if chosen is not None}

    def ready(name: str) -> None:
        waiting.discard(name)
        if not waiting:
            on_ready()

    try:
        async with asyncio.TaskGroup() as tasks:
            if options.hollow is not None:
                tasks.create_task(hollow.run(options.hollow, store, clock, lambda: ready("hollow")))
            if options.process is not None:
                tasks.create_task(process.run(options.process, store, clock, lambda: ready("process")))
            if not waiting:
                on_ready()
                await asyncio.Event().wait()
    except BaseExceptionGroup as group:
        raise readable(group) or group from None
