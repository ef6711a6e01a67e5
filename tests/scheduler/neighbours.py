"""kube-scheduler's rules about pods that are already there, for one pod over all nodes, written plainly."""

import math

from koordinator.api import selectors
from scheduler.oracle import affinity_reason, tolerated


def _matches(selector, labels):
    return selectors.matches(selector, labels or {})


class World:
    """Nodes, who is where (by node name), and the labels of namespaces."""

    def __init__(self, nodes, where, namespaces=None):
        self.nodes = {node.name: node for node in nodes}
        self.where = where
        self.namespaces = namespaces or {}

    def residents(self):
        return [(pod, self.nodes[name]) for name, pods in self.where.items() if name in self.nodes for pod in pods]


# --- PodTopologySpread -------------------------------------------------------------------------------------------------------


def _constraint_selects(one, pod, other):
    if other.metadata.namespace != pod.metadata.namespace or other.metadata.deletion_timestamp is not None:
        return False
    return _selects(one, pod, other.labels)


def _selects(one, pod, labels):
    if not _matches(one.label_selector, labels):
        return False
    own = pod.labels or {}
    return all((labels or {}).get(key) == own[key] for key in one.match_label_keys or () if key in own)


def _participates(one, keys, pod, node):
    if any(key not in node.labels for key in keys):
        return False
    if one.node_affinity_policy != "Ignore" and affinity_reason(pod, node):
        return False
    hard = [taint for taint in node.spec.taints if taint.effect != "PreferNoSchedule"]
    return one.node_taints_policy != "Honor" or all(tolerated(pod.spec.tolerations, taint) for taint in hard)


def _domains(one, keys, pod, world):
    counts = {}
    for node in world.nodes.values():
        if one.topology_key in node.labels and _participates(one, keys, pod, node):
            here = sum(_constraint_selects(one, pod, other) for other in world.where.get(node.name, ()))
            value = node.labels[one.topology_key]
            counts[value] = counts.get(value, 0) + here
    return counts


def spread_reasons(pod, world):
    hard = [one for one in pod.spec.topology_spread_constraints or () if one.when_unsatisfiable == "DoNotSchedule"]
    keys = [one.topology_key for one in hard]
    text = "node(s) didn't match pod topology spread constraints"
    answer = {name: [] for name in world.nodes}
    for one in reversed(hard):
        counts = _domains(one, keys, pod, world)
        least = 0 if len(counts) < (one.min_domains or 1) else min(counts.values())
        own = int(_selects(one, pod, pod.labels))
        for node in world.nodes.values():
            value = node.labels.get(one.topology_key)
            if value is None:
                answer[node.name] = [f"{text} (missing required label)"]
            elif counts.get(value, 0) + own - least > one.max_skew:
                answer[node.name] = [text]
    return answer


