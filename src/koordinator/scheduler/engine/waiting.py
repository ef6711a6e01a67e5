"""Pods that have a node and wait at Permit for somebody's word: a gang for its other members, a quota for a decision."""

from collections.abc import Callable, Iterator

from koordinator.scheduler.engine.binding import Binding
from koordinator.scheduler.engine.framework import Code, Status

MOST_SECONDS = 900.0
"""No plugin can make a pod wait for longer."""


class WaitingPod:
    """One pod, and until when each plugin that makes it wait has time."""

    __slots__ = ("binding", "deadlines", "since")

    def __init__(self, binding: Binding, deadlines: dict[str, float], since: float) -> None:
        self.binding, self.deadlines, self.since = binding, deadlines, since

    @property
    def uid(self) -> str:
        return self.binding.pod.info.uid

    @property
    def name(self) -> str:
        return self.binding.pod.info.key


class WaitingPods:
    """All of them. A plugin allows or rejects by the pod's uid; silence is a rejection when the plugin's time is over."""

    def __init__(
        self, now: Callable[[], float], allowed: Callable[[Binding], None], rejected: Callable[[Binding, Status], None]
    ) -> None:
        self._now, self._allowed, self._rejected = now, allowed, rejected
        self._pods: dict[str, WaitingPod] = {}
        self.ended: Callable[[str, float], object] = lambda *_: None
        """Told how each wait has ended (allowed, rejected, timeout), and after how many seconds."""

    def __len__(self) -> int:
        return len(self._pods)

    def __contains__(self, uid: str) -> bool:
        return uid in self._pods

    def __iter__(self) -> Iterator[WaitingPod]:
        return iter(list(self._pods.values()))

    def get(self, uid: str) -> WaitingPod | None:
        return self._pods.get(uid)

    def add(self, binding: Binding, timeouts: dict[str, float]) -> None:
        now = self._now()
        deadlines = {plugin: now + min(max(seconds, 0.0), MOST_SECONDS) for plugin, seconds in timeouts.items()}
        self._pods[binding.pod.info.uid] = WaitingPod(binding, deadlines, now)

    def allow(self, uid: str, plugin: str) -> None:
        """The plugin has nothing against the pod any more; it is bound when no other plugin makes it wait."""
        pod = self._pods.get(uid)
        if pod is None:
            return
        pod.deadlines.pop(plugin, None)
        if not pod.deadlines:
            self._end(pod, "allowed")
            self._allowed(pod.binding)

    def reject(self, uid: str, plugin: str, message: str) -> bool:
        """The pod goes back to the queue. Says whether it was waiting."""
        pod = self._pods.get(uid)
        if pod is None:
            return False
        self._end(pod, "rejected")
        text = f'pod "{pod.binding.pod.info.name}" rejected while waiting on permit: {message}'
        self._rejected(pod.binding, Status(Code.UNSCHEDULABLE, (text,), plugin))
        return True

    def drop(self, uid: str) -> None:
        """The pod need not wait, and whoever says so takes care of it."""
        if (pod := self._pods.get(uid)) is not None:
            self._end(pod, "allowed")

    def tick(self) -> None:
        """Reject the pods whose time is over."""
        now = self._now()
        for pod in [pod for pod in self._pods.values() if min(pod.deadlines.values()) <= now]:
            if pod.uid not in self._pods:  # a rejection of another pod has taken this one along
                continue
            plugin = min(pod.deadlines, key=lambda name: pod.deadlines[name])
            self._end(pod, "timeout")
            text = f"rejected due to timeout after waiting {now - pod.since:g}s at plugin {plugin}"
            self._rejected(pod.binding, Status(Code.UNSCHEDULABLE, (text,), plugin))

    def next_deadline(self) -> float | None:
        return min((min(pod.deadlines.values()) for pod in self._pods.values()), default=None)

    def _end(self, pod: WaitingPod, how: str) -> None:
        del self._pods[pod.uid]
        self.ended(how, self._now() - pod.since)
