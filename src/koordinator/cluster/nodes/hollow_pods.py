"""The pods of all hollow nodes, from one watch: who is due for a step gets it, many at a time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from koordinator.api.annotations import Malformed
from koordinator.api.core import Pod
from koordinator.api.registry import PODS
from koordinator.clock import Clock
from koordinator.cluster.nodes.hollow_fleet import Fleet, Member
from koordinator.cluster.nodes.hollow_lives import Habits, Remove, Wait, Write, malformed, step
from koordinator.kube.errors import Conflict, NotFound
from koordinator.kube.informer import Informer
from koordinator.kube.retry import Backoff
from koordinator.kube.store import Store
from koordinator.kube.workqueue import WorkQueue

RETRY = Backoff(base=0.1, factor=2.0, limit=10.0)


class HollowPods:
    """Plays the kubelet for every pod that is bound to a member of the fleet."""

    def __init__(self, fleet: Fleet, store: Store, clock: Clock, habits: Habits, complain: Callable[[Pod, str], None]) -> None:
        self._fleet, self._store, self._clock = fleet, store, clock
        self._habits, self._complain = habits, complain
        self._informer = Informer(store, PODS, clock=clock, field_selector="spec.nodeName!=")
        self._queue: WorkQueue[str] = WorkQueue("hollow pods", clock, RETRY)
        self._written: dict[str, str] = {}
        self._told: dict[str, frozenset[str]] = {}
        self._informer.on(added=self._changed, updated=lambda _, new: self._changed(new), deleted=self._gone)

    async def run(self, concurrency: int) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._informer.run())
            tasks.create_task(self._queue.run(self._live, concurrency))

    async def synced(self) -> None:
        await self._informer.synced()

    def wake(self, member: Member) -> None:
        """Catch up with what happened while the node played dead."""
        for pod in self._informer.items():
            if pod.spec.node_name == member.name:
                self._written.pop(pod.key, None)
                self._queue.add(pod.key)

    def _changed(self, pod: Pod) -> None:
        if self._fleet.get(pod.spec.node_name) is None:
            return
        problem = self._fleet.settle(pod)
        if pod.metadata.annotations:
            self._tell(pod, [*malformed(pod), *([problem] if problem is not None else [])])
        self._queue.add(pod.key)

    def _tell(self, pod: Pod, problems: list[Malformed]) -> None:
        """Each problem once per pod."""
        told = self._told.get(pod.metadata.uid, frozenset())
        for found in problems:
            if found.key not in told:
                self._complain(pod, f"{found}; it counts as absent")
        if problems:
            self._told[pod.metadata.uid] = told | {found.key for found in problems}

    def _gone(self, pod: Pod) -> None:
        self._fleet.leave(pod)
        self._written.pop(pod.key, None)
        self._told.pop(pod.metadata.uid, None)

    async def _live(self, key: str) -> float | None:
        """A pod's next step; how long to wait for the one after, if time brings it. One version gets one step."""
        pod = self._informer.get(key)
        member = self._fleet.get(pod.spec.node_name) if pod is not None else None
        if pod is None or member is None or member.silent or self._written.get(key) == pod.metadata.resource_version:
            return None
        match step(pod, member.place, self._habits, self._clock.now()):
            case Wait(seconds):
                return seconds
            case Write(status):
                patch = self._store.patch(PODS, pod.name, {"status": status}, pod.namespace, subresource="status")
                await self._do(key, pod, patch)
            case Remove():
                removal = self._store.delete(PODS, pod.name, pod.namespace, grace_seconds=0, uid=pod.metadata.uid)
                await self._do(key, pod, removal)
        return None

    async def _do(self, key: str, pod: Pod, call: Awaitable[Any]) -> None:
        await ignoring_gone(call)
        if self._informer.get(key) is not None:
            self._written[key] = pod.metadata.resource_version


async def ignoring_gone(call: Awaitable[Any]) -> None:
    """Whoever is gone needs nothing more from us."""
    try:
        await call
    except (NotFound, Conflict):
        return
