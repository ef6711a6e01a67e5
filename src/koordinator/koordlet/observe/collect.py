"""Collectors: each reads its files once a round and returns samples. Rates need two readings: the first round is silent.

A pod or container whose files cannot be read is left out of the round; the others go on.
"""

import contextlib
from collections.abc import Mapping, Sequence

import msgspec

from koordinator.api.strategies import HostApplication
from koordinator.clock import Clock
from koordinator.koordlet.host import machine, parse
from koordinator.koordlet.host.cgroup import Cgroups
from koordinator.koordlet.host.files import HotFiles
from koordinator.koordlet.host.paths import Layout
from koordinator.koordlet.notices import Notices
from koordinator.koordlet.observe import rates, series
from koordinator.koordlet.observe.rates import Point, Reading, TicksByCpu
from koordinator.koordlet.view import PodView

Sample = tuple[str, str, float]
"""(metric kind, id, value)."""


class Host(msgspec.Struct, frozen=True):
    """What every collector reads from."""

    cgroups: Cgroups
    roots: machine.Roots
    layout: Layout
    clock: Clock
    notices: Notices

    @property
    def hot(self) -> HotFiles:
        return self.cgroups.hot

    def now_ns(self) -> int:
        return int(self.clock.monotonic() * 1e9)


class NodeCollector:
    """The machine as a whole, and its NUMA nodes."""

    def __init__(self, host: Host, jiffy_ns: int) -> None:
        self._host, self._jiffy = host, jiffy_ns
        self._last: Reading | None = None
        self._last_cpus: TicksByCpu | None = None
        self.point: Point | None = None
        self.numa: dict[int, Point] = {}

    def collect(self, node_of_cpu: Mapping[int, int]) -> list[Sample]:
        host = self._host
        try:
            stat = host.hot.read(f"{host.roots.proc}/stat")
            now = Reading(host.now_ns(), parse.total_ticks(stat))
            memory = parse.node_memory(host.hot.read(f"{host.roots.proc}/meminfo"))
        except (OSError, ValueError) as err:
            host.notices.say("node", f"node usage cannot be read: {err}; no node samples until it can")
            return []
        host.notices.over("node", "node usage can be read again")
        cores, self._last = rates.cores(self._last, now, self._jiffy), now
        numa = self._numa(stat, now.time_ns, node_of_cpu)
        if cores is None:
            return []
        self.point = Point(host.clock.now(), cores, memory.usage)
        usage = [(series.NODE_CPU, "", cores), (series.NODE_MEMORY, "", float(memory.usage))]
        return [*usage, (series.NODE_MEMORY_CACHE, "", float(memory.with_page_cache)), *numa]

    def _numa(self, stat: str, now_ns: int, node_of_cpu: Mapping[int, int]) -> list[Sample]:
        """Never in the way of node metrics: what cannot be read is left out."""
        host = self._host
        try:
            cpus = TicksByCpu(now_ns, parse.cpu_ticks(stat))
            memory = machine.numa_memory(host.roots.sys, host.hot)
        except (OSError, ValueError) as err:
            host.notices.say("numa", f"NUMA usage cannot be read: {err}")
            return []
        last, self._last_cpus = self._last_cpus, cpus
        used = rates.numa_cores(last, cpus, node_of_cpu, self._jiffy) if last else {}
        seconds = host.clock.now()
        self.numa = {node: Point(seconds, used[node], memory[node].usage) for node in used if node in memory}
        cpu = [(series.NUMA_CPU, str(node), point.cpu) for node, point in self.numa.items()]
        return [*cpu, *((series.NUMA_MEMORY, str(node), point.memory) for node, point in self.numa.items())]


