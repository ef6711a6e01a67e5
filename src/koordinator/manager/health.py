"""Metrics, readiness and profiles over plain HTTP."""

import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

from aiohttp import web

from koordinator.errors import Unavailable
from koordinator.kube import profiling
from koordinator.manager.options import Address

NOT_READY = "caches are not warm or webhooks not registered"
_METRICS = ("/metrics", "/internal-metrics", "/external-metrics", "/all-metrics")

Page = Callable[[web.Request], Awaitable[web.Response]]


class Served(NamedTuple):
    """What there is to show."""

    metrics: Callable[[], bytes]
    ready: Callable[[], bool]


class Ports(NamedTuple):
    """Where it is shown; 0 for nowhere."""

    metrics: int = 0
    probes: int = 0
    pprof: int = 0


async def listen(
    stack: contextlib.AsyncExitStack, served: Served, addresses: tuple[Address | None, Address | None, Address | None]
) -> Ports:
    """Serve until ``stack`` ends: metrics, probes and profiles, each where its address says. Raises Unavailable.

    Probes are answered next to the metrics, too.
    """
    probes = {"/healthz": _healthz, "/readyz": _readyz(served.ready)}
    scrapes = dict.fromkeys(_METRICS, _scrape(served.metrics))
    kinds = ({**scrapes, **probes}, probes, profiling.pages())
    ports = [
        await stack.enter_async_context(_serving(address, pages)) if address else 0
        for address, pages in zip(addresses, kinds, strict=True)
    ]
    return Ports(*ports)


async def _healthz(_: web.Request) -> web.Response:
    return web.Response(text="ok")


def _readyz(ready: Callable[[], bool]) -> Page:
    async def readyz(_: web.Request) -> web.Response:
        return web.Response(text="ok") if ready() else web.Response(status=503, text=NOT_READY)

    return readyz


def _scrape(metrics: Callable[[], bytes]) -> Page:
    async def scrape(_: web.Request) -> web.Response:
        return web.Response(body=metrics(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    return scrape


@contextlib.asynccontextmanager
async def _serving(address: Address, pages: dict[str, Page]) -> AsyncIterator[int]:
    app = web.Application()
    for path, page in pages.items():
        app.router.add_get(path, page)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, address.host or None, address.port).start()
        except OSError as err:
            where = f"address {address.host}:{address.port}"
            raise Unavailable(where, os.strerror(err.errno or 0), "give another port, or :0 for a free one") from err
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()
