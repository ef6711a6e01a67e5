"""What the command line, the configuration file or the embedded cluster decides about the scheduler."""

import msgspec

from koordinator.api import durations, features
from koordinator.kube.leader import LeaseTimes
from koordinator.kube.reviews import Lifetimes
from koordinator.scheduler.auditor.options import AuditorOptions
from koordinator.scheduler.config.types import Configuration, LeaderElection

SHIPPED_NAMES = ("koord-scheduler", "default-scheduler")


class Election(msgspec.Struct, frozen=True, kw_only=True):
    """The Lease that the leader holds."""

    namespace: str = "koordinator-system"
    name: str = "koord-scheduler"
    times: LeaseTimes = LeaseTimes()


class BarrierPod(msgspec.Struct, frozen=True, kw_only=True):
    """The pod that a new leader writes to, for how long the barrier may hold up a leader. No name means no barrier."""

    namespace: str = "kube-system"
    name: str = "koord-scheduler-sync-barrier"
    timeout: float = 60.0

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


class Headers(msgspec.Struct, frozen=True, kw_only=True):
    """Where a front proxy puts the caller's name, and which names its certificate may have; none: any."""

    allowed: tuple[str, ...] = ()
    name: tuple[str, ...] = ("x-remote-user",)
    group: tuple[str, ...] = ("x-remote-group",)
    uid: tuple[str, ...] = ()
    extra: tuple[str, ...] = ("x-remote-extra-",)


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """Who may use the HTTPS port. Without kubeconfigs the scheduler's own connection asks the API server."""

    kubeconfig: str = ""
    """For questions about tokens."""
    authorization_kubeconfig: str = ""
    """For questions about what somebody may do."""
    client_ca_file: str = ""
    proxy_ca_file: str = ""
    headers: Headers = Headers()
    skip_lookup: bool = False
    """Whether client CAs that no flag names are not looked for in the cluster."""
    tolerate_lookup_failure: bool = True
    open_paths: tuple[str, ...] = ("/healthz", "/readyz", "/livez")
    lifetimes: Lifetimes = Lifetimes()


class Secure(msgspec.Struct, frozen=True, kw_only=True):
    """HTTPS; port 0 takes a free one. Without certificate files one is made, signed by itself, in ``cert_dir`` or in memory."""

    address: str = "0.0.0.0"
    port: int = 10259
    cert_file: str = ""
    key_file: str = ""
    cert_dir: str = ""
    min_version: str = ""
    """``VersionTLS12`` or ``VersionTLS13``, and older ones."""
    cipher_suites: tuple[str, ...] = ()
    """Of TLS 1.2, by their IANA names; none for Python's choice."""
    reuse_port: bool = False
    access: Access = Access()


class DebugOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What is logged from the start; can be turned while the scheduler runs."""

    top_scores: int = 0
    filters: bool = False
    diagnosis: bool = False
    diagnosis_blocking: bool = False
    diagnosis_queue: int = 1000
    """So many diagnoses may wait to be written; more are dropped."""
    verbosity: int = 0


class SchedulerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The defaults suit a cluster on this machine."""

    kubeconfig: str | None = None
    master: str | None = None
    qps: float = 0.0
    burst: int = 0
    config: str = ""
    """A KubeSchedulerConfiguration file; without one the shipped profile runs under ``scheduler_names``."""
    scheduler_names: tuple[str, ...] = SHIPPED_NAMES
    leader_elect: bool = False
    election: Election = Election()
    delay_cache: bool = False
    """Whether a replica that stands by watches nothing."""
    barrier: BarrierPod = BarrierPod()
    controller_plugins: tuple[str, ...] = ("*",)
    seed: int | None = None
    bind_concurrency: int = 64
    http_address: str = "127.0.0.1"
    http_port: int | None = None
    """Where /healthz and /metrics are served; None for nowhere, 0 for any free port."""
    secure: Secure | None = None
    profiling: bool = True
    """Whether ``/debug/pprof/`` is served."""
    gates: frozenset[str] = features.SCHEDULER.defaults
    max_unschedulable: float = 300.0
    """Seconds after which a refused pod is tried again though nothing has happened."""
    entry_points: bool = False
    """Whether plugins of other installed packages are looked for."""
    debug: DebugOptions = DebugOptions()
    monitor_period: float = 10.0
    scheduling_timeout: float = 30.0
    network_topology: bool = False
    """Whether the tree of the network is kept."""
    auditor: AuditorOptions | None = None
    """None: workloads are not audited."""


def election_of(configuration: LeaderElection) -> Election:
    """The file's leader election, its texts read."""
    times = LeaseTimes(
        lease_duration=durations.seconds(configuration.lease_duration),
        renew_deadline=durations.seconds(configuration.renew_deadline),
        retry_period=durations.seconds(configuration.retry_period),
    )
    return Election(namespace=configuration.resource_namespace, name=configuration.resource_name, times=times)


def _kept(from_file: Election, flags: Election, given: frozenset[str]) -> Election:
    """The file's election, but for the fields that the command line names."""
    own = {name: getattr(flags, name) for name in ("namespace", "name") if f"election.{name}" in given}
    times = {name: getattr(flags.times, name) for name in LeaseTimes.__struct_fields__ if f"election.{name}" in given}
    return msgspec.structs.replace(from_file, times=msgspec.structs.replace(from_file.times, **times), **own)


def with_configuration(options: SchedulerOptions, configuration: Configuration, given: frozenset[str]) -> SchedulerOptions:
    """The file decides what the command line did not: ``given`` names the options that it did."""
    client = configuration.client_connection
    from_file = {
        "kubeconfig": client.kubeconfig or None,
        "qps": client.qps,
        "burst": client.burst,
        "leader_elect": configuration.leader_election.leader_elect,
        "delay_cache": configuration.delay_cache_until_active,
        "profiling": configuration.enable_profiling,
    }
    decided = {name: value for name, value in from_file.items() if name not in given and value is not None}
    election = _kept(election_of(configuration.leader_election), options.election, given)
    return msgspec.structs.replace(options, election=election, **decided)
