"""Stop a running cluster from outside."""

import os
import signal
import time

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
