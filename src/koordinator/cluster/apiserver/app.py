"""Start and stop of the API server: data directory, certificates, listeners, kubeconfigs."""

import asyncio
import contextlib
import errno
import os
import secrets
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from koordinator.clock import Clock
from koordinator.errors import Unavailable
from koordinator.kube.pauses import collect_when_quiet, settle

if TYPE_CHECKING:
    from koordinator.cluster.apiserver.http import Handler

_STOP_SECONDS = 2.0


class ApiServerOptions(msgspec.Struct, kw_only=True):
    """Where to keep the state and where to listen; port 0 takes any free one; how many requests are worked on at a time."""

    data: Path = msgspec.field(default_factory=lambda: Path("~/.local/share/koord"))
    host: str = "127.0.0.1"
    port: int = 0
    http_port: int = 0
    install_crds: bool = True
    max_reads: int = 400
    max_writes: int = 1000


class RunningServer(msgspec.Struct, frozen=True):
    """How to reach a server that is ready."""

    url: str
    https_url: str
    token: str
    data: Path

    @property
    def kubeconfig(self) -> Path:
        """For users and their tools: https."""
        return self.data / "kubeconfig"

    @property
    def component_kubeconfig(self) -> Path:
        """For our own components: plain http on the loopback interface."""
        return self.data / "component.kubeconfig"


async def run(options: ApiServerOptions, clock: Clock, on_ready: Callable[[], None] = lambda: None) -> None:
    """Serve until cancelled. Raises: Unavailable (port taken, data directory in use, state damaged)."""
    async with serve(options, clock):
        settle()  # what the store holds lives long: walking it again and again would hold answers up by a tenth of a second
        on_ready()
        await collect_when_quiet(clock, lambda: True)


@contextlib.asynccontextmanager
async def serve(options: ApiServerOptions, clock: Clock) -> AsyncIterator[RunningServer]:
    """A server for the length of a ``with`` block."""
    from koordinator.cluster.apiserver import pki
    from koordinator.cluster.apiserver.limits import Limits
    from koordinator.cluster.apiserver.server import Server

    data = options.data.expanduser()
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(Server.open(data, clock, install_crds=options.install_crds))
        token = _token(data / "token")
        authority = pki.ensure(data / "pki", clock.now())
        handler = server.handler(token, Limits(options.max_reads, options.max_writes))
        http = await stack.enter_async_context(_listening(handler, options.host, options.http_port, None))
        tls = _tls(*authority.certificate("apiserver"))
        https = await stack.enter_async_context(_listening(handler, options.host, options.port, tls))
        stack.callback(server.reader.stop)
        url, https_url = f"http://{options.host}:{http}", f"https://{options.host}:{https}"
        running = RunningServer(url=url, https_url=https_url, token=token, data=data)
        _write_kubeconfigs(running, authority.ca.read_text())
        yield running


@contextlib.asynccontextmanager
async def _listening(handler: "Handler", host: str, port: int, tls: ssl.SSLContext | None) -> AsyncIterator[int]:
    from koordinator.cluster.apiserver.http import Connections, make_request

    server = Connections(handler, request_factory=make_request, access_log=None, handler_cancellation=True)
    loop = asyncio.get_running_loop()
    try:
        listener = await loop.create_server(server, host, port, ssl=tls, backlog=1024)
    except OSError as err:
        if err.errno == errno.EADDRINUSE:
            why, remedy = "another program listens there", "stop that program, or choose another port with --port"
        else:
            why, remedy = os.strerror(err.errno) if err.errno else str(err), "choose another port with --port"
        raise Unavailable(f"port {port} on {host}", why, remedy) from None
    try:
        bound: int = listener.sockets[0].getsockname()[1]
        yield bound
    finally:
        listener.close()
        server.closed = True
        await server.shutdown(_STOP_SECONDS)


def _tls(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context


def _token(path: Path) -> str:
    """The secret that every request must carry: kept between starts, so that kubeconfigs stay valid."""
    with contextlib.suppress(FileNotFoundError):
        if kept := path.read_text().strip():
            return kept
    token = secrets.token_urlsafe(32)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(token)
    return token


def _write_kubeconfigs(running: RunningServer, authority: str) -> None:
    from koordinator.kube.config import ClientConfig, write_kubeconfig

    write_kubeconfig(running.kubeconfig, ClientConfig(server=running.https_url, ca_data=authority, token=running.token))
    write_kubeconfig(running.component_kubeconfig, ClientConfig(server=running.url, token=running.token))
