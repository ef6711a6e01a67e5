"""The parent of one container: starts it in its cgroups, keeps its log, writes down how it ended.

Runs as its own small program (standard library only, started with ``python -I -S``), so that a container and its exit code
outlive the node agent. It stays outside the container's cgroups and ignores polite signals. Files in its directory:

``config.json``   read at start: what to run (``runtime.Launch`` says what is in it)
``started.json``  the container's pid and start ticks, and this program's
``exit.json``     code, signal, memory kills and time; written when the log is complete
``log``           the output in CRI format; ``log.1`` is the part before the last rotation

On standard output it says one JSON line, ``{"pid": …}`` or ``{"error": …}``, and closes it.
"""

import json
import os
import select
import signal
import sys
import time
from typing import Any

CHUNK = 65_536
LONGEST_LINE = 16_384
DRAIN_SECONDS = 2.0
NOT_STARTED = 128
PROTECTED = -998  # whoever holds exit codes should be the last to go


class Log:
    """Lines as ``<time> <stream> F|P <text>``, the time read once per chunk; rotates to ``log.1`` at the cap."""

    def __init__(self, path: str, cap: int) -> None:
        self.path, self.cap = path, cap
        self.size = 0
        self.fd = self._open()

    def write(self, data: bytes) -> None:
        """A full disk loses log lines; it must not stop the container."""
        try:
            if self.size and self.size + len(data) > self.cap:
                self._rotate()
            self.size += os.write(self.fd, data)
        except OSError:
            return

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def _rotate(self) -> None:
        os.rename(self.path, self.path + ".1")  # noqa: PTH104 — pathlib doubles this program's start-up time
        os.close(self.fd)
        self.fd, self.size = self._open(), 0


class Stream:
    """One of the container's two outputs."""

    def __init__(self, fd: int, name: str, log: Log) -> None:
        self.fd, self.name, self.log = fd, name, log
        self.rest = b""

    def pump(self) -> bool:
        """Move what is there to the log. False at the end."""
        data = os.read(self.fd, CHUNK)
        whole, newline, self.rest = (self.rest + data).rpartition(b"\n")
        if newline:
            prefix = self._prefix(b"F")
            self.log.write(prefix + whole.replace(b"\n", b"\n" + prefix) + b"\n")
        if len(self.rest) > LONGEST_LINE or (self.rest and not data):
            self.log.write(self._prefix(b"P" if data else b"F") + self.rest + b"\n")
            self.rest = b""
        return bool(data)

    def _prefix(self, tag: bytes) -> bytes:
        return f"{timestamp()} {self.name} ".encode() + tag + b" "


