"""The kubelet's HTTPS endpoint: ``/pods/``, ``/containerLogs/…``, ``/configz`` and ``/healthz``, for holders of the token."""

import hmac
import ssl
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import msgspec
from aiohttp import web

from koordinator.clock import Clock
from koordinator.cluster.nodes.process.logs import LogRequest, read
from koordinator.cluster.nodes.process.runtime import Attempt

Handler = Any


class NoLog(Exception):
    """Why there is no such log: the HTTP status and a sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Source(Protocol):
    """What the endpoint shows."""

    def pods(self) -> Iterable[dict[str, Any]]: ...

    def attempt(self, namespace: str, pod: str, container: str, *, previous: bool) -> Attempt:
        """The run whose log is meant. Raises NoLog."""
        ...

    def configuration(self) -> dict[str, Any]: ...


class Endpoint:
    """Serves one node. ``tokens`` is asked at every request, so that a rotated token works at once."""

    def __init__(self, source: Source, tokens: Callable[[], set[str]], clock: Clock) -> None:
        self._source, self._tokens, self._clock = source, tokens, clock
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self, host: str, port: int, tls: ssl.SSLContext) -> None:
        app = web.Application(middlewares=[self._guard])
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/pods", self._pods)
        app.router.add_get("/pods/", self._pods)
        app.router.add_get("/configz", self._configz)
        app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._logs)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, ssl_context=tls)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        known = any(hmac.compare_digest(token.encode(), one.encode()) for one in self._tokens())
        if scheme != "Bearer" or not known:
            return web.Response(status=401, text="Unauthorized\n")
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _pods(self, _: web.Request) -> web.Response:
        body = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": list(self._source.pods())}
        return web.Response(body=msgspec.json.encode(body), content_type="application/json")

    async def _configz(self, _: web.Request) -> web.Response:
        body = {"kubeletconfig": self._source.configuration()}
        return web.Response(body=msgspec.json.encode(body), content_type="application/json")

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        names = request.match_info
        try:
            wanted = log_request(request.query, self._clock.now())
            attempt = self._source.attempt(
                names["namespace"], names["pod"], names["container"], previous=_flag(request.query.get("previous"))
            )
        except NoLog as err:
            return web.Response(status=err.status, text=f"{err}\n")
        except ValueError as err:
            return web.Response(status=400, text=f"{err}\n")
        answer = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
        await answer.prepare(request)
        async for piece in read(attempt.log, wanted, lambda: attempt.exit is not None, self._clock):
            await answer.write(piece)
        await answer.write_eof()
        return answer


def log_request(query: Any, now: float) -> LogRequest:
    """The query of ``pods/log``. Raises ValueError naming the parameter."""
    since_seconds = _number(query, "sinceSeconds")
    since = now - since_seconds if since_seconds is not None else _since_time(query.get("sinceTime"))
    return LogRequest(
        follow=_flag(query.get("follow")),
        tail=_number(query, "tailLines"),
        since=since,
        limit_bytes=_number(query, "limitBytes"),
        timestamps=_flag(query.get("timestamps")),
    )


def _since_time(text: str | None) -> float | None:
    from koordinator.api.meta import parse_time

    if text and (parsed := parse_time(text)) is None:
        raise ValueError(f"sinceTime is {text!r}, must be RFC 3339")
    return parsed if text else None


def _number(query: Any, name: str) -> int | None:
    text = query.get(name)
    if text is None or text == "":
        return None
    if not text.isdigit():
        raise ValueError(f"{name} is {text!r}, must be a whole number from 0")
    return int(text)


def _flag(text: str | None) -> bool:
    return (text or "").lower() in ("true", "1")
