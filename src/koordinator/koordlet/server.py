"""HTTP for probes and scrapers: ``/healthz``, ``/readyz``, ``/metrics``. On loopback unless told otherwise."""

import contextlib
from collections.abc import AsyncIterator, Callable

from aiohttp import web

from koordinator.errors import Unavailable
from koordinator.koordlet.metrics import Metrics

METRIC_PATHS = ("/metrics", "/internal-metrics", "/external-metrics")


@contextlib.asynccontextmanager
async def serve(bind: str, port: int, metrics: Metrics, not_ready: Callable[[], str]) -> AsyncIterator[None]:
    """Answer while the block runs. ``not_ready`` names what is missing, empty when all is there. Raises Unavailable."""

    async def health(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(_request: web.Request) -> web.Response:
        missing = not_ready()
        return web.Response(text=f"{missing or 'ok'}\n", status=503 if missing else 200)

    async def scrape(_request: web.Request) -> web.Response:
        headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        return web.Response(body=metrics.text(), headers=headers)

    app = web.Application()
    app.add_routes([web.get("/healthz", health), web.get("/readyz", ready), *(web.get(path, scrape) for path in METRIC_PATHS)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, bind, port).start()
    except OSError as err:
        await runner.cleanup()
        raise Unavailable(f"address {bind}:{port}", str(err.strerror), "choose another with --addr") from err
    try:
        yield
    finally:
        await runner.cleanup()
