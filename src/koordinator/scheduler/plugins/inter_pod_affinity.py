"""InterPodAffinity: near pods that a pod wants to be near, away from those that it, or they, want distance from.

What existing pods want is counted like the pods themselves (``engine/residents.py``): a term that pods carry is a feature with
a tally, so a pod is judged by a few sums per domain however many pods there are.
"""

from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple, cast

import numpy as np

from koordinator.api.core import Affinity, Pod, PodAffinity, PodAffinityTerm
from koordinator.api.selectors import EVERYTHING, IN, NOT_IN, NOTHING, Requirement, Selector, compile_
from koordinator.scheduler.config.args import InterPodAffinityArgs
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.columns import Bools, Change, Columns, Ints, Rows
from koordinator.scheduler.engine.domains import Domains, View
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
from koordinator.scheduler.engine.remedy import Remedy, domain_named, pods_named, selector_named
from koordinator.scheduler.engine.residents import Feature, Residents, TallyHandle
from koordinator.scheduler.engine.selections import Labels, Selection
from koordinator.scheduler.plugins.in_the_way import Means, pods_in_domain

_AFFINITY, _ANTI, _EXISTING = 1, 2, 3
_REASONS = {
    _AFFINITY: "node(s) didn't match pod affinity rules",
    _ANTI: "node(s) didn't match pod anti-affinity rules",
    _EXISTING: "node(s) didn't satisfy existing pods anti-affinity rules",
}
_KIND = "InterPodAffinity"
_WANTS = (_KIND, "wants")
_REQUIRED_ANTI, _REQUIRED, _PREFERRED = "anti", "required", "preferred"


class Term(NamedTuple):
    key: str
    means: Selection


class Wants(NamedTuple):
    """A pod's own terms, selectors compiled."""

    affinity: tuple[Term, ...] = ()
    anti: tuple[Term, ...] = ()
    preferred: tuple[tuple[int, Term], ...] = ()
    """Weights are negative for anti-affinity."""


NO_WANTS = Wants()


class _Held(NamedTuple):
    """A term that resident pods have. ``nth`` tells equal terms of one pod apart: each counts."""

    kind: str
    weight: int
    key: str
    nth: int


class _Reached:
    """What ``reach`` knew when it was last asked."""

    __slots__ = ("nobody", "recounts")

    def __init__(self) -> None:
        self.recounts, self.nobody = -1, False


class _Ask(NamedTuple):
    view: View
    affinity: list[Domains]
    anti: list[Domains]
    existing: list[Domains]
    scored: list[tuple[int, Domains]]
    own: bool
    """Whether the pod is of those it wants to be near."""
    features: list[Feature]
    """Of existing pods whose terms mean the pod."""
    reached: _Reached


