"""A cluster of processes to measure: `koord up` on a temporary directory."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path


def koord(*arguments: str, data: Path) -> str:
    """Run a verb on the cluster and return what it printed. Raises CalledProcessError."""
    command = [sys.executable, "-m", "koordinator", *arguments, "--data", str(data)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


@contextlib.contextmanager
def cluster(*arguments: str) -> Iterator[tuple[Path, float]]:
    """A detached cluster: its data directory and the seconds that `koord up` took."""
    with tempfile.TemporaryDirectory(prefix="koord-bench-") as folder:
        data = Path(folder) / "data"
        began = time.monotonic()
        koord("up", "--detach", "--port", "0", *arguments, data=data)
        seconds = time.monotonic() - began
        try:
            yield data, seconds
        finally:
            koord("down", data=data)


def environment() -> str:
    """What a figure was measured on."""
    return f"{os.cpu_count()} CPUs, Python {sys.version.split()[0]}"
