"""What a running cluster leaves in its data directory for others to find: paths, process ids, ports.

A directory holds one cluster. ``run.json`` is there while it runs; a process id counts only together with the process's start
time, so that a reused id is never taken for the cluster.
"""

import fcntl
import hashlib
import os
from pathlib import Path

import msgspec

from koordinator.errors import Unavailable


class RunState(msgspec.Struct, rename="camel", kw_only=True):
    """A running cluster: ``node`` is process or hollow, ``why_hollow`` the reason when a process node was not possible.

    ``server`` is the API server's address, ``scheduler`` that of the scheduler's debug endpoints.
    """

    pid: int
    start_ticks: int
    server: str
    components: dict[str, int]
    node: str
    node_name: str
    hollow_nodes: int = 0
    why_hollow: str = ""
    scheduler: str = ""


class DataDir:
    """The files of one cluster."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.kubeconfig = root / "kubeconfig"
        self.component_kubeconfig = root / "component.kubeconfig"
        self.kubelet_token = root / "kubelet-token"
        self.pki = root / "pki"
        self.logs = root / "logs"
        self.run_file = root / "run.json"
        self.lock_file = root / "up.lock"

    @property
    def cgroup_parent(self) -> str:
        """The cgroup below which this cluster's pods live: several clusters on one machine do not collide."""
        return f"koord-{hashlib.sha256(str(self.root.resolve()).encode()).hexdigest()[:8]}"

    def create(self) -> None:
        try:
            for folder in (self.root, self.logs):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as err:
            raise self._barred(err) from err

    def lock(self) -> int:
        """Hold the directory until the process ends; returns the descriptor that holds it. Raises Unavailable when held."""
        try:
            descriptor = os.open(self.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as err:
            raise self._barred(err) from err
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 20).decode().strip() or "unknown"
            os.close(descriptor)
            remedy = "stop it with `koord down`, or choose another directory with --data"
            raise Unavailable(f"data directory {self.root}", f"a cluster runs on it (pid {holder})", remedy) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return descriptor

    def write(self, state: RunState) -> None:
        temporary = self.run_file.with_suffix(".new")
        temporary.write_bytes(msgspec.json.format(msgspec.json.encode(state), indent=2))
        temporary.chmod(0o600)
        temporary.replace(self.run_file)

    def running(self) -> RunState | None:
        """The cluster that runs on this directory, None when there is none (a stale file does not count).

        Raises Unavailable when the directory may not be looked into.
        """
        try:
            state = msgspec.json.decode(self.run_file.read_bytes(), type=RunState)
        except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
            return None
        except OSError as err:
            raise self._barred(err) from err
        return state if start_ticks(state.pid) == state.start_ticks else None

    def _barred(self, err: OSError) -> Unavailable:
        return Unavailable(f"data directory {self.root}", f"{err.filename}: {err.strerror}", "choose another with --data")

    def must_run(self) -> RunState:
        """Raises Unavailable when no cluster runs here."""
        if (state := self.running()) is None:
            raise Unavailable("cluster", f"none runs on {self.root}", "start one with `koord up`, or name its --data")
        return state


def start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None when there is none, or only its zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
    return None if fields[0] == "Z" else int(fields[19])


def default_root() -> Path:
    """``$XDG_DATA_HOME/koord``, by default ``~/.local/share/koord``."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "koord"
