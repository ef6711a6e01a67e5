"""The plugins that run, in their order and with their weights."""

from koordinator.api.resources import BATCH_CPU, BATCH_MEMORY, CPU, MEMORY
from koordinator.clock import Clock
from koordinator.kube.store import Store
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.framework import Plugin
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.plugins.balanced_allocation import NodeResourcesBalancedAllocation
from koordinator.scheduler.plugins.default_binder import DefaultBinder
from koordinator.scheduler.plugins.load_aware.args import LoadAwareArgs
from koordinator.scheduler.plugins.load_aware.plugin import LoadAwareScheduling
from koordinator.scheduler.plugins.node_affinity import NodeAffinity
from koordinator.scheduler.plugins.node_name import NodeName
from koordinator.scheduler.plugins.node_unschedulable import NodeUnschedulable
from koordinator.scheduler.plugins.priority_sort import PrioritySort
from koordinator.scheduler.plugins.resources_fit import FitArgs, NodeResourcesFit, ResourceWeight
from koordinator.scheduler.plugins.scheduling_gates import SchedulingGates
from koordinator.scheduler.plugins.taint_toleration import TaintToleration

WEIGHTS = {"TaintToleration": 3, "NodeAffinity": 2}
"""Where a score's weight is not 1."""


def shipped_load_aware() -> LoadAwareArgs:
    """As our manifests ship it: usage counts in the score, and keeps no pod off a node until somebody sets thresholds."""
    return LoadAwareArgs(
        filter_expired_node_metrics=False,
        node_metric_expiration_seconds=300,
        resource_weights={CPU: 1, MEMORY: 1},
        usage_thresholds={CPU: 0, MEMORY: 0},
        estimated_scaling_factors={CPU: 85, MEMORY: 70},
    )


def shipped_fit() -> FitArgs:
    return FitArgs(resources=tuple(ResourceWeight(name) for name in (CPU, MEMORY, BATCH_CPU, BATCH_MEMORY)))


def default_profile(names: tuple[str, ...], cluster: Cluster, store: Store, clock: Clock) -> Profile:
    """Kubernetes' default plugins, cheap filters first, plus LoadAwareScheduling."""
    plugins: list[Plugin] = [
        SchedulingGates(),
        PrioritySort(),
        NodeUnschedulable(),
        NodeName(),
        TaintToleration(),
        NodeAffinity(),
        NodeResourcesFit(shipped_fit()),
        LoadAwareScheduling(cluster, clock, shipped_load_aware()),
        NodeResourcesBalancedAllocation(),
        DefaultBinder(store),
    ]
    return Profile(names, plugins, WEIGHTS)
