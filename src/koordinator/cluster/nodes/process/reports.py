"""Writes pod statuses to the API server: the latest one per pod, again until it is accepted or the pod is gone."""

import asyncio
import logging
from typing import Any, Protocol

from koordinator.api.registry import PODS
from koordinator.clock import Clock
from koordinator.cluster.nodes.process.podspec import RawPod
from koordinator.kube.errors import ApiError, Conflict, NotFound, ServerUnavailable, TooManyRequests
from koordinator.kube.store import JsonObject, Store

log = logging.getLogger(__name__)

FIRST_RETRY, LONGEST_RETRY = 0.2, 10.0


class EventSink(Protocol):
    def event(self, obj: RawPod, type_: str, reason: str, message: str) -> None: ...


class StatusWriter:
    """One task per pod that has news."""

    def __init__(self, store: Store, events: EventSink, clock: Clock) -> None:
        self._store, self._events, self._clock = store, events, clock
        self._news: dict[str, tuple[RawPod, JsonObject]] = {}
        self._pushing: dict[str, asyncio.Task[None]] = {}

    def status(self, pod: RawPod, status: dict[str, Any]) -> None:
        uid = pod.metadata.uid
        self._news[uid] = (pod, {"metadata": {"uid": uid}, "status": status})
        if uid not in self._pushing:
            self._pushing[uid] = asyncio.create_task(self._push(uid))

    def event(self, pod: RawPod, kind: str, reason: str, message: str) -> None:
        self._events.event(pod, kind, reason, message)

    async def remove(self, pod: RawPod) -> None:
        """Return when the last status is written and the pod is gone from the API."""
        await self.written(pod)
        delay = FIRST_RETRY
        while True:
            try:
                await self._store.delete(PODS, pod.name, pod.namespace, grace_seconds=0, uid=pod.metadata.uid)
            except (NotFound, Conflict):
                return
            except ApiError as err:
                log.warning("pod %s: cannot delete, trying again in %.1f s: %s", pod.key, delay, err)
                await self._clock.sleep(delay)
                delay = min(2 * delay, LONGEST_RETRY)
            else:
                return

    async def written(self, pod: RawPod) -> None:
        """Return when nothing waits to be written for the pod."""
        if (task := self._pushing.get(pod.metadata.uid)) is not None:
            await asyncio.shield(task)

    async def close(self) -> None:
        for task in list(self._pushing.values()):
            task.cancel()
        await asyncio.gather(*self._pushing.values(), return_exceptions=True)

    async def _push(self, uid: str) -> None:
        delay = FIRST_RETRY
        try:
            while (news := self._news.pop(uid, None)) is not None:
                if not await self._write(*news):
                    self._news.setdefault(uid, news)
                    await self._clock.sleep(delay)
                    delay = min(2 * delay, LONGEST_RETRY)
        finally:
            del self._pushing[uid]

    async def _write(self, pod: RawPod, body: JsonObject) -> bool:
        """False when it is worth trying again."""
        try:
            await self._store.patch(PODS, pod.name, body, pod.namespace, subresource="status")
        except (NotFound, Conflict):
            return True  # gone, or another pod has its name: nobody waits for this status
        except (ServerUnavailable, TooManyRequests) as err:
            log.warning("pod %s: status not written, trying again: %s", pod.key, err)
            return False
        except ApiError as err:
            log.warning("pod %s: status refused: %s", pod.key, err)
            return err.code < 500
        return True
