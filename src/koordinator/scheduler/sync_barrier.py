"""The barrier after a change of leaders: a new leader first sees everything that the one before it has bound.

The watch of a replica that stood by may lag behind. So the new leader writes to a pod of its own, waits until its watch brings
that very write, and then until its cache holds the youngest placed pod that the watch had brought by then. A barrier that
cannot be passed (no such pod, no API server) never keeps a leader from scheduling for longer than its time limit.
"""

import asyncio
import logging

from koordinator.api.core import Pod
from koordinator.api.meta import format_micro_time
from koordinator.api.registry import PODS
from koordinator.clock import Clock
from koordinator.errors import KoordError
from koordinator.kube.errors import NotFound
from koordinator.kube.informer import Informer
from koordinator.kube.store import Store
from koordinator.scheduler.engine.versions import order, reached
from koordinator.scheduler.feed import Feed
from koordinator.scheduler.options import BarrierPod

log = logging.getLogger(__name__)

ANNOTATION = "scheduling.koordinator.sh/sync-barrier-"
"""Followed by the name of the Lease: schedulers with Leases of their own do not disturb each other."""
LOOK_SECONDS = 0.1


class Barrier:
    """What it takes to pass: the API server, what the watch has brought, and what the scheduler has made of it."""

    def __init__(self, store: Store, pods: Informer[Pod], feed: Feed, clock: Clock) -> None:
        self._store, self._pods, self._feed, self._clock = store, pods, feed, clock

    async def passed(self, pod: BarrierPod, lease: str) -> bool:
        """Return when scheduling may begin; says whether the barrier was passed, and not given up."""
        if not pod.name:
            return False
        passing = asyncio.ensure_future(self._pass(pod, lease))
        limit = asyncio.ensure_future(self._clock.sleep(pod.timeout))
        try:
            await asyncio.wait((passing, limit), return_when=asyncio.FIRST_COMPLETED)
            if passing.done():
                return passing.result()
            log.warning("sync barrier: not passed within %gs; scheduling starts", pod.timeout)
            return False
        finally:
            passing.cancel()
            limit.cancel()

    async def _pass(self, pod: BarrierPod, lease: str) -> bool:
        try:
            watermark = await self._written(pod, lease)
            await self._seen(pod, watermark)
        except NotFound:
            log.warning("sync barrier: there is no pod %s; scheduling starts", pod.key)
            return False
        await self._counted()
        log.info("sync barrier: passed at resource version %s", watermark)
        return True

    async def _written(self, pod: BarrierPod, lease: str) -> str:
        """The version at which the barrier pod carries our mark. Raises: NotFound."""
        while True:
            mark = {f"{ANNOTATION}{lease}": format_micro_time(self._clock.now())}
            try:
                written = await self._store.patch(PODS, pod.name, {"metadata": {"annotations": mark}}, pod.namespace)
            except NotFound:
                raise
            except KoordError as err:
                log.info("sync barrier: pod %s not written: %s", pod.key, err)
                await self._clock.sleep(LOOK_SECONDS)
            else:
                return written.metadata.resource_version or ""

    async def _seen(self, pod: BarrierPod, watermark: str) -> None:
        """Wait until the watch has brought the mark. Raises: NotFound when the pod has gone meanwhile."""
        was_there = False
        while True:
            known = self._pods.get(pod.key)
            if known is not None and reached(known.metadata.resource_version or "", watermark):
                return
            if known is None and was_there:
                raise NotFound(404, "NotFound", f"pod {pod.key} has been deleted")
            was_there = was_there or known is not None
            await self._clock.sleep(LOOK_SECONDS)

    async def _counted(self) -> None:
        """Wait until the scheduler counts the youngest placed pod, or that pod is gone."""
        anchor = self._anchor()
        if anchor is None:
            return
        target, counted = anchor.metadata.resource_version or "", self._feed.cluster.pods
        while True:
            placed = counted.get(anchor.metadata.uid)
            if placed is not None and reached(placed.info.pod.metadata.resource_version or "", target):
                return
            if placed is None and not self._there(anchor):
                return
            await self._clock.sleep(LOOK_SECONDS)

    def _anchor(self) -> Pod | None:
        placed = (pod for pod in self._pods.items() if pod.spec.node_name and self._counts(pod))
        return max(placed, key=lambda pod: order(pod.metadata.resource_version or ""), default=None)

    def _there(self, anchor: Pod) -> bool:
        known = self._pods.get(anchor.key)
        return known is not None and known.metadata.uid == anchor.metadata.uid and self._counts(known)

    def _counts(self, pod: Pod) -> bool:
        """Pods that have ended, and pods whose requests cannot be read, are on no node for us."""
        if pod.terminated:
            return False
        try:
            self._feed.reader.read(pod)
        except ValueError:
            return False
        return True
