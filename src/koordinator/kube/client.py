"""The ``Store`` over HTTP: one keep-alive session to one API server.

Every call goes through ``_call``: limit the rate, send, map the answer to an object or to an error of ``kube.errors``, and try
again where that is safe (``kube.retry`` decides). Bytes are decoded straight into the kind's type (``kube.decode``).
"""

import asyncio
import contextlib
import logging
import random
import re
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlencode

import aiohttp
import msgspec
from yarl import URL

from koordinator.api.meta import Object
from koordinator.api.registry import PODS, Resource
from koordinator.clock import Clock, SystemClock
from koordinator.errors import KoordError
from koordinator.kube.config import ClientConfig
from koordinator.kube.credentials import Credentials
from koordinator.kube.decode import decoders, joined
from koordinator.kube.errors import ApiError, Gone, ServerUnavailable, Unauthorized, from_response
from koordinator.kube.metrics import NO_ANSWER, RequestMetrics
from koordinator.kube.retry import Backoff, TokenBucket, retry_delay
from koordinator.kube.store import JsonObject, Page, PatchType, WatchEvent

T = TypeVar("T", bound=Object)

log = logging.getLogger(__name__)

PAGE_SIZE = 500
JSON = "application/json"
IDLE_SECONDS = 30.0
"""Idle connections are closed by us before the server does it: a request never races with the server's close."""
WATCH_SECONDS = (300, 600)
"""A watch is asked to end itself within this range, like the Go clients' do, so that load spreads again after a restart."""
_PLAIN = re.compile(r"[A-Za-z0-9._~/:-]*").fullmatch


class Call(msgspec.Struct, frozen=True):
    """One request, not yet sent. ``throttled_is_final``: a 429 is the answer (a disruption budget's veto), not "slow down"."""

    method: str
    path: str
    body: bytes | None = None
    content_type: str = JSON
    throttled_is_final: bool = False

    @property
    def reads(self) -> bool:
        return self.method == "GET"


