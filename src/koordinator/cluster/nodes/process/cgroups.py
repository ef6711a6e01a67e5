"""The kubelet's cgroup tree, on v1 (one hierarchy per controller) and v2 (one for all).

Values are written once, when a directory is created; afterwards they belong to koordlet. The one exception is the Burstable
class's shares, which follow the pods, as with the kubelet. Directories are named relative to the root, as in
``koord-1a2b3c4d/kubepods/besteffort/pod<uid>/<container id>``.
"""

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from koordinator.cluster.nodes.process.limits import PERIOD_US, Limits, weight
from koordinator.errors import Unavailable

log = logging.getLogger(__name__)

REQUIRED = ("cpu", "memory")
V1_REQUIRED = ("cpu", "cpuacct", "memory", "cpuset")
V1_OPTIONAL = ("pids", "blkio", "perf_event")
V2_WANTED = ("cpu", "memory", "cpuset", "io", "pids")


class Cgroups:
    """What the two versions share: creating level by level, listing, killing, removing."""

    version: int

    def __init__(self, root: Path) -> None:
        self.root = root

    def bases(self) -> list[Path]:
        """The directory of each hierarchy that a process must join."""
        raise NotImplementedError

    def create(self, directory: str, limits: Limits = Limits()) -> None:  # noqa: B008 — immutable
        """Make a directory and its missing parents, and write its limits if it is new: an old one's are koordlet's by now.

        Raises Unavailable naming what failed.
        """
        known = all((base / directory).is_dir() for base in self.bases())
        try:
            for level in _levels(directory):
                self._make(level)
            if not known:
                self.write(directory, limits)
        except OSError as err:
            raise Unavailable(f"cgroup {directory}", f"{err.strerror} ({err.filename})") from err

    def write(self, directory: str, limits: Limits) -> None:
        raise NotImplementedError

    def _make(self, directory: str) -> None:
        raise NotImplementedError

    def oom_events(self, directory: str) -> Path:
        """The file whose ``oom_kill`` line counts processes that the kernel killed for memory."""
        raise NotImplementedError

    def procs_files(self, directory: str) -> list[str]:
        """Where a process writes its pid to join: one file per hierarchy."""
        return [str(base / directory / "cgroup.procs") for base in self.bases()]

    def children(self, directory: str) -> list[str]:
        """Names of the directories right below, in any hierarchy."""
        names: set[str] = set()
        for base in self.bases():
            names.update(_subdirectories(base / directory))
        return sorted(names)

    def pids(self, directory: str) -> set[int]:
        """Processes in this directory and below, in any hierarchy."""
        return {pid for base in self.bases() for path in _walk(base / directory) for pid in _read_pids(path)}

    def kill(self, directory: str) -> int:
        """Send SIGKILL to every process in and below. Returns how many were there; call again until 0."""
        return sum(_kill(pid) for pid in self.pids(directory))

    def remove(self, directory: str) -> bool:
        """Remove a directory and all below. False while something is still in it; call again later."""
        gone = True
        for base in self.bases():
            for path in reversed(list(_walk(base / directory))):
                gone = self._rmdir(path) and gone
        return gone

    def _rmdir(self, path: Path) -> bool:
        try:
            path.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True


class CgroupsV1(Cgroups):
    version = 1

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.controllers = [name for name in (*V1_REQUIRED, *V1_OPTIONAL) if _writable_hierarchy(root / name)]

    def bases(self) -> list[Path]:
        return [self.root / name for name in self.controllers]

    def write(self, directory: str, limits: Limits) -> None:
        values = [
            ("cpu", "cpu.shares", limits.shares),
            ("cpu", "cpu.cfs_period_us", PERIOD_US if limits.quota_us else None),
            ("cpu", "cpu.cfs_quota_us", limits.quota_us),
            ("memory", "memory.limit_in_bytes", limits.memory),
            ("pids", "pids.max", limits.pids),
        ]
        for controller, file, value in values:
            if value is not None and controller in self.controllers:
                _write(self.root / controller / directory / file, str(value))

    def oom_events(self, directory: str) -> Path:
        return self.root / "memory" / directory / "memory.oom_control"

    def _make(self, directory: str) -> None:
        for base in self.bases():
            (base / directory).mkdir(exist_ok=True)
        path = self.root / "cpuset" / directory
        for file in ("cpuset.cpus", "cpuset.mems"):  # a v1 cpuset starts empty, and nothing may join an empty one
            if not _read(path / file).strip():
                _write(path / file, _read(path.parent / file).strip())


