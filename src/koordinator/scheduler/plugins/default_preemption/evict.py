"""Carrying a preemption out, in the background: tell the victims, delete them, take lesser promises back."""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any

from koordinator.api.meta import format_time
from koordinator.api.registry import PODS
from koordinator.kube.errors import ApiError, Conflict, NotFound
from koordinator.kube.store import PatchType
from koordinator.scheduler.engine.handle import Handle
from koordinator.scheduler.engine.pod import PodInfo

log = logging.getLogger(__name__)

AT_ONCE = 32
_CONDITION, _REASON = "DisruptionTarget", "PreemptionByScheduler"


class Evictor:
    """``leaving`` holds the uids of victims from the decision until they are off their node (or cannot be evicted)."""

    def __init__(self, handle: Handle, plugin: str) -> None:
        self._handle, self._plugin = handle, plugin
        self.leaving: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(AT_ONCE)

    def start(self, pod: PodInfo, node: str, victims: Sequence[PodInfo]) -> None:
        """Evict the victims for a pod. Returns at once."""
        self._take_lesser_promises_back(pod, node)
        fresh = [victim for victim in victims if victim.uid not in self.leaving]
        self.leaving.update(victim.uid for victim in fresh)
        self.spawn(self._evict_all(pod, node, fresh))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _take_lesser_promises_back(self, pod: PodInfo, node: str) -> None:
        """Pods of lower priority that waited for this node will not get it: let them look elsewhere."""
        for other in list(self._handle.nominator.on(node)):
            if other.priority < pod.priority:
                self._handle.nominator.forget(other.uid)
                if self._handle.queue is not None:
                    self._handle.queue.activate(other.uid)

    async def _evict_all(self, pod: PodInfo, node: str, victims: Sequence[PodInfo]) -> None:
        answers = await asyncio.gather(*(self._evict(pod, node, victim) for victim in victims))
        failed = [victim for victim, goes in zip(victims, answers, strict=True) if not goes]
        self.leaving.difference_update(victim.uid for victim in failed)
        if failed:  # the promise cannot be kept: think again
            self._handle.nominator.forget(pod.uid)
            if self._handle.auditor is not None:
                self._handle.auditor.not_leaving(pod)
            if self._handle.queue is not None:
                self._handle.queue.activate(pod.uid)

    async def _evict(self, pod: PodInfo, node: str, victim: PodInfo) -> bool:
        """Whether the victim goes."""
        waiting = self._handle.waiting
        if waiting is not None and waiting.reject(victim.uid, self._plugin, "preempted"):
            return True
        async with self._places:
            try:
                await self._tell(pod, victim)
                await self._handle.store.delete(PODS, victim.name, victim.namespace, uid=victim.uid)
            except (NotFound, Conflict):  # gone, or a successor of the same name
                return True
            except ApiError as err:
                log.warning("pod %s could not be evicted for pod %s: %s", victim.key, pod.key, err)
                return False
        if self._handle.recorder is not None:
            message = f"Preempted by pod {pod.uid} on node {node}"
            self._handle.recorder.event(victim.pod, "Normal", "Preempted", message)
        return True

    async def _tell(self, pod: PodInfo, victim: PodInfo) -> None:
        """The victim's condition says why, before it is deleted. A pod that has it already is not told again."""
        if any(one.type == _CONDITION and one.status == "True" for one in victim.pod.status.conditions or ()):
            return
        condition = {
            "type": _CONDITION,
            "status": "True",
            "reason": _REASON,
            "message": f"{self._handle.profile}: preempting to accommodate a higher priority pod",
            "lastTransitionTime": format_time(self._handle.clock.now()),
        }
        patch = {"metadata": {"uid": victim.uid}, "status": {"conditions": [condition]}}
        await self._handle.store.patch(
            PODS, victim.name, patch, victim.namespace, type=PatchType.STRATEGIC, subresource="status"
        )