class PodCollector:
    """Pods and their containers. ``point`` is their sum, ``cpu`` the cores by pod UID of this round and the one before."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._usage: dict[str, Reading] = {}
        self._throttling: dict[str, parse.CpuStat] = {}
        self._cpu: dict[str, tuple[float, float]] = {}
        self.point: Point | None = None

    def collect(self, pods: Sequence[PodView]) -> list[Sample]:
        before, throttled_before = self._usage, self._throttling
        self._usage, self._throttling = {}, {}
        samples: list[Sample] = []
        started, cpu, memory = self._host.clock.now(), 0.0, 0.0
        for pod in pods:
            samples += self._throttled_of(pod.uid, pod.group, throttled_before, series.POD_THROTTLED)
            found = self._usage_of(pod.uid, pod.group, before, _POD)
            if found is not None:
                point, own = found
                self._cpu[pod.uid] = (started, point.cpu)
                cpu, memory = cpu + point.cpu, memory + point.memory
                samples += own
            for container in pod.containers:
                samples += self._throttled_of(container.id, container.group, throttled_before, series.CONTAINER_THROTTLED)
                inner = self._usage_of(container.id, container.group, before, _CONTAINER)
                samples += inner[1] if inner else []
        self.point = Point(started, cpu, memory)
        return samples

    def recent_cpu(self, not_before: float) -> dict[str, float]:
        """Cores by pod UID, including pods that the kubelet has just stopped listing. Drops older ones."""
        self._cpu = {uid: known for uid, known in self._cpu.items() if known[0] >= not_before}
        return {uid: cores for uid, (_, cores) in self._cpu.items()}

    def _usage_of(
        self, key: str, group: str, before: Mapping[str, Reading], kinds: tuple[str, str, str]
    ) -> tuple[Point, list[Sample]] | None:
        cgroups = self._host.cgroups
        try:
            now = Reading(self._host.now_ns(), cgroups.cpu_usage_ns(group))
            memory = cgroups.memory_use(group)
        except FileNotFoundError:
            if key in before:  # it was there a round ago: let go of what is still open
                cgroups.forget(group)
            return None
        except (OSError, ValueError) as err:
            self._host.notices.say(f"usage {group}", f"usage of {group} cannot be read: {err}; it is left out until it can")
            return None
        self._host.notices.over(f"usage {group}")
        self._usage[key] = now
        if (cores := rates.cores(before.get(key), now)) is None:
            return None
        cpu_kind, memory_kind, cache_kind = kinds
        point = Point(self._host.clock.now(), cores, memory.usage)
        usage = [(cpu_kind, key, cores), (memory_kind, key, float(memory.usage))]
        return point, [*usage, (cache_kind, key, float(memory.with_page_cache))]

    def _throttled_of(self, key: str, group: str, before: Mapping[str, parse.CpuStat], kind: str) -> list[Sample]:
        """Without a sample when the group has no CPU controller (v2), or is gone: throttling is then unknown, not zero."""
        try:
            now = self._host.cgroups.cpu_stat(group)
        except (OSError, ValueError):
            return []
        self._throttling[key] = now
        last = before.get(key)
        return [(kind, key, rates.throttled(last, now))] if last else []


_POD = (series.POD_CPU, series.POD_MEMORY, series.POD_MEMORY_CACHE)
_CONTAINER = (series.CONTAINER_CPU, series.CONTAINER_MEMORY, series.CONTAINER_MEMORY_CACHE)


class HostAppCollector:
    """Applications outside Kubernetes that the NodeSLO names."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._usage: dict[str, Reading] = {}
        self.point: Point | None = None
        self.cpu: dict[str, float] = {}

    def collect(self, apps: Sequence[HostApplication]) -> list[Sample]:
        before, self._usage, self.cpu = self._usage, {}, {}
        samples: list[Sample] = []
        total_cpu = total_memory = 0.0
        for app in apps:
            name, group = app.name, self._host.layout.host_app_dir(app)
            try:
                now = Reading(self._host.now_ns(), self._host.cgroups.cpu_usage_ns(group))
                memory = self._host.cgroups.memory_use(group)
                whole = int(self._host.cgroups.read("memory.usage_in_bytes", group))
            except (OSError, ValueError):
                continue
            self._usage[name] = now
            if (cores := rates.cores(before.get(name), now)) is None:
                continue
            self.cpu[name] = cores
            total_cpu, total_memory = total_cpu + cores, total_memory + memory.usage
            samples += [(series.HOST_APP_CPU, name, cores), (series.HOST_APP_MEMORY, name, float(memory.usage))]
            samples.append((series.HOST_APP_MEMORY_CACHE, name, float(whole)))
        self.point = Point(self._host.clock.now(), total_cpu, total_memory)
        return samples


class BestEffortCollector:
    """The best-effort tier: what it may use, asked for and used, in milli-CPU."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._last: Reading | None = None

    def collect(self, pods: Sequence[PodView]) -> list[Sample]:
        host, group = self._host, self._host.layout.best_effort
        request = rates.best_effort_request([pod.pod for pod in pods])
        samples: list[Sample] = [(series.NODE_BE, "request", float(request))]
        try:
            now = Reading(host.now_ns(), host.cgroups.cpu_usage_ns(group))
            samples.append((series.NODE_BE, "usage", float(rates.best_effort_usage(self._last, now))))
            self._last = now
        except (OSError, ValueError):
            self._last = None
        with contextlib.suppress(OSError, ValueError):  # no CPU set hierarchy, or no tier yet: nothing limits, nothing to say
            samples.append((series.NODE_BE, "real-limit", float(self._limit(group))))
        return samples

    def _limit(self, group: str) -> int:
        cgroups = self._host.cgroups
        inner = [deep for pod in cgroups.children("cpuset.cpus", group) for deep in cgroups.children("cpuset.cpus", pod)]
        cpus = [len(cgroups.cpus(one)) for one in (group, *inner)]
        return rates.best_effort_limit(cpus, cgroups.cpu_quota(group), cgroups.cpu_period(group))


def system_samples(
    node: NodeCollector, pods: PodCollector, apps: HostAppCollector, now: float, outdated: float
) -> list[Sample]:
    """What is left of the node's usage. Nothing when a part of the sum is missing."""
    found = rates.system_usage(rates.Usages(node.point, [pods.point], apps.point, node.numa), now, outdated)
    if found is None:
        return []
    numa = [(series.SYS_NUMA_CPU, str(number), cores) for number, cores in found.numa_cpu.items()]
    return [(series.SYS_CPU, "", found.cpu), (series.SYS_MEMORY, "", found.memory), *numa]
