"""HTTP routes: ``/debug/flags``, ``/apis/v1/…`` of scheduler and plugins, and explanations. Only a leader answers questions."""

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from koordinator.scheduler.debug import flags as debug_flags
from koordinator.scheduler.debug import nodeinfo
from koordinator.scheduler.engine.framework import Endpoint

if TYPE_CHECKING:
    from koordinator.scheduler.app import App

_PARAMETER = re.compile(r"\{(\w+)\}")


def add_debug_routes(routes: web.Application, app: "App") -> None:
    """All debug routes of one scheduler."""
    _add_flags(routes, app.flags)
    _add_apis(routes, _endpoints(app), lambda: app.leading)


def _endpoints(app: "App") -> dict[str, Endpoint]:
    """Path → what answers it. Of plugins in several profiles the first answers."""
    explainer = app.explainer
    found: dict[str, Endpoint] = {
        "/apis/v1/nodes/{nodeName}": lambda name: nodeinfo.describe(app.scheduler.cluster, name),
        "/apis/v1/explain/pods/{namespace}/{name}": explainer.pod,
        "/apis/v1/explain/nodes/{name}": explainer.node,
    }
    for profile in dict.fromkeys(app.scheduler.profiles.values()):
        for plugin in profile.plugins.values():
            for path, endpoint in plugin.endpoints().items():
                found.setdefault(f"/apis/v1/plugins/{plugin.name}/{path}", endpoint)
    return found


def _add_flags(routes: web.Application, flags: debug_flags.Flags) -> None:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text=debug_flags.page(flags), content_type="text/html")

    async def one(request: web.Request) -> web.Response:
        if request.method != "PUT":
            return web.Response(status=406, text="unsupported http method")
        status, text = debug_flags.put(flags, request.match_info["name"], await request.text())
        return web.Response(status=status, text=text)

    routes.router.add_get("/debug/flags/", page)
    routes.router.add_get("/debug/flags", page)
    routes.router.add_route("*", "/debug/flags/{name}", one)


def _add_apis(routes: web.Application, endpoints: dict[str, Endpoint], leading: Callable[[], bool]) -> None:
    services = "/apis/v1/__services__"
    paths = sorted(_PARAMETER.sub(r":\1", path) for path in (services, *endpoints))
    for path, endpoint in {services: lambda: {"GET": paths}, **endpoints}.items():
        routes.router.add_get(path, _handler(endpoint, _PARAMETER.findall(path), leading))


def _handler(
    endpoint: Endpoint, parameters: list[str], leading: Callable[[], bool]
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        if not leading():
            return _json(503, {"message": "the instance is not leader"})
        try:
            answer = endpoint(*(request.match_info[name] for name in parameters))
        except LookupError as err:
            return _json(404, {"message": str(err.args[0]) if err.args else "not found"})
        return _json(200, answer)

    return handle


def _json(status: int, body: object) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(body), content_type="application/json")
