"""Stop a running cluster from outside, or clear away what a cluster left that was killed with all its parts."""

import contextlib
import os
import signal
import time
from pathlib import Path

from koordinator.cluster.state import DataDir, RunState, start_ticks
from koordinator.errors import Unavailable

PATIENCE = 60.0


def stop(data: DataDir) -> RunState:
    """Ask the cluster to stop and wait until it has. Raises Unavailable when none runs, or it does not end in a minute."""
    state = data.must_run()
    os.kill(state.pid, signal.SIGTERM)
    for _ in range(int(PATIENCE / 0.05)):
        if start_ticks(state.pid) != state.start_ticks:
            return state
        time.sleep(0.05)
    raise Unavailable("cluster", f"pid {state.pid} has not stopped after {PATIENCE:.0f} s", f"see {data.logs}")


def clear(data: DataDir, cgroup_root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """End the pods' processes of a cluster whose own processes were all killed, and remove its cgroups.

    Waits for parts that are still ending. Returns how many processes there were, None when there is nothing to clear.
    Raises Unavailable when something does not go away.
    """
    from koordinator.cluster.nodes.process import cgroups

    if not data.lock_file.exists() or (lock := _lock(data)) is None:
        return None
    try:
        try:
            tree = cgroups.detect(cgroup_root)
        except Unavailable:
            return None  # no process node has ever run here
        if not any((base / data.cgroup_parent).is_dir() for base in tree.bases()):
            return None
        ended = 0
        for _ in range(int(PATIENCE / 0.05)):
            ended += tree.kill(data.cgroup_parent)
            if tree.remove(data.cgroup_parent):
                return ended
            time.sleep(0.05)
    finally:
        os.close(lock)
    raise Unavailable(f"cgroup {data.cgroup_parent}", f"its processes have not ended after {PATIENCE:.0f} s")


def _lock(data: DataDir) -> int | None:
    """The directory's lock as soon as nobody holds it; None when a cluster has come up meanwhile."""
    for _ in range(int(PATIENCE / 0.05)):
        if data.running():
            return None
        with contextlib.suppress(Unavailable):
            return data.lock()
        time.sleep(0.05)
    return data.lock()
