"""Plain directories that stand in for cgroup mounts, and pods in one expression."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from koordinator.clock import SystemClock
from koordinator.cluster.nodes.process.cgroups import Cgroups, CgroupsV1, CgroupsV2
from koordinator.cluster.nodes.process.podspec import RawPod
from koordinator.cluster.nodes.process.prepare import Machine
from koordinator.cluster.nodes.process.runtime import Runtime
from koordinator.cluster.nodes.process.worker import PodWorker, Tools

V1_FILES = {
    "cpu": {"cpu.shares": "1024", "cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"},
    "memory": {"memory.limit_in_bytes": "9223372036854771712", "memory.oom_control": "oom_kill 0"},
    "cpuset": {"cpuset.cpus": "", "cpuset.mems": ""},
    "pids": {"pids.max": "max"},
    "cpuacct": {},
}
V2_FILES = {
    "cpu.weight": "100", "cpu.max": "max 100000", "memory.max": "max", "memory.events": "oom_kill 0", "pids.max": "max",
    "cgroup.subtree_control": "", "cgroup.controllers": "cpuset cpu io memory pids",
}  # fmt: skip


def fill(directory: Path, files: dict[str, str]) -> None:
    for name, text in {**files, "cgroup.procs": ""}.items():
        if not (directory / name).exists():
            (directory / name).write_text(text)


class _Plain(Cgroups):
    """Directories and files as the kernel would make them; a dead process leaves cgroup.procs, as in the kernel."""

    def pids(self, directory: str) -> set[int]:
        return {pid for pid in super().pids(directory) if _alive(pid)}

    def _rmdir(self, path: Path) -> bool:
        shutil.rmtree(path, ignore_errors=True)
        return True


class PlainV1(_Plain, CgroupsV1):
    def _make(self, directory: str) -> None:
        for name, files in V1_FILES.items():
            (self.root / name / directory).mkdir(exist_ok=True)
            fill(self.root / name / directory, files)
        super()._make(directory)


class PlainV2(_Plain, CgroupsV2):
    def _make(self, directory: str) -> None:
        super()._make(directory)
        fill(self.root / directory, V2_FILES)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


@pytest.fixture
def v1(tmp_path: Path) -> PlainV1:
    root = tmp_path / "v1"
    for name, files in V1_FILES.items():
        (root / name).mkdir(parents=True)
        fill(root / name, files)
    (root / "cpuset" / "cpuset.cpus").write_text("0-3\n")
    (root / "cpuset" / "cpuset.mems").write_text("0\n")
    return PlainV1(root)


@pytest.fixture
def v2(tmp_path: Path) -> PlainV2:
    root = tmp_path / "v2"
    root.mkdir()
    fill(root, V2_FILES)
    return PlainV2(root)


@pytest.fixture
def state() -> Iterator[Path]:
    """A state directory that any user may pass through: containers run as others."""
    path = Path(tempfile.mkdtemp(prefix="koord-test-"))
    yield path
    shutil.rmtree(path)


def make_pod(*containers: dict[str, Any], name: str = "web", **more: Any) -> RawPod:
    """A pod of containers like ``{"command": […]}``. ``meta`` goes to the metadata, the rest to the spec."""
    meta = {"name": name, "namespace": "default", "uid": f"uid-{name}", **more.pop("meta", {})}
    named = [{"name": f"c{number}", "image": "host", **one} for number, one in enumerate(containers)]
    import msgspec

    return msgspec.convert({"metadata": meta, "spec": {"nodeName": "n1", "containers": named, **more}}, RawPod)


@pytest.fixture
def pod() -> Callable[..., RawPod]:
    return make_pod


class Recorded:
    """Reports that are kept for the test to look at."""

    def __init__(self) -> None:
        self.statuses: list[dict[str, Any]] = []
        self.events: list[tuple[str, str]] = []
        self.removed: list[str] = []

    def status(self, pod: RawPod, status: dict[str, Any]) -> None:
        self.statuses.append(status)

    def event(self, pod: RawPod, kind: str, reason: str, message: str) -> None:
        self.events.append((reason, message))

    async def remove(self, pod: RawPod) -> None:
        self.removed.append(pod.key)

    @property
    def last(self) -> dict[str, Any]:
        return self.statuses[-1] if self.statuses else {}

    def container(self, index: int = 0) -> dict[str, Any]:
        return self.last["containerStatuses"][index] if self.last else {}

    def state(self, index: int = 0) -> dict[str, Any]:
        return self.container(index).get("state", {})


class Shelf:
    """ConfigMaps and Secrets."""

    def __init__(self, **maps: dict[str, str]) -> None:
        self.maps = maps

    async def config_map(self, namespace: str, name: str) -> dict[str, str] | None:
        return self.maps.get(name)

    async def secret(self, namespace: str, name: str) -> dict[str, str] | None:
        return self.maps.get(name)


@pytest.fixture
def shelf() -> type[Shelf]:
    return Shelf


@pytest.fixture
def machine() -> Machine:
    return Machine("n1", "127.0.0.1", os.environ["PATH"], os.geteuid())


@pytest.fixture
def reports() -> Recorded:
    return Recorded()


@pytest.fixture
async def tools(v2: PlainV2, state: Path, reports: Recorded, machine: Machine) -> AsyncIterator[Tools]:
    clock = SystemClock()
    async with aiohttp.ClientSession() as http:
        yield Tools(Runtime(state, v2, clock), v2, machine, Shelf(), reports, clock, http)


@pytest.fixture
def worker(tools: Tools) -> Callable[..., PodWorker]:
    return lambda raw, use=None: PodWorker(raw, "test/kubepods", use or tools)
