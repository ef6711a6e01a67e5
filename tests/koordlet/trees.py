"""A machine in a temporary directory: cgroups of either version, /proc and /sys, and pods to go with them."""

from pathlib import Path

import msgspec

from koordinator.api import qos
from koordinator.api.core import Node, Pod
from koordinator.koordlet.host import registry
from koordinator.koordlet.host.cgroup import Cgroups
from koordinator.koordlet.host.files import HotFiles
from koordinator.koordlet.host.machine import Roots
from koordinator.koordlet.host.paths import Layout
from koordinator.koordlet.view import ContainerView, PodView

GIB = 2**30
CONTAINER = "a" * 64
FILES = {
    1: {
        "cpu.shares": "2",
        "cpu.cfs_quota_us": "-1",
        "cpu.cfs_period_us": "100000",
        "cpu.stat": "nr_periods 0\nnr_throttled 0\nthrottled_time 0",
        "cpuacct.usage": "0",
        "cpuset.cpus": "0-3",
        "memory.limit_in_bytes": "9223372036854771712",
        "memory.usage_in_bytes": "0",
    },
    2: {
        "cpu.shares": "1",
        "cpu.cfs_quota_us": "max 100000",
        "cpu.stat": "usage_usec 0\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0",
        "cpuset.cpus": "0-3",
        "cpuset.cpus.effective": "0-3",
        "memory.limit_in_bytes": "max",
        "memory.usage_in_bytes": "0",
    },
}
STAT = "cpu  {busy} 0 0 1000 0 0 0 0 0 0\n" + "".join(f"cpu{n} {{each}} 0 0 250 0 0 0 0 0 0\n" for n in range(4))
MEMINFO = "MemTotal: {total} kB\nMemFree: {free} kB\nMemAvailable: {available} kB\n"
NUMA = "Node 0 MemTotal: {total} kB\nNode 0 MemFree: {free} kB\nNode 0 Active(file): 0 kB\nNode 0 Inactive(file): 0 kB\n"


class KernelLike(Cgroups):
    """Plain files that answer as the kernel's: a bare number written to ``cpu.max`` keeps the period."""

    def write(self, name, group, text):
        if self.path(name, group).endswith("/cpu.max") and " " not in text:
            text = f"{text} {self.cpu_period(group)}"
        super().write(name, group, text)


