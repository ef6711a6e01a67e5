"""Containers as processes: started through a shim each, found again after a restart, ended and cleared away.

Everything that must outlive the agent is a file: ``<state>/<pod uid>/<container>/<attempt>/``. Blocking work is short and goes
to a thread. Nothing here knows pods beyond their uid.
"""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from koordinator.clock import Clock
from koordinator.cluster.nodes.process.cgroups import Cgroups
from koordinator.cluster.nodes.process.limits import Limits

SHIM_FOLDER = str(Path(__file__).parent)
# Imported rather than run, so that its compiled form is used: half of its start-up time.
SHIM_CODE = "import sys; sys.path.append(sys.argv[1]); import shim; shim.guarded(sys.argv[2])"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
SIGKILLED = 137
LAUNCHED = ("argv", "env", "cwd", "uid", "gid", "groups", "oom_score", "log_bytes")


class Launch(msgspec.Struct, frozen=True):
    """What to run, complete: nothing is looked up later."""

    argv: list[str]
    env: dict[str, str]
    cwd: str = "/"
    uid: int | None = None
    gid: int | None = None
    groups: list[int] = []
    limits: Limits = Limits()
    oom_score: int = 0
    log_bytes: int = 10 * 1024 * 1024


class Exit(msgspec.Struct, frozen=True):
    """How an attempt ended. ``reason`` is what the pod's status will say."""

    code: int
    reason: str
    finished: float
    signal: int = 0
    message: str = ""


class Attempt(msgspec.Struct):
    """One run of a container: attempt 0 and one more for every restart. ``exit`` is None while it runs."""

    container: str
    number: int
    id: str
    directory: Path
    cgroup: str
    created: float = 0.0
    started: float | None = None
    pid: int = 0
    pidfd: int | None = None
    shim: int = 0
    shim_ticks: int = 0
    own_child: bool = False  # this process started the shim, so it must reap it
    exit: Exit | None = None

    @property
    def log(self) -> Path:
        return self.directory / "log"


