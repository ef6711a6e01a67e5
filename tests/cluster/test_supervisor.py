"""The supervisor, with real processes. It runs in a process of its own, because it wants no threads and its own signals."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from waiting import eventually

SCRIPT = textwrap.dedent(
    """
    import asyncio, json, sys
    from pathlib import Path
    from koordinator.clock import SystemClock
    from koordinator.cluster.supervisor import Component, Supervisor
    from koordinator.errors import KoordError, Unavailable

    async def serve(on_ready):
        on_ready()
        await asyncio.Event().wait()

    async def refuse(on_ready):
        raise Unavailable("port 7443", "another process holds it")

    async def stubborn(on_ready):
        on_ready()
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                pass

    logs, state, *wanted = sys.argv[1:]
    def say(text): print(text, flush=True)
    supervisor = Supervisor(Path(logs), SystemClock(), say)
    def note():
        Path(state + ".new").write_text(json.dumps(supervisor.pids))
        Path(state + ".new").rename(state)
    try:
        for name in wanted:
            supervisor.start(Component(name, globals()[name.rstrip("0123456789")], stop_seconds=0.5))
        supervisor.wait_ready(set(wanted), 5)
        note()
        say("ready")
        supervisor.run(note)
    except KoordError as err:
        say(f"error: {err}")
    finally:
        supervisor.stop()
        say("stopped")
    """
)


class Running:
    def __init__(self, tmp_path: Path, *components: str) -> None:
        self.state = tmp_path / "state.json"
        self.logs = tmp_path
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path), str(self.state), *components], stdout=subprocess.PIPE, text=True
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def pids(self) -> dict[str, int]:
        return json.loads(self.state.read_text())

    def finish(self) -> list[str]:
        out, _ = self.process.communicate(timeout=10)
        return out.split("\n")[:-1]


@pytest.fixture
def start(tmp_path: Path):
    running: list[Running] = []

    def begin(*components: str) -> Running:
        running.append(Running(tmp_path, *components))
        return running[-1]

    yield begin
    for each in running:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()
        if each.process.stdout:
            each.process.stdout.close()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_stops_every_child_on_sigterm(start):
    running = start("serve1", "serve2")
    assert running.line() == "ready"
    pids = running.pids()
    running.process.terminate()
    assert running.finish() == ["stopped"]
    assert not any(alive(pid) for pid in pids.values())


def test_starts_a_killed_child_again_and_says_so_once(start):
    running = start("serve1")
    assert running.line() == "ready"
    first = running.pids()["serve1"]
    os.kill(first, signal.SIGKILL)
    said = running.line()
    assert said.startswith(f"serve1 (pid {first}) was killed by SIGKILL; starting it again in 0.5 s")
    eventually(lambda: running.pids().get("serve1", first) != first)
    running.process.terminate()
    assert running.finish() == ["stopped"]


def test_a_child_that_waits_for_its_restart_is_not_forgotten(start):
    """What `koord status` reads: a part that is down must be there to be named."""
    running = start("serve1", "serve2")
    assert running.line() == "ready"
    first = running.pids()
    os.kill(first["serve1"], signal.SIGKILL)
    seen = []

    def started_again() -> bool:
        seen.append(running.pids())
        return seen[-1]["serve1"] != first["serve1"]

    eventually(started_again)
    assert all(list(pids) == ["serve1", "serve2"] for pids in seen)


def test_a_component_that_cannot_start_ends_the_start_with_its_own_sentence(start):
    running = start("serve1", "refuse1")
    said = running.finish()
    assert said[0].startswith("error: refuse1: port 7443: another process holds it; see ")
    assert said[-1] == "stopped"


def test_a_child_that_ignores_sigterm_is_killed(start):
    running = start("stubborn1")
    assert running.line() == "ready"
    pid = running.pids()["stubborn1"]
    running.process.terminate()
    said = running.finish()
    assert said == [f"stubborn1 (pid {pid}) is still there after 0.5 s; killed", "stopped"]
    assert not alive(pid)


def test_children_end_with_a_killed_parent(start):
    running = start("serve1")
    assert running.line() == "ready"
    pid = running.pids()["serve1"]
    running.process.kill()
    running.process.wait()
    eventually(lambda: not alive(pid))
