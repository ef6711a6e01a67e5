"""What the machine is: CPUs and where they sit, NUMA nodes, clock tick, cgroup driver. From /proc and /sys; no programs run."""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from koordinator.api import cpuset
from koordinator.koordlet.host import files, parse
from koordinator.koordlet.host.files import HotFiles
from koordinator.koordlet.host.paths import Driver, Layout


class Processor(msgspec.Struct, frozen=True, order=True):
    """One logical CPU. Ordered as lists of them are: by node, socket, core, CPU."""

    node: int
    socket: int
    core: int
    cpu: int


class Roots(msgspec.Struct, frozen=True):
    """Where the machine's files lie: ``/`` on a node, below a temporary directory in tests."""

    cgroup: str = "/sys/fs/cgroup"
    proc: str = "/proc"
    sys: str = "/sys"


def jiffy_ns() -> int:
    """Length of a clock tick of /proc/stat."""
    return 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def processors(sys_root: str) -> list[Processor]:
    """Online logical CPUs, sorted. Raises OSError or ValueError when there is no topology to read."""
    base = Path(sys_root) / "devices/system/cpu"
    nodes = _cpu_nodes(sys_root)
    online = cpuset.parse(files.read_once(base / "online").strip())
    found = [_processor(base / f"cpu{cpu}/topology", cpu, nodes.get(cpu, 0)) for cpu in online]
    if not found:
        raise ValueError(f"no CPU is online in {base}")
    return sorted(found)


def _processor(topology: Path, cpu: int, node: int) -> Processor:
    socket = int(files.read_once(topology / "physical_package_id"))
    core = min(_siblings(topology, cpu))
    return Processor(node, max(socket, 0), core, cpu)


def _siblings(topology: Path, cpu: int) -> Iterable[int]:
    """CPUs of the same physical core; its smallest is a core number that is unique on the machine, unlike ``core_id``."""
    try:
        return cpuset.parse(files.read_once(topology / "thread_siblings_list").strip()) or (cpu,)
    except OSError:
        return (cpu,)


def _cpu_nodes(sys_root: str) -> dict[int, int]:
    nodes: dict[int, int] = {}
    for number in numa_nodes(sys_root):
        path = Path(sys_root) / f"bus/node/devices/node{number}/cpulist"
        if path.exists():
            nodes.update(dict.fromkeys(cpuset.parse(files.read_once(path).strip()), number))
    return nodes


def numa_nodes(sys_root: str) -> list[int]:
    """NUMA nodes with memory of their own: generic initiators have none."""
    base = Path(sys_root) / "bus/node/devices"
    initiators: frozenset[int] = frozenset()
    listed = Path(sys_root) / "devices/system/node/has_generic_initiator"
    if listed.exists():
        initiators = cpuset.parse(files.read_once(listed).strip())
    names = [entry.name for entry in base.iterdir()] if base.is_dir() else []
    numbers = {int(name[4:]) for name in names if name.startswith("node") and name[4:].isdigit()}
    return sorted(numbers - initiators)


def numa_memory(sys_root: str, hot: HotFiles) -> dict[int, parse.NodeMemory]:
    """Memory by NUMA node. Nodes whose file cannot be read are left out; raises ValueError when the ids are not 0..n-1."""
    found: dict[int, parse.NodeMemory] = {}
    for number in numa_nodes(sys_root):
        with contextlib.suppress(OSError, ValueError):
            found[number] = parse.numa_memory(hot.read(f"{sys_root}/bus/node/devices/node{number}/meminfo"))
    if sorted(found) != list(range(len(found))):
        raise ValueError(f"NUMA nodes {sorted(found)} are not contiguous from 0")
    return found


def detect_driver(cgroup_root: str, version: int, parent: str = "") -> Driver | None:
    """By the directory that the kubelet made; None while there is none."""
    base = Path(cgroup_root) if version == 2 else Path(cgroup_root) / "cpu"
    for driver in (Driver.SYSTEMD, Driver.CGROUPFS):
        if (base / Layout(driver, parent).root).is_dir():
            return driver
    return None
