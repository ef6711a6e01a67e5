"""One replica acts, the others stand by: election by a Lease, as the Go clients do it, so that mixed replicas agree.

Whoever holds the Lease renews it every ``retry_period``. Others take it once they have seen no renewal for the duration that it
states, measured by their own clock from when *they* saw the last change: clocks of different machines are never compared. A
leader that cannot renew within ``renew_deadline`` (shorter than the duration) stops by itself, before anybody else starts.
Writes carry the resource version that was read, so of two that try only one wins.
"""

import asyncio
import contextlib
import logging
import random
import socket
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from koordinator.api.core import Lease, LeaseSpec
from koordinator.api.meta import format_micro_time
from koordinator.api.registry import LEASES
from koordinator.clock import Clock
from koordinator.errors import ConfigInvalid, KoordError
from koordinator.kube.errors import ApiError, NotFound
from koordinator.kube.store import Store

log = logging.getLogger(__name__)

JITTER = 1.2
"""A candidate looks again after ``retry_period`` times 1 to 1 + JITTER, so that candidates do not march in step."""
RELEASE_SECONDS = 5.0
"""Giving the Lease back is a courtesy: a server that does not answer must not hold up our end."""


class LeadershipLost(KoordError):
    """The Lease could not be renewed in time; what only a leader may do has been stopped."""


