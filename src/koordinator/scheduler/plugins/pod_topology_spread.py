"""PodTopologySpread: spread pods of a kind evenly over zones, hosts, or whatever a node label tells apart."""

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from koordinator.api.core import Pod, PodSpec, TopologySpreadConstraint
from koordinator.api.selectors import IN, NOTHING, Requirement, Selector, compile_
from koordinator.scheduler.config.args import PodTopologySpreadArgs
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.columns import Bools, Change, Columns, Ints, Rows
from koordinator.scheduler.engine.domains import Domains, Participates, View
from koordinator.scheduler.engine.events import ClusterEvent, Happening, Hint
from koordinator.scheduler.engine.framework import (
    MAX_SCORE,
    SKIP,
    UNRESOLVABLE,
    CycleState,
    FilterPlugin,
    PreFilterPlugin,
    PreFilterResult,
    PreScorePlugin,
    ScorePlugin,
    Status,
    Verdict,
)
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.engine.remedy import Remedy, count, domain_named, pods_named
from koordinator.scheduler.engine.residents import Residents
from koordinator.scheduler.engine.selections import Selection
from koordinator.scheduler.plugins.in_the_way import pods_in_domain
from koordinator.scheduler.plugins.node_affinity import node_affinity, pods_own
from koordinator.scheduler.plugins.owners import Owners
from koordinator.scheduler.plugins.taint_toleration import tolerates_all

HOSTNAME, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
_SKEW, _MISSING = 1, 2
_TEXT = "node(s) didn't match pod topology spread constraints"
_REASONS = {_SKEW: _TEXT, _MISSING: f"{_TEXT} (missing required label)"}
_IGNORED = -1
"""The raw score of a node that the constraints do not concern."""
_TABLE = 1 << 16
"""Up to this highest score, normalising by a table is cheaper than by division."""

SYSTEM_DEFAULTS = (
    TopologySpreadConstraint(max_skew=3, topology_key=HOSTNAME, when_unsatisfiable="ScheduleAnyway"),
    TopologySpreadConstraint(max_skew=5, topology_key=ZONE, when_unsatisfiable="ScheduleAnyway"),
)


class Constraint(NamedTuple):
    """One constraint of one pod, worked out."""

    wanted: TopologySpreadConstraint
    domains: Domains
    own: int
    """1 when the pod itself will be counted."""

    @property
    def by_host(self) -> bool:
        return self.wanted.topology_key == HOSTNAME


class _Hard:
    """Constraints that must hold, and per constraint which domains were too full when last asked."""

    def __init__(self, constraints: list[Constraint], view: View) -> None:
        self.constraints, self.view = constraints, view
        self.full: list[Bools] = []

    def too_full(self) -> list[Bools]:
        return [_too_full(one) for one in self.constraints]


def _least(one: Constraint) -> int:
    """The pods in the emptiest domain; none while there are fewer domains than the constraint wants."""
    domains = one.domains
    few = len(domains.present) < (one.wanted.min_domains or 1)
    return 0 if few else int(domains.sums[domains.present].min())


def _too_full(one: Constraint) -> Bools:
    """Per domain whether one more pod would be too many, compared with the emptiest domain."""
    full: Bools = one.domains.sums > one.wanted.max_skew - one.own + _least(one)
    return full


def _would_do_alone(one: Constraint, row: int) -> bool:
    """Whether a node without the label could take the pod as a domain of its own."""
    domains, here = one.domains, one.domains.handle.tally.counts.values.item(row)
    few = len(domains.present) + 1 < (one.wanted.min_domains or 1)
    least = 0 if few else min([here, *domains.sums[domains.present].tolist()])
    return bool(here + one.own - least <= one.wanted.max_skew)


