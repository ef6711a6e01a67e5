"""A pod with its story in the scheduling queue, and the order in which such pods come out of a place where they wait."""

import heapq
from collections.abc import Hashable, Iterator
from enum import Enum
from typing import Any

import msgspec

from koordinator.scheduler.engine.framework import Status
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.engine.profile import Profile


class Where(Enum):
    ACTIVE = "active"
    BACKOFF = "backoff"
    UNSCHEDULABLE = "unschedulable"
    GATED = "gated"
    IN_FLIGHT = "in flight"

    __hash__ = object.__hash__  # members are single objects; Enum's own hash is a Python call on the hot path


class QueuedPod:
    """Belongs to the queue: others read it."""

    __slots__ = (
        "added_at",
        "attempts",
        "entry",
        "errors",
        "failures",
        "gate",
        "group",
        "herald",
        "info",
        "last_message",
        "popped_at",
        "profile",
        "promised",
        "rejected_by",
        "since",
        "where",
    )

    def __init__(self, info: PodInfo, profile: Profile, now: float) -> None:
        self.info, self.profile = info, profile
        self.added_at = self.since = now
        self.popped_at = 0
        """Number of the first event that is to be replayed if this attempt fails; negative: it is to be repeated anyway."""
        self.attempts = self.failures = self.errors = 0
        self.where = Where.ACTIVE
        self.rejected_by: frozenset[str] = frozenset()
        self.group: Hashable = None
        """Who waits with it, while it waits refused."""
        self.promised = self.herald = False
        """``herald``: woken for all its group; its fate decides whether the next is woken."""
        self.gate: Status | None = None
        self.entry = -1
        """The heap entry that counts; others are left-overs."""
        self.last_message = ""

    @property
    def failed_times(self) -> int:
        return max(self.failures, self.errors, 1)


def held_back(pod: QueuedPod, key: str = "") -> bool:
    """Whether a gate holds the pod back that the plugin ``key`` cannot open."""
    return pod.where is Where.GATED and not (pod.gate is not None and key and pod.gate.plugin == key)


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds."""

    initial_backoff: float = 1.0
    max_backoff: float = 10.0
    max_unschedulable: float = 300.0

    def backoff(self, times: int) -> float:
        """How long the pause after so many failures in a row is."""
        return min(self.initial_backoff * 2.0 ** min(times - 1, 30), self.max_backoff)


class Heap:
    """Pods by a key, the smallest first. A pod is in one heap at most; entries of pods that have left are passed over.

    ``numbers`` is shared by all heaps of a queue: an entry's number says which of a pod's entries counts.
    """

    __slots__ = ("_entries", "_numbers")

    def __init__(self, numbers: Iterator[int]) -> None:
        self._entries: list[tuple[Any, int, QueuedPod]] = []
        self._numbers = numbers

    def push(self, key: Any, pod: QueuedPod) -> None:
        pod.entry = number = next(self._numbers)
        heapq.heappush(self._entries, (key, number, pod))

    def pop(self) -> QueuedPod | None:
        entries = self._entries
        while entries:
            _, number, pod = heapq.heappop(entries)
            if number == pod.entry:
                return pod
        return None

    def first(self) -> Any | None:
        """The smallest key; None when nobody is there."""
        entries = self._entries
        while entries and entries[0][1] != entries[0][2].entry:
            heapq.heappop(entries)
        return entries[0][0] if entries else None

    def pop_until(self, key: Any) -> Iterator[QueuedPod]:
        """One after the other those that are due."""
        while (first := self.first()) is not None and first <= key:
            _, _, pod = heapq.heappop(self._entries)
            yield pod
