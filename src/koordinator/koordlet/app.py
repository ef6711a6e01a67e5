"""koordlet, put together: informers, the kubelet's pods, the agent's loop, the report, HTTP. Importing this starts nothing."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable

import msgspec

from koordinator.clock import Clock
from koordinator.koordlet import options as options_module
from koordinator.koordlet.agent import Agent, Parts
from koordinator.koordlet.assembly import Koordlet, build
from koordinator.koordlet.enforce.suppress import CPUSuppress
from koordinator.koordlet.options import KoordletOptions
from koordinator.kube import config as kube_config
from koordinator.kube.client import Client
from koordinator.kube.events import Recorder

__all__ = ["KoordletOptions", "run"]

log = logging.getLogger("koordinator.koordlet")

_WATCH_SECONDS = 0.2
"""How often the pods' directories are looked at: a new one is worth asking the kubelet at once."""


async def run(options: KoordletOptions, clock: Clock, on_ready: Callable[[], None] = lambda: None) -> None:
    """Run until cancelled. Raises: ConfigInvalid, Unavailable. ``on_ready`` is called when the API server's view is known."""
    options_module.check(options)
    config = kube_config.load(options.kubeconfig or None, options.master or None)
    config = msgspec.structs.replace(config, user_agent="koordlet")
    async with Client(config, clock) as client:
        recorder = Recorder(client, "koordlet", clock)
        koordlet = build(options, client, clock, recorder)
        try:
            async with _http(options, koordlet, clock), asyncio.TaskGroup() as group:
                group.create_task(recorder.run())
                await run_parts(options, koordlet, clock, on_ready)
        finally:
            await koordlet.kubelet.close()
            if options.undo_on_exit:
                koordlet.agent.lift()


async def run_parts(options: KoordletOptions, koordlet: Koordlet, clock: Clock, on_ready: Callable[[], None]) -> None:
    """The tasks of a koordlet; the first that fails ends all."""
    agent, parts = koordlet.agent, koordlet.parts
    async with asyncio.TaskGroup() as group:
        group.create_task(parts.cluster.run())
        group.create_task(agent.run())
        await parts.cluster.synced()
        group.create_task(parts.pods.run(lambda: parts.cluster.node, options.kubelet_sync_interval, agent.has_pods))
        group.create_task(_watch_directories(agent, parts, clock))
        group.create_task(koordlet.reporter.run(agent.source, options.report_interval))
        log.info("node %s: koordlet runs", options.node_name)
        on_ready()


async def _watch_directories(agent: Agent, parts: Parts, clock: Clock) -> None:
    """A pod's cgroup is there before the next list would tell: ask for it then."""
    before = agent.pod_stamp()
    while True:
        await clock.sleep(_WATCH_SECONDS)
        if (now := agent.pod_stamp()) != before:
            before = now
            parts.pods.pull()


@contextlib.asynccontextmanager
async def _http(options: KoordletOptions, koordlet: Koordlet, clock: Clock) -> AsyncIterator[None]:
    """Nothing when no port is given; the libraries are then not loaded either."""
    if not options.port:
        yield
        return
    from koordinator.koordlet.metrics import Gauges, Metrics
    from koordinator.koordlet.server import serve

    suppress = next((one for one in koordlet.parts.strategies if isinstance(one, CPUSuppress)), None)
    metrics = Metrics(Gauges(options.node_name, koordlet.agent, koordlet.parts.store, suppress, clock.now()))
    koordlet.parts.executor.observe = metrics.update
    koordlet.kubelet.observe = metrics.kubelet_request
    async with serve(options.bind, options.port, metrics, lambda: _missing(koordlet)):
        yield


def _missing(koordlet: Koordlet) -> str:
    if koordlet.parts.cluster.node is None:
        return "the node object is not known yet"
    if not koordlet.parts.pods.has_synced:
        return "the kubelet's pods are not known yet"
    return "" if koordlet.agent.source() is not None else "no samples yet"
