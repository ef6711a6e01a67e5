"""What a process per container costs: start and end, the shim's memory and time, log throughput. Needs root and cgroups."""

import asyncio
import os
import secrets
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.figures import report
from koordinator.clock import SystemClock
from koordinator.cluster.nodes.process import ProcessOptions, usable
from koordinator.cluster.nodes.process.cgroups import Cgroups, detect
from koordinator.cluster.nodes.process.runtime import Attempt, Launch, Runtime

CONTAINERS = 50
LOG_LINES = 1_000_000
LINE = 100
ROOT = Path("/sys/fs/cgroup")


def main() -> bool:
    if obstacle := usable(ProcessOptions(data_dir=Path(tempfile.gettempdir()), cgroup_parent="koord-bench")):
        sys.stderr.write(f"no process node here: {obstacle}\n")
        return True
    return asyncio.run(_measure(f"koord-bench-{secrets.token_hex(4)}"))


async def _measure(parent: str) -> bool:
    groups = detect(ROOT)
    with tempfile.TemporaryDirectory() as state:
        runtime = Runtime(Path(state), groups, SystemClock())
        try:
            one_by_one = await _start_and_end(runtime, parent)
            logging = await _log(runtime, parent)
        finally:
            await _clean(runtime, groups, parent)
    return one_by_one and logging


async def _start_and_end(runtime: Runtime, parent: str) -> bool:
    launch = Launch(["/bin/sleep", "1000"], {"PATH": os.environ["PATH"]})
    started, attempts = [], []
    for number in range(CONTAINERS):
        began = time.perf_counter()
        attempts.append(await runtime.start(f"u{number}", "c", 0, launch, f"{parent}/kubepods/podu{number}"))
        started.append(time.perf_counter() - began)
    busy = [_cpu_ms(attempt) for attempt in attempts]
    resident = [_memory(attempt, "Rss") for attempt in attempts]
    proportional = [_memory(attempt, "Pss") for attempt in attempts]
    began = time.perf_counter()
    for attempt in attempts:
        runtime.terminate(attempt)
    await asyncio.gather(*(runtime.wait(attempt) for attempt in attempts))
    ended = (time.perf_counter() - began) / CONTAINERS
    return all(
        [
            report("process_container_start_ms", statistics.median(started) * 1e3, "ms"),
            report("process_shim_start_cpu_ms", statistics.median(busy), "ms", "<= 25"),
            report("process_container_end_ms", ended * 1e3, "ms"),
            report("process_shim_resident_mib", max(resident) / 1024, "MiB", "<= 12"),
            report("process_shim_proportional_mib", statistics.mean(proportional) / 1024, "MiB"),
        ]
    )


async def _log(runtime: Runtime, parent: str) -> bool:
    script = f"import sys\nline = 'x' * {LINE - 1} + '\\n'\nfor _ in range({LOG_LINES}): sys.stdout.write(line)"
    began = time.perf_counter()
    attempt = await runtime.start("log", "c", 0, Launch([sys.executable, "-c", script], {}), f"{parent}/kubepods/podlog")
    await runtime.wait(attempt)
    return report("process_log_mb_per_s", LOG_LINES * LINE / 1e6 / (time.perf_counter() - began), "MB/s", ">= 50")


async def _clean(runtime: Runtime, groups: Cgroups, parent: str) -> None:
    await runtime.empty(parent)
    if not await runtime.remove_cgroup(parent):
        sys.stderr.write(f"cgroup {parent} is left in {groups.root}\n")


def _cpu_ms(attempt: Attempt) -> float:
    """Time on a CPU since its start: a busy machine changes the wall clock's figure, not this one."""
    return int(Path(f"/proc/{attempt.shim}/schedstat").read_text().split()[0]) / 1e6


def _memory(attempt: Attempt, name: str) -> int:
    for line in Path(f"/proc/{attempt.shim}/smaps_rollup").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    return 0