def spread_scores(pod, world, feasible, constraints=None, *, all_keys=True):
    """(raw, normalized) by feasible node; None when there is nothing to score."""
    listed = constraints or pod.spec.topology_spread_constraints or ()
    soft = [one for one in listed if one.when_unsatisfiable == "ScheduleAnyway"]
    if not soft:
        return None
    keys = [one.topology_key for one in soft]
    nodes = [world.nodes[name] for name in feasible]
    concerned = [node for node in nodes if not all_keys or all(key in node.labels for key in keys)]
    raw = {}
    for node in concerned:
        total = 0.0
        for one in soft:
            if one.topology_key not in node.labels:
                continue
            if one.topology_key == "kubernetes.io/hostname":
                size = len(concerned)
                count = sum(_constraint_selects(one, pod, other) for other in world.where.get(node.name, ()))
            else:
                size = len({other.labels[one.topology_key] for other in concerned if one.topology_key in other.labels})
                count = _domains(one, keys if all_keys else [], pod, world).get(node.labels[one.topology_key], 0)
            total += count * math.log(size + 2) + (one.max_skew - 1)
        raw[node.name] = math.floor(total + 0.5)
    low, high = min(raw.values(), default=0), max(raw.values(), default=0)
    normal = {name: 100 if high == 0 else 100 * (high + low - value) // high for name, value in raw.items()}
    return raw, {name: normal.get(name, 0) for name in feasible}


# --- InterPodAffinity --------------------------------------------------------------------------------------------------------


def _term_matches(term, holder, other, world):
    """Whether a term of ``holder`` means ``other``."""
    if not term.namespaces and term.namespace_selector is None:
        inside = other.metadata.namespace == holder.metadata.namespace
    else:
        labels = world.namespaces.get(other.metadata.namespace, {})
        inside = other.metadata.namespace in (term.namespaces or ()) or _matches(term.namespace_selector, labels)
    own, labels = holder.labels or {}, other.labels or {}
    same = all(labels.get(key) == own[key] for key in term.match_label_keys or () if key in own)
    differ = all(labels.get(key) != own[key] for key in term.mismatch_label_keys or () if key in own)
    return inside and _matches(term.label_selector, labels) and same and differ


def _required(pod, side):
    affinity = getattr(pod.spec.affinity, side, None) if pod.spec.affinity else None
    return (affinity.required_during_scheduling_ignored_during_execution if affinity else None) or []


def _preferred(pod):
    for side, sign in (("pod_affinity", 1), ("pod_anti_affinity", -1)):
        affinity = getattr(pod.spec.affinity, side, None) if pod.spec.affinity else None
        for one in (affinity.preferred_during_scheduling_ignored_during_execution if affinity else None) or ():
            yield sign * one.weight, one.pod_affinity_term


def _repelled(pod, world):
    """Label pairs of nodes near pods that want distance from this one."""
    return {
        (term.topology_key, node.labels[term.topology_key])
        for other, node in world.residents()
        for term in _required(other, "pod_anti_affinity")
        if term.topology_key in node.labels and _term_matches(term, other, pod, world)
    }


def _unwanted(pod, world):
    return {
        (term.topology_key, node.labels[term.topology_key])
        for other, node in world.residents()
        for term in _required(pod, "pod_anti_affinity")
        if term.topology_key in node.labels and _term_matches(term, pod, other, world)
    }


def _near(pod, world):
    """Which nodes are near all that the pod wants to be near."""
    terms = _required(pod, "pod_affinity")
    group = [node for other, node in world.residents() if all(_term_matches(term, pod, other, world) for term in terms)]
    found = [{node.labels[term.topology_key] for node in group if term.topology_key in node.labels} for term in terms]
    first = not any(found) and all(_term_matches(term, pod, pod, world) for term in terms)
    for node in world.nodes.values():
        values = [node.labels.get(term.topology_key) for term in terms]
        there = all(value in domain for value, domain in zip(values, found, strict=True))
        if there or (first and None not in values):
            yield node.name


def affinity_reasons(pod, world):
    near, unwanted, repelled = set(_near(pod, world)), _unwanted(pod, world), _repelled(pod, world)
    answer = {}
    for node in world.nodes.values():
        pairs = set(node.labels.items())
        if node.name not in near:
            answer[node.name] = ["node(s) didn't match pod affinity rules"]
        elif pairs & unwanted:
            answer[node.name] = ["node(s) didn't match pod anti-affinity rules"]
        elif pairs & repelled:
            answer[node.name] = ["node(s) didn't satisfy existing pods anti-affinity rules"]
        else:
            answer[node.name] = []
    return answer


def affinity_scores(pod, world, feasible, hard_weight=1):
    """(raw, normalized) by feasible node."""
    points = {}

    def add(weight, term, node):
        if term.topology_key in node.labels:
            pair = term.topology_key, node.labels[term.topology_key]
            points[pair] = points.get(pair, 0) + weight

    for other, node in world.residents():
        for weight, term in _preferred(pod):
            if _term_matches(term, pod, other, world):
                add(weight, term, node)
        for term in _required(other, "pod_affinity"):
            if _term_matches(term, other, pod, world):
                add(hard_weight, term, node)
        for weight, term in _preferred(other):
            if _term_matches(term, other, pod, world):
                add(weight, term, node)
    raw = {name: sum(points.get(pair, 0) for pair in world.nodes[name].labels.items()) for name in feasible}
    low, high = min(raw.values(), default=0), max(raw.values(), default=0)
    return raw, {name: int((value - low) / (high - low) * 100) if high > low else 0 for name, value in raw.items()}
