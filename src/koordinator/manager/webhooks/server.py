"""The HTTPS server that answers AdmissionReviews. Knows nothing of what is asked: paths map to handlers.

Guarantees: whatever a handler does, the API server gets an answer; what cannot be read is denied with the reason.
"""

import logging
import os
import ssl
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from koordinator.errors import Unavailable
from koordinator.manager.webhooks import admission
from koordinator.manager.webhooks.admission import Answer, Request
from koordinator.manager.webhooks.certificates import Bundle

log = logging.getLogger(__name__)

Handler = Callable[[Request], Awaitable[Answer]]

Page = Callable[[], Any]
"""What a GET shows."""

MAX_BODY = 16 * 1024 * 1024


class WebhookServer:
    """Serves ``handlers`` by path, ``pages`` (JSON for people) and ``/healthz``. Certificates can be replaced meanwhile."""

    def __init__(self, handlers: Mapping[str, Handler], pages: Mapping[str, Page] | None = None) -> None:
        self._handlers, self._pages = handlers, pages or {}
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._runner: web.AppRunner | None = None
        self.port = 0

    def use(self, bundle: Bundle) -> None:
        """Serve with this certificate from the next connection on. Raises Unavailable if it is none; then the old one stays."""
        with tempfile.TemporaryDirectory(prefix="koord-webhook-") as folder:  # the ssl module reads files only; 0700
            cert, key = Path(folder, "tls.crt"), Path(folder, "tls.key")
            cert.write_bytes(bundle.cert)
            key.write_bytes(bundle.key)
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
            except (ssl.SSLError, ValueError) as err:
                raise Unavailable("webhook certificate", f"tls.crt and tls.key are not a pair: {err}") from err
            self._context.load_cert_chain(cert, key)

    async def start(self, address: str, port: int) -> None:
        """Listen; ``port`` 0 takes a free one. Raises Unavailable when the port is taken."""
        app = web.Application(client_max_size=MAX_BODY)
        for path, handler in self._handlers.items():
            app.router.add_post(path, self._route(path, handler))
        for path, page in self._pages.items():
            app.router.add_get(path, _shown(page))
        app.router.add_get("/healthz", _healthz)
        self._runner = web.AppRunner(app, access_log=None, keepalive_timeout=90, shutdown_timeout=2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, address, port, ssl_context=self._context, backlog=1024)
        try:
            await site.start()
        except OSError as err:
            await self.stop()
            remedy = "give another port with --webhook-port, or 0 for a free one"
            raise Unavailable(f"webhook address {address}:{port}", os.strerror(err.errno or 0), remedy) from err
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def _route(self, path: str, handler: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(http: web.Request) -> web.Response:
            try:
                review, request = admission.decode(await http.read())
            except ValueError as err:
                return _respond(admission.encode("admission.k8s.io/v1", "", admission.denied(400, str(err))))
            try:
                result = await handler(request)
            except Exception as err:
                log.exception("webhook %s failed on %s %s/%s", path, request.resource.resource, request.namespace, request.name)
                result = admission.denied(500, f"internal error in {path}: {type(err).__name__}: {err}")
            return _respond(admission.encode(review.api_version, request.uid, result))

        return answer


async def _healthz(_: web.Request) -> web.Response:
    return web.Response(text="ok")


def _shown(page: Page) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def show(_: web.Request) -> web.Response:
        return _respond(msgspec.json.encode(page()))

    return show


def _respond(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")
