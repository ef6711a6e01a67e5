"""The kernel's text files as numbers. Pure; every function raises ValueError with the reason for a text it cannot read."""

from collections.abc import Iterable, Mapping

import msgspec

_V1_MEMORY = ("total_inactive_anon", "total_active_anon", "total_unevictable")
_V1_CACHE = ("total_active_file", "total_inactive_file")
_V1_REQUIRED = (*_V1_MEMORY, *_V1_CACHE, "total_cache", "total_rss")
_V2_MEMORY = ("inactive_anon", "active_anon", "unevictable")
_V2_CACHE = ("active_file", "inactive_file")
_V2_REQUIRED = (*_V2_MEMORY, *_V2_CACHE, "file", "anon")
_KIB = 1024
_PAGE = 4096


class CpuStat(msgspec.Struct, frozen=True):
    periods: int
    throttled: int
    throttled_ns: int


class MemoryUse(msgspec.Struct, frozen=True):
    """Bytes of a cgroup: what cannot be dropped, and the same plus page cache."""

    usage: int
    with_page_cache: int


class NodeMemory(msgspec.Struct, frozen=True):
    """Bytes of a machine or of one NUMA node."""

    total: int
    usage: int
    with_page_cache: int


class PressureLine(msgspec.Struct, frozen=True):
    avg10: float = 0.0
    avg60: float = 0.0
    avg300: float = 0.0
    total: int = 0


class Pressure(msgspec.Struct, frozen=True):
    some: PressureLine
    full: PressureLine
    full_supported: bool


def key_values(text: str) -> dict[str, str]:
    """Lines of ``key value …``; shorter lines are ignored."""
    pairs = (line.split(None, 2) for line in text.splitlines())
    return {pair[0]: pair[1] for pair in pairs if len(pair) >= 2}


def integers(text: str, keys: Iterable[str]) -> dict[str, int]:
    """The wanted keys of a key-value file, every one of which must be there."""
    found = key_values(text)
    try:
        return {key: int(found[key]) for key in keys}
    except KeyError as err:
        raise ValueError(f"no line {err.args[0]!r}") from None


def cpu_usage_ns(text: str, version: int) -> int:
    """``cpuacct.usage`` (v1) or ``cpu.stat`` (v2)."""
    return int(text) if version == 1 else integers(text, ("usage_usec",))["usage_usec"] * 1000


def cpu_stat(text: str, version: int) -> CpuStat:
    time_key, scale = ("throttled_time", 1) if version == 1 else ("throttled_usec", 1000)
    found = integers(text, ("nr_periods", "nr_throttled", time_key))
    return CpuStat(found["nr_periods"], found["nr_throttled"], found[time_key] * scale)


def memory_use(text: str, version: int) -> MemoryUse:
    """``memory.stat``."""
    required, memory, cache = (_V1_REQUIRED, _V1_MEMORY, _V1_CACHE) if version == 1 else (_V2_REQUIRED, _V2_MEMORY, _V2_CACHE)
    found = integers(text, required)
    usage = sum(found[key] for key in memory)
    return MemoryUse(usage, usage + sum(found[key] for key in cache))