class _Soft:
    """Constraints that should hold, their weights, and the feasible nodes that these were worked out for."""

    def __init__(self, constraints: list[Constraint], view: View, *, all_keys: bool) -> None:
        self.constraints, self.view, self.all_keys = constraints, view, all_keys
        self.recounts = -1
        self.feasible: Bools = np.zeros(0, dtype=np.bool_)
        self.concerned: Bools = np.zeros(0, dtype=np.bool_)
        self.hosts = 0
        self.nodes_in: list[Ints] = []
        """Per constraint, the number of feasible nodes in each domain."""
        self.weights: list[float] = []

    def refresh(self, nodes: Columns, feasible: Bools) -> bool:
        """Bring weights up to date; says whether they moved."""
        if self.recounts != self.view.recounts or len(feasible) != len(self.feasible):
            self._afresh(nodes, feasible)
        elif self.feasible.tobytes() != feasible.tobytes():
            self._follow(np.flatnonzero(self.feasible != feasible), feasible)
        weights = [math.log(self._size(one, index) + 2) for index, one in enumerate(self.constraints)]
        moved, self.weights = weights != self.weights, weights
        return moved

    def _size(self, one: Constraint, index: int) -> int:
        return self.hosts if one.by_host else int(np.count_nonzero(self.nodes_in[index]))

    def _afresh(self, nodes: Columns, feasible: Bools) -> None:
        self.recounts = self.view.recounts
        self.concerned = np.ones(nodes.size, dtype=np.bool_)
        if self.all_keys:
            for one in self.constraints:
                self.concerned &= one.domains.label.values[: nodes.size] != 0
        self.feasible = feasible.copy()
        among = feasible & self.concerned
        self.hosts = int(np.count_nonzero(among))
        self.nodes_in = [np.bincount(one.domains.label.values[: nodes.size][among]) for one in self.constraints]
        for counted, one in zip(self.nodes_in, self.constraints, strict=True):
            counted.resize(len(one.domains.label.interner), refcheck=False)
            counted[0] = 0

    def _follow(self, moved: NDArray[np.intp], feasible: Bools) -> None:
        self.feasible[moved] = feasible[moved]
        moved = moved[self.concerned[moved]]
        signs = np.where(feasible[moved], 1, -1)
        self.hosts += int(signs.sum())
        for counted, one in zip(self.nodes_in, self.constraints, strict=True):
            np.add.at(counted, one.domains.label.values[moved], signs)
            counted[0] = 0


