"""Metrics and readiness over plain HTTP."""

import contextlib
import os
from collections.abc import AsyncIterator, Callable

from aiohttp import web

from koordinator.errors import Unavailable

NOT_READY = "caches are not warm or webhooks not registered"


@contextlib.asynccontextmanager
async def serving(address: str, port: int, metrics: Callable[[], bytes], ready: Callable[[], bool]) -> AsyncIterator[int]:
    """Serve ``/metrics``, ``/healthz`` and ``/readyz`` for the length of a ``with`` block; yields the port."""

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def readyz(_: web.Request) -> web.Response:
        return (
            web.Response(text="ok")
            if ready()
            else web.Response(status=503, text="caches are not warm or webhooks not registered")
        )

    async def scrape(_: web.Request) -> web.Response:
        return web.Response(body=metrics(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    for path in ("/metrics", "/internal-metrics", "/all-metrics"):
        app.router.add_get(path, scrape)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await _listen(runner, address, port)
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, address: str, port: int) -> None:
    try:
        await web.TCPSite(runner, address, port).start()
    except OSError as err:
        raise Unavailable(f"metrics address {address}:{port}", os.strerror(err.errno or 0), "give another port") from err
