"""What LoadAwareScheduling knows of a node, told to people: its debug API, and why usage keeps a pod away."""

from collections.abc import Iterable, Mapping

import msgspec

from koordinator.api.meta import format_time
from koordinator.api.resources import wire
from koordinator.scheduler.engine.remedy import Remedy, figure
from koordinator.scheduler.plugins.load_aware.ledger import Ledger, PlacedPod, Report, Vector
from koordinator.scheduler.plugins.load_aware.thresholds import Limit, highest_passing, share


class View(msgspec.Struct, frozen=True):
    """One node as a pod of one class meets it."""

    dimensions: tuple[str, ...]
    capacity: Vector
    ledger: Ledger
    limit: Limit


def remedies(view: View, estimate: Iterable[int]) -> list[Remedy]:
    """Per resource that would be too hot: how far usage must fall, or the threshold rise."""
    used = view.ledger.existing(prod=view.limit.prod, aggregation=view.limit.aggregation)
    figures = zip(view.dimensions, view.capacity, used, estimate, view.limit.percents, strict=True)
    return [_cooler(*one) for one in figures if one[4] and one[1] and one[2] + one[3] > highest_passing(one[4], one[1])]


def _cooler(name: str, total: int, used: int, estimate: int, threshold: int) -> Remedy:
    excess = used + estimate - highest_passing(threshold, total)
    percent = share(used + estimate, total)
    return Remedy(
        "usage",
        f"{figure(name, excess)} {name} less in use on the node, or its threshold at {percent}% instead of {threshold}%",
        excess / total,
        f"{name}: {figure(name, used)} used + {figure(name, estimate)} estimated = {percent}% of {figure(name, total)}, "
        f"threshold {threshold}%",
    )


def expired(updated_at: float | None, now: float) -> Remedy:
    """The node's report is too old to judge by."""
    age = "has no time" if updated_at is None else f"is {now - updated_at:.0f} s old"
    return Remedy("usage", "a fresh NodeMetric of the node (does its koordlet run?)", 1.0, f"usage report {age}")


def report_line(state: str, report: Report | None, now: float) -> str:
    """One line on what is known of a node's usage."""
    if report is None:
        return "no usage report (NodeMetric): usage keeps no pod away, and adds nothing to the score"
    age = "without a time" if report.updated_at is None else f"{max(now - report.updated_at, 0):.0f} s old"
    meaning = {"expired": ": too old to score by", "empty": ", but it tells no usage"}.get(state, "")
    return f"usage report {age}{meaning}"


def describe(ledger: Ledger | None, dimensions: tuple[str, ...]) -> dict[str, object]:
    """The answer of ``GET /apis/v1/plugins/LoadAwareScheduling/node/NAME``; empty for a node that nothing is known of."""
    if ledger is None:
        return {}
    pods = sorted(ledger.pods.values(), key=lambda pod: pod.timestamp)
    answer: dict[str, object] = {
        "pods": [_pod(pod) for pod in pods],
        "nodeEstimatedPods": sorted(pod.key for pod in pods if pod.estimate is not None),
    }
    if ledger.report is not None:
        answer |= _sums(ledger, dimensions)
    return answer


def _pod(pod: PlacedPod) -> Mapping[str, object]:
    namespace, _, name = pod.key.partition("/")
    return {"timestamp": format_time(pod.timestamp), "pod": {"metadata": {"namespace": namespace, "name": name}}}


def _sums(ledger: Ledger, dimensions: tuple[str, ...]) -> dict[str, object]:
    sums = {
        "prodUsage": ledger.prod_usage,
        "nodeDelta": ledger.node_delta,
        "prodDelta": ledger.prod_delta,
        "nodeEstimated": ledger.estimated,
    }
    counted = [pod for pod in ledger.pods.values() if pod.share is not None]
    return {name: wire(dict(zip(dimensions, vector, strict=True))) for name, vector in sums.items()} | {
        "nodeDeltaPods": sorted(pod.key for pod in counted if pod.share is not None and any(pod.share.node_delta)),
        "prodDeltaPods": sorted(pod.key for pod in counted if pod.share is not None and any(pod.share.prod_delta)),
    }
