"""Every cgroup file that we know, under its v1 name: where it lies in v1 and v2, what it accepts, how a value is written.

The rest of koordlet says ``cpu.shares = 1024`` and never asks which hierarchy the machine has.
"""

from collections.abc import Callable
from enum import StrEnum

import msgspec

from koordinator.api import cpuset
from koordinator.koordlet.host import convert, validate
from koordinator.koordlet.host.validate import MAX_INT64, Validator, anything, within


class Check(StrEnum):
    """How to find out whether the kernel has the file."""

    ALWAYS = "always"
    FILE = "file"  # in the very cgroup, each time
    KUBEPODS = "kubepods"  # in the root of all pods; a positive answer is kept
    ROOT = "root"  # in the root of the controller


class Merge(StrEnum):
    """Which of two values is wider, for updates ordered by level."""

    NONE = "none"
    LARGER = "larger"
    QUOTA = "quota"
    CPUSET = "cpuset"


class File(msgspec.Struct, frozen=True):
    """One cgroup file. ``v2`` is empty where the unified hierarchy has no counterpart, ``subsystem`` where v1 has none."""

    name: str
    subsystem: str
    v2: str
    v1_check: Check = Check.ALWAYS
    v2_check: Check = Check.ALWAYS
    accepts: Validator = anything
    merge: Merge = Merge.NONE
    encode_v2: Callable[[str], str] = lambda value: value
    by_device: bool = False

    def exists_in(self, version: int) -> bool:
        return bool(self.v2 if version == 2 else self.subsystem)

    def check(self, version: int) -> Check:
        return self.v2_check if version == 2 else self.v1_check

    def encode(self, value: str, version: int) -> str:
        """The text to write for a value in v1 terms. Raises ValueError when the file does not accept it."""
        if reason := self.accepts(value):
            raise ValueError(f"{self.name}: {reason}")
        return self.encode_v2(value) if version == 2 else value

    def same(self, content: str, text: str) -> bool:
        """Whether the file already says ``text``."""
        if content == text:
            return True
        if self.merge is Merge.CPUSET:
            return cpuset.equal(content, text)
        if self.v2 == "cpu.max" and " " in content:
            quota, _, period = content.partition(" ")
            return text == (quota if self.name == "cpu.cfs_quota_us" else period)
        if self.by_device:
            return not device_line_differs(content, text)
        return {content, text} == {"max", str(MAX_INT64)}

    def widened(self, content: str, value: str) -> str | None:
        """What to write while going down from parents to children; None when the new value is not wider than the old."""
        match self.merge:
            case Merge.LARGER | Merge.QUOTA:
                return value if convert.bound(value) > convert.bound(content) else None
            case Merge.CPUSET:
                old, new = cpuset.parse(content), cpuset.parse(value)
                return None if new <= old else cpuset.to_text(old | new)
            case _:
                return value


def device_line_differs(content: str, text: str) -> bool:
    """Whether ``major:minor value`` has to be written: 0 takes a device's line away, so it counts only where there is one."""
    device, _, value = text.partition(" ")
    lines = content.splitlines()
    if value == "0":
        return any(line.split(" ")[0] == device for line in lines)
    return text not in lines


def _or_max(value: str) -> str:
    return "max" if value == "-1" else value


def _weight(value: str) -> str:
    return str(convert.shares_to_weight(int(value)))


A, F, K, R = Check.ALWAYS, Check.FILE, Check.KUBEPODS, Check.ROOT
_WHOLE = within(0, MAX_INT64)


def _anolis(name: str, low: int, high: int) -> File:
    """Memory features of the Anolis and Alibaba kernels."""
    return File(name, "memory", name, K, F, within(low, high))


def _blkio(name: str, check: Check, accepts: Validator) -> File:
    return File(name, "blkio", "", check, A, accepts, by_device=True)


