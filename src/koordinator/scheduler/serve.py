"""/healthz, /readyz, /metrics."""

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from koordinator.errors import Unavailable
from koordinator.scheduler.metrics import Collector

if TYPE_CHECKING:
    from aiohttp import web

    from koordinator.scheduler.app import App


@contextlib.asynccontextmanager
async def serving(app: "App") -> AsyncIterator[None]:
    """Serve inside the block, unless the options say nowhere. Raises Unavailable when the port is taken."""
    if app.options.http_port is None:
        yield
        return
    from aiohttp import web

    options = app.options
    runner = web.AppRunner(_routes(app), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, options.http_address, options.http_port)
    try:
        await site.start()
    except OSError as err:
        await runner.cleanup()
        where = f"{options.http_address}:{options.http_port}"
        raise Unavailable(f"scheduler metrics on {where}", err.strerror or str(err), "choose another port") from err
    app.http_address = runner.addresses[0][:2]
    try:
        yield
    finally:
        await runner.cleanup()


def _routes(app: "App") -> "web.Application":
    from aiohttp import web
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.exposition import CONTENT_TYPE_LATEST

    from koordinator.scheduler.debug.routes import add_debug_routes

    registry = CollectorRegistry()
    registry.register(Collector(app.metrics, app.scheduler))

    async def healthy(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    routes = web.Application()
    for path in ("/healthz", "/livez", "/readyz"):
        routes.router.add_get(path, healthy)
    routes.router.add_get("/metrics", metrics)
    add_debug_routes(routes, app)
    return routes
