"""Samples in memory: a ring buffer per series, two columns each (times in milliseconds, values). Nothing is written to disk.

A series is a metric kind and the id of what it measures (pod UID, container id, NUMA node; empty for the node). Rings grow as
they fill, up to their retention; a series that got no sample for that long is dropped with its memory. Retention differs: the
node's samples answer the longest window of a report, pods' the averaging window, containers' only the last minute.
"""

from array import array
from collections.abc import Iterable

import msgspec
import numpy as np
import numpy.typing as npt

from koordinator.koordlet.observe import aggregate

NODE_CPU, NODE_MEMORY = "node_cpu_usage", "node_memory_usage"
NODE_MEMORY_CACHE = "node_memory_usage_with_page_cache"
SYS_CPU, SYS_MEMORY = "sys_cpu_usage", "sys_memory_usage"
NUMA_CPU, NUMA_MEMORY = "node_numa_cpu_usage", "node_numa_memory_usage"
SYS_NUMA_CPU, SYS_NUMA_MEMORY = "sys_numa_cpu_usage", "sys_numa_memory_usage"
POD_CPU, POD_MEMORY = "pod_cpu_usage", "pod_memory_usage"
POD_MEMORY_CACHE, POD_THROTTLED = "pod_memory_usage_with_page_cache", "pod_cpu_throttled"
CONTAINER_CPU, CONTAINER_MEMORY = "container_cpu_usage", "container_memory_usage"
CONTAINER_MEMORY_CACHE, CONTAINER_THROTTLED = "container_memory_usage_with_page_cache", "container_cpu_throttled"
HOST_APP_CPU, HOST_APP_MEMORY = "host_application_cpu_usage", "host_application_memory_usage"
HOST_APP_MEMORY_CACHE = "host_application_memory_usage_with_page_cache"
NODE_GPU_CORE, NODE_GPU_MEMORY = "node_gpu_core_usage", "node_gpu_memory_usage"
NODE_BE = "node_be"

_FIRST_CAPACITY = 64
_CLOCK_SET_BACK_MS = 60_000


class Window(msgspec.Struct, frozen=True):
    """The points of one series in a time range, oldest first. int64 (n,) milliseconds, float64 (n,)."""

    times: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.times)

    @property
    def span_ms(self) -> int:
        return int(self.times[-1] - self.times[0]) if len(self) else 0

    def aggregate(self, kind: str) -> float:
        """Raises ValueError when there are no points."""
        return aggregate.aggregate(self.values, kind)


class Ring:
    """One series. Appending is two array stores; reading copies only the window."""

    __slots__ = ("_count", "_next", "_times", "_values", "last_ms", "last_value")

    def __init__(self) -> None:
        self._times = array("q", bytes(8 * _FIRST_CAPACITY))
        self._values = array("d", bytes(8 * _FIRST_CAPACITY))
        self._next = self._count = 0
        self.last_ms, self.last_value = -1, 0.0

    def __len__(self) -> int:
        return self._count

    def append(self, time_ms: int, value: float, retention_ms: int) -> None:
        """Add a point. One that is not later than the last is dropped; when the clock was set back, the past is."""
        if time_ms <= self.last_ms:
            if self.last_ms - time_ms <= _CLOCK_SET_BACK_MS:
                return
            self._count = 0
        if self._count == len(self._times) and self._oldest_ms() > time_ms - retention_ms:
            self._grow()
        self._times[self._next], self._values[self._next] = time_ms, value
        self._next = (self._next + 1) % len(self._times)
        self._count = min(self._count + 1, len(self._times))
        self.last_ms, self.last_value = time_ms, value

    def _oldest_ms(self) -> int:
        return self._times[(self._next - self._count) % len(self._times)]

    def _grow(self) -> None:
        capacity = len(self._times)
        self._times = self._times[self._next :] + self._times[: self._next] + array("q", bytes(8 * capacity))
        self._values = self._values[self._next :] + self._values[: self._next] + array("d", bytes(8 * capacity))
        self._next = capacity

    def window(self, start_ms: int, end_ms: int) -> Window:
        """Points of ``[start, end]``."""
        start = self._next - self._count
        order = np.arange(start, self._next) % len(self._times)
        times = np.frombuffer(self._times, dtype=np.int64)[order]
        low, high = np.searchsorted(times, start_ms, "left"), np.searchsorted(times, end_ms, "right")
        return Window(times[low:high], np.frombuffer(self._values, dtype=np.float64)[order[low:high]])


class MetricStore:
    """All series of this node. Retentions in seconds."""

    def __init__(self, node: float = 1800.0, pods: float = 300.0, containers: float = 60.0) -> None:
        self._series: dict[tuple[str, str], Ring] = {}
        self._node_ms, self._pods_ms, self._containers_ms = int(node * 1000), int(pods * 1000), int(containers * 1000)

    def __len__(self) -> int:
        return len(self._series)

    def series(self) -> list[tuple[str, str]]:
        """(kind, id) of every series."""
        return list(self._series)

    def keep(self, node: float, pods: float) -> None:
        """Make sure that windows of these lengths can be answered from now on."""
        self._node_ms, self._pods_ms = max(self._node_ms, int(node * 1000)), max(self._pods_ms, int(pods * 1000))

    def _retention(self, kind: str) -> int:
        if kind.startswith("pod_"):
            return self._pods_ms
        return self._containers_ms if kind.startswith("container_") else self._node_ms

    def append(self, time_ms: int, samples: Iterable[tuple[str, str, float]]) -> None:
        """Add one point to each named series: (kind, id, value)."""
        for kind, subject, value in samples:
            if (ring := self._series.get((kind, subject))) is None:
                ring = self._series[kind, subject] = Ring()
            ring.append(time_ms, value, self._retention(kind))

    def window(self, kind: str, subject: str, start_ms: int, end_ms: int) -> Window:
        """Points of a series in ``[start, end]``; none when the series is unknown."""
        ring = self._series.get((kind, subject))
        return ring.window(start_ms, end_ms) if ring else _EMPTY

    def latest(self, kind: str, subject: str, not_before_ms: int) -> float | None:
        """The last value, None when there is none or it is older than asked."""
        ring = self._series.get((kind, subject))
        return ring.last_value if ring and ring.last_ms >= not_before_ms else None

    def expire(self, now_ms: int) -> int:
        """Drop series without a sample for a retention; returns how many."""
        old = [key for key, ring in self._series.items() if ring.last_ms < now_ms - self._retention(key[0])]
        for key in old:
            del self._series[key]
        return len(old)


_EMPTY = Window(np.empty(0, np.int64), np.empty(0, np.float64))
