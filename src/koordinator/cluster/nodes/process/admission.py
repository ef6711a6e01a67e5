"""Whether this node takes a pod: the kubelet's last word after the scheduler's. Pure.

Extended resources that the node does not list are passed over, as by the kubelet; those that it lists (``batch-cpu``) count.
"""

from collections.abc import Iterable, Mapping

import msgspec

from koordinator.api.core import NodeSelectorRequirement, NodeSelectorTerm, Pod
from koordinator.api.resources import PODS, Amounts, pod_requests
from koordinator.api.selectors import Requirement


class Refusal(msgspec.Struct, frozen=True):
    """The words for the pod's status."""

    reason: str
    message: str


class NodeView(msgspec.Struct, frozen=True):
    name: str
    labels: Mapping[str, str]
    allocatable: Amounts


def admit(pod: Pod, others: Iterable[Pod], node: NodeView) -> Refusal | None:
    """None when the pod may run here next to the others. Raises ValueError on an unreadable quantity."""
    if not selects(pod, node):
        message = "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
        return Refusal("NodeAffinity", message)
    wanted, used = _demand(pod), _sum(_demand(other) for other in others)
    for name, number in wanted.items():
        capacity = node.allocatable.get(name)
        if number > 0 and capacity is not None and used.get(name, 0) + number > capacity:
            figures = f"requested: {number}, used: {used.get(name, 0)}, capacity: {capacity}"
            return Refusal(f"OutOf{name}", f"Pod was rejected: Node didn't have enough resource: {name}, {figures}")
    return None


def selects(pod: Pod, node: NodeView) -> bool:
    """Whether the pod's nodeSelector and required node affinity allow this node."""
    if any(node.labels.get(key) != value for key, value in (pod.spec.node_selector or {}).items()):
        return False
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity else None
    required = affinity.required_during_scheduling_ignored_during_execution if affinity else None
    return required is None or any(_term(term, node) for term in required.node_selector_terms)


def _term(term: NodeSelectorTerm, node: NodeView) -> bool:
    """An empty term selects nothing."""
    fields = {"metadata.name": node.name}
    checks = [_matches(one, node.labels) for one in term.match_expressions or ()]
    checks += [_matches(one, fields) for one in term.match_fields or ()]
    return bool(checks) and all(checks)


def _matches(one: NodeSelectorRequirement, values: Mapping[str, str]) -> bool:
    return Requirement(one.key, one.operator, frozenset(one.values or ())).matches(values)


def _demand(pod: Pod) -> Amounts:
    return {**pod_requests(pod), PODS: 1}


def _sum(demands: Iterable[Amounts]) -> Amounts:
    total: Amounts = {}
    for demand in demands:
        for name, number in demand.items():
            total[name] = total.get(name, 0) + number
    return total
