"""Runs controllers: a queue of keys each, decide, carry out, try again with growing pauses when the API server says no.

A controller decides; it never writes. What it raises is logged with its key and retried; other keys go on.
"""

import asyncio
import itertools
import logging
from collections.abc import Iterable
from typing import Any, Protocol

from koordinator.clock import Clock
from koordinator.cluster.controllers.changes import Change, Create, Delete, Outcome, Patch, Tell
from koordinator.cluster.controllers.hub import Hub
from koordinator.kube.errors import AlreadyExists, ApiError, Conflict, NotFound, ServerUnavailable
from koordinator.kube.retry import Backoff
from koordinator.kube.store import Store
from koordinator.kube.workqueue import WorkQueue

log = logging.getLogger(__name__)

BACKOFF = Backoff(base=0.02, factor=2.0, limit=5.0)
LOST_ANSWER = Backoff(base=0.2, factor=2.0, limit=5.0)
SETTLE_SECONDS = 0.02
"""Events that come close together are looked at together: a thousand pods turning ready are not a thousand status writes."""
CONCURRENCY = 48
"""Requests of one kind that one key may have under way."""


class Controller(Protocol):
    """Decides about one key at a time."""

    name: str

    def wire(self, queue: WorkQueue[str]) -> None:
        """Have keys added to the queue when something changes that they depend on."""
        ...

    async def decide(self, key: str) -> Outcome: ...

    def refused(self, key: str, change: Change, error: ApiError) -> list[Change]:
        """What to write when the API server turned a change down for good."""
        ...


class Teller(Protocol):
    """The part of an event recorder that is used here."""

    def event(self, obj: Any, type_: str, reason: str, message: str) -> None: ...


class Applier:
    """Carries out changes in order, and lets the views know at once what came of it."""

    def __init__(self, store: Store, hub: Hub, teller: Teller, clock: Clock) -> None:
        self._store, self._hub, self._teller, self._clock = store, hub, teller, clock

    async def apply(self, changes: Iterable[Change]) -> None:
        """Raises: Turned, with the change that was turned down; what came before it is done, what comes after is not."""
        for _, group in itertools.groupby(changes, key=lambda change: (type(change), isinstance(change, Patch) and id(change))):
            await self._together(list(group))

    async def _together(self, changes: list[Change]) -> None:
        """One at first, and one more at a time with each that went well: a full quota is not asked a thousand times."""
        left, turned = iter(changes), list[Turned]()
        workers = 1

        async def work() -> None:
            nonlocal workers
            for change in left:
                try:
                    await self._one(change)
                except ApiError as err:
                    turned.append(Turned(change, err))
                if turned:
                    return
                if workers < CONCURRENCY:
                    workers += 1
                    tasks.create_task(work())

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(work())
        if turned:
            raise turned[0] from turned[0].error

    async def _one(self, change: Change) -> None:
        match change:
            case Create():
                await self._create(change)
            case Patch():
                await self._patch(change)
            case Delete():
                await self._delete(change)
            case Tell():
                self._teller.event(change.about, change.type, change.reason, change.message)

    async def _create(self, change: Create) -> None:
        """Repeats itself while the outcome is unknown: the name was chosen by us, so the repeated create meets the first."""
        view = self._hub.known(change.resource)
        for attempt in itertools.count():
            try:
                made = await self._store.create(change.resource, change.body, change.namespace)
                break
            except ServerUnavailable as err:
                if not err.outcome_unknown and attempt == 0:
                    raise
                await self._clock.sleep(LOST_ANSWER.delay(attempt))
            except AlreadyExists:
                if attempt == 0:
                    raise
                made = await self._store.get(change.resource, change.body["metadata"]["name"], change.namespace)
                break
        if view is not None:
            view.wrote(made)

    async def _patch(self, change: Patch) -> None:
        view = self._hub.known(change.resource)
        try:
            after = await self._store.patch(
                change.resource, change.name, change.body, change.namespace, subresource=change.subresource
            )
        except NotFound:
            return  # gone: its deletion arrives by itself
        if view is not None and change.subresource in ("", "status"):
            view.wrote(after)

    async def _delete(self, change: Delete) -> None:
        key = f"{change.namespace}/{change.name}" if change.namespace else change.name
        view = self._hub.known(change.resource)
        try:
            await self._store.delete(
                change.resource, change.name, change.namespace, grace_seconds=change.grace_seconds, uid=change.uid
            )
        except (NotFound, Conflict):  # gone, or another object of that name by now
            if view is not None:
                view.lost(key, change.uid)
            return
        if view is not None:
            view.doomed(key, change.uid)


class Turned(Exception):
    """The API server turned a change down."""

    def __init__(self, change: Change, error: ApiError) -> None:
        super().__init__(str(error))
        self.change, self.error = change, error


class Loop:
    """One controller at work."""

    def __init__(self, controller: Controller, applier: Applier, clock: Clock, workers: int = 4) -> None:
        self.controller, self._applier, self._workers = controller, applier, workers
        self.queue: WorkQueue[str] = WorkQueue(f"controller {controller.name}", clock, BACKOFF)
        self._conflicts: dict[str, int] = {}
        controller.wire(self.queue)

    async def run(self) -> None:
        """For ever. The queue logs what goes wrong with one key and tries it again."""
        await self.queue.run(self._handle, self._workers)

    async def _handle(self, key: str) -> float | None:
        outcome = await self.controller.decide(key)
        try:
            await self._applier.apply(outcome.changes)
        except Turned as turned:
            return await self._turned(key, turned)
        self._conflicts.pop(key, None)
        return outcome.again_after

    async def _turned(self, key: str, turned: Turned) -> float:
        """A conflict is everyday life: look again in a moment. Anything else is said where its reader looks, then retried."""
        if isinstance(turned.error, Conflict):
            count = self._conflicts[key] = self._conflicts.get(key, 0) + 1
            return BACKOFF.delay(count - 1)
        if not isinstance(turned.error, ServerUnavailable):
            try:
                await self._applier.apply(self.controller.refused(key, turned.change, turned.error))
            except Turned as again:
                log.debug("controller %s, %s: %s", self.controller.name, key, again)
        raise turned.error