def numa_pages(text: str, version: int) -> dict[int, int]:
    """``memory.numa_stat``: pages by NUMA node."""
    lines = text.splitlines()
    if version == 1:
        if not lines or not lines[0].startswith("total"):
            raise ValueError("first line does not start with total")
        return dict(_numa_tokens(lines[0]))
    if len(lines) < 2 or not lines[0].startswith("anon") or not lines[1].startswith("file"):
        raise ValueError("first two lines are not anon and file")
    anon, file = dict(_numa_tokens(lines[0])), dict(_numa_tokens(lines[1]))
    if list(anon) != list(range(len(anon))) or list(file) != list(anon):
        raise ValueError("NUMA nodes are not contiguous from 0, or differ between anon and file")
    return {node: anon[node] // _PAGE + file[node] // _PAGE for node in anon}


def _numa_tokens(line: str) -> Iterable[tuple[int, int]]:
    for token in line.split()[1:]:
        name, separator, number = token.partition("=")
        if not separator or not name.startswith("N"):
            raise ValueError(f"{token!r} is not N<node>=<number>")
        yield int(name[1:]), int(number)


def pressure(text: str) -> Pressure:
    """A PSI file. Kernels before 5.13 have no ``full`` line for CPU."""
    lines = dict(_pressure_line(line) for line in text.splitlines() if line)
    if "some" not in lines:
        raise ValueError("no line 'some'")
    return Pressure(lines["some"], lines.get("full", PressureLine()), "full" in lines)


def _pressure_line(line: str) -> tuple[str, PressureLine]:
    kind, *tokens = line.split()
    names = [token.partition("=")[0] for token in tokens]
    if kind not in ("some", "full") or names != ["avg10", "avg60", "avg300", "total"]:
        raise ValueError(f"{line!r} is not a line of pressure")
    values = [token.partition("=")[2] for token in tokens]
    return kind, PressureLine(float(values[0]), float(values[1]), float(values[2]), int(values[3]))


def _ticks(fields: list[str]) -> int:
    """User + nice + system + irq + softirq: time that somebody used."""
    if len(fields) < 8:
        raise ValueError(f"line {fields[0]!r} has {len(fields)} fields, must have at least 8")
    return int(fields[1]) + int(fields[2]) + int(fields[3]) + int(fields[6]) + int(fields[7])


def total_ticks(text: str) -> int:
    """``/proc/stat``: busy ticks of the machine."""
    for line in text.splitlines():
        fields = line.split()
        if fields and fields[0] == "cpu":
            return _ticks(fields)
    raise ValueError("no line 'cpu'")


def cpu_ticks(text: str) -> dict[int, int]:
    """``/proc/stat``: busy ticks by logical CPU."""
    rows = (line.split() for line in text.splitlines() if line.startswith("cpu"))
    ticks = {int(row[0][3:]): _ticks(row) for row in rows if row[0][3:].isdigit()}
    if not ticks:
        raise ValueError("no line 'cpu<N>'")
    return ticks


def memory_lines(text: str) -> dict[str, int]:
    """``/proc/meminfo`` by name in its own unit (KiB, or a count). NUMA files' prefix is dropped, bad numbers are 0."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        words = name.split()
        number = rest.split(None, 1)
        if words and number:
            found[words[-1]] = int(number[0]) if number[0].isdigit() else 0
    return found


def node_memory(text: str) -> NodeMemory:
    """``/proc/meminfo``: used is what is neither free nor reclaimable."""
    lines = memory_lines(text)
    total, free, available = _need(lines, "MemTotal", "MemFree", "MemAvailable")
    return NodeMemory(total * _KIB, (total - available) * _KIB, (total - free) * _KIB)


def numa_memory(text: str) -> NodeMemory:
    """A NUMA node's ``meminfo``, which has no MemAvailable."""
    lines = memory_lines(text)
    total, free, *rest = _need(lines, "MemTotal", "MemFree", "Active(file)", "Inactive(file)", "SReclaimable")
    return NodeMemory(total * _KIB, max(total - free - sum(rest), 0) * _KIB, max(total - free, 0) * _KIB)


def _need(lines: Mapping[str, int], *names: str) -> list[int]:
    missing = [name for name in names if name not in lines]
    if missing:
        raise ValueError(f"no line {missing[0]!r}")
    return [lines[name] for name in names]


def process_ids(text: str) -> list[int]:
    """``cgroup.procs`` or ``tasks``."""
    return [int(line) for line in text.splitlines() if line]


class ProcessStat(msgspec.Struct, frozen=True):
    """The head of ``/proc/<pid>/stat``."""

    pid: int
    comm: str
    state: str
    ppid: int
    pgrp: int


def process_stat(text: str) -> ProcessStat:
    """A command's name may hold spaces and parentheses: it ends at the last one."""
    head, _, tail = text.rpartition(")")
    pid, separator, comm = head.partition(" (")
    fields = tail.split()
    if not separator or len(fields) < 3:
        raise ValueError(f"{text[:80]!r} is not a process' stat")
    return ProcessStat(int(pid), comm, fields[0], int(fields[1]), int(fields[2]))


_IDLE_LINES = 31
_COLD_FROM = 5
_COLD_KINDS = ("cfei", "dfei", "cfui", "dfui")


def cold_bytes(text: str) -> int:
    """``memory.idle_page_stats`` (kidled): bytes of file pages that nobody touched for long."""
    lines = text.splitlines()
    if len(lines) != _IDLE_LINES:
        raise ValueError(f"{len(lines)} lines, must be {_IDLE_LINES}")
    rows = {fields[0]: fields[1:] for fields in map(str.split, lines[14:]) if fields}
    missing = [kind for kind in _COLD_KINDS if kind not in rows]
    if missing:
        raise ValueError(f"no line {missing[0]!r}")
    return sum(int(number) for kind in _COLD_KINDS for number in rows[kind][_COLD_FROM:])