class Tree:
    """Four CPUs in one socket, 16 GiB. Values are set and read in v1 terms where they have such."""

    def __init__(self, root: Path, version: int) -> None:
        self.version, self.hot, self.layout = version, HotFiles(), Layout()
        self.roots = Roots(str(root / "cgroup"), str(root / "proc"), str(root / "sys"))
        self.cgroups = KernelLike(self.roots.cgroup, version, self.hot)
        for directory in (root / "cgroup", root / "proc", root / "sys/bus/node/devices/node0"):
            directory.mkdir(parents=True)
        if version == 2:
            (root / "cgroup/cgroup.controllers").write_text("cpuset cpu memory\n")
        for group in ("kubepods", "kubepods/burstable", "kubepods/besteffort"):
            self.group(group)
        self._cpus(root / "sys/devices/system/cpu")
        (root / "sys/bus/node/devices/node0/cpulist").write_text("0-3\n")
        self.node(busy_ticks=0, used_bytes=0)

    def _cpus(self, base: Path) -> None:
        for cpu in range(4):
            topology = base / f"cpu{cpu}/topology"
            topology.mkdir(parents=True)
            (topology / "physical_package_id").write_text("0\n")
            (topology / "thread_siblings_list").write_text("0-1\n" if cpu < 2 else "2-3\n")
        (base / "online").write_text("0-3\n")

    def node(self, busy_ticks: int, used_bytes: int) -> None:
        """The machine's counters."""
        Path(self.roots.proc, "stat").write_text(STAT.format(busy=busy_ticks, each=busy_ticks // 4))
        total, free = 16 * GIB // 1024, (16 * GIB - used_bytes) // 1024
        Path(self.roots.proc, "meminfo").write_text(MEMINFO.format(total=total, free=free, available=free))
        numa = NUMA.format(total=total, free=free) + "Node 0 SReclaimable: 0 kB\n"
        Path(self.roots.sys, "bus/node/devices/node0/meminfo").write_text(numa)

    def break_meminfo(self) -> None:
        Path(self.roots.proc, "meminfo").write_text("MemTotal: 5 kB\n")

    def group(self, group: str) -> str:
        """A cgroup with the kernel's defaults."""
        for name, content in FILES[self.version].items():
            self.put(group, name, content)
        self.use(group, 0, 0)
        return group

    def use(self, group: str, cpu_ns: int, memory: int, throttled: tuple[int, int] = (0, 0)) -> None:
        """Usage counters of a cgroup."""
        periods, short = throttled
        if self.version == 1:
            self.put(group, "cpuacct.usage", str(cpu_ns))
            self.put(group, "cpu.stat", f"nr_periods {periods}\nnr_throttled {short}\nthrottled_time 0")
        else:
            counters = f"nr_periods {periods}\nnr_throttled {short}\nthrottled_usec 0"
            self.put(group, "cpu.stat", f"usage_usec {cpu_ns // 1000}\n{counters}")
        kinds = {"inactive_anon": memory, "active_anon": 0, "unevictable": 0, "inactive_file": 512, "active_file": 512}
        kinds |= {"cache": 1024, "rss": memory} if self.version == 1 else {"file": 1024, "anon": memory}
        prefix = "total_" if self.version == 1 else ""
        self.put(group, "memory.stat", "".join(f"{prefix}{name} {value}\n" for name, value in kinds.items()))

    def put(self, group: str, name: str, content: str) -> None:
        path = Path(registry.path(self.roots.cgroup, self.version, registry.find(name, self.version), group))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")

    def values(self, group: str) -> tuple[int, int, int]:
        """Shares, quota and memory limit."""
        return self.cgroups.cpu_shares(group), self.cgroups.cpu_quota(group), self.cgroups.memory_limit(group)

    def remove(self, group: str) -> None:
        import shutil

        for name in ("cpu.shares", "cpuacct.usage", "cpuset.cpus", "memory.stat"):
            shutil.rmtree(self.cgroups.directory(name, group), ignore_errors=True)
        self.hot.close()


def pod(  # noqa: PLR0917 — tests name what they change
    name="batch", uid="u1", labels=None, requests=None, limits=None, annotations=None, container_id=CONTAINER, phase="Running"
):
    """A pod with one container ``main``; batch resources by their full names."""
    container = {"name": "main", "resources": {"requests": requests or {}, "limits": limits or {}}}
    statuses = [{"name": "main", "containerID": f"containerd://{container_id}"}] if container_id else []
    return msgspec.convert(
        {
            "metadata": {"name": name, "namespace": "default", "uid": uid, "labels": labels, "annotations": annotations},
            "spec": {"containers": [container]},
            "status": {"phase": phase, "qosClass": "BestEffort", "containerStatuses": statuses},
        },
        Pod,
    )


BE = {"koordinator.sh/qosClass": "BE"}


def batch_pod(cpu="1000", memory="1Gi", **changes):
    """A BE pod that asks for batch resources."""
    amounts = {"kubernetes.io/batch-cpu": cpu, "kubernetes.io/batch-memory": memory}
    return pod(labels=BE, requests=amounts, limits=amounts, **changes)


def view_of(pod_, layout=Layout()):  # noqa: B008 — immutable
    kube = qos.kube(pod_)
    group = layout.pod_dir(pod_.metadata.uid, kube)
    containers = [
        ContainerView(status.name, status.container_id, layout.container_dir(group, status.container_id))
        for status in pod_.status.container_statuses or []
    ]
    return PodView(pod_, pod_.metadata.uid, group, qos.raw(pod_), kube, tuple(containers))


def node(cpu="4", allocatable="4", port=0, annotations=None):
    status = {
        "capacity": {"cpu": cpu, "memory": "16Gi"},
        "allocatable": {"cpu": allocatable, "memory": "16Gi"},
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }
    return msgspec.convert({"metadata": {"name": "n1", "annotations": annotations}, "status": status}, Node)
