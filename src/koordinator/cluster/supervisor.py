"""Keeps a set of component processes running: forked from one preloaded parent, watched, restarted, stopped in order.

The parent imports everything once and stays single-threaded without an event loop, so a fork is cheap (milliseconds, shared
memory) and safe. Each child tells through a pipe when it serves. A child that dies is started again after a pause that
doubles; a parent that dies takes its children along (PR_SET_PDEATHSIG), so nothing is orphaned.
"""

import asyncio
import contextlib
import ctypes
import gc
import logging
import os
import selectors
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NoReturn

import msgspec

from koordinator.clock import Clock
from koordinator.errors import KoordError, Unavailable

Main = Callable[[Callable[[], None]], Awaitable[None]]
"""A component: called with ``on_ready``, runs until cancelled."""

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_CALM = 60.0
"""A child that lived this long starts again with the first pause."""


class Component(msgspec.Struct, frozen=True):
    """One supervised process. ``stop_seconds`` is how long it may take to end after SIGTERM before it is killed."""

    name: str
    main: Main
    stop_seconds: float = 10.0


class _Child(msgspec.Struct):
    component: Component
    pid: int
    started: float
    ready_fd: int
    ready: bool = False


class Supervisor:
    """Starts components, waits until they serve, keeps them running.

    Guarantees: a child's death is reported once in one sentence and followed by a restart; ``stop`` ends children in the
    reverse order of their start and leaves none behind.
    Assumptions: the calling process has no other threads and no running event loop.
    """

    def __init__(self, log_dir: Path, clock: Clock, say: Callable[[str], None]) -> None:
        self._log_dir = log_dir
        self._clock = clock
        self._say = say
        self._children: dict[int, _Child] = {}
        self._last_pids: dict[str, int] = {}
        self._due: list[tuple[float, Component]] = []
        self._pauses: dict[str, float] = {}
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._stop_signal = 0
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note_stop)

    @property
    def pids(self) -> dict[str, int]:
        """Component name → pid, in the order of the first start. One that waits for its restart keeps the pid that ended."""
        return dict(self._last_pids)

    @property
    def stop_requested(self) -> bool:
        return self._stop_signal != 0

    def start(self, component: Component) -> None:
        """Fork the component's process. Returns at once."""
        ready_read, ready_write = os.pipe2(os.O_CLOEXEC)
        gc.freeze()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            os.close(ready_read)
            self._become(component, ready_write, parent)
        os.close(ready_write)
        self._children[pid] = _Child(component, pid, self._clock.monotonic(), ready_read)
        self._last_pids[component.name] = pid
        self._selector.register(ready_read, selectors.EVENT_READ, pid)

    def wait_ready(self, names: set[str], seconds: float) -> None:
        """Wait until the named components serve. Raises Unavailable with the reason when one cannot."""
        deadline = self._clock.monotonic() + seconds
        while missing := names - {child.component.name for child in self._children.values() if child.ready}:
            if self.stop_requested:
                return
            left = deadline - self._clock.monotonic()
            if left <= 0:
                raise Unavailable(", ".join(sorted(missing)), f"not ready after {seconds:.0f} s", f"see {self._log_dir}")
            for child, status in self._step(left):
                name = child.component.name
                raise Unavailable(name, _last_line(self._log(name)) or _how_it_ended(status), f"see {self._log(name)}")

    def run(self, on_change: Callable[[], None] = lambda: None) -> None:
        """Restart whatever dies, until SIGTERM or SIGINT. ``on_change`` is called whenever the set of pids changed."""
        while not self.stop_requested:
            ended = self._step(self._until_due())
            for child, status in ended:
                self._plan_restart(child, status)
            if self._start_due() or ended:
                on_change()

    def stop(self) -> None:
        """End all children, the last started first."""
        self._due.clear()
        for child in sorted(self._children.values(), key=lambda child: -child.started):
            self._end(child)

    def _step(self, seconds: float | None) -> list[tuple[_Child, int]]:
        """Wait for news at most so long; note who is ready; return who ended."""
        for key, _ in self._selector.select(seconds):
            if key.fd == self._wake_read:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_read, 4096)
            elif child := self._children.get(key.data):
                child.ready = child.ready or os.read(key.fd, 1) == b"+"
                self._forget_pipe(child)
        return self._reap()

    def _reap(self) -> list[tuple[_Child, int]]:
        ended = []
        for pid in list(self._children):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                child = self._children.pop(pid)
                self._forget_pipe(child)
                ended.append((child, status))
        return ended

    def _forget_pipe(self, child: _Child) -> None:
        if child.ready_fd >= 0:
            self._selector.unregister(child.ready_fd)
            os.close(child.ready_fd)
            child.ready_fd = -1

    def _plan_restart(self, child: _Child, status: int) -> None:
        name, now = child.component.name, self._clock.monotonic()
        calm = now - child.started > _CALM
        pause = _FIRST_PAUSE if calm else self._pauses.get(name, _FIRST_PAUSE)
        self._pauses[name] = min(pause * 2, _LONGEST_PAUSE)
        self._due.append((now + pause, child.component))
        self._say(f"{name} (pid {child.pid}) {_how_it_ended(status)}; starting it again in {pause:g} s, log: {self._log(name)}")

    def _until_due(self) -> float | None:
        return max(min(when for when, _ in self._due) - self._clock.monotonic(), 0) if self._due else None

    def _start_due(self) -> bool:
        now = self._clock.monotonic()
        due = [component for when, component in self._due if when <= now]
        self._due = [entry for entry in self._due if entry[0] > now]
        for component in due:
            self.start(component)
        return bool(due)

    def _end(self, child: _Child) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGTERM)
        deadline = self._clock.monotonic() + child.component.stop_seconds
        while child.pid in self._children and (left := deadline - self._clock.monotonic()) > 0:
            self._step(left)
        if child.pid in self._children:
            self._say(
                f"{child.component.name} (pid {child.pid}) is still there after {child.component.stop_seconds:g} s; killed"
            )
            os.kill(child.pid, signal.SIGKILL)
            os.waitpid(child.pid, 0)
            self._forget_pipe(self._children.pop(child.pid))

    def _log(self, name: str) -> Path:
        return self._log_dir / f"{name}.log"

    def _note_stop(self, number: int, _frame: object) -> None:
        self._stop_signal = number

    def _become(self, component: Component, ready_fd: int, parent: int) -> NoReturn:
        """What the forked child does instead of returning: never comes back into the parent's code."""
        code = 1
        try:
            os.setsid()
            _name_process(f"koord-{component.name}")
            if os.getppid() != parent:  # it died before we asked to be told
                os._exit(code)
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            _log_to(self._log(component.name))
            code = _run_component(component, lambda: _tell(component.name, ready_fd))
        except BaseException:  # noqa: BLE001 — the last line of a forked process: report, then end
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


def _run_component(component: Component, on_ready: Callable[[], None]) -> int:
    import uvloop

    async def main() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        if task is None:
            raise RuntimeError("no running task")
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await component.main(on_ready)

    try:
        uvloop.run(main())
    except KoordError as err:
        sys.stderr.write(f"{err}\n")
        return 1
    return 0


def _tell(name: str, ready_fd: int) -> None:
    logging.getLogger(__name__).info("%s is ready", name)
    with contextlib.suppress(OSError):
        os.write(ready_fd, b"+")
        os.close(ready_fd)


def _name_process(name: str) -> None:
    """Show this name in ps and end with the parent."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _log_to(path: Path) -> None:
    """Send everything that this process prints or logs to its file; structured loggers write to stderr as well."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    os.close(null)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s", force=True
    )


def _how_it_ended(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"was killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"ended with exit code {os.waitstatus_to_exitcode(status)}"


def _last_line(path: Path) -> str:
    try:
        lines = path.read_text(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line for line in reversed(lines) if line.strip()), "")