class Runtime:
    """The containers of one node. ``state`` is private to the agent's user."""

    def __init__(self, state: Path, cgroups: Cgroups, clock: Clock) -> None:
        self.state, self.cgroups, self.clock = state, cgroups, clock

    def pod_directory(self, uid: str) -> Path:
        return self.state / uid

    async def start(self, uid: str, container: str, number: int, launch: Launch, pod_cgroup: str) -> Attempt:
        """Start one attempt. One that cannot be started comes back ended, with the reason. Raises Unavailable (cgroups)."""
        attempt = self._prepare(uid, container, number, launch, pod_cgroup)
        said = await asyncio.to_thread(self._launch, attempt)
        if "error" in said:
            await self._reap(attempt)
            attempt.exit = self._read_exit(attempt)
            await self.clear(attempt)
        else:
            self._note_start(attempt, said | {"started": self.clock.now() * 1e9})
        return attempt

    async def wait(self, attempt: Attempt) -> Exit:
        """Until the attempt has ended and its log is complete."""
        if attempt.exit is None:
            await _gone(attempt.shim, attempt.shim_ticks)
            await self._reap(attempt)
            attempt.exit = self._read_exit(attempt)
            await self.clear(attempt)
        return attempt.exit

    def terminate(self, attempt: Attempt, number: int = signal.SIGTERM) -> None:
        """Send a signal to the container's first process."""
        if attempt.pidfd is not None and attempt.exit is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(attempt.pidfd, number)

    async def kill(self, attempt: Attempt) -> None:
        """End every process of the container now."""
        self.terminate(attempt, signal.SIGKILL)
        await self.empty(attempt.cgroup)

    async def empty(self, cgroup: str, seconds: float = 5.0) -> bool:
        """Kill until nobody is left. False when the kernel holds on to a process for longer than ``seconds``."""
        for _ in range(round(seconds / 0.02)):
            if not self.cgroups.kill(cgroup):
                return True
            await asyncio.sleep(0.02)
        return False

    async def clear(self, attempt: Attempt) -> None:
        """Give back what an ended attempt holds: its processes, cgroup and pidfd. Its log stays."""
        if attempt.pidfd is not None:
            os.close(attempt.pidfd)
            attempt.pidfd = None
        await self.empty(attempt.cgroup)
        await self.remove_cgroup(attempt.cgroup)

    async def remove_cgroup(self, cgroup: str, seconds: float = 2.0) -> bool:
        """Remove a cgroup; a process that has just died may hold it for a moment."""
        for _ in range(round(seconds / 0.02)):
            if self.cgroups.remove(cgroup):
                return True
            await asyncio.sleep(0.02)
        return False

    def recover(self, uid: str) -> dict[str, list[Attempt]]:
        """The attempts that an earlier agent left, by container, oldest first. Running ones are taken over."""
        found: dict[str, list[Attempt]] = {}
        for directory in _attempts(self.pod_directory(uid)):
            attempt = self._recover_one(directory)
            if attempt is not None:
                found.setdefault(attempt.container, []).append(attempt)
        return found

    def forget(self, attempt: Attempt) -> None:
        shutil.rmtree(attempt.directory, ignore_errors=True)

    def forget_pod(self, uid: str) -> None:
        shutil.rmtree(self.pod_directory(uid), ignore_errors=True)

    def _prepare(self, uid: str, container: str, number: int, launch: Launch, pod_cgroup: str) -> Attempt:
        identity = secrets.token_hex(32)
        cgroup = f"{pod_cgroup}/{identity}"
        directory = self.pod_directory(uid) / container / str(number)
        shutil.rmtree(directory, ignore_errors=True)
        for path in (directory.parent.parent, directory.parent, directory):
            path.mkdir(exist_ok=True, mode=0o700)
        self.cgroups.create(cgroup, launch.limits)
        config = {
            **{name: getattr(launch, name) for name in LAUNCHED},
            "cgroup_procs": self.cgroups.procs_files(cgroup),
            "oom_events": str(self.cgroups.oom_events(cgroup)),
            "id": identity,
            "cgroup": cgroup,
            "boot": _boot_id(),
            "created": self.clock.now(),
        }
        fd = os.open(directory / "config.json", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(fd, msgspec.json.encode(config))
        finally:
            os.close(fd)
        return Attempt(container, number, identity, directory, cgroup, created=self.clock.now())

    def _launch(self, attempt: Attempt) -> dict[str, Any]:
        command = [sys.executable, "-I", "-S", "-c", SHIM_CODE, SHIM_FOLDER, str(attempt.directory)]
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={}, start_new_session=True
        )
        attempt.shim, attempt.own_child = child.pid, True
        child.returncode = 0  # it is reaped by pid, not by this object: the shim may outlive everything here
        assert child.stdout is not None  # noqa: S101 — we asked for it
        with child.stdout as said:
            line = said.readline()
        return json.loads(line) if line else {"error": "the shim ended without a word"}

    def _note_start(self, attempt: Attempt, started: dict[str, Any]) -> None:
        attempt.pid, attempt.shim, attempt.shim_ticks = started["pid"], started["shim"], started["shim_ticks"]
        attempt.started = started["started"] / 1e9
        if start_ticks(attempt.pid) == started["ticks"]:
            with contextlib.suppress(ProcessLookupError):
                attempt.pidfd = os.pidfd_open(attempt.pid)

    async def _reap(self, attempt: Attempt) -> None:
        if attempt.own_child:
            attempt.own_child = False
            with contextlib.suppress(ChildProcessError):
                await asyncio.to_thread(os.waitpid, attempt.shim, 0)

    def _read_exit(self, attempt: Attempt) -> Exit:
        end = _read_json(attempt.directory / "exit.json")
        if end is None:
            return Exit(SIGKILLED, "ContainerStatusUnknown", self.clock.now(), message="nobody saw how the container ended")
        return exit_of(end)

    def _recover_one(self, directory: Path) -> Attempt | None:
        config = _read_json(directory / "config.json")
        if config is None:
            shutil.rmtree(directory, ignore_errors=True)
            return None
        attempt = Attempt(directory.parent.name, int(directory.name), config["id"], directory, config["cgroup"])
        attempt.created = config["created"]
        started = _read_json(directory / "started.json")
        if started is not None and config["boot"] == _boot_id():
            self._note_start(attempt, started)
        if not (attempt.shim and start_ticks(attempt.shim) == attempt.shim_ticks):
            attempt.exit = self._read_exit(attempt)
        return attempt


def exit_of(end: dict[str, Any]) -> Exit:
    """The status words for what the shim wrote down."""
    code, finished = end["code"], end["finished"] / 1e9
    if "error" in end:
        return Exit(code, "StartError", finished, message=f"failed to start the container's process: {end['error']}")
    if end["oom_kills"] and code == SIGKILLED:
        return Exit(code, "OOMKilled", finished)
    return Exit(code, "Completed" if code == 0 else "Error", finished, signal=end["signal"])


def start_ticks(pid: int) -> int | None:
    """When a process started, in ticks since boot: with the pid, its identity. None when there is none, or only its remains."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else int(fields[19])


async def _gone(pid: int, ticks: int) -> None:
    """Wait until the process with this pid and start has ended; works for other processes' children too."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    try:
        if start_ticks(pid) == ticks:
            loop.add_reader(fd, _finish, ended)
            await ended
    finally:
        loop.remove_reader(fd)
        os.close(fd)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _attempts(pod: Path) -> Iterator[Path]:
    found = [path for path in pod.glob("*/*/") if path.name.isdigit()]
    return iter(sorted(found, key=lambda path: (path.parent.name, int(path.name))))


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _boot_id() -> str:
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""
