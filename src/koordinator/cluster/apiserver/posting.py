"""A small HTTPS client that does one thing: POST a body, get the answer, keep the connection.

Webhooks are asked twice for every pod. A general client costs more than the rest of a create: cookies, redirects, proxies,
tracing, a response object with streams. None of that has a meaning here.
"""

import asyncio
import ssl
from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec

ANSWER_LIMIT = 16 << 20
_IDLE_CONNECTIONS = 256
_HEAD_LIMIT = 64 << 10
_END = b"\r\n\r\n"


class PostFailed(Exception):
    """No answer, or one that cannot be read."""


class Place(msgspec.Struct, frozen=True):
    """Where to: a connection is good for one host, port, TLS context and name in the certificate."""

    host: str
    port: int
    context: ssl.SSLContext
    server_name: str

    @property
    def key(self) -> tuple[str, int, int, str]:
        return self.host, self.port, id(self.context), self.server_name


class Reply(msgspec.Struct, frozen=True):
    status: int
    body: bytes


def split(url: str) -> tuple[str, int, str]:
    """Host, port and path of a URL. Raises: PostFailed."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 443
    except ValueError as err:
        raise PostFailed(str(err)) from None
    if parts.scheme != "https" or not host:
        raise PostFailed("webhooks are called over https")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not path.isascii() or not path.isprintable() or " " in path:
        raise PostFailed("the path has characters that a URL cannot have")
    return host, port, path


class Poster:
    """Sends, and keeps connections for the next time."""

    def __init__(self) -> None:
        self._idle: dict[tuple[str, int, int, str], list[_Connection]] = {}

    async def post(self, place: Place, path: str, body: bytes) -> Reply:
        """POST JSON. Raises: PostFailed, OSError (ssl.SSLError among them)."""
        shown = f"[{place.host}]" if ":" in place.host else place.host
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {shown}:{place.port}\r\nContent-Type: application/json\r\n"
            f"Accept: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        request = head.encode() + body
        while (connection := self._kept(place)) is not None:
            try:
                return await self._exchange(place, connection, request)
            except _ClosedMeanwhile:
                continue  # it was closed while idle: the request was not read
        return await self._exchange(place, await _connect(place), request)

    def close(self) -> None:
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    def _kept(self, place: Place) -> "_Connection | None":
        idle = self._idle.get(place.key)
        while idle:
            connection = idle.pop()
            if connection.usable:
                return connection
        return None

    async def _exchange(self, place: Place, connection: "_Connection", request: bytes) -> Reply:
        try:
            reply = await connection.exchange(request)
        except BaseException:
            connection.close()
            raise
        idle = self._idle.setdefault(place.key, [])
        if connection.usable and len(idle) < _IDLE_CONNECTIONS:
            idle.append(connection)
        else:
            connection.close()
        return reply


class _ClosedMeanwhile(PostFailed):
    """A kept connection ended before a byte of the answer came."""


async def _connect(place: Place) -> "_Connection":
    loop = asyncio.get_running_loop()
    name = place.server_name or place.host
    _, connection = await loop.create_connection(_Connection, place.host, place.port, ssl=place.context, server_hostname=name)
    return connection


class _Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._answer: asyncio.Future[Reply] | None = None
        self._read: Callable[[], Reply | None] = self._read_head
        self._status, self._left = 0, 0
        self._chunks: list[bytes] = []
        self._used = False
        self.usable = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport) or hasattr(transport, "write"):
            self._transport = transport  # type: ignore[assignment]
        self.usable = True

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        if self._answer is None or self._answer.done():
            return
        if self._read == self._read_to_end:
            self._answer.set_result(Reply(self._status, bytes(self._buffer)))
        elif self._used and not self._buffer and self._read == self._read_head:
            self._answer.set_exception(_ClosedMeanwhile("EOF"))
        else:
            self._answer.set_exception(exc or PostFailed("EOF"))

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            self.close()  # nobody asked
            return
        self._buffer += data
        try:
            reply = self._read()
        except (ValueError, IndexError) as err:
            self._fail(f"the answer is no HTTP: {err}")
            return
        if reply is not None:
            self._used = True
            self._answer.set_result(reply)

    def close(self) -> None:
        self.usable = False
        if self._transport is not None:
            self._transport.close()

    async def exchange(self, request: bytes) -> Reply:
        if self._transport is None:
            raise PostFailed("not connected")
        self._answer = asyncio.get_running_loop().create_future()
        self._buffer.clear()
        self._read = self._read_head
        self._transport.write(request)
        return await self._answer

    def _fail(self, why: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(PostFailed(why))
        self.close()

    def _read_head(self) -> Reply | None:
        end = self._buffer.find(_END)
        if end < 0:
            if len(self._buffer) > _HEAD_LIMIT:
                raise ValueError("its head does not end")
            return None
        first, *lines = bytes(self._buffer[:end]).split(b"\r\n")
        del self._buffer[: end + len(_END)]
        version, status = first.split(b" ", 2)[:2]
        if not version.startswith(b"HTTP/1."):
            raise ValueError("unknown version")
        self._status = int(status)
        if 100 <= self._status < 200:
            return self._read_head()
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        if headers.get(b"connection", b"").lower() == b"close" or version == b"HTTP/1.0":
            self.usable = False
        return self._choose_body(headers)()

    def _choose_body(self, headers: dict[bytes, bytes]) -> Callable[[], Reply | None]:
        if headers.get(b"transfer-encoding", b"").lower() == b"chunked":
            self._chunks, self._read = [], self._read_chunks
        elif b"content-length" in headers:
            self._left, self._read = int(headers[b"content-length"]), self._read_exactly
            if not 0 <= self._left <= ANSWER_LIMIT:
                raise ValueError("it is too large")
        elif self._status in (204, 304):
            self._left, self._read = 0, self._read_exactly
        else:
            self.usable, self._read = False, self._read_to_end
        return self._read

    def _read_exactly(self) -> Reply | None:
        if len(self._buffer) < self._left:
            return None
        body = bytes(self._buffer[: self._left])
        if len(self._buffer) > self._left:
            self.usable = False  # more than was asked for
        return Reply(self._status, body)

    def _read_to_end(self) -> Reply | None:
        if len(self._buffer) > ANSWER_LIMIT:
            raise ValueError("it is too large")
        return None

    def _read_chunks(self) -> Reply | None:
        while (end := self._buffer.find(b"\r\n")) >= 0:
            size = int(bytes(self._buffer[:end]).partition(b";")[0], 16)
            if size < 0 or size + sum(map(len, self._chunks)) > ANSWER_LIMIT:
                raise ValueError("it is too large")
            if len(self._buffer) < end + 2 + size + 2:
                return None
            if size == 0:
                return self._trailer(end)
            self._chunks.append(bytes(self._buffer[end + 2 : end + 2 + size]))
            del self._buffer[: end + 2 + size + 2]
        return None

    def _trailer(self, end: int) -> Reply | None:
        if self._buffer[end : end + len(_END)] != _END and self._buffer.find(_END, end) < 0:
            return None
        if self._buffer[end : end + len(_END)] != _END or len(self._buffer) > end + len(_END):
            self.usable = False  # trailers: rare, and not worth a reader
        return Reply(self._status, b"".join(self._chunks))
