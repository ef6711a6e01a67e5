"""What the queue asks plugins, with the safe answer when one raises: a broken gate stays shut, a broken hint means yes."""

import logging
from collections.abc import Iterable
from typing import Any

from koordinator.scheduler.engine.events import ClusterEvent, Happening, Hint
from koordinator.scheduler.engine.framework import Code, Plugin, PluginFailed, PreEnqueuePlugin, Status
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.engine.queued import QueuedPod

log = logging.getLogger(__name__)


def gate_of(pod: QueuedPod, gates: Iterable[PreEnqueuePlugin]) -> Status | None:
    """What holds a pod back before it may enter the queue; None when nothing does."""
    for plugin in gates:
        try:
            gate = plugin.pre_enqueue(pod.info)
        except Exception as err:  # noqa: BLE001 — whatever a plugin does concerns this pod alone
            return _failure(plugin, "PreEnqueue", err, pod)
        if gate is not None:
            return Status(gate.code, gate.reasons, plugin.name)
    return None


def sort_key(pod: QueuedPod) -> tuple[Any, ...] | Status:
    """The pod's place among active pods. A status when that cannot be told."""
    sort = pod.profile.queue_sort
    try:
        return sort.sort_key(pod.info, pod.since)
    except Exception as err:  # noqa: BLE001 — as above
        return _failure(sort, "QueueSort", err, pod)


def _failure(plugin: Plugin, point: str, error: Exception, pod: QueuedPod) -> Status:
    """What keeps a pod out because a plugin failed; the log gets a traceback once."""
    text = str(PluginFailed(plugin.name, point, error))
    if pod.gate is None or pod.gate.message != text:
        log.error("%s, for pod %s", text, pod.info.key, exc_info=error)
    return Status(Code.ERROR, (text,), plugin.name)


def may_help(pod: PodInfo, profile: Profile, rejected_by: Iterable[str], event: ClusterEvent) -> bool:
    """Whether an event may let in a pod that these plugins have refused."""
    if event.but and event.but == pod.uid:
        return False
    if not rejected_by or event.kind == Happening.ANYTHING:
        return True
    return any(concerns(pod, hints_for(profile, plugin, event.kind), event) for plugin in rejected_by)


def hints_for(profile: Profile, plugin: str, kind: int) -> list[Hint | None]:
    """A plugin's hints about events of a kind; none when such events do not concern it."""
    return [hint for kinds, hint in profile.hints.get(plugin, ()) if kinds & kind]


def concerns(pod: PodInfo, hints: Iterable[Hint | None], event: ClusterEvent) -> bool:
    """Whether one of the hints says yes, or has nothing to say."""
    return any(hint is None or _hinted(hint, pod, event) for hint in hints)


def _hinted(hint: Hint, pod: PodInfo, event: ClusterEvent) -> bool:
    try:
        return hint(pod, event)
    except Exception:  # noqa: BLE001 — a plugin's bug must not make a pod wait for ever
        return True


def group_of(pod: QueuedPod) -> Any:
    """Equal for refused pods that share their fate; None for one that waits alone."""
    try:
        return pod.profile.group(pod.info, pod.rejected_by)
    except PluginFailed:  # that cannot tell whom the pod is like
        return None
