"""What koordlet can be told, with the defaults of a node. Names follow the command line's flags."""

import msgspec

from koordinator.api.features import KOORDLET
from koordinator.errors import ConfigInvalid


class KoordletOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one koordlet. Times in seconds. ``port`` 0: no HTTP.

    ``features``: the names of the gates that are on (``api.features.KOORDLET.parse``). ``report_floor``, ``aggregate_floor``:
    shorter intervals than these in a NodeMetric's spec are lifted to them.
    """

    node_name: str
    kubeconfig: str = ""
    master: str = ""
    cgroup_root: str = "/sys/fs/cgroup"
    proc_root: str = "/proc"
    sys_root: str = "/sys"
    cgroup_parent: str = ""
    cgroup_driver: str = ""
    kubelet_token_file: str = ""
    kubelet_ca_file: str = ""
    kubelet_read_only_port: int = 0
    kubelet_preferred_address_type: str = "InternalIP"
    kubelet_sync_interval: float = 10.0
    kubelet_sync_timeout: float = 3.0
    bind: str = "127.0.0.1"
    port: int = 0
    collect_interval: float = 1.0
    system_outdated: float = 10.0
    cpu_info_interval: float = 60.0
    resource_force_update: float = 60.0
    report_interval: float | None = None
    report_floor: float = 30.0
    aggregate_floor: float = 60.0
    audit_log_dir: str = ""
    audit_max_disk_space_mb: int = 16
    audit_verbose: int = 3
    features: frozenset[str] = KOORDLET.defaults
    undo_on_exit: bool = False

    def enabled(self, gate: str) -> bool:
        return gate in self.features


def check(options: KoordletOptions) -> None:
    """Raises ConfigInvalid for values that cannot work."""
    effect = "koordlet does not start"
    if not options.node_name:
        raise ConfigInvalid("node name", options.node_name, "must be given (NODE_NAME)", effect)
    if options.collect_interval < 0.1:
        raise ConfigInvalid("collect-res-used-interval", options.collect_interval, "must be at least 0.1 s", effect)
    if options.kubelet_sync_interval <= 0:
        raise ConfigInvalid("kubelet-sync-interval", options.kubelet_sync_interval, "must be above 0", effect)
    if options.cgroup_driver not in ("", "systemd", "cgroupfs"):
        raise ConfigInvalid("cgroup-driver", options.cgroup_driver, "must be systemd or cgroupfs", effect)
