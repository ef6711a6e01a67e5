"""Per node: the last usage report, the pods placed since, and what both say together.

Reported usage lags: a pod bound a second ago is not in it yet. So each placed pod adds the part of its estimate that the
report cannot contain. Everything here is plain integers in tuples over the plugin's dimensions; nothing knows of columns.
"""

from collections.abc import Mapping
from operator import add, sub

import msgspec

from koordinator.api import durations
from koordinator.api.core import Quantities
from koordinator.api.meta import parse_time
from koordinator.api.resources import amounts
from koordinator.api.slo import NodeMetric, ResourceMap

Vector = tuple[int, ...]
DEFAULT_REPORT_INTERVAL = 60


class Report(msgspec.Struct, frozen=True):
    """A NodeMetric as the plugin reads it. ``usage`` is None when the status carries no node metric at all."""

    updated_at: float | None
    interval: float
    usage: Vector | None
    system: Vector
    aggregated: Mapping[tuple[str, int], Vector]
    """(type, nanoseconds) → usage; nanoseconds 0 is the longest period reported."""
    pods: Mapping[str, Vector]
    prod_pods: frozenset[str]


class Share(msgspec.Struct, frozen=True):
    """What one pod adds to its node's sums."""

    node_delta: Vector
    prod_delta: Vector
    prod_usage: Vector
    estimated: Vector


class PlacedPod(msgspec.Struct):
    """A pod on the node. ``estimate`` is None when it is zero in every dimension."""

    key: str
    prod: bool
    timestamp: float
    estimate: Vector | None
    deadline: float | None
    share: Share | None = None


def read_report(metric: NodeMetric, dimensions: tuple[str, ...]) -> Report:
    """Raises ValueError naming the quantity that cannot be read."""
    policy, status = metric.spec.metric_collect_policy, metric.status
    interval = policy.report_interval_seconds if policy is not None else None
    zero = (0,) * len(dimensions)
    info = status.node_metric
    pods = {f"{pod.namespace}/{pod.name}": pod for pod in status.pods_metric or () if pod.pod_usage.resources}
    return Report(
        updated_at=parse_time(status.update_time),
        interval=float(DEFAULT_REPORT_INTERVAL if interval is None else interval),
        usage=_vector(info.node_usage.resources, dimensions) if info is not None else None,
        system=_vector(info.system_usage.resources, dimensions) if info is not None else zero,
        aggregated=_aggregated(metric, dimensions),
        pods={key: _vector(pod.pod_usage.resources, dimensions) for key, pod in pods.items()},
        prod_pods=frozenset(key for key, pod in pods.items() if pod.priority == "koord-prod"),
    )


def _vector(resources: Quantities | None, dimensions: tuple[str, ...]) -> Vector:
    wanted = {name: text for name, text in (resources or {}).items() if name in dimensions}
    read = amounts(wanted)
    return tuple(read.get(name, 0) for name in dimensions)


def _aggregated(metric: NodeMetric, dimensions: tuple[str, ...]) -> dict[tuple[str, int], Vector]:
    info = metric.status.node_metric
    found: dict[tuple[str, int], Vector] = {}
    longest: dict[str, int] = {}
    for entry in (info.aggregated_node_usages if info is not None else None) or ():
        period = durations.parse(entry.duration)
        for kind, usage in _told(entry.usage):
            vector = _vector(usage.resources, dimensions)
            found[kind, period] = vector
            if period >= longest.get(kind, -1):
                longest[kind] = period
                found[kind, 0] = vector
    return found


def _told(usage: dict[str, ResourceMap] | None) -> list[tuple[str, ResourceMap]]:
    return [(kind, one) for kind, one in (usage or {}).items() if one.resources]


