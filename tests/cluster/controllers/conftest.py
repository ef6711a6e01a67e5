import asyncio
import contextlib
import itertools

import pytest

from koordinator.api.registry import PODS
from koordinator.clock import SystemClock
from koordinator.cluster.controllers.app import ControllersOptions, serve
from koordinator.cluster.controllers.daemon_placement import node_of
from koordinator.cluster.nodes.hollow import HollowNodes, HollowOptions
from koordinator.kube.events import Recorder
from koordinator.kube.informer import Informer


class Running:
    """An API server with controllers, hollow nodes and a scheduler that takes nodes in turns."""

    def __init__(self, apiserver):
        self.client, self.clock = apiserver.client, SystemClock()
        self._turn = itertools.count()
        self._binding = set()

    @contextlib.asynccontextmanager
    async def start(self, hollow, options):
        recorder = Recorder(self.client, "koord-controllers", self.clock)
        ready = [asyncio.Event(), asyncio.Event()]
        self.nodes = HollowNodes(hollow, self.client, self.clock, lambda pod, why: None)
        pods = Informer(self.client, PODS, clock=self.clock)
        pods.on(added=self._bind)
        jobs = [
            recorder.run(),
            serve(self.client, recorder, options, self.clock, ready[0].set),
            self.nodes.run(ready[1].set),
            pods.run(),
        ]
        tasks = [asyncio.create_task(job) for job in jobs]
        waiting = asyncio.gather(*(event.wait() for event in ready))
        await asyncio.wait([*tasks, asyncio.ensure_future(waiting)], return_when=asyncio.FIRST_COMPLETED)
        try:
            await asyncio.wait_for(waiting, 10)
            yield self
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            failures = [result for result in results if not isinstance(result, asyncio.CancelledError)]
            assert failures == []

    def _bind(self, pod):
        if pod.spec.node_name or pod.metadata.deletion_timestamp:
            return
        if target := node_of(pod):
            self._start(pod, target)
            return
        open_nodes = [node.name for node in self.nodes._nodes.items() if not node.spec.unschedulable]
        self._start(pod, sorted(open_nodes)[next(self._turn) % len(open_nodes)])

    def _start(self, pod, node):
        task = asyncio.create_task(self._try_bind(pod, node))
        self._binding.add(task)
        task.add_done_callback(self._binding.discard)

    async def _try_bind(self, pod, node):
        with contextlib.suppress(Exception):
            await self.client.bind(pod.namespace, pod.name, node, pod.metadata.uid)


@pytest.fixture
async def cluster(apiserver, request):
    """Parametrize indirectly with ``{"hollow": {...}, "controllers": {...}}`` for other options."""
    settings = getattr(request, "param", {})
    hollow = HollowOptions(**{"count": 3, "stop_seconds": 0.0, "job_seconds": 0.0} | settings.get("hollow", {}))
    async with Running(apiserver).start(hollow, ControllersOptions(**settings.get("controllers", {}))) as running:
        yield running
