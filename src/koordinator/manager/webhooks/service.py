"""Webhooks as one service: certificate, server, registration; started together, then kept in order."""

import asyncio
import logging
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import msgspec

from koordinator.api.core import Secret
from koordinator.api.registry import SECRETS
from koordinator.clock import Clock, first_of
from koordinator.errors import KoordError, Unavailable
from koordinator.kube.errors import AlreadyExists, Conflict, NotFound
from koordinator.kube.store import Store
from koordinator.manager.webhooks import certificates
from koordinator.manager.webhooks.certificates import Bundle
from koordinator.manager.webhooks.registration import Endpoint, Registrar
from koordinator.manager.webhooks.server import WebhookServer

log = logging.getLogger(__name__)

PERIOD = 60.0
FIRST_SYNC = 20.0


class Names(msgspec.Struct, frozen=True):
    """What our objects are called; charts may say otherwise."""

    namespace: str = "koordinator-system"
    secret: str = "koordinator-webhook-certs"  # noqa: S105 — the Secret's name
    mutating: str = "koordinator-mutating-webhook-configuration"
    validating: str = "koordinator-validating-webhook-configuration"


class CertWriter(StrEnum):
    """Who makes the certificate, and where it is kept."""

    SECRET = "secret"  # noqa: S105 — the kind of object
    FS = "fs"
    CERT_MANAGER = "cert-manager"


class Source(Protocol):
    """Where the certificate comes from. ``period``: seconds between two looks."""

    period: float

    async def ensure(self) -> Bundle: ...


class CertificateKeeper:
    """The bundle in the Secret: read, or made and written, agreeing with the other replicas on one."""

    period = PERIOD

    def __init__(self, store: Store, clock: Clock, names: Names, host: str) -> None:
        self._store, self._clock, self._names, self._host = store, clock, names, host

    async def ensure(self) -> Bundle:
        """Raises ApiError when the Secret can be neither read nor written."""
        for _ in range(5):
            try:
                return await self._attempt()
            except (AlreadyExists, Conflict):  # another replica writes: see what it wrote
                continue
        return await self._attempt()

    async def _attempt(self) -> Bundle:
        secret = await self._read()
        bundle = certificates.from_secret(secret.data) if secret else None
        good = await asyncio.to_thread(certificates.good_bundle, bundle, self._host, self._clock.now())
        if good is not bundle:
            await self._write(good, secret)
        return good

    async def _read(self) -> Secret | None:
        try:
            return await self._store.get(SECRETS, self._names.secret, self._names.namespace)
        except NotFound:
            return None

    async def _write(self, bundle: Bundle, replaced: Secret | None) -> None:
        name, namespace = self._names.secret, self._names.namespace
        if replaced is None:
            metadata = {"name": name, "namespace": namespace}
            body = {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": metadata, "data": bundle.secret_data()}
            await self._store.create(SECRETS, body, namespace)
        else:
            seen = {"resourceVersion": replaced.metadata.resource_version}
            await self._store.patch(SECRETS, name, {"metadata": seen, "data": bundle.secret_data()}, namespace)


class Directory:
    """The bundle in a directory: ours (``made``), or what cert-manager's Secret looks like where it is mounted."""

    period = 5.0

    def __init__(self, path: str, clock: Clock, host: str, *, made: bool) -> None:
        self._path, self._clock, self._host, self._made = Path(path), clock, host, made

    async def ensure(self) -> Bundle:
        """Raises Unavailable."""
        return await asyncio.to_thread(self._ours if self._made else self._given)

    def _given(self) -> Bundle:
        return certificates.read_given(self._path)

    def _ours(self) -> Bundle:
        found = certificates.read_directory(self._path)
        good = certificates.good_bundle(found, self._host, self._clock.now())
        if good is not found:
            certificates.write_directory(self._path, good)
        return good


class WebhookService:
    """``start``, then ``run`` for ever, then ``stop``. ``cert_dir`` is where certificates are unless in the Secret."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        server: WebhookServer,
        names: Names,
        certificate: tuple[CertWriter, str] = (CertWriter.SECRET, ""),
    ) -> None:
        self._store, self._clock, self._server, self._names = store, clock, server, names
        self._writer, self._cert_dir = certificate
        self._bundle: Bundle | None = None
        self._changed = asyncio.Event()
        self._keeper: Source | None = None
        self._registrar: Registrar | None = None

    async def start(self, address: str, endpoint: Endpoint, paths: tuple[str, ...]) -> None:
        """Serve and be registered. Raises Unavailable when that is not done in time."""
        self._keeper = self._source(endpoint.name)
        try:
            async with asyncio.timeout(FIRST_SYNC):
                self._use(await self._keeper.ensure())
                await self._server.start(address, endpoint.port)
                actual = msgspec.structs.replace(endpoint, port=self._server.port)
                self._registrar = Registrar(self._store, actual, paths, (self._names.mutating, self._names.validating))
                await self._sync()
        except TimeoutError:
            raise Unavailable("webhooks", f"not registered with the API server within {FIRST_SYNC:.0f} s") from None

    async def run(self) -> None:
        """Look after certificate and registration every minute (files: every few seconds), and at once after ``poke``."""
        while True:
            await first_of(self._changed, self._clock, self._keeper.period if self._keeper else PERIOD)
            self._changed.clear()
            try:
                await self._sync()
            except KoordError as err:
                log.warning("webhook registration: %s; trying again", err)
                await self._clock.sleep(1.0)
                self._changed.set()

    def _source(self, host: str) -> Source:
        if self._writer is CertWriter.SECRET:
            return CertificateKeeper(self._store, self._clock, self._names, host)
        return Directory(self._cert_dir, self._clock, host, made=self._writer is CertWriter.FS)

    def poke(self, *_: object) -> None:
        """Something that we look after may have changed."""
        self._changed.set()

    async def stop(self) -> None:
        await self._server.stop()

    async def _sync(self) -> None:
        if self._keeper is None or self._registrar is None:
            return
        bundle = await self._keeper.ensure()
        self._use(bundle)
        try:
            await self._registrar.ensure(bundle.ca_cert)
        except Conflict:  # somebody wrote in between: look again
            await self._registrar.ensure(bundle.ca_cert)

    def _use(self, bundle: Bundle) -> None:
        if bundle != self._bundle:
            self._server.use(bundle)
            self._bundle = bundle
