"""Cgroups as typed values below one root, whichever version the machine has.

Every read raises OSError or ValueError; nothing is cached.
"""

from pathlib import Path

from koordinator.api import cpuset
from koordinator.koordlet.host import convert, files, parse, registry
from koordinator.koordlet.host.files import HotFiles
from koordinator.koordlet.host.registry import Check, File

_V2_MARK = "cgroup.controllers"


def detect_version(root: str) -> int:
    """2 when the root is a unified hierarchy, else 1."""
    return 2 if (Path(root) / _V2_MARK).exists() else 1


def missing_controllers(root: str, version: int) -> list[str]:
    """Controllers that koordlet needs and that are not there."""
    if version == 2:
        present = set((Path(root) / _V2_MARK).read_text().split())
        return sorted({"cpu", "cpuset", "memory"} - present)
    return [name for name in ("cpu", "cpuacct", "cpuset", "memory") if not (Path(root) / name).is_dir()]


class Cgroups:
    """Reads and writes files of cgroups below ``root``; ``kubepods`` is where features are looked for once."""

    def __init__(self, root: str, version: int, hot: HotFiles, kubepods: str = "kubepods") -> None:
        self.root, self.version, self.hot, self.kubepods = root.rstrip("/") or "/", version, hot, kubepods
        self._supported: set[str] = set()
        self._paths: dict[tuple[str, str], str] = {}

    def path(self, name: str, group: str) -> str:
        """Absolute path of a file by its v1 name. Raises LookupError when this hierarchy has none."""
        if (known := self._paths.get((name, group))) is None:
            known = registry.path(self.root, self.version, registry.find(name, self.version), group)
            self._paths[name, group] = known
        return known

    def directory(self, name: str, group: str) -> str:
        """The directory that holds a file."""
        return self.path(name, group).rpartition("/")[0]

    def read(self, name: str, group: str) -> str:
        """Content without surrounding newlines."""
        return self.hot.read(self.path(name, group)).strip("\n")

    def read_once(self, name: str, group: str) -> str:
        """As ``read``, for files that are not read every round: an open file keeps a removed cgroup half alive."""
        return files.read_once(self.path(name, group)).strip("\n")

    def write(self, name: str, group: str, text: str) -> None:
        files.write(self.path(name, group), text)

    def supports(self, file: File, group: str) -> bool:
        """Whether the kernel has the file. A positive answer is kept, a negative one is not: kubepods may come later."""
        where = {Check.FILE: group, Check.KUBEPODS: self.kubepods, Check.ROOT: ""}.get(file.check(self.version))
        if where is None or file.name in self._supported:
            return True
        found = Path(registry.path(self.root, self.version, file, where)).exists()
        if found and file.check(self.version) is not Check.FILE:
            self._supported.add(file.name)
        return found

    def exists(self, name: str, group: str) -> bool:
        """Whether the cgroup is there, in the hierarchy of the file ``name``."""
        return Path(self.directory(name, group)).is_dir()

    def forget(self, group: str) -> None:
        """Drop what is kept open and known of a cgroup that is gone."""
        inside = group + "/"
        for key in [key for key in self._paths if key[1] == group or key[1].startswith(inside)]:
            self.hot.forget(self._paths.pop(key))

    def children(self, name: str, group: str) -> list[str]:
        """Child cgroups in the hierarchy of the file ``name``."""
        return [f"{group}/{child}" for child in files.directories(self.directory(name, group))]

    def cpu_usage_ns(self, group: str) -> int:
        return parse.cpu_usage_ns(self.read("cpuacct.usage", group), self.version)

    def cpu_stat(self, group: str) -> parse.CpuStat:
        return parse.cpu_stat(self.read("cpu.stat", group), self.version)

    def memory_use(self, group: str) -> parse.MemoryUse:
        return parse.memory_use(self.read("memory.stat", group), self.version)

    def cpu_quota(self, group: str) -> int:
        content = self.read("cpu.cfs_quota_us", group)
        return convert.cpu_max_quota(content) if self.version == 2 else int(content)

    def cpu_period(self, group: str) -> int:
        content = self.read("cpu.cfs_period_us", group)
        return convert.cpu_max_period(content) if self.version == 2 else int(content)

    def cpu_shares(self, group: str) -> int:
        number = int(self.read("cpu.shares", group))
        return convert.weight_to_shares(number) if self.version == 2 else number

    def memory_limit(self, group: str) -> int:
        return convert.memory_limit(self.read("memory.limit_in_bytes", group), self.version)

    def cpus(self, group: str) -> frozenset[int]:
        return cpuset.parse(self.read("cpuset.cpus.effective" if self.version == 2 else "cpuset.cpus", group))
