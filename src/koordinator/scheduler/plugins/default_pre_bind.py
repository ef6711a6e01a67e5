"""DefaultPreBind: write what all PreBind plugins have to say on the pod, in one patch before it is bound.

The patch carries the pod's uid, so it never lands on a successor of the same name. Answers that say "later" are asked again
a few times; an answer that shows the pod being deleted ends the attempt.
"""

from typing import Any

from koordinator.api.keys import RESERVATION_NAME
from koordinator.api.meta import Object
from koordinator.api.registry import PODS, RESERVATIONS
from koordinator.clock import Clock
from koordinator.kube.errors import Conflict, ServerUnavailable, TooManyRequests
from koordinator.kube.store import PatchType, Store
from koordinator.scheduler.engine.framework import Code, CycleState, PreBindPlugin, Status
from koordinator.scheduler.engine.hooks import ApplyPatchPlugin, Changes
from koordinator.scheduler.engine.pod import PodInfo, is_reserve_pod

PAUSES = (0.01, 0.05, 0.25)
"""Between the tries, in seconds."""


class DefaultPreBind(PreBindPlugin, ApplyPatchPlugin):
    name = "DefaultPreBind"

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock

    async def pre_bind(self, state: CycleState, pod: PodInfo, node: str) -> Status | None:
        """Nothing: the others gather, ``apply_patch`` writes."""
        return None

    async def apply_patch(self, pod: PodInfo, changes: Changes) -> Status | None:
        """Raises: ApiError, when the last try fails, too."""
        body = patch_of(pod, changes)
        if body is None:
            return None
        for pause in PAUSES:
            try:
                return await self._write(pod, body)
            except (Conflict, TooManyRequests, ServerUnavailable):
                await self._clock.sleep(pause)
        return await self._write(pod, body)

    async def _write(self, pod: PodInfo, body: dict[str, Any]) -> Status | None:
        patched: Object
        if is_reserve_pod(pod.pod):
            name = (pod.pod.metadata.annotations or {}).get(RESERVATION_NAME, "")
            patched = await self._store.patch(RESERVATIONS, name, body, type=PatchType.MERGE)
        else:
            patched = await self._store.patch(PODS, pod.name, body, pod.namespace, type=PatchType.STRATEGIC)
        deleting = patched.metadata.deletion_timestamp is not None
        return Status(Code.ERROR, ("pod is being deleted",), self.name) if deleting else None


def patch_of(pod: PodInfo, changes: Changes) -> dict[str, Any] | None:
    """Only what the pod does not carry yet; None when that is nothing."""
    meta = pod.pod.metadata
    fresh = {
        "annotations": _fresh(meta.annotations, changes.annotations),
        "labels": _fresh(meta.labels, changes.labels),
    }
    told = {kind: entries for kind, entries in fresh.items() if entries}
    return {"metadata": {"uid": pod.uid, **told}} if told else None


def _fresh(has: dict[str, str] | None, wanted: dict[str, str | None]) -> dict[str, str | None]:
    return {key: value for key, value in wanted.items() if (has or {}).get(key) != value}