class InterPodAffinity(PreFilterPlugin, FilterPlugin, PreScorePlugin, ScorePlugin):
    name = "InterPodAffinity"
    reads = Change.PODS | Change.LABELS
    score_reads = Change.PODS | Change.LABELS
    far = score_far = normalizes = True

    def __init__(self, cluster: Cluster, args: InterPodAffinityArgs | None = None) -> None:
        self.args = args or InterPodAffinityArgs()
        self._cluster = cluster
        self.residents = cluster.shared(Residents)
        self._held_by = object()
        """The key of our notes on templates."""
        self.residents.describe(_KIND, self._features)
        self.residents.follow_namespaces()

    # -- who is alike --------------------------------------------------------------------------------------------------

    def signature(self, pod: PodInfo) -> Hashable:
        """The pod's own terms. Their namespaces are worked out, so pods of many namespaces may share what is known."""
        try:
            wants = self._wants(pod)
        except ValueError:
            return None  # PreFilter says so
        return repr(wants) if wants is not NO_WANTS else None

    def individual(self, pod: PodInfo) -> Hashable:
        """Which existing pods' terms mean the pod; and what its own terms take from its labels."""
        if pod.pod.spec.affinity is None and not self.residents.anybody_cares:
            return None
        theirs = self.residents.caring(pod.namespace, pod.pod.metadata.labels)
        meaning = frozenset(theirs) if theirs else None
        try:
            wants = self._wants(pod)
        except ValueError as err:
            return str(err)  # PreFilter says so
        if wants is NO_WANTS:
            return meaning
        return meaning, self._meant(wants, pod), None if _WANTS in pod.template.notes else wants

    def _meant(self, wants: Wants, pod: PodInfo) -> bool:
        """Whether the pod meets all its own affinity terms."""
        labels = self.residents.namespace_labels(pod.namespace)
        return all(term.means.matches(pod.namespace, pod.pod.metadata.labels, labels) for term in wants.affinity)

    def _wants(self, pod: PodInfo) -> Wants:
        affinity = pod.pod.spec.affinity
        if not _concerns_pods(affinity) or affinity is None:
            return NO_WANTS
        notes = pod.template.notes
        known: Wants | None = notes.get(_WANTS)
        if known is None:
            known = _compile(pod.namespace, pod.pod.metadata.labels or {}, affinity)
            if not _takes_labels(affinity):
                notes[_WANTS] = known
        return known

    def _features(self, pod: PodInfo) -> Iterable[Feature]:
        """What a resident pod wants of others."""
        if pod.pod.spec.affinity is None:
            return ()
        notes = pod.template.notes
        known: tuple[Feature, ...] | None = notes.get(self._held_by)
        if known is None:
            try:
                known = tuple(self._held(self._wants(pod)))
            except ValueError:
                known = ()  # an unreadable selector means nothing
            if not _takes_labels(pod.pod.spec.affinity):
                notes[self._held_by] = known
        return known

    def _held(self, wants: Wants) -> Iterable[Feature]:
        for index, one in enumerate(wants.anti):
            yield self._feature(_REQUIRED_ANTI, 0, one, wants.anti[:index].count(one))
        for index, one in enumerate(wants.affinity):
            yield self._feature(_REQUIRED, 0, one, wants.affinity[:index].count(one))
        for index, (weight, one) in enumerate(wants.preferred):
            yield self._feature(_PREFERRED, weight, one, wants.preferred[:index].count((weight, one)))

    def _feature(self, kind: str, weight: int, term: Term, repeated: int) -> Feature:
        return self.residents.feature(_KIND, _Held(kind, weight, term.key, repeated), term.means)

    # -- filter --------------------------------------------------------------------------------------------------------

    def pre_filter(self, state: CycleState, pod: PodInfo, nodes: Columns) -> PreFilterResult | None:
        wants = self._wants(pod)
        theirs = self.residents.caring(pod.namespace, pod.pod.metadata.labels)
        if wants is NO_WANTS and not theirs:
            return PreFilterResult(SKIP)
        ask = state[self.name] = self._ask(wants, pod, theirs, nodes)
        return None if ask.affinity or ask.anti or ask.existing else PreFilterResult(SKIP)

    def _ask(self, wants: Wants, pod: PodInfo, theirs: list[Feature], nodes: Columns) -> _Ask:
        residents, parts = self.residents, _Parts(nodes)
        together = tuple(dict.fromkeys(term.means for term in wants.affinity))
        near = residents.selected(together) if together else None
        affinity = [parts.get(near, term.key) for term in wants.affinity if near is not None]
        anti = [parts.get(residents.selected((term.means,)), term.key) for term in wants.anti]
        existing = []
        scored = [(weight, parts.get(residents.selected((one.means,)), one.key)) for weight, one in wants.preferred]
        ignored = self.args.ignore_preferred_terms_of_existing_pods and not wants.preferred
        for feature in theirs:
            held = cast("_Held", feature.value)
            weight = self.args.hard_pod_affinity_weight if held.kind == _REQUIRED else held.weight
            if held.kind == _REQUIRED_ANTI:
                existing.append(parts.get(residents.having(feature), held.key))
            elif weight and not ignored:
                scored.append((weight, parts.get(residents.having(feature), held.key)))
        own = bool(wants.affinity) and self._meant(wants, pod)
        return _Ask(View(nodes, parts.all), affinity, anti, existing, scored, own, theirs, _Reached())

    def reach(self, state: CycleState, pod: PodInfo, nodes: Columns, rows: Rows) -> Rows:
        ask: _Ask = state[self.name]
        ask.view.refresh()
        further = ask.reached.recounts != ask.view.recounts
        ask.reached.recounts = ask.view.recounts
        flipped = False
        for part in (*ask.affinity, *ask.anti, *ask.existing):
            if part.flipped:
                flipped = True
                further |= any(part.members[domain] > 1 for domain in part.flipped)
                part.flipped.clear()
        if further or (flipped and ask.own):
            nobody = _nobody(ask)  # then the first of a group may start it anywhere
            further |= nobody != ask.reached.nobody
            ask.reached.nobody = nobody
        return nodes.rows if further else rows

    def filter(self, state: CycleState, pod: PodInfo, nodes: Columns, rows: Rows) -> Verdict:
        ask: _Ask = state[self.name]
        ask.view.refresh()
        codes = np.zeros(len(nodes.alive[rows]), dtype=np.int64)
        for part in ask.existing:
            codes[part.at(rows) > 0] = _EXISTING
        for part in ask.anti:
            codes[part.at(rows) > 0] = _ANTI
        if ask.affinity:
            codes[~_near(ask, rows)] = UNRESOLVABLE | _AFFINITY
        return codes

    def explain(self, state: CycleState, code: int, nodes: Columns) -> list[str]:
        return [_REASONS[code]]

    # -- what would help -----------------------------------------------------------------------------------------------

    def remedies(self, state: CycleState, pod: PodInfo, nodes: Columns, row: int) -> list[Remedy]:
        """Company where it is missed, and distance from those who refuse or are refused."""
        ask: _Ask = state[self.name]
        ask.view.refresh()
        wants = self._wants(pod)
        found = self._company(ask, wants, nodes, row) if ask.affinity and not _near(ask, np.array([row]))[0] else []
        for term, part in zip(wants.anti, ask.anti, strict=True):
            meant = lambda other, term=term: self._means(term, other.pod)  # noqa: E731
            found += self._apart(part, term.key, row, meant, "which this pod's anti-affinity refuses")
        refusing = [one for one in ask.features if cast("_Held", one.value).kind == _REQUIRED_ANTI]
        for feature, part in zip(refusing, ask.existing, strict=True):
            holding = lambda other, feature=feature: feature in self._features(other)  # noqa: E731
            found += self._apart(part, cast("_Held", feature.value).key, row, holding, "whose anti-affinity refuses this pod")
        return found

    def _company(self, ask: _Ask, wants: Wants, nodes: Columns, row: int) -> list[Remedy]:
        """Start one that the pod wants to be near; where the node is in no domain, label it first."""
        first = ask.own and _nobody(ask)
        found, lonely = [], []
        for term, part in zip(wants.affinity, ask.affinity, strict=True):
            if not part.label.values.item(row):
                found.append(Remedy("node", f"label {nodes.names[row]} with {term.key}", 2.0, f"label {term.key}: absent"))
                lonely.append((term.key, part))
            elif not part.at(np.array([row]))[0]:
                lonely.append((term.key, part))
        if first or not lonely:
            return found
        wanted = " and ".join(dict.fromkeys(_selection_named(term.means) for term in wants.affinity))
        key, part = lonely[0]
        value = nodes.labels_of(row).get(key)
        where = f"in {domain_named(key, value)}" if value is not None else f"on {nodes.names[row]}"
        there = [domain_named(key, part.label.interner.values[one]) for one in np.flatnonzero(part.sums)[:3].tolist()]
        have = f"such pods are in {', '.join(there)}" if there else "there is no such pod"
        return [*found, Remedy("other", f"start a pod that matches {wanted} {where}, or do not require one", 1.0, have)]

    def _apart(self, part: Domains, key: str, row: int, means: Means, why: str) -> list[Remedy]:
        number = int(part.at(np.array([row]))[0])
        if not number:
            return []
        pods = pods_in_domain(self._cluster, part, row, means)
        where = domain_named(key, self._cluster.columns.labels_of(row)[key])
        return [Remedy("other", f"move {pods_named(pods, number)} away from {where}, {why}", 2.0 * number, pods=pods)]

    # -- score ---------------------------------------------------------------------------------------------------------

    def pre_score(self, state: CycleState, pod: PodInfo, nodes: Columns) -> Status | None:
        ask: _Ask | None = state.get(self.name)
        return None if ask is not None and ask.scored else SKIP

    def survey(self, state: CycleState, pod: PodInfo, nodes: Columns, feasible: Bools) -> bool:
        ask: _Ask = state[self.name]
        ask.view.refresh()
        further = False
        for _, part in ask.scored:
            further |= part.wide
            part.wide = False
        return further

    def score(self, state: CycleState, pod: PodInfo, nodes: Columns, rows: Rows) -> Ints:
        ask: _Ask = state[self.name]
        ask.view.refresh()
        total = np.zeros(len(nodes.alive[rows]), dtype=np.int64)
        for weight, part in ask.scored:
            total += part.at(rows) * weight
        return total

    def bounds(self, raw: Ints, feasible: Bools) -> tuple[int, ...]:
        among = raw[feasible]
        return (int(among.min()), int(among.max())) if len(among) else (0, 0)

    def normalize(self, raw: Ints, bounds: tuple[int, ...]) -> Ints:
        """Smallest to 0, largest to 100; 0 everywhere when all are equal."""
        low, high = bounds
        if low == high:
            return np.zeros_like(raw)
        return np.clip(((raw - low) / (high - low) * MAX_SCORE).astype(np.int64), 0, MAX_SCORE)

    # -- what wakes a refused pod ----------------------------------------------------------------------------------------

    def events(self) -> Sequence[tuple[int, Hint | None]]:
        pods = Happening.POD_ADD | Happening.POD_UPDATE | Happening.POD_DELETE
        nodes = Happening.NODE_ADD | Happening.NODE_LABEL | Happening.NODE_DELETE
        return (pods, self._pod_matters), (nodes | Happening.NAMESPACE, None)

    def _pod_matters(self, pod: PodInfo, event: ClusterEvent) -> bool:
        """A pod that it wants to be near has come, or one that kept it away has gone."""
        if event.kind == Happening.POD_UPDATE:
            return True
        other = event.new if event.kind == Happening.POD_ADD else event.old
        if not isinstance(other, Pod):
            return True
        wants = self._wants(pod)
        near = bool(wants.affinity) and all(self._means(term, other) for term in wants.affinity)
        if near or event.kind == Happening.POD_ADD:
            return near
        return any(self._means(term, other) for term in wants.anti) or self._kept_away(pod, other)

    def _means(self, term: Term, pod: Pod) -> bool:
        namespace = pod.metadata.namespace
        return term.means.matches(namespace, pod.metadata.labels, self.residents.namespace_labels(namespace))

    def _kept_away(self, pod: PodInfo, other: Pod) -> bool:
        affinity = other.spec.affinity
        if affinity is None or affinity.pod_anti_affinity is None:
            return False
        theirs = _compile(other.metadata.namespace, other.metadata.labels or {}, affinity)
        return any(self._means(term, pod.pod) for term in theirs.anti)


