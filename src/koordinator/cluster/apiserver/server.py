"""One API server put together, without its listeners."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import structlog

from koordinator.clock import Clock
from koordinator.cluster.apiserver import access, bootstrap, usage
from koordinator.cluster.apiserver.admission import Admission
from koordinator.cluster.apiserver.catalog import Catalog
from koordinator.cluster.apiserver.definitions import Definitions
from koordinator.cluster.apiserver.deletes import Deleter
from koordinator.cluster.apiserver.expiry import EventExpiry
from koordinator.cluster.apiserver.http import Handler, Parts
from koordinator.cluster.apiserver.journal import DataLock, Journal
from koordinator.cluster.apiserver.kinds import builtin
from koordinator.cluster.apiserver.limits import Limits
from koordinator.cluster.apiserver.logs import PodLogs
from koordinator.cluster.apiserver.monitoring import Monitor, Requests
from koordinator.cluster.apiserver.reads import BOOKMARK_SECONDS, Reader
from koordinator.cluster.apiserver.router import Router, Verbs
from koordinator.cluster.apiserver.store import Store
from koordinator.cluster.apiserver.subresources import Subresources
from koordinator.cluster.apiserver.webhooks import WebhookCaller
from koordinator.cluster.apiserver.writes import Writer

_log = structlog.get_logger(__name__)


class Server:
    """The parts, in the order in which they need each other."""

    def __init__(self, journal: Journal, data: Path, clock: Clock) -> None:
        self.clock = clock
        self.store = Store(journal, clock)
        self.catalog = Catalog(self.store)
        self.expiry = EventExpiry(self.store, clock)
        self.definitions = Definitions(self.store, self.catalog)
        self.webhooks = WebhookCaller(self.store)
        self.admission = Admission(self.store, self.webhooks)
        self.reader = Reader(self.store, clock)
        self.writer = Writer(self.store, self.admission, clock)
        self.deleter = Deleter(self.writer, self.admission, clock)
        self.logs = PodLogs(self.store, data)
        others = Subresources(self.writer, self.deleter, clock)
        self.router = Router(Verbs(self.reader, self.writer, self.deleter, others, self.logs), self.catalog)
        self.monitor = Monitor(Requests(), self.store, data / "state.db")

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, data: Path, clock: Clock, *, install_crds: bool = True) -> "AsyncIterator[Server]":
        """A server over a data directory for the length of a ``with`` block. Raises: Unavailable."""
        data.mkdir(parents=True, exist_ok=True, mode=0o700)  # noqa: ASYNC240 — nobody is served yet
        lock = DataLock(data)
        try:
            server = cls(Journal(data / "state.db"), data, clock)
            await server.start(install_crds=install_crds)
            async with server._background():
                yield server
        finally:
            lock.release()

    async def start(self, *, install_crds: bool) -> None:
        self.store.open()
        for kind in [*builtin.kinds(self.clock), *access.kinds(), *usage.kinds(self.store)]:
            self.catalog.add(kind)
        self.admission.start()
        self.definitions.start()
        self.expiry.start()
        await bootstrap.install(self.catalog, self.writer, crds=install_crds)

    def handler(self, token: str, limits: Limits | None = None) -> Handler:
        self.catalog.add(access.token_reviews(token))
        return Handler(Parts(self.router, self.catalog, self.monitor, self.clock), token, limits or Limits())

    @contextlib.asynccontextmanager
    async def _background(self) -> AsyncIterator[None]:
        ticker = asyncio.create_task(self._tick())
        try:
            yield
        finally:
            ticker.cancel()
            self.reader.stop()
            await self.store.close()
            self.webhooks.close()
            await self.logs.close()

    async def _tick(self) -> None:
        while True:
            await self.clock.sleep(BOOKMARK_SECONDS)
            self.reader.tick()
            self.store.tick()
            self.expiry.tick()
