"""Pods in flight, and what has happened since they took off: a pod that comes back refused must not have missed what helps."""

import itertools
from collections import deque
from collections.abc import Iterable

from koordinator.scheduler.engine.events import ClusterEvent

MOST_EVENTS = 8192
"""So many events are kept, with the objects that they are about. A pod in flight for longer (it waits at Permit, or for an
extender) is taken to have missed one that helps."""


class Flights:
    """Events are kept as long as a pod is in flight that is older than they are."""

    def __init__(self) -> None:
        self.events: deque[ClusterEvent] = deque()
        self._first = 0
        """The number of the oldest event kept. Events are numbered from the beginning of time."""
        self._pods: dict[str, int] = {}
        """By uid, in the order of taking off, the number of the first event after that."""

    def take_off(self, uid: str) -> int:
        """Returns the number that the next event will have: for ``since``."""
        number = self._pods[uid] = self._first + len(self.events)
        return number

    def land(self, uid: str) -> None:
        self._pods.pop(uid, None)
        oldest = next(iter(self._pods.values()), None)
        if oldest is None:
            self._first += len(self.events)
            self.events.clear()
            return
        while self._first < oldest and self.events:
            self.events.popleft()
            self._first += 1

    def note(self, event: ClusterEvent) -> None:
        if self._pods:
            self.events.append(event)
            if len(self.events) > MOST_EVENTS:
                self.events.popleft()
                self._first += 1

    def since(self, number: int) -> Iterable[ClusterEvent] | None:
        """The events from that number on; None when that is too long ago to tell."""
        start = number - self._first
        return None if start < 0 else itertools.islice(self.events, start, None)
