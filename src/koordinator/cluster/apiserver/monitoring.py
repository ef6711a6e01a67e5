"""The server's own metrics: plain counters on the way, Prometheus' text when somebody scrapes."""

from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path

from koordinator.cluster.apiserver.limits import InFlight
from koordinator.cluster.apiserver.store import Store

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Labels = tuple[tuple[str, str], ...]
Sample = tuple[str, Labels, float]


class Requests:
    """Counts and durations, by verb and resource."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str, int], int] = {}
        self._durations: dict[tuple[str, str, str], list[float]] = {}

    def observe(self, verb: str, resource: str, subresource: str, code: int, seconds: float) -> None:
        """One answered request. A watch counts when it begins and has no duration."""
        counted = (verb, resource, subresource, code)
        self._counts[counted] = self._counts.get(counted, 0) + 1
        if verb == "WATCH":
            return
        timed = self._durations.get(counted[:3])
        if timed is None:
            timed = self._durations[counted[:3]] = [0.0] * (len(BUCKETS) + 2)
        timed[bisect_left(BUCKETS, seconds)] += 1
        timed[-1] += seconds

    def counters(self) -> Iterator[Sample]:
        for (verb, resource, subresource, code), count in self._counts.items():
            yield "", (*_about(verb, resource, subresource), ("code", str(code))), count

    def histogram(self) -> Iterator[Sample]:
        for (verb, resource, subresource), timed in self._durations.items():
            labels, total = _about(verb, resource, subresource), 0.0
            for bound, count in zip((*map(str, BUCKETS), "+Inf"), timed, strict=False):
                total += count
                yield "_bucket", (*labels, ("le", bound)), total
            yield "_sum", labels, timed[-1]
            yield "_count", labels, total


def _about(verb: str, resource: str, subresource: str) -> Labels:
    return ("verb", verb), ("resource", resource), ("subresource", subresource)


class Monitor:
    """What ``/metrics`` says."""

    def __init__(self, requests: Requests, store: Store, database: Path) -> None:
        self.requests, self._store, self._database = requests, store, database

    def text(self, flight: InFlight) -> str:
        return "".join(_family(*family) for family in self._families(flight))

    def _families(self, flight: InFlight) -> Iterator[tuple[str, str, str, list[Sample]]]:
        requests, collections = self.requests, list(self._store.collections())
        yield "apiserver_request_total", "counter", "Requests answered.", list(requests.counters())
        yield "apiserver_request_duration_seconds", "histogram", "Time to answer.", list(requests.histogram())
        yield "apiserver_current_inflight_requests", "gauge", "Requests being worked on.", _by("request_kind", flight.now)
        rejected = "Requests turned away because too many were being worked on."
        yield "apiserver_rejected_requests_total", "counter", rejected, _by("request_kind", flight.refused)
        watched = {collection.resource: len(collection.listeners) for collection in collections if collection.listeners}
        yield "apiserver_registered_watchers", "gauge", "Watches that are open.", _by("resource", watched)
        slow = "Watches cut off because their client did not keep up."
        cut = {collection.resource: collection.cut_off for collection in collections if collection.cut_off}
        yield "apiserver_terminated_watchers_total", "counter", slow, _by("resource", cut)
        stored = {collection.resource: len(collection) for collection in collections if len(collection)}
        yield "apiserver_storage_objects", "gauge", "Objects held.", _by("resource", stored)
        past = {collection.resource: len(collection.history) for collection in collections if collection.history}
        yield "apiserver_watch_cache_events", "gauge", "Changes remembered for watches.", _by("resource", past)
        yield "apiserver_storage_size_bytes", "gauge", "Size of the state on disk.", [("", (), self._disk())]
        yield "apiserver_storage_resource_version", "gauge", "The last change.", [("", (), self._store.rv)]
        yield from _process()

    def _disk(self) -> int:
        files = (self._database, self._database.with_name(self._database.name + "-wal"))
        return sum(file.stat().st_size for file in files if file.exists())


def _process() -> Iterator[tuple[str, str, str, list[Sample]]]:
    """The process, from /proc: the same names as Prometheus' own clients use."""
    stat = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    seconds, pages = (int(stat[11]) + int(stat[12])) / 100, int(stat[21])
    yield "process_cpu_seconds_total", "counter", "CPU time used.", [("", (), seconds)]
    yield "process_resident_memory_bytes", "gauge", "Memory held.", [("", (), pages * 4096)]


def _by(label: str, values: dict[str, int]) -> list[Sample]:
    return [("", ((label, key),), value) for key, value in values.items()]


def _family(name: str, type_: str, help_: str, samples: list[Sample]) -> str:
    lines = [f"# HELP {name} {help_}\n# TYPE {name} {type_}\n"]
    for suffix, labels, value in samples:
        shown = ",".join(f'{key}="{text}"' for key, text in labels)
        lines.append(f"{name}{suffix}{{{shown}}} {value:.10g}\n" if shown else f"{name}{suffix} {value:.10g}\n")
    return "".join(lines)
