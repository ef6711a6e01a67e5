"""/healthz, /readyz, /metrics."""

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from koordinator.errors import Unavailable
from koordinator.kube.client import Client
from koordinator.kube.metrics import Collector as ClientCollector
from koordinator.scheduler.collector import Collector, resource_metrics

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
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
    from prometheus_client.exposition import CONTENT_TYPE_LATEST

    from koordinator.scheduler.debug.routes import add_debug_routes

    registry = CollectorRegistry()
    registry.register(Collector(app))
    ProcessCollector(registry=registry)
    if isinstance(app.store, Client):
        registry.register(ClientCollector([app.store.metrics]))

    async def healthy(_: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def reset(_: web.Request) -> web.Response:
        app.metrics.reset()
        return web.Response(text="metrics reset\n")

    async def resources(_: web.Request) -> web.Response:
        body = resource_metrics(app.scheduler) if app.leading else b""
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    routes = web.Application()
    for path in ("/healthz", "/livez", "/readyz"):
        routes.router.add_get(path, healthy)
    for path in ("/metrics", "/metrics/slis"):
        routes.router.add_get(path, metrics)
    routes.router.add_delete("/metrics", reset)
    routes.router.add_get("/metrics/resources", resources)
    add_debug_routes(routes, app)
    return routes
