"""Binding, behind the cycle's back: permit, pre-bind, bind and post-bind of many pods at once on the event loop.

The cycle has assumed the pod and gone on. What fails here is undone (unreserve, forget) and the pod goes back to the queue; the
resources it would have used are offered to others as if a pod had been deleted.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple, TypeVar

from koordinator.kube.errors import ApiError, NotFound
from koordinator.scheduler.engine.framework import Code, CycleState, PatientPreBindPlugin, Plugin, PluginFailed, Status
from koordinator.scheduler.engine.hooks import PATCH
from koordinator.scheduler.engine.meter import watched
from koordinator.scheduler.engine.pod import is_reserve_pod, scheduler_name
from koordinator.scheduler.engine.queued import QueuedPod
from koordinator.scheduler.engine.reservations import ReservationPreBindPlugin

log = logging.getLogger(__name__)
T = TypeVar("T")


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


class _Patience(NamedTuple):
    """A bind has come to a plugin that waits for others: which one of its profile's."""

    place: int
    plugin: PatientPreBindPlugin


class Binder:
    """A fixed number of workers that take bindings in order. A bind that waits for others steps aside meanwhile."""

    def __init__(
        self, bound: Callable[[Binding], None], failed: Callable[[Binding, BindFailed], None], concurrency: int = 64
    ) -> None:
        self._bound, self._failed, self._concurrency = bound, failed, concurrency
        self._queue: asyncio.Queue[tuple[Binding, int]] = asyncio.Queue()
        """Bindings, and the place of the PreBind plugin to go on with."""
        self._aside: set[asyncio.Task[None]] = set()
        self.obstacle: Callable[[QueuedPod], BindFailed | None] = obstacle
        """Asked before each bind."""
        self.in_flight = 0
        """With workers or on the way to them; not those that wait."""

    def submit(self, binding: Binding) -> None:
        self._enqueue(binding, 0)

    def _enqueue(self, binding: Binding, place: int) -> None:
        self.in_flight += 1
        self._queue.put_nowait((binding, place))

    @property
    def waiting(self) -> int:
        """How many wait for something that others have to do."""
        return len(self._aside)

    @property
    def busy(self) -> bool:
        """Whether more waits than the workers can take on soon; the cycle then lets the loop breathe."""
        return self._queue.qsize() > 4 * self._concurrency

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as workers:
            for _ in range(self._concurrency):
                workers.create_task(self._work(workers))

    async def drained(self) -> None:
        """Return once nothing is in flight: for a graceful hand-over.

        Those that wait are given up: who comes next finds the pod without a node, and what was begun for it.
        """
        for task in self._aside:
            task.cancel()
        await self._queue.join()

    async def _work(self, workers: asyncio.TaskGroup) -> None:
        while True:
            binding, place = await self._queue.get()
            try:
                outcome = await self._guarded(binding, self._attempt(binding, place))
                if isinstance(outcome, _Patience):
                    waiting = workers.create_task(self._wait(binding, outcome))
                    self._aside.add(waiting)
                    waiting.add_done_callback(self._aside.discard)
                else:
                    self._end(binding, outcome)
            finally:
                self.in_flight -= 1
                self._queue.task_done()

    async def _wait(self, binding: Binding, patience: _Patience) -> None:
        """Beside the workers. What comes after goes through their queue again, so their number bounds it as ever."""
        failure = await self._guarded(binding, self._patiently(binding, patience.plugin))
        if failure is None:
            self._enqueue(binding, patience.place + 1)
        else:
            self._end(binding, failure)

    @staticmethod
    async def _guarded(binding: Binding, work: Awaitable[T]) -> T | BindFailed:
        try:
            return await work
        except NotFound as err:
            return BindFailed(str(err), gone=err.details.get("kind") in ("pods", "Pod"))
        except ApiError as err:
            return BindFailed(str(err))
        except Exception as err:
            log.exception("binding pod %s", binding.pod.info.key)
            return BindFailed(str(err))

    def _end(self, binding: Binding, failure: BindFailed | None) -> None:
        if failure is None:
            self._bound(binding)
        else:
            self._failed(binding, failure)

    async def _attempt(self, binding: Binding, first: int) -> BindFailed | _Patience | None:
        pod, state, node = binding
        if (changed := self.obstacle(pod)) is not None:
            return changed
        if is_reserve_pod(pod.info.pod):
            return await self._reserved(binding) or await self._patch(binding) or await self._through_binders(binding)
        for place, plugin in enumerate(pod.profile.pre_binds[first:], first):
            status = await _asked(plugin, "PreBind", plugin.pre_bind(state, pod.info, node))
            if status is None and isinstance(plugin, PatientPreBindPlugin):
                return _Patience(place, plugin)
            if status is not None and status.code is not Code.SKIP:
                return BindFailed(_text(status, plugin.name, "PreBind"), phase="PreBind")
        return await self._patch(binding) or await self._through_binders(binding)

    @staticmethod
    async def _reserved(binding: Binding) -> BindFailed | None:
        """PreBind of a pod that stands for a Reservation: only plugins that know reservations."""
        pod, state, node = binding
        for plugin in pod.profile.pre_binds:
            if isinstance(plugin, ReservationPreBindPlugin):
                status = await _asked(plugin, "PreBind", plugin.pre_bind_reservation(state, pod.info, node))
                if status is not None and status.code is not Code.SKIP:
                    return BindFailed(_text(status, plugin.name, "ReservationPreBindPlugin"), phase="PreBind")
        return None

    @staticmethod
    async def _patiently(binding: Binding, plugin: PatientPreBindPlugin) -> BindFailed | None:
        pod, state, node = binding
        status = await _asked(plugin, "PreBind", plugin.wait(state, pod.info, node))
        return None if status is None else BindFailed(_text(status, plugin.name, "PreBind"), phase="PreBind")

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
            status = await _asked(plugin, "Bind", plugin.bind(state, pod.info, node))
            if status is None:
                return None
            if status.code is not Code.SKIP:
                return BindFailed(_text(status, plugin.name, "Bind"))
        return BindFailed("no bind plugin took the pod")


async def _asked(plugin: Plugin, point: str, work: Coroutine[Any, Any, Status | None]) -> Status | None:
    """Raises: ApiError; PluginFailed, naming plugin and hook, for whatever else the plugin raises."""
    try:
        return await watched(plugin, point, work)
    except ApiError:
        raise
    except Exception as err:
        raise PluginFailed(plugin.name, point, err) from err


def obstacle(pod: QueuedPod) -> BindFailed | None:
    """The pod may have changed while it waited: it must still be there, and ours."""
    if pod.info.pod.metadata.deletion_timestamp is not None:
        return BindFailed("pod is being deleted", gone=True)
    if scheduler_name(pod.info.pod) not in pod.profile.names:
        return BindFailed("schedulerName unmatched", gone=True)
    return None


def _text(status: Status, plugin: str, point: str) -> str:
    return f'running {point} plugin "{plugin}": {status.message}'
