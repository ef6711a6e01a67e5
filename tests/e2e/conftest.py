"""Clusters of real processes, started with the command that users type."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from koordinator.cluster.state import DataDir, RunState


class Cluster:
    """A cluster under test: run verbs on it, look at its state."""

    def __init__(self, root: Path) -> None:
        self.data = DataDir(root)

    def koord(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "koordinator", *arguments[:1], "--data", str(self.data.root), *arguments[1:]]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
        assert not check or done.returncode == 0, f"koord {' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done

    def up(self, *arguments: str) -> "RunState":
        self.koord("up", "--detach", "--port", "0", *arguments)
        return self.state()

    def state(self) -> RunState:
        return self.data.must_run()

    def apply(self, text: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
        file = tmp_path / "manifest.yaml"
        file.write_text(text)
        return self.koord("apply", "-f", str(file), check=False)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster that is not started yet; it is stopped in the end, and its logs shown when the test failed."""
    cluster = Cluster(tmp_path / "data")
    yield cluster
    if cluster.data.running():
        cluster.koord("down")
    for log in sorted(cluster.data.logs.glob("*.log")):
        sys.stdout.write(f"==== {log.name}\n{log.read_text(errors='replace')[-3000:]}\n")


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster for all stories of a module, not started yet: for those that do not disturb each other."""
    cluster = Cluster(tmp_path_factory.mktemp("shared") / "data")
    yield cluster
    if cluster.data.running():
        cluster.koord("down")


@pytest.fixture
def needs_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: process nodes write cgroups")