class PodTopologySpread(PreFilterPlugin, FilterPlugin, PreScorePlugin, ScorePlugin):
    name = "PodTopologySpread"
    reads = Change.PODS | Change.LABELS | Change.TAINTS
    score_reads = Change.PODS | Change.LABELS | Change.TAINTS
    far = score_far = normalizes = True

    def __init__(self, cluster: Cluster, args: PodTopologySpreadArgs | None = None) -> None:
        args = args or PodTopologySpreadArgs()
        self._cluster = cluster
        self.residents = cluster.shared(Residents)
        self.owners = cluster.shared(Owners)
        system = args.defaulting_type == "System"
        self.defaults = SYSTEM_DEFAULTS if system else tuple(args.default_constraints or ())
        self._strict_defaults = not system

    # -- who is alike --------------------------------------------------------------------------------------------------

    def signature(self, pod: PodInfo) -> Hashable:
        """The constraints, and what decides which nodes count for them."""
        spec = pod.pod.spec
        constraints = spec.topology_spread_constraints
        if not constraints and not self.defaults:
            return None
        named = pod.namespace if constraints else ""
        selector = tuple(sorted(spec.node_selector.items())) if spec.node_selector else ()
        affinity = node_affinity(spec)
        plain = not (constraints or affinity or spec.tolerations)
        return named, selector, b"" if plain else msgspec.msgpack.encode((constraints, affinity, spec.tolerations))

    def individual(self, pod: PodInfo) -> Hashable:
        """What constraints take from the pod's labels; for default ones, whom they count."""
        constraints = pod.pod.spec.topology_spread_constraints
        labels = pod.pod.metadata.labels or {}
        if constraints:
            try:
                selectors = self._selectors(pod)
            except ValueError as err:
                return str(err)  # PreFilter says so
            taken = [labels.get(key) for one in constraints for key in one.match_label_keys or ()]
            return tuple([one.matches(labels) for one in selectors]), tuple(taken)
        if not self.defaults:
            return None
        selector = self.owners.selector(pod)
        return None if selector is None else (pod.namespace, selector)

    def _selectors(self, pod: PodInfo) -> list[Selector]:
        """Per own constraint whom it counts, but for what is taken from the pod's labels. Raises ValueError."""
        known: list[Selector] | None = pod.template.notes.get((self.name, "selectors"))
        if known is None:
            constraints = pod.pod.spec.topology_spread_constraints or ()
            known = pod.template.notes[self.name, "selectors"] = [compile_(one.label_selector) for one in constraints]
        return known

    def _constraints(self, pod: PodInfo, kind: str) -> list[tuple[TopologySpreadConstraint, Selector]]:
        own = pod.pod.spec.topology_spread_constraints
        labels = pod.pod.metadata.labels or {}
        if own:
            both = zip(own, self._selectors(pod), strict=True)
            return [(one, _narrowed(one, selector, labels)) for one, selector in both if one.when_unsatisfiable == kind]
        selector = self.owners.selector(pod) if self.defaults else None
        return [(one, selector) for one in self.defaults if one.when_unsatisfiable == kind] if selector is not None else []

    def _worked_out(self, pod: PodInfo, kind: str, nodes: Columns, *, all_keys: bool) -> tuple[list[Constraint], View]:
        listed = self._constraints(pod, kind)
        keys = [one.topology_key for one, _ in listed] if all_keys else []
        found = []
        for one, selector in listed:
            handle = self.residents.selected((Selection(frozenset((pod.namespace,)), selector),), steady=True)
            domains = Domains(handle, nodes.label(one.topology_key), _participation(one, keys, pod.pod.spec, nodes))
            found.append(Constraint(one, domains, int(selector.matches(pod.pod.metadata.labels))))
        structure = Change.NODE | Change.LABELS
        if any(one.node_taints_policy == "Honor" for one, _ in listed):
            structure |= Change.TAINTS
        return found, View(nodes, [one.domains for one in found], structure)

    # -- filter --------------------------------------------------------------------------------------------------------

    def pre_filter(self, state: CycleState, pod: PodInfo, nodes: Columns) -> PreFilterResult | None:
        constraints, view = self._worked_out(pod, "DoNotSchedule", nodes, all_keys=True)
        if not constraints:
            return PreFilterResult(SKIP)
        state[self.name] = _Hard(constraints, view)
        return None

    def reach(self, state: CycleState, pod: PodInfo, nodes: Columns, rows: Rows) -> Rows:
        hard: _Hard = state[self.name]
        recounts = hard.view.recounts
        hard.view.refresh()
        before, hard.full = hard.full, hard.too_full()
        if recounts != hard.view.recounts or not before:
            return nodes.rows
        others = np.zeros(nodes.size, dtype=np.bool_)
        for was, now, one in zip(before, hard.full, hard.constraints, strict=True):
            moved = was != now
            if moved.any():
                others |= moved[one.domains.label.values[: nodes.size]]
        others[rows] = False
        return nodes.rows if others.any() else rows

    def filter(self, state: CycleState, pod: PodInfo, nodes: Columns, rows: Rows) -> Verdict:
        """The first constraint that a node does not meet gives the reason."""
        hard: _Hard = state[self.name]
        hard.view.refresh()
        codes = np.zeros(len(nodes.alive[rows]), dtype=np.int64)
        for one, full in reversed(list(zip(hard.constraints, hard.too_full(), strict=True))):
            domains = one.domains.label.values[rows]
            codes[full[domains]] = _SKEW
            codes[domains == 0] = UNRESOLVABLE | _MISSING
        return codes

    def explain(self, state: CycleState, code: int, nodes: Columns) -> list[str]:
        return [_REASONS[code]]

    def remedies(self, state: CycleState, pod: PodInfo, nodes: Columns, row: int) -> list[Remedy]:
        """For each constraint that the node does not meet: let it be looser, or its domain emptier."""
        hard: _Hard = state[self.name]
        hard.view.refresh()
        listed = self._constraints(pod, "DoNotSchedule")
        found = []
        for one, (_, selector) in zip(hard.constraints, listed, strict=True):
            key, domain = one.wanted.topology_key, one.domains.label.values.item(row)
            if not domain:
                label = f"label {nodes.names[row]} with {key}, or " if _would_do_alone(one, row) else ""
                found.append(Remedy("node", f"{label}do not spread over {key}", have=f"label {key}: absent"))
            elif _too_full(one)[domain]:
                found.append(self._looser(one, selector, pod, nodes, row))
        return found

    def _looser(self, one: Constraint, selector: Selector, pod: PodInfo, nodes: Columns, row: int) -> Remedy:
        domains, skew = one.domains, one.wanted.max_skew
        there, least = int(domains.at(slice(row, row + 1))[0]), _least(one)
        excess = there + one.own - least - skew
        key = one.wanted.topology_key
        where = domain_named(key, nodes.labels_of(row)[key])
        meant = lambda other: (  # noqa: E731
            other.namespace == pod.namespace
            and other.pod.metadata.deletion_timestamp is None
            and selector.matches(other.pod.metadata.labels)
        )
        pods = pods_in_domain(self._cluster, domains, row, meant)
        text = f"raise maxSkew over {key} from {skew} to {skew + excess}"
        if pods:
            which = pods_named(pods, there) if excess == there else f"of {pods_named(pods, there)}"
            text += f", or move {count(excess, 'pod')} away from {where} ({which})"
        fewest = f"the emptiest has {least}"
        if len(domains.present) < (one.wanted.min_domains or 1):
            fewest = f"{len(domains.present)} of at least {one.wanted.min_domains} domains exist"
        return Remedy("other", text, 0.25 * excess, f"{where}: {count(there, 'pod')}, {fewest}, maxSkew {skew}", pods)

    # -- score ---------------------------------------------------------------------------------------------------------

    def pre_score(self, state: CycleState, pod: PodInfo, nodes: Columns) -> Status | None:
        all_keys = bool(pod.pod.spec.topology_spread_constraints) or self._strict_defaults
        constraints, view = self._worked_out(pod, "ScheduleAnyway", nodes, all_keys=all_keys)
        if not constraints:
            return SKIP
        state["PodTopologySpread/soft"] = _Soft(constraints, view, all_keys=all_keys)
        return None

    def survey(self, state: CycleState, pod: PodInfo, nodes: Columns, feasible: Bools) -> bool:
        soft: _Soft = state["PodTopologySpread/soft"]
        soft.view.refresh()
        further = soft.refresh(nodes, feasible)
        for one in soft.constraints:
            further |= one.domains.wide and not one.by_host
            one.domains.wide = False
        return further

    def score(self, state: CycleState, pod: PodInfo, nodes: Columns, rows: Rows) -> Ints:
        soft: _Soft = state["PodTopologySpread/soft"]
        soft.view.refresh()
        total = np.zeros(len(nodes.alive[rows]), dtype=np.float64)
        for one, weight in zip(soft.constraints, soft.weights, strict=True):
            domains = one.domains
            counts = domains.handle.tally.counts.values[rows] if one.by_host else domains.at(rows)
            part = counts * weight + (one.wanted.max_skew - 1)
            total += part if soft.all_keys else np.where(domains.label.values[rows] != 0, part, 0.0)
        answer = np.floor(total + 0.5).astype(np.int64)
        answer[~soft.concerned[rows]] = _IGNORED
        return answer

    def bounds(self, raw: Ints, feasible: Bools) -> tuple[int, ...]:
        among = raw[feasible & (raw >= 0)]
        return (int(among.min()), int(among.max())) if len(among) else (0, 0)

    def normalize(self, raw: Ints, bounds: tuple[int, ...]) -> Ints:
        """Few pods are best. Nodes that the constraints do not concern get nothing."""
        low, high = bounds
        if high == 0:
            return np.where(raw == _IGNORED, 0, MAX_SCORE)
        if high > _TABLE:
            return np.where(raw == _IGNORED, 0, np.clip(MAX_SCORE * (high + low - raw) // high, 0, MAX_SCORE))
        table = np.zeros(high + 2, dtype=np.int64)  # the last entry, 0, is that of _IGNORED
        table[:-1] = np.clip(MAX_SCORE * (high + low - np.arange(high + 1)) // high, 0, MAX_SCORE)
        answer: Ints = table[np.minimum(raw, high)]
        return answer

    # -- what wakes a refused pod ----------------------------------------------------------------------------------------

    def events(self) -> Sequence[tuple[int, Hint | None]]:
        pods = Happening.POD_ADD | Happening.POD_UPDATE | Happening.POD_DELETE
        nodes = Happening.NODE_ADD | Happening.NODE_DELETE | Happening.NODE_LABEL | Happening.NODE_TAINT
        return (pods, self._pod_matters), (nodes, None)

    def _pod_matters(self, pod: PodInfo, event: ClusterEvent) -> bool:
        """A pod that some constraint counts has come (the emptiest domain is fuller), gone or changed."""
        if event.kind == Happening.POD_UPDATE:
            return True
        other = event.new or event.old
        if not isinstance(other, Pod) or other.metadata.namespace != pod.namespace:
            return not isinstance(other, Pod)
        return any(selector.matches(other.metadata.labels) for _, selector in self._constraints(pod, "DoNotSchedule"))


def _narrowed(one: TopologySpreadConstraint, selector: Selector, labels: dict[str, str]) -> Selector:
    """With what ``matchLabelKeys`` take from the pod's labels. An API server may have folded that in already."""
    if not one.match_label_keys or selector is NOTHING:
        return selector
    further = [Requirement(key, IN, frozenset((labels[key],))) for key in one.match_label_keys if key in labels]
    return Selector((*selector.requirements, *(each for each in further if each not in selector.requirements)))


def _participation(one: TopologySpreadConstraint, keys: Sequence[str], spec: PodSpec, nodes: Columns) -> Participates:
    """Which nodes count for a constraint: those with all keys, and by its policies those that the pod may use."""
    labels = [nodes.label(key) for key in keys]
    wanted = pods_own(spec, node_affinity(spec), nodes) if one.node_affinity_policy != "Ignore" else None
    tolerations = spec.tolerations or []

    def participates(nodes: Columns) -> Bools:
        counted = nodes.alive[: nodes.size].copy()
        for label in labels:
            counted &= label.values[: nodes.size] != 0
        if wanted is not None:
            counted &= wanted(nodes, nodes.rows)
        if one.node_taints_policy == "Honor":
            counted &= tolerates_all(tolerations, nodes)
        return counted

    return participates
