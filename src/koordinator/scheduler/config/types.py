"""KubeSchedulerConfiguration v1, field by field, with kube-scheduler's defaults."""

from typing import Any

import msgspec

from koordinator.api.meta import DurationText, Struct

GROUP = "kubescheduler.config.k8s.io"
VERSION = f"{GROUP}/v1"
OLD_VERSIONS = (f"{GROUP}/v1beta2", f"{GROUP}/v1beta3")
KIND = "KubeSchedulerConfiguration"


class LeaderElection(Struct):
    leader_elect: bool = True  #: Schedule only while holding the Lease.
    lease_duration: DurationText = "15s"  #: How long others wait for a silent leader.
    renew_deadline: DurationText = "10s"  #: How long a leader tries to renew before it stops.
    retry_period: DurationText = "2s"  #: Pause between attempts.
    resource_lock: str = "leases"  #: Only ``leases``.
    resource_name: str = "kube-scheduler"  #: Name of the Lease.
    resource_namespace: str = "kube-system"  #: Its namespace.


class ClientConnection(Struct):
    kubeconfig: str = ""  #: File; empty for the service account, $KUBECONFIG or ~/.kube/config.
    accept_content_types: str = ""  #: Accepted; we speak JSON.
    content_type: str = "application/vnd.kubernetes.protobuf"  #: Accepted; we speak JSON.
    qps: float = 50  #: Accepted; binds are limited by their concurrency instead.
    burst: int = 100  #: Accepted.


class PluginRef(Struct):
    name: str = ""
    weight: int = 0  #: Of its score; 0 means 1.


class PluginSet(Struct):
    enabled: list[PluginRef] | None = None  #: After the defaults, in this order.
    disabled: list[PluginRef] | None = None  #: ``*`` for all defaults.


class Plugins(Struct):
    """Which plugins run at which extension point."""

    multi_point: PluginSet = msgspec.field(default_factory=PluginSet)
    pre_enqueue: PluginSet = msgspec.field(default_factory=PluginSet)
    queue_sort: PluginSet = msgspec.field(default_factory=PluginSet)
    pre_filter: PluginSet = msgspec.field(default_factory=PluginSet)
    filter: PluginSet = msgspec.field(default_factory=PluginSet)
    post_filter: PluginSet = msgspec.field(default_factory=PluginSet)
    pre_score: PluginSet = msgspec.field(default_factory=PluginSet)
    score: PluginSet = msgspec.field(default_factory=PluginSet)
    reserve: PluginSet = msgspec.field(default_factory=PluginSet)
    permit: PluginSet = msgspec.field(default_factory=PluginSet)
    pre_bind: PluginSet = msgspec.field(default_factory=PluginSet)
    bind: PluginSet = msgspec.field(default_factory=PluginSet)
    post_bind: PluginSet = msgspec.field(default_factory=PluginSet)


class PluginConfig(Struct):
    name: str = ""
    args: Any = None  #: The plugin's own type; see the reference.


class ProfileConfig(Struct):
    scheduler_name: str = "default-scheduler"  #: Whose pods.
    percentage_of_nodes_to_score: int | None = None  #: Accepted; all nodes are looked at.
    plugins: Plugins | None = None
    plugin_config: list[PluginConfig] | None = None


class ExtenderTLS(Struct):
    insecure: bool = False
    server_name: str = ""
    cert_file: str = ""
    key_file: str = ""
    ca_file: str = ""
    cert_data: str = ""
    key_data: str = ""
    ca_data: str = ""


class ManagedResource(Struct):
    name: str = ""
    ignored_by_scheduler: bool = False  #: NodeResourcesFit leaves the resource to the extender.


class ExtenderConfig(Struct):
    """An HTTP scheduler extender."""

    url_prefix: str = ""
    filter_verb: str = ""
    preempt_verb: str = ""
    prioritize_verb: str = ""
    weight: int = 0
    bind_verb: str = ""
    enable_https: bool = msgspec.field(default=False, name="enableHTTPS")
    tls_config: ExtenderTLS | None = None
    http_timeout: DurationText = msgspec.field(default="5s", name="httpTimeout")
    node_cache_capable: bool = False  #: Node names are sent in place of whole nodes.
    managed_resources: list[ManagedResource] | None = None  #: Only pods that ask for one of these are sent.
    ignorable: bool = False  #: An extender that does not answer does not stop the pod.


class Configuration(Struct):
    """The file."""

    api_version: str = VERSION
    kind: str = KIND
    parallelism: int = 16  #: Accepted; nodes are compared as arrays.
    leader_election: LeaderElection = msgspec.field(default_factory=LeaderElection)
    client_connection: ClientConnection = msgspec.field(default_factory=ClientConnection)
    enable_profiling: bool = True
    enable_contention_profiling: bool = True
    health_z_bind_address: str = msgspec.field(default="", name="healthzBindAddress")  #: Old; ignored.
    metrics_bind_address: str = ""  #: Old; ignored.
    percentage_of_nodes_to_score: int | None = None  #: Accepted; all nodes are looked at.
    pod_initial_backoff_seconds: int = 1
    pod_max_backoff_seconds: int = 10
    delay_cache_until_active: bool = False  #: Watch only after winning the Lease.
    profiles: list[ProfileConfig] = msgspec.field(default_factory=lambda: [ProfileConfig()])
    extenders: list[ExtenderConfig] | None = None
