"""The keys of the ConfigMap that become a NodeSLO: their defaults and how they resolve to one node's strategy."""

from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from koordinator.api import keys, quantity
from koordinator.api.annotations import Malformed, Text
from koordinator.api.meta import LabelSelector, Struct
from koordinator.api.sloconfig.resolve import Override, Resolved, merge, read_text, selector_of
from koordinator.api.strategies import (
    CPUBurstStrategy,
    HostApplication,
    ResourceQOSStrategy,
    ResourceThresholdStrategy,
    SystemStrategy,
)

S = TypeVar("S", bound=msgspec.Struct)

RESOURCE_THRESHOLD_CONFIG = "resource-threshold-config"
RESOURCE_QOS_CONFIG = "resource-qos-config"
CPU_BURST_CONFIG = "cpu-burst-config"
SYSTEM_CONFIG = "system-config"
HOST_APPLICATION_CONFIG = "host-application-config"


def _bandwidth(text: str) -> str:
    """A quantity."""
    return str(quantity.parse(text))


NETWORK_BANDWIDTH = Text(keys.NETWORK_BANDWIDTH, _bandwidth, "Node annotation", "The node's bandwidth in bit/s.")


class NodeThreshold(ResourceThresholdStrategy):
    name: str = ""  #: The entry's name.
    node_selector: LabelSelector | None = None  #: Nodes that the entry is for; absent is none, empty is all.


class ResourceThresholdConfig(Struct):
    cluster_strategy: ResourceThresholdStrategy | None = None  #: For every node.
    node_strategies: list[NodeThreshold] | None = None  #: Exceptions; the first that matches a node counts.


class NodeResourceQOS(ResourceQOSStrategy):
    name: str = ""  #: The entry's name.
    node_selector: LabelSelector | None = None  #: Nodes that the entry is for; absent is none, empty is all.


class ResourceQOSConfig(Struct):
    cluster_strategy: ResourceQOSStrategy | None = None  #: For every node.
    node_strategies: list[NodeResourceQOS] | None = None  #: Exceptions; the first that matches a node counts.


class NodeCPUBurst(CPUBurstStrategy):
    name: str = ""  #: The entry's name.
    node_selector: LabelSelector | None = None  #: Nodes that the entry is for; absent is none, empty is all.


class CPUBurstNodeConfig(Struct):
    cluster_strategy: CPUBurstStrategy | None = None  #: For every node.
    node_strategies: list[NodeCPUBurst] | None = None  #: Exceptions; the first that matches a node counts.


class NodeSystem(SystemStrategy):
    name: str = ""  #: The entry's name.
    node_selector: LabelSelector | None = None  #: Nodes that the entry is for; absent is none, empty is all.


class SystemConfig(Struct):
    cluster_strategy: SystemStrategy | None = None  #: For every node.
    node_strategies: list[NodeSystem] | None = None  #: Exceptions; the first that matches a node counts.


class Applications(Struct):
    applications: list[HostApplication] | None = None  #: Process groups outside Kubernetes.


class NodeHostApplications(Applications):
    name: str = ""  #: The entry's name.
    node_selector: LabelSelector | None = None  #: Nodes that the entry is for; absent is none, empty is all.


class HostApplicationConfig(Applications):
    node_configs: list[NodeHostApplications] | None = None  #: Exceptions; the first that matches a node replaces the list.


class StrategyKey(msgspec.Struct, Generic[S], frozen=True):
    """One key with a ``clusterStrategy`` and ``nodeStrategies``. ``label`` is its name in events."""

    key: str
    label: str
    type: Any
    default: S

    def resolve(self, text: str | None) -> Resolved[S] | Malformed:
        """An absent key is the default; the empty text, as any other that is not JSON, is Malformed."""
        if text is None:
            return Resolved(self.default)
        config = read_text(self.key, text, self.type)
        if isinstance(config, Malformed):
            return config
        return merge(self.default, config.cluster_strategy, config.node_strategies)


DEFAULT_THRESHOLD = ResourceThresholdStrategy(
    enable=False,
    cpu_suppress_threshold_percent=65,
    cpu_suppress_policy="cpuset",
    memory_evict_threshold_percent=70,
    cpu_evict_policy="evictByRealLimit",
)
DEFAULT_CPU_BURST = CPUBurstStrategy(
    policy="none",
    cpu_burst_percent=1000,
    cfs_quota_burst_percent=300,
    cfs_quota_burst_period_seconds=-1,
    share_pool_threshold_percent=50,
)
DEFAULT_SYSTEM = SystemStrategy(total_network_bandwidth="0")

RESOURCE_THRESHOLD = StrategyKey(RESOURCE_THRESHOLD_CONFIG, "ThresholdCfg", ResourceThresholdConfig, DEFAULT_THRESHOLD)
RESOURCE_QOS = StrategyKey(RESOURCE_QOS_CONFIG, "ResourceQOSCfg", ResourceQOSConfig, ResourceQOSStrategy())
CPU_BURST = StrategyKey(CPU_BURST_CONFIG, "CPUBurstCfg", CPUBurstNodeConfig, DEFAULT_CPU_BURST)
SYSTEM = StrategyKey(SYSTEM_CONFIG, "SystemCfg", SystemConfig, DEFAULT_SYSTEM)


def resolve_host_applications(text: str | None) -> Resolved[Applications] | Malformed:
    """The first matching entry's list replaces the cluster's, even when it is empty."""
    if text is None:
        return Resolved(Applications())
    config = read_text(HOST_APPLICATION_CONFIG, text, HostApplicationConfig)
    if isinstance(config, Malformed):
        return config
    overrides = (Override(one.name, selector_of(one), _only(one.applications)) for one in config.node_configs or [])
    return Resolved(_only(config.applications), tuple(overrides))


def system_for_node(
    config: Resolved[SystemStrategy], labels: Mapping[str, str] | None, annotations: Mapping[str, str] | None
) -> SystemStrategy | Malformed:
    """The node's strategy; its bandwidth annotation, where there is one, wins, and spoils all when it cannot be read."""
    strategy = config.for_labels(labels)
    bandwidth = NETWORK_BANDWIDTH.read(annotations)
    if bandwidth is None:
        return strategy
    if isinstance(bandwidth, Malformed):
        return bandwidth
    return msgspec.structs.replace(strategy, total_network_bandwidth=bandwidth)


def _only(applications: Sequence[HostApplication] | None) -> Applications:
    return Applications(applications=list(applications) if applications is not None else None)
