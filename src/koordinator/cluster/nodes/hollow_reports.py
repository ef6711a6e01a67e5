"""What koordlet would report of a hollow node: the status of its NodeMetric, out of the usage model."""

from collections.abc import Mapping
from typing import Any

import msgspec

from koordinator.api import durations
from koordinator.api.meta import Object, format_time
from koordinator.api.priority import Band
from koordinator.api.registry import Resource
from koordinator.api.resources import wire
from koordinator.api.slo import MetricCollectPolicy, NodeMetricSpec
from koordinator.cluster.nodes.hollow_fleet import Member
from koordinator.cluster.nodes.usage import SPREAD, NodeUsage, Usage, node_usage, percentiles

DEFAULT_INTERVAL = 60
DEFAULT_DURATIONS = ("5m", "10m", "30m")
SAFETY_MARGIN = 1.1
"""Of the prediction: prod pods may come to need this much more than their 95th percentile."""


class ReportTarget(Object):
    """A NodeMetric without its status: we write that, we need not read it back."""

    spec: NodeMetricSpec = msgspec.field(default_factory=NodeMetricSpec)


REPORT_TARGETS = Resource("slo.koordinator.sh", "v1alpha1", "nodemetrics", "NodeMetric", ReportTarget, namespaced=False)


def interval(target: ReportTarget) -> float:
    """Seconds between two reports, as the manager wants them."""
    seconds = (target.spec.metric_collect_policy or MetricCollectPolicy()).report_interval_seconds
    return float(max(1, DEFAULT_INTERVAL if seconds is None else seconds))


def report(member: Member, target: ReportTarget, now: float) -> dict[str, Any]:
    """The status to write."""
    loads = {key: pod.load for key, pod in member.running.items()}
    used = node_usage(member.capacity, member.seed, loads, now)
    policy = (target.spec.metric_collect_policy or MetricCollectPolicy()).node_aggregate_policy
    windows = (policy.durations if policy is not None else None) or DEFAULT_DURATIONS
    return {
        "updateTime": format_time(now),
        "nodeMetric": {
            "nodeUsage": resources(used.node),
            "systemUsage": resources(used.system),
            "aggregatedNodeUsages": [_window(used.node, member.capacity, window) for window in windows],
            "aggregatedSystemUsages": [_window(used.system, member.capacity, window) for window in windows],
        },
        "podsMetric": _pods(member, used.pods),
        "hostApplicationMetric": [],
        "prodReclaimableMetric": {"resource": resources(_reclaimable(member, used))},
    }


def resources(usage: Usage) -> dict[str, Any]:
    return {"resources": wire({"cpu": usage.cpu, "memory": usage.memory})}


def _window(mean: Usage, ceiling: Usage, window: str) -> dict[str, Any]:
    values = percentiles(mean, ceiling, SPREAD)
    return {"usage": {name: resources(usage) for name, usage in values.items()}, "duration": _canonical(window)}


def _canonical(window: str) -> str:
    try:
        return durations.to_text(durations.parse(window))
    except ValueError:
        return window  # the manager's own words; whoever reads them says what is wrong


def _pods(member: Member, used: Mapping[str, Usage]) -> list[dict[str, Any]]:
    pods = sorted(member.running.items(), key=lambda item: (item[1].namespace, item[1].name))
    return [
        {
            "name": pod.name,
            "namespace": pod.namespace,
            "podUsage": resources(used[key]),
            "priority": pod.priority,
            "qos": pod.qos,
        }
        for key, pod in pods
    ]


def _reclaimable(member: Member, used: NodeUsage) -> Usage:
    """What prod pods request and are not expected to need."""
    cpu = memory = 0
    for key, pod in member.running.items():
        if pod.priority not in (Band.PROD, Band.NONE):
            continue
        peak = percentiles(used.pods[key], member.capacity, ("p95",))["p95"]
        cpu += max(0, pod.load.cpu - int(peak.cpu * SAFETY_MARGIN))
        memory += max(0, pod.load.memory - int(peak.memory * SAFETY_MARGIN))
    return Usage(min(cpu, member.capacity.cpu), min(memory, member.capacity.memory))
