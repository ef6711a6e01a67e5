"""What koordlet costs the node that it guards: CPU of its loop and resident memory, with 30 best-effort pods and full history.

On the machine's own cgroups (v1); needs root.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.figures import report

PODS, ROUNDS = 30, 200
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory")
ROOT = Path("/sys/fs/cgroup")


def main() -> bool:
    """A process of its own, so that memory is koordlet's and nobody else's."""
    if not all(os.access(ROOT / name, os.W_OK) for name in CONTROLLERS):
        sys.stderr.write("koordlet: no writable v1 cgroups here, nothing measured\n")
        return True
    command = [sys.executable, "-m", "benchmarks.bench_koordlet"]
    return subprocess.run(command, check=False).returncode == 0


def measure() -> bool:
    with tree(f"koord-bench-{os.getpid()}") as parent:
        return asyncio.run(_measure(parent))


@contextmanager
def tree(parent: str) -> Iterator[str]:
    """Cgroups of ``PODS`` pods with a container each, removed again."""
    groups = [f"{parent}/kubepods/besteffort/podu{number}/{number:064d}" for number in range(PODS)]
    bases = [ROOT / name for name in CONTROLLERS]
    try:
        for base in bases:
            for group in groups:
                _make(base, group)
        yield parent
    finally:
        for base in bases:
            for path in sorted((base / parent).rglob("*"), reverse=True):
                if path.is_dir():
                    path.rmdir()
            (base / parent).rmdir()


def _make(base: Path, group: str) -> None:
    parts = group.split("/")
    for depth in range(1, len(parts) + 1):
        path = base.joinpath(*parts[:depth])
        path.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (path / name).exists() and not (path / name).read_text().strip():
                (path / name).write_text((path.parent / name).read_text())


async def _measure(parent: str) -> bool:
    import msgspec

    import koordinator.koordlet.server  # noqa: F401 — its memory counts
    from koordinator.api.core import Pod
    from koordinator.clock import SystemClock
    from koordinator.koordlet import assembly
    from koordinator.koordlet.observe.report import assemble
    from koordinator.koordlet.options import KoordletOptions
    from koordinator.kube.client import Client
    from koordinator.kube.config import ClientConfig

    clock = SystemClock()
    client = Client(ClientConfig(server="http://127.0.0.1:1"), clock)
    koordlet = assembly.build(KoordletOptions(node_name="bench", cgroup_parent=parent), client, clock)
    pods = koordlet.parts.pods
    pods.take([msgspec.Raw(msgspec.json.encode(_pod(number, Pod))) for number in range(PODS)])
    agent, store = koordlet.agent, koordlet.parts.store
    for _ in range(2):
        agent.round()
    started = time.process_time()
    for _ in range(ROUNDS):
        agent.round()
    round_ms = (time.process_time() - started) / ROUNDS * 1000
    now = int(clock.now() * 1000)
    for second in range(1, 1801):
        store.append(now + second * 1000, [(kind, subject, 0.5) for kind, subject in store.series()])
    source = agent.source()
    started = time.process_time()
    if source is not None:
        assemble(msgspec.structs.replace(source, now=clock.now() + 1800))
    assemble_ms = (time.process_time() - started) * 1000
    good = report("koordlet: CPU of its loop, 30 pods, one round a second", round_ms / 10, "% of a core", "<= 3")
    good &= report("koordlet: resident memory, 30 pods, 30 minutes of samples", _resident_mb(), "MB", "<= 80")
    return report("koordlet: time to assemble a NodeMetric", assemble_ms, "ms", "<= 50") and good


def _pod(number: int, kind: type) -> object:
    import msgspec

    amounts = {"kubernetes.io/batch-cpu": "500", "kubernetes.io/batch-memory": "64Mi"}
    pod = {
        "metadata": {"name": f"p{number}", "uid": f"u{number}", "labels": {"koordinator.sh/qosClass": "BE"}},
        "spec": {"containers": [{"name": "main", "resources": {"requests": amounts, "limits": amounts}}]},
        "status": {
            "qosClass": "BestEffort",
            "containerStatuses": [{"name": "main", "containerID": f"containerd://{number:064d}"}],
        },
    }
    return msgspec.convert(pod, kind)


def _resident_mb() -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    sys.exit(0 if measure() else 1)
