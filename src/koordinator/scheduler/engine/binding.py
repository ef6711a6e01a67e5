"""Binding, behind the cycle's back: permit, pre-bind, bind and post-bind of many pods at once on the event loop.

The cycle has assumed the pod and gone on. What fails here is undone (unreserve, forget) and the pod goes back to the queue; the
resources it would have used are offered to others as if a pod had been deleted.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import NamedTuple

from koordinator.kube.errors import ApiError, NotFound
from koordinator.scheduler.engine.framework import Code, CycleState, PluginFailed, Status
from koordinator.scheduler.engine.hooks import PATCH
from koordinator.scheduler.engine.meter import watched
from koordinator.scheduler.engine.pod import scheduler_name
from koordinator.scheduler.engine.queue import QueuedPod

log = logging.getLogger(__name__)


class Binding(NamedTuple):
    """An assumed pod on its way to the API server."""

    pod: QueuedPod
    state: CycleState
    node: str


class BindFailed(NamedTuple):
    """Why a bind came to nothing. ``gone``: the pod does not exist any more, there is nothing to retry."""

    reason: str
    gone: bool = False
    phase: str = "Bind"
    """PreBind or Bind."""


class Binder:
    """A fixed number of workers that take bindings in order."""

    def __init__(
        self, bound: Callable[[Binding], None], failed: Callable[[Binding, BindFailed], None], concurrency: int = 64
    ) -> None:
        self._bound, self._failed, self._concurrency = bound, failed, concurrency
        self._queue: asyncio.Queue[Binding] = asyncio.Queue()
        self.obstacle: Callable[[QueuedPod], BindFailed | None] = obstacle
        """Asked before each bind."""
        self.in_flight = 0

    def submit(self, binding: Binding) -> None:
        self.in_flight += 1
        self._queue.put_nowait(binding)

    @property
    def busy(self) -> bool:
        """Whether more waits than the workers can take on soon; the cycle then lets the loop breathe."""
        return self._queue.qsize() > 4 * self._concurrency

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as workers:
            for _ in range(self._concurrency):
                workers.create_task(self._work())

    async def drained(self) -> None:
        """Return once nothing is in flight: for a graceful hand-over."""
        await self._queue.join()

    async def _work(self) -> None:
        while True:
            binding = await self._queue.get()
            try:
                await self._bind(binding)
            finally:
                self.in_flight -= 1
                self._queue.task_done()

    async def _bind(self, binding: Binding) -> None:
        try:
            failure = await self._attempt(binding)
        except NotFound as err:
            failure = BindFailed(str(err), gone=err.details.get("kind") in ("pods", "Pod"))
        except ApiError as err:
            failure = BindFailed(str(err))
        except Exception as err:
            log.exception("binding pod %s", binding.pod.info.key)
            failure = BindFailed(str(err))
        if failure is None:
            self._bound(binding)
        else:
            self._failed(binding, failure)

    async def _attempt(self, binding: Binding) -> BindFailed | None:
        pod, state, node = binding
        if (changed := self.obstacle(pod)) is not None:
            return changed
        for plugin in pod.profile.pre_binds:
            try:
                status = await watched(plugin, "PreBind", plugin.pre_bind(state, pod.info, node))
            except ApiError:
                raise
            except Exception as err:
                raise PluginFailed(plugin.name, "PreBind", err) from err
            if status is not None and status.code is not Code.SKIP:
                return BindFailed(_text(status, plugin.name, "PreBind"), phase="PreBind")
        return await self._patch(binding) or await self._through_binders(binding)

    @staticmethod
    async def _patch(binding: Binding) -> BindFailed | None:
        """Everything that PreBind plugins want to be written, in one go."""
        pod, state, _ = binding
        changes = state.get(PATCH)
        if changes is None or not changes:
            return None
        for patcher in pod.profile.patchers:
            try:
                status = await patcher.apply_patch(pod.info, changes)
            except ApiError:
                raise
            except Exception as err:
                raise PluginFailed(patcher.name, "PreBind", err) from err
            if status is None:
                return None
            if status.code is not Code.SKIP:
                return BindFailed(f'running PreBindExtension plugin "{patcher.name}": {status.message}', phase="PreBind")
        return None

    @staticmethod
    async def _through_binders(binding: Binding) -> BindFailed | None:
        pod, state, node = binding
        for plugin in pod.profile.binds:
            try:
                status = await watched(plugin, "Bind", plugin.bind(state, pod.info, node))
            except ApiError:
                raise
            except Exception as err:
                raise PluginFailed(plugin.name, "Bind", err) from err
            if status is None:
                return None
            if status.code is not Code.SKIP:
                return BindFailed(_text(status, plugin.name, "Bind"))
        return BindFailed("no bind plugin took the pod")


def obstacle(pod: QueuedPod) -> BindFailed | None:
    """The pod may have changed while it waited: it must still be there, and ours."""
    if pod.info.pod.metadata.deletion_timestamp is not None:
        return BindFailed("pod is being deleted", gone=True)
    if scheduler_name(pod.info.pod) not in pod.profile.names:
        return BindFailed("schedulerName unmatched", gone=True)
    return None


def _text(status: Status, plugin: str, point: str) -> str:
    return f'running {point} plugin "{plugin}": {status.message}'
