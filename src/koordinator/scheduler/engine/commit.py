"""From a chosen node to the binder: nominate, resize, assume, Reserve, Permit; and the way back."""

import logging
from typing import TYPE_CHECKING

from koordinator.scheduler.engine.binding import Binding
from koordinator.scheduler.engine.events import ClusterEvent, Happening
from koordinator.scheduler.engine.framework import Code, Diagnosis, PluginFailed, Status
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.engine.queued import QueuedPod
from koordinator.scheduler.engine.steps import named, run

if TYPE_CHECKING:
    from koordinator.scheduler.engine.cycle import Scheduler

log = logging.getLogger(__name__)


class Committer:
    """Steps 6 to 8 of the cycle."""

    def __init__(self, scheduler: "Scheduler") -> None:
        self._scheduler = scheduler
        self._resizing = "ResizePod" in scheduler.gates

    def __call__(self, binding: Binding) -> None:
        scheduler, pod = self._scheduler, binding.pod
        info = self.prepared(binding)
        if isinstance(info, Status):
            self.refused(pod, info)
            return
        scheduler.cluster.assume(info, binding.node)
        timeouts: dict[str, float] = {}
        try:
            refused = self.reserve(binding) or self.permit(binding, timeouts)
        except PluginFailed:
            self.undo(binding)
            raise
        if refused is not None:
            self.undo(binding)
            self.refused(pod, refused, binding.node)
            return
        self.settled(binding)
        if timeouts:
            scheduler.waiting.add(binding, timeouts)
        else:
            scheduler.submit(binding)

    def settled(self, binding: Binding) -> None:
        """The pod has its node, as far as the cycle goes."""
        scheduler, pod = self._scheduler, binding.pod
        if scheduler.cluster.nominator.any:
            scheduler.cluster.nominator.forget(pod.info.uid)
        scheduler.queue.placed(pod)
        scheduler.outcome.assumed(binding)

    def prepared(self, binding: Binding) -> PodInfo | Status:
        """What of the node the pod gets, and the pod as it is to be counted there."""
        pod, state, node = binding
        for chooser in pod.profile.nominates:
            status = run(chooser, "ReservationNominate", chooser.nominate, state, pod.info, node)
            if status is not None:
                return named(status, chooser)
        info = pod.info
        for resizer in pod.profile.resizes if self._resizing else ():
            try:
                answer = run(resizer, "ResizePod", resizer.resize, state, info, node)
            except PluginFailed:
                self.release(binding)
                raise
            if isinstance(answer, Status):
                self.release(binding)
                return named(answer, resizer)
            info = info if answer is None else answer
        return info

    def reserve(self, binding: Binding) -> Status | None:
        pod, state, node = binding
        info = self._counted(binding)
        for plugin in pod.profile.reserves:
            status = run(plugin, "Reserve", plugin.reserve, state, info, node)
            if status is not None:
                return named(status, plugin)
        return None

    def permit(self, binding: Binding, timeouts: dict[str, float]) -> Status | None:
        """Fills ``timeouts`` with the plugins that want to wait."""
        pod, state, node = binding
        if not pod.profile.permits:
            return None
        info = self._counted(binding)
        for plugin in pod.profile.permits:
            status = run(plugin, "Permit", plugin.permit, state, info, node)
            if status is not None and status.code is Code.WAIT:
                timeouts[plugin.name] = status.timeout_seconds
            elif status is not None:
                return named(status, plugin)
        return None

    def refused(self, pod: QueuedPod, status: Status, node: str = "") -> None:
        """A plugin does not want the pod on the node that was chosen."""
        scheduler = self._scheduler
        if status.code is Code.ERROR:
            scheduler.fail(pod, f'running plugin "{status.plugin}": {status.message}')
        else:
            diagnosis = Diagnosis(len(scheduler.cluster.columns), {status.message: 1}, {status.plugin})
            scheduler.refuse(pod, diagnosis, status, node)

    def _counted(self, binding: Binding) -> PodInfo:
        """The pod as it is counted on its node: perhaps resized."""
        placed = self._scheduler.cluster.pods.get(binding.pod.info.uid)
        return placed.info if placed is not None and placed.assumed else binding.pod.info

    def release(self, binding: Binding) -> bool:
        """Give back what Reserve took, and the room on the node, which nobody else has missed yet. Whether there was any."""
        pod, state, node = binding
        info = self._counted(binding)
        for plugin in reversed(pod.profile.reserves):
            try:
                plugin.unreserve(state, info, node)
            except Exception:  # the pod must be forgotten all the same, or its room is lost for ever
                log.exception('running Unreserve of plugin "%s" for pod %s', plugin.name, pod.info.key)
        return self._scheduler.cluster.forget(pod.info.uid)

    def undo(self, binding: Binding) -> None:
        """Give everything back: others may want it."""
        pod, _, node = binding
        if self.release(binding):
            event = ClusterEvent(Happening.POD_DELETE, node, old=pod.info.pod, but=pod.info.uid)
            self._scheduler.queue.on_event(event)
        for forgetter in pod.profile.forgets:
            try:
                forgetter.forget(pod.info, node)
            except Exception:  # as above
                log.exception('telling plugin "%s" that pod %s is forgotten', forgetter.name, pod.info.key)