def timestamp() -> str:
    seconds, nanos = divmod(time.time_ns(), 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{nanos:09d}Z"


def main(directory: str) -> None:
    """Run the container that ``config.json`` in this directory describes, to its end. Its log and its exit become files there.

    The shim lives on when the agent dies, so it must not be ended by signals meant for a group, nor by the OOM killer.
    """
    os.chdir(directory)
    os.umask(0o077)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    set_oom_score(PROTECTED)
    config = read("config.json")
    log = Log("log", config["log_bytes"])
    out, err, failure = os.pipe(), os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        become(config, out[1], err[1], failure[1])
    for _, write_end in (out, err, failure):
        os.close(write_end)
    problem = read_all(failure[0]).decode(errors="replace")
    if problem:
        os.waitpid(pid, 0)
        save("exit.json", {"code": NOT_STARTED, "error": problem, "finished": time.time_ns()})
        say({"error": problem})
        return
    started = {"pid": pid, "ticks": start_ticks(pid), "shim": os.getpid(), "shim_ticks": start_ticks(os.getpid())}
    save("started.json", started | {"started": time.time_ns()})
    say(started)
    end = keep(pid, [Stream(out[0], "stdout", log), Stream(err[0], "stderr", log)], config)
    save("exit.json", end)


def become(config: dict[str, Any], out: int, err: int, failure: int) -> None:
    """The child's way from fork to exec. Never returns; what goes wrong is told through ``failure``."""
    step = "starting"
    try:
        if os.getsid(0) != os.getpid():
            os.setsid()
        step = "joining its cgroup"
        for path in config["cgroup_procs"]:
            with open(path, "w", encoding="ascii") as file:  # noqa: PTH123 — as in _rotate
                file.write(str(os.getpid()))
        set_oom_score(config["oom_score"])
        step = "opening its output"
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        os.umask(0o022)
        step = "changing the user"
        change_user(config)
        step = f"working directory {config['cwd']}"
        os.chdir(config["cwd"])
        step = f"exec {config['argv'][0]!r}"
        os.execve(program(config["argv"][0], config["env"]), config["argv"], config["env"])  # noqa: S606 — running it is the point
    except BaseException as problem:  # noqa: BLE001 — nothing may run on in the child
        reason = problem.strerror if isinstance(problem, OSError) and problem.strerror else repr(problem)
        os.write(failure, f"{step}: {reason}".encode())
    finally:
        os._exit(NOT_STARTED)


def join(directory: str, argv: list[str]) -> None:
    """Run another command as the container's user, in its cgroups and environment (exec probes). Never returns."""
    become(read(directory + "/config.json") | {"argv": argv}, 1, 2, 2)


def program(name: str, env: dict[str, str]) -> str:
    """The file that a command names, sought in the container's own PATH."""
    if "/" in name:
        return name
    for folder in env.get("PATH", os.defpath).split(":"):
        path = f"{folder}/{name}"
        if os.access(path, os.X_OK) and not os.path.isdir(path):  # noqa: PTH112 — as in _rotate
            return path
    raise OSError(2, "executable file not found in $PATH")


def set_oom_score(score: int) -> None:
    """Only root may go below what it has; then the default must do."""
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:  # noqa: PTH123 — as in _rotate
            file.write(str(score))
    except OSError:
        return


def change_user(config: dict[str, Any]) -> None:
    """Groups before user: afterwards the right to change them is gone."""
    if config["uid"] is None and config["gid"] is None:
        return
    os.setgroups(config["groups"])
    if config["gid"] is not None:
        os.setgid(config["gid"])
    if config["uid"] is not None:
        os.setuid(config["uid"])


def keep(pid: int, streams: list[Stream], config: dict[str, Any]) -> dict[str, Any]:
    """Pump the output until the container ends, end what it left behind, and say how it ended."""
    ended = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    live = {stream.fd: stream for stream in streams}
    for fd in live:
        poll.register(fd, select.POLLIN)
    deadline = None
    while live or deadline is None:
        for fd, _ in poll.poll(None if deadline is None else 50):
            if fd == ended:
                poll.unregister(ended)
                deadline = time.monotonic() + DRAIN_SECONDS  # noqa: TID251 — a program of its own, without a Clock
            elif not live[fd].pump():
                poll.unregister(fd)
                del live[fd]
        if deadline is not None:
            kill_rest(config["cgroup_procs"])
            if time.monotonic() > deadline:  # noqa: TID251 — as above
                break
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    end = {"code": code if code >= 0 else 128 - code, "signal": max(-code, 0), "finished": time.time_ns()}
    return end | {"oom_kills": oom_kills(config["oom_events"])}


def kill_rest(cgroup_procs: list[str]) -> None:
    """A container ends with its first process, as it does where that process is the first of a PID namespace."""
    for path in cgroup_procs:
        try:
            with open(path, encoding="ascii") as file:  # noqa: PTH123 — as in _rotate
                pids = [int(line) for line in file]
        except OSError:
            continue
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def oom_kills(path: str) -> int:
    try:
        with open(path, encoding="ascii") as file:  # noqa: PTH123 — as in _rotate
            return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), 0)
    except OSError:
        return 0


def start_ticks(pid: int) -> int:
    """When a process started, in clock ticks since boot: with the pid, its identity."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 — as in _rotate
        return int(file.read().rpartition(")")[2].split()[19])


def read(path: str) -> Any:
    with open(path, encoding="utf-8") as file:  # noqa: PTH123 — as in _rotate
        return json.load(file)


def read_all(fd: int) -> bytes:
    data = b""
    while chunk := os.read(fd, CHUNK):
        data += chunk
    os.close(fd)
    return data


def save(path: str, value: dict[str, Any]) -> None:
    """Whole or not at all: a reader never sees half a file."""
    with open(path + ".new", "w", encoding="utf-8") as file:  # noqa: PTH123 — as in _rotate
        json.dump(value, file)
    os.rename(path + ".new", path)  # noqa: PTH104 — as in _rotate


def say(value: dict[str, Any]) -> None:
    """One line to whoever started us; it may be gone already."""
    null = os.open("/dev/null", os.O_WRONLY)
    try:
        os.write(1, json.dumps(value).encode() + b"\n")
    except OSError:
        pass
    finally:
        os.dup2(null, 1)
        os.dup2(null, 2)


def guarded(directory: str) -> None:
    """A start that cannot even read its configuration still leaves a word behind."""
    try:
        main(directory)
    except Exception as problem:
        save("exit.json", {"code": NOT_STARTED, "error": repr(problem), "finished": time.time_ns()})
        raise


if __name__ == "__main__":
    guarded(sys.argv[1])