class Client:
    """An API server, typed. Use as ``async with Client(config) as client``."""

    def __init__(self, config: ClientConfig, clock: Clock | None = None) -> None:
        self.config = config
        self._clock = clock or SystemClock()
        self._credentials = Credentials(config, self._clock)
        self._bucket = TokenBucket(config.qps, config.burst, self._clock) if config.qps > 0 else None
        self._slots = asyncio.Semaphore(config.max_in_flight)
        self._backoff = Backoff()
        self._session: aiohttp.ClientSession | None = None
        self._headers: dict[str, dict[str, str]] = {}
        self._authorization = ""
        self._stream_timeout = aiohttp.ClientTimeout(total=None, sock_connect=config.timeout, sock_read=WATCH_SECONDS[1] + 60)
        self._extra: dict[str, Any] = {}
        self.metrics = RequestMetrics(URL(config.server).host_port_subcomponent or "")

    async def __aenter__(self) -> Self:
        if context := self._credentials.ssl_context():
            self._extra["ssl"] = context
        if self.config.tls_server_name:
            self._extra["server_hostname"] = self.config.tls_server_name
        if self.config.proxy_url:
            self._extra["proxy"] = self.config.proxy_url
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_SECONDS),
            timeout=aiohttp.ClientTimeout(total=self.config.timeout),
            headers={"User-Agent": self.config.user_agent, "Accept": JSON, "Accept-Encoding": "gzip"},
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=2**18,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session:
            await self._session.close()
            self._session = None

    # --- the Store ---------------------------------------------------------------------------------------------------------

    async def get(self, resource: Resource[T], name: str, namespace: str = "") -> T:
        body = await self._call(Call("GET", _path(resource, namespace, name)))
        return decoders(resource).one(body)

    async def list(
        self,
        resource: Resource[T],
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
    ) -> Page[T]:
        """The whole collection, fetched in pages. If the snapshot is forgotten half-way (410), once more from the start."""
        query = _query(labelSelector=label_selector, fieldSelector=field_selector)
        first = {"resourceVersion": resource_version} if resource_version else {"limit": PAGE_SIZE}
        try:
            return joined([page async for page in self._pages(resource, namespace, query | first)])
        except Gone:
            body = await self._call(Call("GET", _path(resource, namespace) + _encoded(query)))
            return decoders(resource).page(body)

    async def _pages(self, resource: Resource[T], namespace: str, query: Mapping[str, Any]) -> AsyncIterator[Page[T]]:
        path, more = _path(resource, namespace), dict(query)
        while True:
            page = decoders(resource).page(await self._call(Call("GET", path + _encoded(more))))
            yield page
            if not page.continue_:
                return
            more["continue"] = page.continue_
            more.pop("resourceVersion", None)

    async def watch(
        self,
        resource: Resource[T],
        namespace: str = "",
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[WatchEvent[T]]:
        """Changes after ``resource_version`` until the server ends the stream. Raises: Gone, ServerUnavailable, ApiError."""
        query = _query(labelSelector=label_selector, fieldSelector=field_selector, resourceVersion=resource_version)
        query |= {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": random.randint(*WATCH_SECONDS)}  # noqa: S311
        event = decoders(resource).event
        async with contextlib.aclosing(self.lines(_path(resource, namespace) + _encoded(query))) as lines:
            async for line in lines:
                if line:
                    yield event(line)

    async def create(self, resource: Resource[T], obj: JsonObject, namespace: str = "") -> T:
        body = await self._call(Call("POST", _path(resource, namespace), msgspec.json.encode(obj)))
        return decoders(resource).one(body)

    async def patch(
        self,
        resource: Resource[T],
        name: str,
        patch: JsonObject | Sequence[Any],
        namespace: str = "",
        *,
        type: PatchType = PatchType.MERGE,  # noqa: A002 — the field's own name
        subresource: str = "",
    ) -> T:
        path = _path(resource, namespace, name, subresource)
        body = await self._call(Call("PATCH", path, msgspec.json.encode(patch), type.value))
        return decoders(resource).one(body)

    async def delete(
        self,
        resource: Resource[T],
        name: str,
        namespace: str = "",
        *,
        grace_seconds: int | None = None,
        uid: str = "",
    ) -> None:
        options = delete_options(grace_seconds, uid)
        body = msgspec.json.encode({"apiVersion": "v1", "kind": "DeleteOptions", **options}) if options else None
        await self._call(Call("DELETE", _path(resource, namespace, name), body))

    async def bind(self, namespace: str, pod: str, node: str, uid: str = "") -> None:
        metadata = {"name": pod, "namespace": namespace} | ({"uid": uid} if uid else {})
        target = {"apiVersion": "v1", "kind": "Node", "name": node}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": target}
        await self._call(Call("POST", _path(PODS, namespace, pod, "binding"), msgspec.json.encode(binding)))

    async def evict(self, namespace: str, pod: str, *, uid: str = "", grace_seconds: int | None = None) -> None:
        """Raises: TooManyRequests at once when a disruption budget forbids it: asking again is the caller's choice."""
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": namespace},
            "deleteOptions": delete_options(grace_seconds, uid),
        }
        body = msgspec.json.encode(eviction)
        await self._call(Call("POST", _path(PODS, namespace, pod, "eviction"), body, throttled_is_final=True))

    # --- beneath it, for kinds that we have no type for --------------------------------------------------------------------

    async def request(self, method: str, path: str, obj: Any = None, content_type: str = JSON) -> Any:
        """Any request, JSON in and out. ``path`` starts with ``/`` and carries its query, encoded."""
        body = await self._call(Call(method, path, None if obj is None else msgspec.json.encode(obj), content_type))
        return msgspec.json.decode(body) if body else None

    async def lines(self, path: str) -> AsyncGenerator[bytes, None]:
        """The lines of an endless answer (watches, followed logs), without their newline, until the server ends it."""
        async with self._open_stream(path) as response:
            rest = b""
            try:
                async for chunk in response.content.iter_any():
                    *complete, rest = (rest + chunk if rest else chunk).split(b"\n")
                    for line in complete:
                        yield line
            except (aiohttp.ClientError, OSError, TimeoutError) as err:
                raise _unavailable(err, self.config.server) from err
            if rest:
                yield rest

    @contextlib.asynccontextmanager
    async def _open_stream(self, path: str) -> AsyncIterator[aiohttp.ClientResponse]:
        headers, started = await self._request_headers(JSON), self._clock.monotonic()
        try:
            response = await self._sender().get(self._url(path), headers=headers, timeout=self._stream_timeout, **self._extra)
        except (aiohttp.ClientError, OSError, TimeoutError) as err:
            self._note("GET", path, NO_ANSWER, started)
            raise _unavailable(err, self.config.server) from err
        self._note("GET", path, str(response.status), started)
        try:
            if response.status >= 400:
                self._note_rejection(response.status)
                raise from_response(response.status, await response.read(), response.headers.get("Retry-After"))
            _keep_alive(response)
            yield response
        finally:
            response.close()

    async def _call(self, call: Call) -> bytes:
        """Send until there is an answer that stands. Raises: ApiError."""
        for attempt in range(self.config.retries + 1):
            try:
                return await self._attempt(call)
            except ApiError as err:
                wait = self._wait(call, err, attempt)
                if wait is None:
                    raise
            await self._clock.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def _wait(self, call: Call, err: ApiError, attempt: int) -> float | None:
        if attempt >= self.config.retries or (err.code == 429 and call.throttled_is_final):
            return None
        if isinstance(err, Unauthorized):
            return 0.0 if attempt == 0 and self._credentials.dynamic else None
        return retry_delay(err, reads=call.reads, attempt=attempt, backoff=self._backoff)

    async def _attempt(self, call: Call) -> bytes:
        if self._bucket and (wait := self._bucket.reserve()):
            await self._clock.sleep(wait)
        async with self._slots:
            headers, started = await self._request_headers(call.content_type), self._clock.monotonic()
            try:
                async with self._sender().request(
                    call.method, self._url(call.path), data=call.body, headers=headers, **self._extra
                ) as response:
                    body = await response.read()
            except (aiohttp.ClientError, OSError, TimeoutError) as err:
                self._note(call.method, call.path, NO_ANSWER, started)
                raise _unavailable(err, self.config.server) from err
        self._note(call.method, call.path, str(response.status), started)
        if response.status < 400:
            return body
        self._note_rejection(response.status)
        raise from_response(response.status, body, response.headers.get("Retry-After"))

    def _note(self, method: str, path: str, code: str, started: float) -> None:
        """Count an attempt and, when debugging, say what it was. Never headers or bodies: they hold secrets."""
        seconds = self._clock.monotonic() - started
        self.metrics.count(method, code, seconds)
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s %s%s: %s in %.1f ms", method, self.metrics.host, path, code, seconds * 1000)

    def _note_rejection(self, status: int) -> None:
        if status == 401:
            self._credentials.expire()

    async def _request_headers(self, content_type: str) -> dict[str, str]:
        """The headers of a request; one dict per content type is kept until the credential changes."""
        try:
            authorization = await self._credentials.authorization()
        except KoordError as err:
            raise ServerUnavailable(0, "NoCredentials", f"no credentials for API server {self.config.server}: {err}") from err
        if authorization != self._authorization:
            self._authorization = authorization
            self._headers.clear()
        if (context := self._credentials.ssl_context()) is not self._extra.get("ssl"):
            self._extra["ssl"] = context
        headers = self._headers.get(content_type)
        if headers is None:
            headers = {"Content-Type": content_type}
            if authorization:
                headers["Authorization"] = authorization
            self._headers[content_type] = headers
        return headers

    def _sender(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the client is not open: use `async with Client(config) as client`")
        return self._session

    def _url(self, path: str) -> URL:
        return URL(self.config.server + path, encoded=True)


def delete_options(grace_seconds: int | None, uid: str) -> dict[str, Any]:
    """The fields of DeleteOptions that are set."""
    options: dict[str, Any] = {}
    if grace_seconds is not None:
        options["gracePeriodSeconds"] = grace_seconds
    if uid:
        options["preconditions"] = {"uid": uid}
    return options


def _path(resource: Resource[Any], namespace: str, name: str = "", subresource: str = "") -> str:
    path = resource.path(namespace, name, subresource)
    return path if _PLAIN(path) else quote(path, safe="/:~")


def _query(**values: str) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value}


def _encoded(query: Mapping[str, Any]) -> str:
    return f"?{urlencode(query)}" if query else ""


def _unavailable(err: Exception, server: str) -> ServerUnavailable:
    """What the transport's failure means: never sent, or sent and nobody knows."""
    unsent = isinstance(err, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.InvalidURL)
    reason = "BadCertificate" if isinstance(err, aiohttp.ClientConnectorCertificateError) else "ServerUnavailable"
    why = str(err) or type(err).__name__
    if isinstance(err, TimeoutError) and not unsent:
        why = "no answer in time"
    return ServerUnavailable(0, reason, f"API server {server}: {why}", outcome_unknown=not unsent)


def _keep_alive(response: aiohttp.ClientResponse) -> None:
    """Have the kernel notice within a minute that the other machine is gone, though nothing is being sent."""
    transport = response.connection.transport if response.connection else None
    sock = transport.get_extra_info("socket") if transport else None
    if sock is None or sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, seconds in ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3)):
        sock.setsockopt(socket.IPPROTO_TCP, option, seconds)
