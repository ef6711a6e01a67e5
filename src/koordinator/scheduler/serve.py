"""What the scheduler serves, and where: the same routes over HTTP, open to all, and over HTTPS behind a gate."""

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import msgspec

from koordinator.errors import Unavailable
from koordinator.kube.client import Client
from koordinator.kube.config import load
from koordinator.scheduler.collector import registry_of, resource_metrics
from koordinator.scheduler.config.write import as_plain

if TYPE_CHECKING:
    import ssl

    from aiohttp import web

    from koordinator.kube.store import Store
    from koordinator.scheduler.access import Gate
    from koordinator.scheduler.app import App
    from koordinator.scheduler.options import Secure


class Listening(msgspec.Struct, frozen=True, kw_only=True):
    """Where routes are served."""

    address: str
    port: int
    tls: "ssl.SSLContext | None" = None
    reuse_port: bool = False


@contextlib.asynccontextmanager
async def serving(app: "App") -> AsyncIterator[None]:
    """Serve inside the block, unless the options say nowhere. Raises Unavailable when a port is taken."""
    options = app.options
    async with contextlib.AsyncExitStack() as stack:
        if options.http_port is not None:
            where = Listening(address=options.http_address, port=options.http_port)
            app.http_address = await stack.enter_async_context(_listening(_routes(app), where))
        if options.secure is not None:
            app.https_address = await _serve_securely(app, options.secure, stack)
        yield


async def _serve_securely(app: "App", secure: "Secure", stack: contextlib.AsyncExitStack) -> tuple[str, int]:
    import asyncio

    from koordinator.kube.reviews import Reviews
    from koordinator.scheduler.access import Gate
    from koordinator.scheduler.authorities import Authorities
    from koordinator.scheduler.certificate import context

    tls, access = context(secure, app.clock), secure.access
    authorities = Authorities(access, tls)
    tokens = await _store(access.kubeconfig, app, stack)
    reviews = Reviews(tokens, await _store(access.authorization_kubeconfig, app, stack), app.clock, access.lifetimes)
    if not access.skip_lookup:
        await authorities.look_up(tokens)
        stack.callback(asyncio.ensure_future(authorities.follow(tokens, app.clock)).cancel)
    gate = Gate(reviews, authorities, access.open_paths)
    where = Listening(address=secure.address, port=secure.port, tls=tls, reuse_port=secure.reuse_port)
    return await stack.enter_async_context(_listening(_routes(app, gate), where))


async def _store(kubeconfig: str, app: "App", stack: contextlib.AsyncExitStack) -> "Store":
    """A connection of its own, when a file says so."""
    return await stack.enter_async_context(Client(load(kubeconfig), app.clock)) if kubeconfig else app.store


@contextlib.asynccontextmanager
async def _listening(routes: "web.Application", where: Listening) -> AsyncIterator[tuple[str, int]]:
    from aiohttp import web

    runner = web.AppRunner(routes, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, where.address, where.port, ssl_context=where.tls, reuse_port=where.reuse_port or None)
    try:
        await site.start()
    except OSError as err:
        await runner.cleanup()
        what = f"scheduler metrics on {where.address}:{where.port}"
        raise Unavailable(what, err.strerror or str(err), "choose another port") from err
    try:
        yield runner.addresses[0][:2]
    finally:
        await runner.cleanup()


def _routes(app: "App", gate: "Gate | None" = None) -> "web.Application":
    from aiohttp import web

    from koordinator.kube import profiling
    from koordinator.scheduler.debug.routes import add_debug_routes

    routes = web.Application(middlewares=[gate.middleware()] if gate is not None else ())
    _add_health(routes, app)
    _add_metrics(routes, app)

    async def configuration(_: web.Request) -> web.Response:
        return web.json_response({"componentconfig": as_plain(app.reading)})

    routes.router.add_get("/configz", configuration)
    add_debug_routes(routes, app)
    if app.options.profiling:
        for path, page in profiling.pages().items():
            routes.router.add_get(path, page)
    return routes


def _add_health(routes: "web.Application", app: "App") -> None:
    from koordinator.scheduler.health import add_health_routes, ping

    def leads_in_time() -> str:
        """A leader that has not renewed its Lease for too long may have hung."""
        stale = app.life.elector is not None and app.life.elector.stale()
        return "the Lease has not been renewed" if stale else ""

    def caches_filled() -> str:
        return "" if app.life.ready else "caches are not filled yet"

    alive = {"ping": ping, "leaderElection": leads_in_time} if app.life.elector is not None else {"ping": ping}
    add_health_routes(routes, "healthz", alive)
    add_health_routes(routes, "livez", alive)
    add_health_routes(routes, "readyz", {**alive, "informer-sync": caches_filled})


def _add_metrics(routes: "web.Application", app: "App") -> None:
    from aiohttp import web
    from prometheus_client import generate_latest
    from prometheus_client.exposition import CONTENT_TYPE_LATEST

    registry = registry_of(app)
    headers = {"Content-Type": CONTENT_TYPE_LATEST}

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers=headers)

    async def reset(_: web.Request) -> web.Response:
        app.reset_metrics()
        return web.Response(text="metrics reset\n")

    async def resources(_: web.Request) -> web.Response:
        return web.Response(body=resource_metrics(app.scheduler) if app.leading else b"", headers=headers)

    for path in ("/metrics", "/metrics/slis"):
        routes.router.add_get(path, metrics)
    routes.router.add_delete("/metrics", reset)
    routes.router.add_get("/metrics/resources", resources)
