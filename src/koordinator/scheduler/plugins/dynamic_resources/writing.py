"""Telling the API server what a claim has got and for whom, and taking it back.

Every write is guarded by the version that it builds on.
"""

import itertools
import logging
from typing import Any

import msgspec

from koordinator.api.dra import DELETE_PROTECTION, ResourceClaim
from koordinator.api.registry import RESOURCE_CLAIMS
from koordinator.clock import Clock
from koordinator.kube.errors import ApiError, Conflict, NotFound, ServerUnavailable
from koordinator.kube.retry import Backoff
from koordinator.kube.store import Store
from koordinator.scheduler.engine.pod import PodInfo

log = logging.getLogger(__name__)

Json = dict[str, Any]
_CONFLICTS = Backoff(base=0.01, factor=2.0, limit=0.2)
_ANSWERS = Backoff(base=0.5, factor=2.0, limit=10.0)
_ATTEMPTS = 5


class WriteFailed(Exception):
    """``unsure``: what was sent may have been carried out all the same."""

    def __init__(self, why: str, *, unsure: bool = False) -> None:
        super().__init__(why)
        self.unsure = unsure


class ClaimWriter:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock

    async def bind(self, claim: ResourceClaim, pod: PodInfo, allocation: Json | None) -> ResourceClaim:
        """Write the allocation, if there is one, and that the pod uses the claim. Raises: WriteFailed."""
        uid, unsure = claim.metadata.uid, False
        last: ApiError | None = None
        for attempt in range(_ATTEMPTS):
            if attempt:
                await self._clock.sleep(_CONFLICTS.delay(attempt - 1))
            try:
                if attempt:
                    claim = await self._store.get(RESOURCE_CLAIMS, claim.name, claim.namespace)
                if claim.metadata.uid != uid or claim.metadata.deletion_timestamp is not None:
                    raise WriteFailed(f"claim {claim.key} got deleted in the meantime")
                if claim.reserved_by(pod.uid):
                    return claim
                if allocation is None and claim.status.allocation is None:
                    raise WriteFailed(f"claim {claim.key} lost its devices in the meantime")
                if allocation is not None and claim.status.allocation is not None:
                    raise WriteFailed(f"claim {claim.key} got allocated elsewhere in the meantime")
                return await self._write(claim, pod, allocation)
            except Conflict as err:
                unsure, last = False, err
            except NotFound:
                raise WriteFailed(f"claim {claim.key} got deleted in the meantime") from None
            except ServerUnavailable as err:
                unsure, last = unsure or err.outcome_unknown, err
            except ApiError as err:
                raise WriteFailed(f"add allocation and reservation to claim {claim.key}: {err}") from err
        raise WriteFailed(f"add allocation and reservation to claim {claim.key}: {last}", unsure=unsure)

    async def _write(self, claim: ResourceClaim, pod: PodInfo, allocation: Json | None) -> ResourceClaim:
        """The finalizer first: from then on the claim does not vanish while it has devices."""
        held = claim.metadata.finalizers or []
        if allocation is not None and DELETE_PROTECTION not in held:
            lock = {"resourceVersion": claim.metadata.resource_version, "finalizers": [*held, DELETE_PROTECTION]}
            claim = await self._store.patch(RESOURCE_CLAIMS, claim.name, {"metadata": lock}, claim.namespace)
        users = msgspec.to_builtins(claim.status.reserved_for or [])
        users.append({"resource": "pods", "name": pod.name, "uid": pod.uid})
        status: Json = {"reservedFor": users}
        if allocation is not None:
            status["allocation"] = allocation
        return await self._status(claim, status)

    async def _status(self, claim: ResourceClaim, status: Json) -> ResourceClaim:
        body = {"metadata": {"resourceVersion": claim.metadata.resource_version}, "status": status}
        return await self._store.patch(RESOURCE_CLAIMS, claim.name, body, claim.namespace, subresource="status")

    async def deallocate(self, claim: ResourceClaim) -> None:
        """Take the devices from a claim that nobody uses. What fails is tried again with the pod's next attempt."""
        try:
            await self._status(claim, {"allocation": None, "reservedFor": None})
        except ApiError as err:
            log.info("claim %s keeps its devices for now: %s", claim.key, err)

    async def has_devices(self, claim: ResourceClaim) -> bool:
        """Ask until there is an answer."""
        for attempt in itertools.count():
            try:
                now = await self._store.get(RESOURCE_CLAIMS, claim.name, claim.namespace)
            except NotFound:
                return False
            except ApiError as err:
                log.info("claim %s: %s", claim.key, err)
                await self._clock.sleep(_ANSWERS.delay(attempt))
                continue
            return now.metadata.uid == claim.metadata.uid and now.status.allocation is not None
        raise AssertionError("endless")
