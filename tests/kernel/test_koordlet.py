"""koordlet on the machine's own cgroups: what it writes, the kernel does. All below one parent that is removed again."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from koordinator.api.registry import NODE_METRICS, NODE_SLOS, NODES
from koordinator.clock import SystemClock
from koordinator.koordlet import assembly
from koordinator.koordlet.host import cgroup
from koordinator.koordlet.options import KoordletOptions
from koordlet.fakes import FakeStore
from koordlet.trees import CONTAINER, batch_pod, node

ROOT = "/sys/fs/cgroup"
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory")
pytestmark = pytest.mark.kernel


def hierarchies():
    return [Path(ROOT)] if cgroup.detect_version(ROOT) == 2 else [Path(ROOT, name) for name in CONTROLLERS]


def usable():
    if os.geteuid() != 0:
        return "needs root"
    missing = [str(path) for path in hierarchies() if not os.access(path, os.W_OK)]
    return f"{missing[0]} is not writable" if missing else ""


class Parent:
    """A subtree of our own, like the one of an embedded cluster."""

    def __init__(self):
        self.name, self.processes = f"koord-test-{os.getpid()}", []
        self.pod = f"{self.name}/kubepods/besteffort/podu1"
        self.container = f"{self.pod}/{CONTAINER}"

    def make(self, group):
        parts = group.split("/")
        for base in hierarchies():
            for depth in range(1, len(parts) + 1):
                path = base.joinpath(*parts[:depth])
                if (base / "cgroup.subtree_control").exists():
                    (path.parent / "cgroup.subtree_control").write_text("+cpu +memory +cpuset")
                path.mkdir(exist_ok=True)
                if base.name == "cpuset":
                    for file in ("cpuset.cpus", "cpuset.mems"):
                        (path / file).write_text((path.parent / file).read_text())

    def burn(self):
        """A process that would use a whole CPU, inside the container."""
        process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        self.processes.append(process)
        for base in hierarchies():
            (base / self.container / "cgroup.procs").write_text(str(process.pid))

    def remove(self):
        for process in self.processes:
            process.kill()
            process.wait()
        for base in hierarchies():
            groups = [path for path in (base / self.name).rglob("*") if path.is_dir()]
            for path in [*sorted(groups, reverse=True), base / self.name]:
                rmdir(path)


def rmdir(path):
    """The kernel may need a moment after the last process has died."""
    for _ in range(100):
        try:
            path.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.02)
        else:
            return


@pytest.fixture
def parent():
    if reason := usable():
        pytest.skip(reason)
    made = Parent()
    try:
        made.make(made.container)
        yield made
    finally:
        made.remove()


@pytest.fixture
async def koordlet(parent):
    clock, store = SystemClock(), FakeStore()
    cpus = os.cpu_count()
    store.put(NODES, msgspec.to_builtins(node(cpu=str(cpus), allocatable=str(cpus))))
    store.put(NODE_METRICS, {"metadata": {"name": "n1"}})
    made = assembly.build(KoordletOptions(node_name="n1", cgroup_parent=parent.name, collect_interval=0.25), store, clock)
    following = asyncio.create_task(made.parts.cluster.run())
    await made.parts.cluster.synced()
    made.parts.pods.take([msgspec.Raw(msgspec.json.encode(batch_pod(cpu="1500", memory="256Mi")))])
    yield made
    following.cancel()
    made.parts.host.hot.close()


@pytest.fixture
def made_store(koordlet):
    return koordlet.parts.cluster._nodes._store


def slo(store, **strategy):
    store.put(NODE_SLOS, {"metadata": {"name": "n1"}, "spec": {"resourceUsedThresholdWithBE": strategy}})


async def rounds(koordlet, count):
    for _ in range(count):
        koordlet.agent.round()
        await asyncio.sleep(0.25)


def cpu_of(parent, koordlet, seconds):
    """Cores that the container uses over some time, by the kernel's own count."""
    cgroups = koordlet.parts.host.cgroups
    before, started = cgroups.cpu_usage_ns(parent.container), time.monotonic()
    time.sleep(seconds)
    return (cgroups.cpu_usage_ns(parent.container) - before) / (time.monotonic() - started) / 1e9


async def test_batch_values_arrive_in_the_kernel_and_leave_with_us(parent, koordlet):
    cgroups = koordlet.parts.host.cgroups
    await rounds(koordlet, 1)
    for group in (parent.pod, parent.container):
        assert cgroups.cpu_quota(group) == 150_000
        assert cgroups.memory_limit(group) == 256 << 20
        assert abs(cgroups.cpu_shares(group) - 1536) < 30
    koordlet.agent.lift()
    for group in (parent.pod, parent.container):
        assert (cgroups.cpu_quota(group), cgroups.memory_limit(group)) == (-1, -1)


@pytest.mark.slow
async def test_suppression_really_limits_a_burner_and_lifting_frees_it(parent, koordlet, made_store):
    parent.burn()
    slo(made_store, enable=True, cpuSuppressPolicy="cfsQuota", cpuSuppressThresholdPercent=10)
    await rounds(koordlet, 8)
    cgroups, tier = koordlet.parts.host.cgroups, koordlet.parts.host.layout.best_effort
    ceiling = os.cpu_count() * 10_000
    assert 2_000 <= cgroups.cpu_quota(tier) <= ceiling
    assert cpu_of(parent, koordlet, 1.0) <= ceiling / 100_000 * 1.3 + 0.02
    slo(made_store, enable=False)
    await rounds(koordlet, 2)
    assert cgroups.cpu_quota(tier) == -1
    assert cpu_of(parent, koordlet, 1.0) > ceiling / 100_000


@pytest.mark.slow
async def test_usage_of_a_burner_is_measured_as_the_kernel_counts_it(parent, koordlet):
    parent.burn()
    await rounds(koordlet, 6)
    counted = cpu_of(parent, koordlet, 0.5)
    koordlet.agent.round()
    assert koordlet.agent.view.pod_cpu["u1"] == pytest.approx(counted, abs=0.35)


async def test_a_removed_cgroup_is_noticed_and_its_files_are_closed(parent, koordlet, caplog):
    await rounds(koordlet, 2)
    parent.remove()
    await rounds(koordlet, 2)
    assert koordlet.agent.outcome.failed == 0
    assert not [path for path in koordlet.parts.host.hot._open if parent.pod in path]
    assert not caplog.records