class _Parts:
    """The domains that an ask needs, each once."""

    def __init__(self, nodes: Columns) -> None:
        self._nodes = nodes
        self._known: dict[tuple[int, str], Domains] = {}

    def get(self, handle: TallyHandle, key: str) -> Domains:
        known = self._known.get((id(handle.tally), key))
        if known is None:
            known = self._known[id(handle.tally), key] = Domains(handle, self._nodes.label(key))
        return known

    @property
    def all(self) -> list[Domains]:
        return list(self._known.values())


def _near(ask: _Ask, rows: Rows) -> Bools:
    """Whether all that the pod wants to be near is in the row's domains; the first of a group may start one anywhere."""
    if ask.own and _nobody(ask):
        has_keys: Bools = np.logical_and.reduce([part.label.values[rows] != 0 for part in ask.affinity])
        return has_keys
    near: Bools = np.logical_and.reduce([part.at(rows) > 0 for part in ask.affinity])
    return near


def _nobody(ask: _Ask) -> bool:
    """Whether no pod of the wanted group is anywhere."""
    return not any(part.sums.any() for part in ask.affinity)


def _concerns_pods(affinity: Affinity | None) -> bool:
    return affinity is not None and (affinity.pod_affinity is not None or affinity.pod_anti_affinity is not None)