class CgroupsV2(Cgroups):
    version = 2

    def bases(self) -> list[Path]:
        return [self.root]

    def write(self, directory: str, limits: Limits) -> None:
        values = [
            ("cpu.weight", limits.shares and weight(limits.shares)),
            ("cpu.max", limits.quota_us and f"{limits.quota_us} {PERIOD_US}"),
            ("memory.max", limits.memory),
            ("pids.max", limits.pids),
        ]
        for file, value in values:
            if value is not None:
                _write(self.root / directory / file, str(value))

    def oom_events(self, directory: str) -> Path:
        return self.root / directory / "memory.events"

    def kill(self, directory: str) -> int:
        found = self.pids(directory)
        if found:
            try:
                _write(self.root / directory / "cgroup.kill", "1")
            except OSError:  # before Linux 5.14
                return super().kill(directory)
        return len(found)

    def _make(self, directory: str) -> None:
        path = self.root / directory
        available = _read(path.parent / "cgroup.controllers").split()
        enabled = _read(path.parent / "cgroup.subtree_control").split()
        for name in V2_WANTED:
            if name in available and name not in enabled:
                self._enable(path.parent, name)
        path.mkdir(exist_ok=True)

    def _enable(self, path: Path, controller: str) -> None:
        """Hand a controller down. One that the kernel refuses is missed only when we need it."""
        try:
            _append(path / "cgroup.subtree_control", f"+{controller}")
        except OSError as err:
            if controller in REQUIRED:
                raise
            log.info("cgroup controller %s stays off below %s: %s", controller, path, err.strerror)


def detect(root: Path) -> Cgroups:
    """The machine's cgroups. Raises Unavailable naming the first controller that is missing."""
    if (root / "cgroup.controllers").exists():
        available = _read(root / "cgroup.controllers").split()
        for name in REQUIRED:
            if name not in available:
                raise Unavailable(f"cgroup controller {name}", f"{root}/cgroup.controllers does not list it")
        return CgroupsV2(root)
    for name in V1_REQUIRED:
        if not _is_hierarchy(root / name):
            raise Unavailable(f"cgroup controller {name}", f"{root / name} is not mounted")
    cgroups = CgroupsV1(root)
    for name in V1_REQUIRED:
        if name not in cgroups.controllers:
            raise Unavailable(f"cgroup controller {name}", f"{root / name} is not writable")
    return cgroups


def check_writable(cgroups: Cgroups, directory: str) -> None:
    """Try to make a directory in each hierarchy and leave nothing behind. Raises Unavailable."""
    for base in cgroups.bases():
        path = base / directory
        try:
            path.mkdir()
            path.rmdir()
        except FileExistsError:
            continue
        except OSError as err:
            raise Unavailable(f"cgroup {path}", f"cannot be made: {err.strerror}") from err


def oom_kills(path: Path) -> int:
    """The ``oom_kill`` count of memory.oom_control (v1) or memory.events (v2); 0 when it cannot be read."""
    for line in _read(path).splitlines():
        name, _, number = line.partition(" ")
        if name == "oom_kill":
            return int(number)
    return 0


def _levels(directory: str) -> Iterator[str]:
    parts = directory.strip("/").split("/")
    for count in range(1, len(parts) + 1):
        yield "/".join(parts[:count])


def _walk(path: Path) -> Iterator[Path]:
    """The directory and those below, parents first."""
    if path.is_dir():
        yield path
        for name in _subdirectories(path):
            yield from _walk(path / name)


def _subdirectories(path: Path) -> list[str]:
    try:
        return [entry.name for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def _is_hierarchy(path: Path) -> bool:
    """Whether the kernel's files are there: where a controller is not mounted, its directory may still stand, empty."""
    return (path / "cgroup.procs").exists()


def _writable_hierarchy(path: Path) -> bool:
    return _is_hierarchy(path) and os.access(path, os.W_OK)


def _read_pids(directory: Path) -> list[int]:
    return [int(word) for word in _read(directory / "cgroup.procs").split()]


def _kill(pid: int) -> int:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return 0
    return 1


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _write(path: Path, text: str) -> None:
    _put(path, text, os.O_TRUNC)


def _append(path: Path, text: str) -> None:
    """For files whose writes add up; the kernel's own take no notice of the difference."""
    _put(path, text + " ", os.O_APPEND)


def _put(path: Path, text: str, flag: int) -> None:
    """One write to a file that must be there already."""
    fd = os.open(path, os.O_WRONLY | flag)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