class LeaseTimes(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds. The defaults are the Go clients'."""

    lease_duration: float = 15.0
    renew_deadline: float = 10.0
    retry_period: float = 2.0

    def check(self) -> None:
        """Raises: ConfigInvalid if a leader could outlive its Lease."""
        if not self.lease_duration > self.renew_deadline:
            rule = f"must be more than renewDeadline ({self.renew_deadline:g} s)"
            raise ConfigInvalid("leaderElection.leaseDuration", self.lease_duration, rule, "nothing was started")
        if not self.renew_deadline > JITTER * self.retry_period:
            rule = f"must be more than {JITTER:g} × retryPeriod ({self.retry_period:g} s)"
            raise ConfigInvalid("leaderElection.renewDeadline", self.renew_deadline, rule, "nothing was started")


def make_identity() -> str:
    """``<hostname>_<uuid>``: unique per process, readable in ``kubectl get lease``."""
    return f"{socket.gethostname()}_{uuid.uuid4()}"


def claim(spec: LeaseSpec | None, identity: str, now: str, seconds: int) -> dict[str, Any]:
    """The Lease spec with which ``identity`` holds it from now: a renewal if it is ours, a transition if it was another's."""
    held = {"holderIdentity": identity, "leaseDurationSeconds": seconds, "renewTime": now}
    if spec is not None and spec.holder_identity == identity:
        return held
    transitions = 0 if spec is None else (spec.lease_transitions or 0) + 1
    return held | {"acquireTime": now, "leaseTransitions": transitions}


class LeaderElector:
    """A candidate for one Lease."""

    def __init__(
        self,
        store: Store,
        namespace: str,
        name: str,
        identity: str,
        clock: Clock,
        times: LeaseTimes | None = None,
    ) -> None:
        self.identity, self.times = identity, times or LeaseTimes()
        self.times.check()
        self._store, self._namespace, self._name, self._clock = store, namespace, name, clock
        self._seen: LeaseSpec | None = None
        self._seen_at = 0.0
        self._renewed_at = 0.0
        self._leading = False

    @property
    def leading(self) -> bool:
        """Whether we hold the Lease and ``lead`` is running."""
        return self._leading

    @property
    def holder(self) -> str:
        """Who holds the Lease, as far as we know."""
        return (self._seen and self._seen.holder_identity) or ""

    def stale(self, slack: float = 20.0) -> bool:
        """Whether we lead without having renewed for too long: what a health check asks."""
        return self._leading and self._clock.monotonic() - self._renewed_at > self.times.lease_duration + slack

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Wait for the Lease, run ``lead`` while holding it, give it back at the end.

        Returns when ``lead`` returns. Raises: LeadershipLost, after ``lead`` has been cancelled and has ended; whatever
        ``lead`` raises.
        """
        await self._acquire()
        log.info("%s is the leader of %s/%s", self.identity, self._namespace, self._name)
        self._leading = True
        leading = asyncio.ensure_future(lead())
        renewing = asyncio.create_task(self._renew())
        try:
            await asyncio.wait([leading, renewing], return_when=asyncio.FIRST_COMPLETED)
            if leading.done():
                leading.result()
                return
            renewing.result()
            raise LeadershipLost(
                f"the Lease {self._namespace}/{self._name} could not be renewed; {self.identity} stops leading"
            )
        finally:
            await _ended(leading, renewing)
            self._leading = False
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._release(), RELEASE_SECONDS)

    async def _acquire(self) -> None:
        while not await self._attempt():
            await self._clock.sleep(self.times.retry_period * (1 + JITTER * random.random()))  # noqa: S311

    async def _renew(self) -> None:
        """Renew for ever; return when the deadline has passed without success, even if an attempt hangs."""
        attempts = asyncio.create_task(self._keep_attempting())
        try:
            while (left := self._renewed_at + self.times.renew_deadline - self._clock.monotonic()) > 0:
                await self._clock.sleep(left)
        finally:
            await _ended(attempts)

    async def _keep_attempting(self) -> None:
        while True:
            await self._clock.sleep(self.times.retry_period)
            await self._attempt()

    async def _attempt(self) -> bool:
        """Take or renew the Lease. False if another holds it or the server does not answer."""
        try:
            return await self._take(await self._read())
        except KoordError as err:
            log.warning("lease %s/%s: %s", self._namespace, self._name, err)
            return False

    async def _read(self) -> Lease | None:
        try:
            lease = await self._store.get(LEASES, self._name, self._namespace)
        except NotFound:
            return None
        if lease.spec != self._seen:
            if lease.spec.holder_identity not in (self.holder, self.identity):
                log.info("the leader of %s/%s is %s", self._namespace, self._name, lease.spec.holder_identity or "nobody")
            self._seen, self._seen_at = lease.spec, self._clock.monotonic()
        return lease

    async def _take(self, lease: Lease | None) -> bool:
        if lease is not None and self._held_by_another(lease.spec):
            return False
        started = self._clock.monotonic()
        now = format_micro_time(self._clock.now())
        spec = claim(lease.spec if lease else None, self.identity, now, max(int(self.times.lease_duration), 1))
        written = await self._write(lease, spec)
        self._seen, self._seen_at, self._renewed_at = written.spec, started, started
        return True

    def _held_by_another(self, spec: LeaseSpec) -> bool:
        if not spec.holder_identity or spec.holder_identity == self.identity:
            return False
        return self._clock.monotonic() < self._seen_at + (spec.lease_duration_seconds or 0)

    async def _write(self, lease: Lease | None, spec: dict[str, Any]) -> Lease:
        if lease is None:
            metadata = {"name": self._name, "namespace": self._namespace}
            obj = {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": metadata, "spec": spec}
            return await self._store.create(LEASES, obj, self._namespace)
        patch = {"metadata": {"resourceVersion": lease.metadata.resource_version}, "spec": spec}
        return await self._store.patch(LEASES, self._name, patch, self._namespace)

    async def _release(self) -> None:
        """Let the next candidate start at once instead of after the duration."""
        now = format_micro_time(self._clock.now())
        spec = {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": now, "acquireTime": now}
        with contextlib.suppress(ApiError):
            lease = await self._read()
            if lease is not None and lease.spec.holder_identity == self.identity:
                await self._write(lease, spec)


async def _ended(*tasks: asyncio.Future[Any]) -> None:
    """Cancel and wait; what they raise is not of interest any more."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
