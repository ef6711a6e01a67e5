"""What strategies see: one consistent picture of the node per round. Plain data; every part may be missing."""

from collections.abc import Mapping, Sequence

import msgspec

from koordinator.api import qos
from koordinator.api.core import Node, Pod
from koordinator.api.strategies import HostApplication, ResourceQOSStrategy
from koordinator.koordlet.host.machine import Processor
from koordinator.koordlet.observe.strategy import Thresholds


class ContainerView(msgspec.Struct, frozen=True):
    """A container that runs or ran. ``group`` is its cgroup."""

    name: str
    id: str
    group: str


class PodView(msgspec.Struct, frozen=True):
    """A pod of this node and where its cgroups are."""

    pod: Pod
    uid: str
    group: str
    qos: qos.QoS
    kube_qos: str
    containers: tuple[ContainerView, ...] = ()

    @property
    def best_effort(self) -> bool:
        """As CPU suppression sees it: by label or by Kubernetes' own class."""
        return self.qos is qos.QoS.BE or self.kube_qos == qos.BEST_EFFORT


class Tier(msgspec.Struct, frozen=True):
    """The best-effort tier's cgroup. None is what could not be read. ``groups``: it and all below it, by depth 0, 1, 2."""

    group: str
    quota: int | None = None
    cpus: frozenset[int] | None = None
    groups: tuple[tuple[str, ...], ...] = ()


class View(msgspec.Struct, frozen=True, kw_only=True):
    """One round. CPU usage in cores: ``node_cpu`` of the machine, ``pod_cpu`` by pod UID (also of pods that just left)."""

    node: Node | None = None
    thresholds: Thresholds | None = None
    qos_strategy: ResourceQOSStrategy | None = None
    pods: Sequence[PodView] = ()
    node_cpu: float | None = None
    pod_cpu: Mapping[str, float] = {}
    host_apps: Sequence[HostApplication] = ()
    host_app_cpu: Mapping[str, float] = {}
    processors: Sequence[Processor] = ()
    topology: Mapping[str, str] = {}  # annotations of the node's NodeResourceTopology
    tier: Tier
