"""What the scheduler serves: health and metrics over HTTP and HTTPS, debugging over HTTP only."""

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from koordinator.errors import Unavailable
from koordinator.kube.client import Client
from koordinator.kube.metrics import Collector as ClientCollector
from koordinator.scheduler.collector import Collector, resource_metrics

if TYPE_CHECKING:
    import ssl

    from aiohttp import web

    from koordinator.scheduler.app import App


@contextlib.asynccontextmanager
async def serving(app: "App") -> AsyncIterator[None]:
    """Serve inside the block, unless the options say nowhere. Raises Unavailable when a port is taken."""
    options = app.options
    async with contextlib.AsyncExitStack() as stack:
        if options.http_port is not None:
            where = (options.http_address, options.http_port)
            app.http_address = await stack.enter_async_context(_listening(_routes(app, debug=True), where))
        if options.secure is not None:
            from koordinator.scheduler.certificate import context

            where = (options.secure.address, options.secure.port)
            tls = context(options.secure, app.clock)
            app.https_address = await stack.enter_async_context(_listening(_routes(app, debug=False), where, tls))
        yield


@contextlib.asynccontextmanager
async def _listening(
    routes: "web.Application", where: tuple[str, int], tls: "ssl.SSLContext | None" = None
) -> AsyncIterator[tuple[str, int]]:
    from aiohttp import web

    runner = web.AppRunner(routes, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, *where, ssl_context=tls)
    try:
        await site.start()
    except OSError as err:
        await runner.cleanup()
        what = f"scheduler metrics on {where[0]}:{where[1]}"
        raise Unavailable(what, err.strerror or str(err), "choose another port") from err
    try:
        yield runner.addresses[0][:2]
    finally:
        await runner.cleanup()


def _routes(app: "App", *, debug: bool) -> "web.Application":
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
        """A leader that has not renewed its Lease for too long is not healthy: it may have hung."""
        if app.life.elector is not None and app.life.elector.stale():
            return web.Response(
                status=500, text="[-]leaderElection failed: the Lease has not been renewed\nhealthz check failed"
            )
        return web.Response(text="ok")

    async def ready(request: web.Request) -> web.Response:
        """Ready once all caches have seen the cluster; standing by counts as ready."""
        if not app.life.ready:
            return web.Response(status=500, text="[-]informer-sync failed: caches are not filled yet\nreadyz check failed")
        return await healthy(request)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def reset(_: web.Request) -> web.Response:
        app.reset_metrics()
        return web.Response(text="metrics reset\n")

    async def resources(_: web.Request) -> web.Response:
        body = resource_metrics(app.scheduler) if app.leading else b""
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    routes = web.Application()
    for path in ("/healthz", "/livez"):
        routes.router.add_get(path, healthy)
    routes.router.add_get("/readyz", ready)
    for path in ("/metrics", "/metrics/slis"):
        routes.router.add_get(path, metrics)
    routes.router.add_get("/metrics/resources", resources)
    if debug:
        routes.router.add_delete("/metrics", reset)
        add_debug_routes(routes, app)
    return routes
