"""What koordlet can be told, with the defaults of a node. Names follow the command line's flags."""

from collections.abc import Mapping

import msgspec

from koordinator.errors import ConfigInvalid

GATES: Mapping[str, bool] = {
    "AuditEvents": False,
    "BECPUSuppress": True,
    "BatchResource": True,
    "GroupIdentity": True,
}
"""Feature gates that something here asks for, and their defaults."""

FUTURE_GATES = frozenset(
    """AuditEventsHTTPHandler BECPUManager BECPUEvict BEMemoryEvict CPUEvict MemoryEvict CPUAllocatableEvict
    MemoryAllocatableEvict CPUBurst SystemConfig RdtResctrl CgroupReconcile CPICollector Libpfm4 PSICollector ResctrlCollector
    BlkIOReconcile ColdPageCollector HugePageReport PodResourcesProxy HamiCoreVGPUMonitor PerCPUMetric NodeMetricPromMetrics
    Accelerators RDMADevices NodeTopologyReport CPUSetAllocator GPUEnvInject RDMADeviceInject CPUNormalization CoreSched
    TerwayQoS TCNetworkQoS Resctrl OOMScoreAdj""".split()  # noqa: SIM905 — a word list reads better than quoted words
)
"""Gates of the protocol that are accepted and ask for nothing yet."""

_GROUPS = ("AllAlpha", "AllBeta")


class KoordletOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one koordlet. Times in seconds. ``port`` 0: no HTTP.

    ``report_floor`` and ``aggregate_floor``: shorter intervals than these in a NodeMetric's spec are lifted to them.
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
    feature_gates: Mapping[str, bool] = {}
    undo_on_exit: bool = False

    @property
    def audited(self) -> bool:
        """Whether changes are logged: a directory is named and the gate is not turned off."""
        return bool(self.audit_log_dir) and self.feature_gates.get("AuditEvents", True)

    def enabled(self, gate: str) -> bool:
        return self.feature_gates.get(gate, GATES[gate])


def parse_gates(text: str) -> dict[str, bool]:
    """``A=true,B=false`` over the defaults. Raises ConfigInvalid naming the gate."""
    gates = dict(GATES)
    for item in filter(None, text.split(",")):
        name, separator, value = item.strip().partition("=")
        if not separator or value.lower() not in ("true", "false"):
            raise ConfigInvalid(f"--feature-gates {name}", value, "must be true or false", "koordlet does not start")
        if name in _GROUPS:
            beta = name == "AllBeta"
            gates |= {gate: value.lower() == "true" for gate, default in GATES.items() if default is beta}
        elif name in GATES or name in FUTURE_GATES:
            gates[name] = value.lower() == "true"
        else:
            raise ConfigInvalid("--feature-gates", name, "is not a feature gate of koordlet", "koordlet does not start")
    return gates


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