def share_of(pod: PlacedPod, report: Report) -> Share:
    """What a pod adds, given the node's report."""
    zero = (0,) * len(report.system)
    used = report.pods.get(pod.key)
    reported_prod = pod.key in report.prod_pods
    estimate = pod.estimate or zero
    node_delta = _excess(estimate, used) if used is None or _not_yet_seen(pod, report) else zero
    prod_delta = prod_usage = zero
    if pod.prod:
        believed = used if reported_prod else None
        prod_usage = believed or zero
        prod_delta = _excess(estimate, believed) if believed is None or _not_yet_seen(pod, report) else zero
    return Share(node_delta, prod_delta, prod_usage, estimate)


def _not_yet_seen(pod: PlacedPod, report: Report) -> bool:
    """Whether the report is too old to show the pod's usage in full."""
    if report.updated_at is None:
        return True
    return report.updated_at - report.interval < pod.timestamp or (
        pod.deadline is not None and pod.deadline > report.updated_at
    )


def _excess(estimate: Vector, used: Vector | None) -> Vector:
    return estimate if used is None else tuple(max(0, e - u) for e, u in zip(estimate, used, strict=True))


class Ledger:
    """One node's pods, report and sums. The sums follow the pods only while there is a report."""

    def __init__(self, width: int, *, include_system: bool) -> None:
        self._zero: Vector = (0,) * width
        self._include_system = include_system
        self.report: Report | None = None
        self.pods: dict[str, PlacedPod] = {}
        self._clear()

    def _clear(self) -> None:
        self.node_delta = self.prod_delta = self.prod_usage = self.estimated = self._zero

    @property
    def empty(self) -> bool:
        return self.report is None and not self.pods

    def set_report(self, report: Report | None) -> None:
        self.report = report
        self._clear()
        if report is None:
            return
        if self._include_system:
            self.prod_usage = report.system
        for pod in self.pods.values():
            self._count(pod, report)

    def put(self, uid: str, pod: PlacedPod) -> None:
        self.take(uid)
        self.pods[uid] = pod
        if self.report is not None:
            self._count(pod, self.report)

    def _count(self, pod: PlacedPod, report: Report) -> None:
        share = pod.share = share_of(pod, report)
        self.node_delta = tuple(map(add, self.node_delta, share.node_delta))
        self.prod_delta = tuple(map(add, self.prod_delta, share.prod_delta))
        self.prod_usage = tuple(map(add, self.prod_usage, share.prod_usage))
        self.estimated = tuple(map(add, self.estimated, share.estimated))

    def take(self, uid: str) -> PlacedPod | None:
        pod = self.pods.pop(uid, None)
        if pod is not None and self.report is not None and pod.share is not None:
            share = pod.share
            self.node_delta = tuple(map(sub, self.node_delta, share.node_delta))
            self.prod_delta = tuple(map(sub, self.prod_delta, share.prod_delta))
            self.prod_usage = tuple(map(sub, self.prod_usage, share.prod_usage))
            self.estimated = tuple(map(sub, self.estimated, share.estimated))
        return pod

    def given_back(self, uid: str, *, prod: bool, aggregation: tuple[str, int] | None) -> Vector:
        """How much less ``existing`` would say without a pod."""
        pod = self.pods.get(uid)
        if pod is None or pod.share is None or self.report is None:
            return self._zero
        if prod:
            return tuple(map(add, pod.share.prod_usage, pod.share.prod_delta))
        return pod.share.estimated if self._usage(aggregation) is None else pod.share.node_delta

    def _usage(self, aggregation: tuple[str, int] | None) -> Vector | None:
        report = self.report
        if report is None or aggregation is None:
            return report.usage if report is not None else None
        return report.aggregated.get(aggregation, report.usage if aggregation[1] == 0 else None)

    def existing(self, *, prod: bool, aggregation: tuple[str, int] | None) -> Vector:
        """What is used on the node now, estimates of unseen pods included. Only with a report."""
        report = self.report
        if report is None:
            return self._zero
        if prod:
            return tuple(map(add, self.prod_usage, self.prod_delta))
        usage = self._usage(aggregation)
        return self.estimated if usage is None else tuple(map(add, usage, self.node_delta))
