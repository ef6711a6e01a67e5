"""Containers on a real cgroup v2 hierarchy. Its controllers may all be bound to v1: joining, killing and removing need none."""

import contextlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from koordinator.clock import SystemClock
from koordinator.cluster.nodes.process.cgroups import CgroupsV2
from koordinator.cluster.nodes.process.runtime import Launch, Runtime, start_ticks
from waiting import until

CANDIDATES = [Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")]
ROOT = next((path for path in CANDIDATES if (path / "cgroup.controllers").exists() and os.access(path, os.W_OK)), None)
pytestmark = [pytest.mark.kernel, pytest.mark.skipif(ROOT is None, reason="no writable cgroup v2 hierarchy here")]


@pytest.fixture
def parent() -> Iterator[str]:
    name = f"koord-test-{secrets.token_hex(4)}"
    yield name
    groups = CgroupsV2(ROOT)
    groups.kill(name)
    with contextlib.suppress(OSError):
        groups.remove(name)


async def test_join_kill_and_remove(parent):
    groups = CgroupsV2(ROOT)
    with tempfile.TemporaryDirectory() as state:
        runtime = Runtime(Path(state), groups, SystemClock())
        launch = Launch(["/bin/sh", "-c", "trap '' TERM; setsid sleep 1000 & sleep 1000"], {"PATH": os.environ["PATH"]})
        attempt = await runtime.start("u", "c", 0, launch, f"{parent}/kubepods/podu")
        await until(lambda: len(groups.pids(parent)) == 3)
        pids = groups.pids(attempt.cgroup)
        assert f"0::/{attempt.cgroup}\n" in Path(f"/proc/{attempt.pid}/cgroup").read_text()  # noqa: ASYNC240 — procfs does not block
        await runtime.kill(attempt)
        assert (await runtime.wait(attempt)).code == 137
        assert [start_ticks(pid) for pid in pids] == [None] * 3
        assert await runtime.remove_cgroup(parent)
        assert not (ROOT / parent).exists()
