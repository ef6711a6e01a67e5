"""What a process node can be told, and whether this machine can be one."""

import os
import platform
from pathlib import Path

import msgspec

from koordinator.cluster.nodes.process import cgroups
from koordinator.errors import Unavailable


class ProcessOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the process node. ``data_dir`` is the cluster's; the node keeps to ``<data_dir>/pods``."""

    data_dir: Path
    cgroup_parent: str
    cgroup_root: Path = Path("/sys/fs/cgroup")
    node_name: str = ""
    labels: dict[str, str] = {}
    address: str = "127.0.0.1"
    port: int = 0
    max_pods: int = 110
    reserved: dict[str, str] = {}
    log_bytes: int = 10 * 1024 * 1024
    pids_per_container: int | None = None
    stop_pods_on_exit: bool = True
    stop_seconds: float = 10.0

    @property
    def name(self) -> str:
        return self.node_name or platform.node().lower()

    @property
    def pods_dir(self) -> Path:
        return self.data_dir / "pods"

    @property
    def token_file(self) -> Path:
        return self.data_dir / "kubelet-token"

    @property
    def pki_dir(self) -> Path:
        return self.data_dir / "pki"


def usable(options: ProcessOptions) -> str | None:
    """Why this machine cannot be a process node, in one sentence; None when it can. Leaves nothing behind."""
    if platform.system() != "Linux":
        return f"process nodes need Linux, this is {platform.system()}"
    try:
        found = cgroups.detect(options.cgroup_root)
        cgroups.check_writable(found, options.cgroup_parent)
    except Unavailable as err:
        hint = "" if os.geteuid() == 0 else " (not root)"
        return f"{err}{hint}"
    return None
