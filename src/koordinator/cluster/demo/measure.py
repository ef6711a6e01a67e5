"""What the demo measures, from plain records: the load generator's latencies, the batch jobs' counters, /proc/stat.

Nothing here touches a cluster; the runner collects the records and these functions make phases of them.
"""

from collections.abc import Iterable, Sequence

import msgspec


class LoadLine(msgspec.Struct, frozen=True):
    """One second of the load generator: wall time at its end, latency of every request that ended in it, failures."""

    time: float
    latencies_ms: list[float]
    failed: int = 0


class BatchLine(msgspec.Struct, frozen=True):
    """A batch process's counter: wall time, units of work done since it began."""

    time: float
    units: int


class CpuSample(msgspec.Struct, frozen=True):
    """/proc/stat at one moment: wall time, busy and total jiffies of all CPUs since boot."""

    time: float
    busy: int
    total: int


class Window(msgspec.Struct, frozen=True):
    """A measured span of wall time, in seconds since the epoch."""

    name: str
    start: float
    end: float


class Phase(msgspec.Struct, frozen=True):
    """One row of the report: ``cpu_utilization`` 0 to 1 of the whole node, latencies in ms, ``batch_work`` in units."""

    name: str
    cpu_utilization: float
    requests_per_second: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    batch_work: int
    failed_requests: int = 0


class Records(msgspec.Struct):
    """All that was recorded in a run: one list of batch lines per batch process."""

    load: list[LoadLine]
    batch: list[list[BatchLine]]
    cpu: list[CpuSample]


def parse_cpu(text: str, now: float) -> CpuSample:
    """The first line of /proc/stat: idle and iowait are idle, guest time is already in user time."""
    numbers = [int(field) for field in text.split("\n", 1)[0].split()[1:9]]
    total = sum(numbers)
    return CpuSample(now, total - numbers[3] - numbers[4], total)


def parse_lines(text: str, type_: type[LoadLine] | type[BatchLine]) -> Iterable[LoadLine | BatchLine]:
    """Records from a log. A line that is no record (cut off by a kill) is left out."""
    for line in text.split("\n"):
        try:
            yield msgspec.json.decode(line, type=type_)
        except msgspec.DecodeError:
            continue


def percentile(sorted_values: Sequence[float], percent: float) -> float:
    """Nearest-rank percentile of ascending values; 0 for none."""
    if not sorted_values:
        return 0.0
    rank = -(-len(sorted_values) * percent // 100)
    return sorted_values[min(max(int(rank) - 1, 0), len(sorted_values) - 1)]


def utilization(samples: Sequence[CpuSample], start: float, end: float) -> float:
    """Share of the node's CPU time that was busy between two moments, 0 to 1."""
    inside = [sample for sample in samples if start <= sample.time <= end]
    if len(inside) < 2 or inside[-1].total == inside[0].total:
        return 0.0
    return (inside[-1].busy - inside[0].busy) / (inside[-1].total - inside[0].total)


def work_done(lines: Sequence[BatchLine], start: float, end: float) -> int:
    """Units that one batch process did between two moments, as far as its log tells."""
    inside = [line.units for line in lines if start <= line.time <= end]
    return inside[-1] - inside[0] if inside else 0


def phase(window: Window, records: Records) -> Phase:
    """One row of the report from everything that falls into the window."""
    load = [line for line in records.load if window.start < line.time <= window.end]
    latencies = sorted(latency for line in load for latency in line.latencies_ms)
    return Phase(
        name=window.name,
        cpu_utilization=utilization(records.cpu, window.start, window.end),
        requests_per_second=len(latencies) / (window.end - window.start),
        p50_ms=percentile(latencies, 50),
        p99_ms=percentile(latencies, 99),
        p999_ms=percentile(latencies, 99.9),
        batch_work=sum(work_done(lines, window.start, window.end) for lines in records.batch),
        failed_requests=sum(line.failed for line in load),
    )