_FILES = (
    File("cpu.stat", "cpu", "cpu.stat"),
    File("cpu.shares", "cpu", "cpu.weight", accepts=within(2, 262_144), encode_v2=_weight),
    File("cpu.cfs_quota_us", "cpu", "cpu.max", merge=Merge.QUOTA, encode_v2=_or_max),
    File("cpu.cfs_period_us", "cpu", "cpu.max", encode_v2=_or_max),
    File("cpu.cfs_burst_us", "cpu", "cpu.max.burst", F, K, within(0, 100_000_000)),
    File("cpu.bvt_warp_ns", "cpu", "cpu.bvt_warp_ns", F, F, within(-1, 2)),
    File("cpu.idle", "cpu", "cpu.idle", K, K, within(0, 1)),
    File("tasks", "cpu", "cgroup.threads"),
    File("cgroup.procs", "cpu", "cgroup.procs"),
    File("cpuset.cpus", "cpuset", "cpuset.cpus", accepts=validate.cpu_list, merge=Merge.CPUSET),
    File("cpuset.cpus.effective", "", "cpuset.cpus.effective"),
    File("cpuacct.stat", "cpuacct", "cpu.stat"),
    File("cpuacct.usage", "cpuacct", "cpu.stat"),
    File("cpu.pressure", "cpuacct", "cpu.pressure", K, K),
    File("memory.pressure", "cpuacct", "memory.pressure", K, K),
    File("io.pressure", "cpuacct", "io.pressure", K, K),
    File("memory.limit_in_bytes", "memory", "memory.max", encode_v2=_or_max),
    File("memory.usage_in_bytes", "memory", "memory.current"),
    File("memory.stat", "memory", "memory.stat"),
    File("memory.numa_stat", "memory", "memory.numa_stat"),
    File("memory.min", "memory", "memory.min", K, A, _WHOLE, Merge.LARGER),
    File("memory.low", "memory", "memory.low", K, A, _WHOLE, Merge.LARGER),
    File("memory.high", "memory", "memory.high", K, A, _WHOLE, Merge.LARGER),
    _anolis("memory.wmark_ratio", 0, 100),
    _anolis("memory.wmark_scale_factor", 1, 1000),
    _anolis("memory.wmark_min_adj", -25, 50),
    _anolis("memory.priority", 0, 12),
    _anolis("memory.use_priority_oom", 0, 1),
    _anolis("memory.oom.group", 0, 1),
    File("memory.idle_page_stats", "memory", "", K),
    File("memory.pagecache_limit.enable", "", "memory.pagecache_limit.enable", A, F, within(0, 1)),
    File("memory.pagecache_limit.sync", "", "memory.pagecache_limit.sync", A, F, within(0, 1)),
    File("memory.pagecache_limit.size", "", "memory.pagecache_limit.size", A, F, _WHOLE),
    _blkio("blkio.throttle.read_iops_device", K, validate.device_number(0, MAX_INT64)),
    _blkio("blkio.throttle.write_iops_device", K, validate.device_number(0, MAX_INT64)),
    _blkio("blkio.throttle.read_bps_device", K, validate.device_number(0, MAX_INT64)),
    _blkio("blkio.throttle.write_bps_device", K, validate.device_number(0, MAX_INT64)),
    _blkio("blkio.cost.weight", K, validate.device_number(1, 100)),
    _blkio("blkio.cost.qos", R, validate.device_settings(7, 0, ("rpct", "rlat", "wpct", "wlat"))),
    _blkio(
        "blkio.cost.model",
        R,
        validate.device_settings(8, 1, ("rbps", "rseqiops", "rrandiops", "wbps", "wseqiops", "wrandiops")),
    ),
    File("net_cls.classid", "net_cls", "net_cls.classid", K, K, validate.net_class),
)

SYSTEM_FILES: dict[str, Validator] = {
    "min_free_kbytes": within(10_240, 10_485_760),
    "watermark_scale_factor": within(10, 400),
    "reap_background": within(0, 1),
    "sched_group_identity_enabled": within(0, 1),
}
"""What files outside cgroups accept."""

FILES = {file.name: file for file in _FILES}


def find(name: str, version: int) -> File:
    """The file of a v1 name. Raises LookupError when this hierarchy has none."""
    file = FILES.get(name)
    if file is None or not file.exists_in(version):
        raise LookupError(f"{name} not found in cgroup registry of v{version}")
    return file


def path(root: str, version: int, file: File, group: str) -> str:
    """The absolute path of a file in one cgroup. Raises LookupError as ``find``."""
    if not file.exists_in(version):
        raise LookupError(f"{file.name} not found in cgroup registry of v{version}")
    unified = version == 2 and file.name != "net_cls.classid"
    names = (group.strip("/"), file.v2) if unified else (file.subsystem, group.strip("/"), file.name)
    return "/".join((root.rstrip("/"), *(name for name in names if name)))