def _all_terms(affinity: Affinity) -> Iterable[PodAffinityTerm]:
    for side in (affinity.pod_affinity, affinity.pod_anti_affinity):
        if side is not None:
            yield from side.required_during_scheduling_ignored_during_execution or ()
            yield from (one.pod_affinity_term for one in side.preferred_during_scheduling_ignored_during_execution or ())


def _takes_labels(affinity: Affinity) -> bool:
    """Whether terms depend on the pod's own labels, which pods of one template need not share."""
    return any(term.match_label_keys or term.mismatch_label_keys for term in _all_terms(affinity))


def _compile(namespace: str, labels: Labels, affinity: Affinity) -> Wants:
    """Raises ValueError when a selector cannot be read."""

    def required(side: PodAffinity | None) -> tuple[Term, ...]:
        listed = side.required_during_scheduling_ignored_during_execution if side is not None else None
        return tuple(_term(one, namespace, labels) for one in listed or ())

    def preferred(side: PodAffinity | None, sign: int) -> list[tuple[int, Term]]:
        listed = side.preferred_during_scheduling_ignored_during_execution if side is not None else None
        return [(sign * one.weight, _term(one.pod_affinity_term, namespace, labels)) for one in listed or () if one.weight]

    near, apart = affinity.pod_affinity, affinity.pod_anti_affinity
    return Wants(required(near), required(apart), (*preferred(near, 1), *preferred(apart, -1)))


def _term(term: PodAffinityTerm, namespace: str, labels: Labels) -> Term:
    own = not term.namespaces and term.namespace_selector is None
    names = frozenset((namespace,) if own else term.namespaces or ())
    return Term(term.topology_key, Selection(names, _selector(term, labels), compile_(term.namespace_selector)))


def _selector(term: PodAffinityTerm, labels: Labels) -> Selector:
    """The term's selector with what its keys take from the pod's labels. An API server may have folded that in already."""
    selector = compile_(term.label_selector)
    if selector is NOTHING:
        return selector
    keys = ((IN, term.match_label_keys), (NOT_IN, term.mismatch_label_keys))
    further = [
        Requirement(key, operator, frozenset((labels[key],)))
        for operator, listed in keys
        for key in listed or ()
        if key in labels
    ]
    return Selector((*selector.requirements, *(one for one in further if one not in selector.requirements)))


def _selection_named(means: Selection) -> str:
    if means.namespace_selector is EVERYTHING:
        where = " of any namespace"
    elif means.namespace_selector is not NOTHING:
        where = f" of namespaces {selector_named(means.namespace_selector)}"
    else:
        where = f" of namespace {', '.join(sorted(means.namespaces))}"
    return f"{selector_named(means.selector)}{where}"
