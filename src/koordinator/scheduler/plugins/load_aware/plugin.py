"""LoadAwareScheduling: keep pods off nodes that are, or with them would be, hotter than allowed; prefer cool nodes.

Per node the plugin keeps, for prod pods and for all others, how much more usage would still pass the thresholds (``headroom``)
and how much is unused (``free``). Both are rewritten when a report arrives or a pod moves; a pod is then judged by one
comparison and scored by one division over all nodes.
"""

import heapq
import logging
from collections.abc import Hashable, Iterable, Mapping, Sequence
from operator import le
from typing import Any, NamedTuple

import numpy as np

from koordinator.api import priority
from koordinator.api.core import Node, Pod
from koordinator.api.priority import Band
from koordinator.api.registry import NODE_METRICS
from koordinator.api.slo import NodeMetric
from koordinator.clock import Clock
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.columns import Change, Columns, Ints, Rows
from koordinator.scheduler.engine.events import ClusterEvent, Happening, Hint
from koordinator.scheduler.engine.framework import (
    SKIP,
    CycleState,
    Endpoint,
    FilterPlugin,
    PreFilterPlugin,
    PreFilterResult,
    ScorePlugin,
    Verdict,
    WatchPlugin,
)
from koordinator.scheduler.engine.hooks import AnnotationPlugin
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.engine.remedy import Remedy
from koordinator.scheduler.plugins.load_aware import garbage, inspection
from koordinator.scheduler.plugins.load_aware.args import LoadAwareArgs, checked, defaulted, dimensions
from koordinator.scheduler.plugins.load_aware.estimator import Estimator, node_amounts, scheduled_at
from koordinator.scheduler.plugins.load_aware.ledger import Ledger, PlacedPod, read_report
from koordinator.scheduler.plugins.load_aware.thresholds import (
    UNLIMITED,
    Limit,
    Limits,
    highest_passing,
    limits_of,
    score_aggregation,
)

log = logging.getLogger(__name__)

_EXPIRED = 1
_OTHER, _PROD = _KINDS = 0, 1
Passing = tuple[int | None, ...]


class _Ask(NamedTuple):
    kind: int
    score_kind: int
    estimate: Ints


class _Static(NamedTuple):
    """What of a node does not move with its usage. ``most``: the highest usage that passes, for each kind of pod."""

    limits: Limits
    capacity: tuple[int, ...]
    most: tuple[Passing, Passing]


