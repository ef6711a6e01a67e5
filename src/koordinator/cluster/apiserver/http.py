"""Bytes in, bytes out: authentication, paths, bodies, streams and Status answers over aiohttp's low-level server.

No routing table and no middleware: a path of the Kubernetes API says by itself what it is about.
"""

import asyncio
import hmac
from typing import Any

import msgspec
import structlog
from aiohttp import web

from koordinator.clock import Clock
from koordinator.cluster.apiserver import protobuf
from koordinator.cluster.apiserver.calls import JSON_TYPE, Answer, Call, parse_query, parse_target
from koordinator.cluster.apiserver.catalog import Catalog
from koordinator.cluster.apiserver.discovery import VERSION, Discovery
from koordinator.cluster.apiserver.limits import InFlight, Limits
from koordinator.cluster.apiserver.monitoring import MEDIA_TYPE, Monitor
from koordinator.cluster.apiserver.openapi.documents import OpenApi
from koordinator.cluster.apiserver.refusals import Refused, broken, no_such_path, not_allowed, status_of
from koordinator.cluster.apiserver.router import Result, Router, Stream
from koordinator.cluster.apiserver.unserved import not_served
from koordinator.kube.errors import ApiError

BODY_LIMIT = 3 << 20
STALL_SECONDS = 60.0
_log = structlog.get_logger(__name__)
_HEALTH = frozenset({"/healthz", "/livez", "/readyz"})
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})


class What:
    """What a request is about, for counting; found out on the way."""

    __slots__ = ("resource", "subresource", "verb")

    def __init__(self) -> None:
        self.verb = self.resource = self.subresource = ""

    def is_about(self, call: Call) -> None:
        self.resource, self.subresource = call.target.resource, call.target.subresource
        self.verb = call.method
        if not call.name and call.method in ("GET", "DELETE"):
            self.verb = "LIST" if call.method == "GET" else "DELETECOLLECTION"
        if call.method == "GET" and call.flag("watch"):
            self.verb = "WATCH"


class Parts(msgspec.Struct, frozen=True):
    """What the handler hands requests on to."""

    router: Router
    catalog: Catalog
    monitor: Monitor
    clock: Clock


class Handler:
    """What aiohttp calls for every request."""

    def __init__(self, parts: Parts, token: str, limits: Limits) -> None:
        self._router, self._catalog = parts.router, parts.catalog
        self._monitor, self._now = parts.monitor, parts.clock.monotonic
        self._flight = InFlight(limits)
        self._discovery, self._openapi = Discovery(parts.catalog), OpenApi(parts.catalog)
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        began, what = self._now(), What()
        try:
            answer = self._open_to_all(path) or await self._answer(request, path, query, what)
            if isinstance(answer, Answer):
                self._count(what, answer.code, began)
                return _unless_known(request, answer) or _plain(answer)
            self._count(what, 200, began)
            return await _stream(request, answer)
        except ApiError as err:
            self._count(what, err.code, began)
            return _refusal(err)
        except web.HTTPRequestEntityTooLarge:
            limit = f"the request body is larger than {BODY_LIMIT} bytes"
            return _refusal(Refused(413, "RequestEntityTooLarge", limit))
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception as err:  # noqa: BLE001 — a mistake of ours is one request's 500, not the server's end
            _log.exception("request failed", method=request.method, path=path)
            self._count(what, 500, began)
            return _refusal(broken(f"{type(err).__name__}: {err}"))

    def _count(self, what: What, code: int, began: float) -> None:
        if what.resource:
            self._monitor.requests.observe(what.verb, what.resource, what.subresource, code, self._now() - began)

    def _open_to_all(self, path: str) -> Answer | None:
        if path in _HEALTH or path.startswith(("/livez/", "/readyz/", "/healthz/")):
            return Answer(200, b"ok", "text/plain")
        if path.rstrip("/") == "/version":
            return Answer(200, msgspec.json.encode(VERSION))
        return None

    def _authenticated(self, header: str) -> bool:
        return hmac.compare_digest(header.encode(errors="replace"), self._expected)

    async def _answer(self, request: web.BaseRequest, path: str, query: str, what: What) -> Result:
        headers = request.headers
        if not self._authenticated(headers.get("Authorization", "")):
            raise Refused(401, "Unauthorized", "Unauthorized")
        accept = headers.get("Accept", "")
        target = parse_target(path)
        if target is None:
            return self._other(path, accept)
        if request.method not in _METHODS:
            raise not_allowed()
        kind = self._catalog.get(target.group, target.version, target.resource)
        if kind is None or (target.namespace and not kind.namespaced):
            raise no_such_path()
        if target.subresource and target.subresource not in kind.subresources:
            raise not_served(kind, target.subresource)
        body, media = await request.read() if request.method != "GET" else b"", headers.get("Content-Type", "")
        if media.startswith(protobuf.MEDIA_TYPE):
            body, media = protobuf.to_json(body) if body else body, JSON_TYPE
        call = Call(request.method, target, kind, parse_query(query), media, accept, body)
        what.is_about(call)
        with self._flight.slot(call):
            return await self._router.answer(call)

    def _other(self, path: str, accept: str) -> Answer:
        if path == "/metrics":
            return Answer(200, self._monitor.text(self._flight).encode(), MEDIA_TYPE)
        answer = self._discovery.answer(path, accept) or self._openapi.answer(path, accept)
        if answer is None:
            raise no_such_path()
        return answer


def _plain(answer: Answer) -> web.Response:
    return web.Response(status=answer.code, body=answer.body, content_type=None, headers=_headers(answer))


def _unless_known(request: web.BaseRequest, answer: Answer) -> web.Response | None:
    """304 when the client has this very answer already."""
    tag = (answer.headers or {}).get("ETag")
    if tag is None or request.headers.get("If-None-Match") != tag:
        return None
    return web.Response(status=304, headers={"ETag": tag})


def _headers(answer: Answer) -> dict[str, str]:
    return {"Content-Type": answer.content_type, **(answer.headers or {})}


def _refusal(err: ApiError) -> web.Response:
    status = status_of(err)
    headers = {"Content-Type": JSON_TYPE}
    if err.retry_after:
        headers["Retry-After"] = str(int(err.retry_after))
    return web.Response(status=err.code or 500, body=msgspec.json.encode(status), headers=headers)


async def _stream(request: web.BaseRequest, chunks: Stream) -> web.StreamResponse:
    """Send chunks as they come. What goes wrong after the first byte can only end the stream."""
    plain_text = request.raw_path.partition("?")[0].endswith("/log")
    response = web.StreamResponse(headers={"Content-Type": "text/plain" if plain_text else JSON_TYPE})
    try:
        await response.prepare(request)
        async for chunk in chunks:
            async with asyncio.timeout(STALL_SECONDS):
                await response.write(chunk)
        await response.write_eof()
    except TimeoutError:
        _log.warning("a client stopped reading and was cut off", path=request.raw_path)
        if request.transport is not None:
            request.transport.abort()
    except ConnectionError:
        pass  # the client has gone
    finally:
        await chunks.aclose()
    return response


def make_request(*args: Any, **kwargs: Any) -> web.BaseRequest:
    """A request that may carry a large object."""
    kwargs["loop"] = asyncio.get_running_loop()
    return web.BaseRequest(*args, client_max_size=BODY_LIMIT, **kwargs)


class Connections(web.Server):
    """Ends connections whose making was under way when it was closed: they would be answered from what is past."""

    closed = False

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if self.closed:
            transport.abort()