class LoadAwareScheduling(PreFilterPlugin, FilterPlugin, ScorePlugin, WatchPlugin, AnnotationPlugin):
    name = "LoadAwareScheduling"
    resource = NODE_METRICS
    happening = Happening.NODE_METRIC
    reads = Change.USAGE
    score_reads = Change.USAGE
    relieved = True
    """A pod that leaves takes what was only estimated of it along at once, and of the prod pods' usage its own. The rest of
    what was measured does not sink because a victim is thought away."""

    def __init__(self, cluster: Cluster, clock: Clock, args: LoadAwareArgs | None = None) -> None:
        self.args = checked(defaulted(args or LoadAwareArgs()))
        self.dimensions = dimensions(self.args)
        self.estimator = Estimator(self.args, self.dimensions)
        self._clock, self._cluster, self._columns = clock, cluster, cluster.columns
        self._nodes = cluster.nodes
        self._aside: dict[str, PlacedPod] = {}
        """Pods taken away for a rehearsal, to be put back as they were."""
        self._aggregation = score_aggregation(self.args)
        weights = self.args.resource_weights or {}
        self._weights = np.array([weights.get(name, 0) for name in self.dimensions], dtype=np.int64)
        self._total_weight = int(self._weights.sum()) + self.args.dominant_resource_weight
        self._estimates = object()
        """The key of our notes on templates."""
        self.ledgers: dict[str, Ledger] = {}
        self._static: dict[str, _Static] = {}
        self._expiries: list[tuple[float, str]] = []
        self._expiring: dict[str, float] = {}
        """The latest entry of each node in the heap: a report is entered once, however often pods move below it."""
        self._limited: set[int] = set()
        width = len(self.dimensions)
        self._headroom = [cluster.columns.column(np.int64, width, fill=UNLIMITED) for _ in range(2)]
        self._free = [cluster.columns.column(np.int64, width) for _ in range(2)]
        self._capacity = cluster.columns.column(np.int64, width, fill=1)
        self._aggregated = [cluster.columns.column(np.bool_) for _ in range(2)]
        self._expired = [cluster.columns.column(np.bool_) for _ in range(2)]
        self._scored = cluster.columns.column(np.int64)
        self._hinted: tuple[int, int, list[list[int] | None]] = (-1, -1, [])
        """Room on one row at one position of the journal: an event is put to many pods in a row."""
        cluster.listeners.append(self)

    def reconfigure(self, args: LoadAwareArgs) -> bool:
        """Other thresholds and weights while it runs. What estimates and columns are made of stays as it is: False."""
        new = checked(defaulted(args))
        kept = ("estimator", "estimated_scaling_factors", "allow_customize_estimation", "prod_usage_include_sys")
        same = all(getattr(new, field) == getattr(self.args, field) for field in kept)
        if not same or dimensions(new) != self.dimensions:
            return False
        self.args = new
        self._aggregation = score_aggregation(new)
        weights = new.resource_weights or {}
        self._weights = np.array([weights.get(name, 0) for name in self.dimensions], dtype=np.int64)
        self._total_weight = int(self._weights.sum()) + new.dominant_resource_weight
        for name, node in self._nodes.items():
            self._static[name] = _static(*self._limits_and_capacity(node))
            self._write(name)
        return True

    # -- what the engine asks ------------------------------------------------------------------------------------------

    def signature(self, pod: PodInfo) -> Hashable:
        return self._profile(pod), _by_daemon_set(pod)

    def events(self) -> Sequence[tuple[int, Hint | None]]:
        """Also a node's annotations: they may bring it thresholds of its own."""
        kinds = Happening.POD_DELETE | Happening.NODE_METRIC | Happening.NODE_ANNOTATION
        return ((kinds | Happening.NODE_ADD | Happening.NODE_ALLOCATABLE, self._would_do),)

    def _would_do(self, pod: PodInfo, event: ClusterEvent) -> bool:
        """Whether usage lets the pod in on the event's node, as it stands after the event."""
        row = self._columns.row_of.get(event.node)
        if row is None:
            return not event.node
        if self._hinted[:2] != (self._columns.position, row):
            room = [None if self._expired[kind].values[row] else self._headroom[kind].values[row].tolist() for kind in _KINDS]
            self._hinted = self._columns.position, row, room
        prod, estimate = self._profile(pod)
        headroom = self._hinted[2][_PROD if prod else _OTHER]
        return headroom is not None and all(map(le, estimate, headroom))

    def pre_filter(self, state: CycleState, pod: PodInfo, nodes: Columns) -> PreFilterResult | None:
        self._ask(state, pod)
        return PreFilterResult(SKIP) if _by_daemon_set(pod) else None

    def _ask(self, state: CycleState, pod: PodInfo) -> _Ask:
        """What the pod asks: worked out by the first hook that wants it; not every profile names the plugin at PreFilter."""
        known: _Ask | None = state.get(self.name)
        if known is None:
            prod, vector = self._profile(pod)
            by_prod = prod and self.args.score_according_prod_usage
            estimate = np.array(vector, dtype=np.int64)
            known = state[self.name] = _Ask(_PROD if prod else _OTHER, _PROD if by_prod else _OTHER, estimate)
        return known

    def filter(self, state: CycleState, pod: PodInfo, nodes: Columns, rows: Rows) -> Verdict:
        """Codes: 1 an expired report; else 2 + 2 × dimension, one more when aggregated usage counted."""
        ask = self._ask(state, pod)
        if not self._limited or _by_daemon_set(pod):
            return np.zeros(len(nodes.alive[rows]), dtype=np.int64)
        over = ask.estimate > self._headroom[ask.kind].values[rows]
        first = 2 + 2 * over.argmax(axis=1) + self._aggregated[ask.kind].values[rows]
        codes: Verdict = np.where(over.any(axis=1), first, 0)
        return np.where(self._expired[ask.kind].values[rows], _EXPIRED, codes)

    def would_relieve(self, state: CycleState, pod: PodInfo, row: int, gone: Sequence[PodInfo]) -> bool:
        """Whether usage without these pods would let the pod in."""
        ask = self._ask(state, pod)
        ledger = self.ledgers.get(self._columns.names[row])
        if ledger is None or self._expired[ask.kind].values[row]:
            return False
        room: list[int] = self._headroom[ask.kind].values[row].tolist()
        aggregation = self._static[self._columns.names[row]].limits.other.aggregation
        shares = [ledger.given_back(one.uid, prod=ask.kind == _PROD, aggregation=aggregation) for one in gone]
        freed = [sum(amounts) for amounts in zip(*shares, strict=True)] if shares else [0] * len(room)
        return all(wants <= has + back for wants, has, back in zip(ask.estimate.tolist(), room, freed, strict=True))

    def explain(self, state: CycleState, code: int, nodes: Columns) -> list[str]:
        if code == _EXPIRED:
            return ["node(s) nodeMetric expired"]
        aggregated = "aggregated " if code % 2 else ""
        return [f"node(s) {self.dimensions[(code - 2) // 2]} {aggregated}usage exceed threshold"]

    def remedies(self, state: CycleState, pod: PodInfo, nodes: Columns, row: int) -> list[Remedy]:
        ask = self._ask(state, pod)
        name = nodes.names[row]
        ledger, static = self.ledgers.get(name), self._static.get(name)
        if ledger is None or ledger.report is None or static is None:
            return []
        if self._expired[ask.kind].values[row]:
            return [inspection.expired(ledger.report.updated_at, self._clock.now())]
        limit = static.limits.prod if ask.kind == _PROD else static.limits.other
        view = inspection.View(self.dimensions, static.capacity, ledger, limit)
        return inspection.remedies(view, ask.estimate.tolist())

    def endpoints(self) -> Mapping[str, Endpoint]:
        def node(name: str) -> object:
            return inspection.describe(self.ledgers.get(name), self.dimensions)

        return {"node/{nodeName}": node}

    def score(self, state: CycleState, pod: PodInfo, nodes: Columns, rows: Rows) -> Ints:
        """The share of each resource that stays unused, weighted; 0 where usage is unknown."""
        if not self._total_weight:
            return np.zeros(len(nodes.alive[rows]), dtype=np.int64)
        ask = self._ask(state, pod)
        left = np.maximum(self._free[ask.score_kind].values[rows] - ask.estimate, 0)
        shares = left * 100 // self._capacity.values[rows]
        total = shares @ self._weights
        if self.args.dominant_resource_weight:
            total += np.minimum(shares.min(axis=1), 100) * self.args.dominant_resource_weight
        answer: Ints = total // self._total_weight * self._scored.values[rows]
        return answer

    def unreadable(self, obj: Node | Pod) -> Iterable[str]:
        annotations = obj.metadata.annotations
        if isinstance(obj, Node):
            return garbage.of_node(annotations)
        return garbage.of_pod(annotations) if self.args.allow_customize_estimation else ()

    # -- what people ask -----------------------------------------------------------------------------------------------

    @property
    def nodes(self) -> Iterable[str]:
        return self._static.keys()

    def report_state(self, node: str) -> str:
        """fresh; expired; empty, when the report tells no usage; missing, when there is none."""
        ledger = self.ledgers.get(node)
        if ledger is None or ledger.report is None:
            return "missing"
        if self._expires(ledger) <= self._clock.now():
            return "expired"
        return "empty" if ledger.report.usage is None else "fresh"

    def utilization(self) -> Ints:
        """Percent in use per node with a fresh report, and dimension."""
        known = self._columns.alive & (self._scored.values > 0)
        capacity = self._capacity.values[known]
        percent: Ints = (capacity - self._free[_OTHER].values[known]) * 100 // capacity
        return percent

    def about_node(self, name: str) -> list[str]:
        ledger = self.ledgers.get(name)
        report = ledger.report if ledger is not None else None
        return [inspection.report_line(self.report_state(name), report, self._clock.now())]

    # -- what happens --------------------------------------------------------------------------------------------------

    def object_set(self, metric: Any) -> None:
        """A usage report. Raises ValueError when it cannot be read; the one before it stays in force."""
        if isinstance(metric, NodeMetric):
            report = read_report(metric, self.dimensions)
            self._ledger(metric.name).set_report(report)
            self._write(metric.name)

    def object_deleted(self, metric: Any) -> None:
        ledger = self.ledgers.get(metric.name)
        if ledger is not None:
            ledger.set_report(None)
            self._drop_if_empty(metric.name, ledger)
            self._write(metric.name)

    def pod_placed(self, info: PodInfo, node: str) -> None:
        """In rehearsals only pods that were taken away come back: a pod that is not there yet uses nothing."""
        if self._cluster.rehearsing:
            placed = self._aside.pop(info.uid, None)
            if placed is None:
                return
        else:
            placed = self._placed(info)
        ledger = self._ledger(node)
        ledger.put(info.uid, placed)
        if ledger.report is not None:
            self._write(node)

    def pod_updated(self, info: PodInfo, node: str) -> None:
        """The time of binding, once known, replaces that of our decision; being initialized moves the deadline."""
        ledger = self._ledger(node)
        before = ledger.pods.get(info.uid)
        if before is None:
            self.pod_placed(info, node)
            return
        placed = self._placed(info, before.timestamp)
        if (placed.timestamp, placed.deadline) != (before.timestamp, before.deadline):
            ledger.put(info.uid, placed)
            if placed.share != before.share:
                self._write(node)

    def pod_removed(self, info: PodInfo, node: str) -> None:
        ledger = self.ledgers.get(node)
        if ledger is None:
            return
        placed = ledger.take(info.uid)
        if placed is not None and self._cluster.rehearsing:
            self._aside[info.uid] = placed
        if ledger.report is not None:
            self._write(node)
        self._drop_if_empty(node, ledger)

    def node_set(self, row: int, node: Node, changes: int) -> None:
        known = self._static.get(node.name)
        limits, capacity = self._limits_and_capacity(node)
        if changes & Change.NODE or known is None or (known.limits, known.capacity) != (limits, capacity):
            self._static[node.name] = _static(limits, capacity)
            self._write(node.name)

    def node_removed(self, name: str) -> None:
        self._static.pop(name, None)

    def tick(self, now: float) -> None:
        """Reports grow old without anything happening: rewrite the rows whose report has just expired."""
        while self._expiries and self._expiries[0][0] <= now:
            expires, name = heapq.heappop(self._expiries)
            if self._expiring.get(name) == expires:
                del self._expiring[name]
                self._write(name)

    # -- from ledgers to columns ---------------------------------------------------------------------------------------

    def _ledger(self, node: str) -> Ledger:
        ledger = self.ledgers.get(node)
        if ledger is None:
            include = self.args.prod_usage_include_sys
            ledger = self.ledgers[node] = Ledger(len(self.dimensions), include_system=include)
        return ledger

    def _drop_if_empty(self, node: str, ledger: Ledger) -> None:
        if ledger.empty:
            del self.ledgers[node]

    def _placed(self, info: PodInfo, since: float | None = None) -> PlacedPod:
        """``since`` when it was placed, as far as we know: now, or when we did it."""
        prod, estimate = self._profile(info)
        scheduled = scheduled_at(info.pod)
        if scheduled is None:
            scheduled = self._clock.now() if since is None else since
        deadline = self.estimator.deadline(info.pod, scheduled)
        return PlacedPod(info.key, prod, scheduled, estimate if any(estimate) else None, deadline)

    def _profile(self, info: PodInfo) -> tuple[bool, tuple[int, ...]]:
        """Whether the pod is prod, and its estimate: the same for all pods of its template."""
        known: tuple[bool, tuple[int, ...]] | None = info.template.notes.get(self._estimates)
        if known is None:
            is_prod = priority.with_default(info.pod) is Band.PROD
            known = info.template.notes[self._estimates] = is_prod, self.estimator.pod(info)
        return known

    def _limits_and_capacity(self, node: Node) -> tuple[Limits, tuple[int, ...]]:
        has = node_amounts(node)
        return limits_of(self.args, node.metadata.annotations, self.dimensions), tuple(has.get(n, 0) for n in self.dimensions)

    def _expires(self, ledger: Ledger) -> float:
        """When the node's report stops to count."""
        report = ledger.report
        if report is None or report.updated_at is None:
            return 0.0
        return report.updated_at + (self.args.node_metric_expiration_seconds or 0)

    def _write(self, name: str) -> None:
        """Bring a node's row in line with its ledger."""
        row = self._columns.row_of.get(name)
        static = self._static.get(name)
        if row is None or static is None:
            return
        ledger = self.ledgers.get(name)
        if ledger is None or ledger.report is None:
            self._write_unknown(row, static.capacity)
        else:
            self._write_known(row, name, ledger)
        self._columns.touch(row, Change.USAGE)

    def _write_unknown(self, row: int, capacity: tuple[int, ...]) -> None:
        """Without a report nothing is refused and nothing scores."""
        for kind in (_OTHER, _PROD):
            self._headroom[kind].values[row] = UNLIMITED
            self._expired[kind].values[row] = False
        self._capacity.values[row] = [max(one, 1) for one in capacity]
        self._scored.values[row] = 0
        self._limited.discard(row)

    def _write_known(self, row: int, name: str, ledger: Ledger) -> None:
        static = self._static[name]
        capacity = static.capacity
        expires = self._expires(ledger)
        expired = expires <= self._clock.now()
        if not expired and self._expiring.get(name) != expires:
            self._expiring[name] = expires
            heapq.heappush(self._expiries, (expires, name))
        self._capacity.values[row] = [max(one, 1) for one in capacity]
        told = ledger.report is not None and ledger.report.usage is not None
        self._scored.values[row] = told and not expired
        self._write_free(row, ledger, capacity)
        limited = self._write_headroom(row, ledger, static, expired=expired, told=told)
        (self._limited.add if limited else self._limited.discard)(row)

    def _write_free(self, row: int, ledger: Ledger, capacity: tuple[int, ...]) -> None:
        for kind in (_OTHER, _PROD):
            used = ledger.existing(prod=kind == _PROD, aggregation=self._aggregation)
            self._free[kind].values[row] = [c - u for c, u in zip(capacity, used, strict=True)]

    def _write_headroom(self, row: int, ledger: Ledger, static: _Static, *, expired: bool, told: bool) -> bool:
        """Says whether the node may refuse some pod for its usage."""
        stale = expired and bool(self.args.filter_expired_node_metrics)
        refuse = stale and not self.args.enable_schedule_when_node_metrics_expired
        limited = False
        for kind, limit in ((_OTHER, static.limits.other), (_PROD, static.limits.prod)):
            headroom: Sequence[int] = (UNLIMITED,) * len(static.capacity)
            if limit.limits and told and not stale:
                used = ledger.existing(prod=limit.prod, aggregation=limit.aggregation)
                most = static.most[kind]
                headroom = [UNLIMITED if may is None else may - u for may, u in zip(most, used, strict=True)]
            limited |= limit.limits
            self._headroom[kind].values[row] = headroom
            self._aggregated[kind].values[row] = limit.aggregation is not None
            self._expired[kind].values[row] = refuse and limit.limits
        return limited


def _static(limits: Limits, capacity: tuple[int, ...]) -> _Static:
    return _Static(limits, capacity, (_passing(limits.other, capacity), _passing(limits.prod, capacity)))


def _passing(limit: Limit, capacity: tuple[int, ...]) -> Passing:
    """None where nothing limits."""
    shares = zip(limit.percents, capacity, strict=True)
    return tuple(min(highest_passing(percent, total), UNLIMITED) if percent and total else None for percent, total in shares)


def _by_daemon_set(pod: PodInfo) -> bool:
    return any(owner.kind == "DaemonSet" for owner in pod.pod.metadata.owner_references or ())
