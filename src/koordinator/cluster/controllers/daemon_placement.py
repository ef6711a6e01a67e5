"""Where a daemon set's pods belong, and what ties a pod to its node. Pure.

A pod is tied by a node affinity on ``metadata.name``, not by ``spec.nodeName``: the scheduler places it, so resources, quotas
and preemption count as for every other pod.
"""

from typing import Any

import msgspec

from koordinator.api.core import Node, Pod, Taint, Toleration
from koordinator.api.taints import taint_key, tolerates
from koordinator.cluster.controllers.nodelifecycle import NOT_READY, UNREACHABLE, UNSCHEDULABLE
from koordinator.cluster.controllers.objects import DaemonSet, Template
from koordinator.cluster.nodes.process.admission import NodeView, selects

NAME_FIELD = "metadata.name"
_ENDURED = (
    (NOT_READY, "NoExecute"),
    (UNREACHABLE, "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    (UNSCHEDULABLE, "NoSchedule"),
)
_NETWORK = ("node.kubernetes.io/network-unavailable", "NoSchedule")


class Belongs(msgspec.Struct, frozen=True):
    """Whether a node should get a pod of the set, and whether one that is there may stay."""

    start: bool
    stay: bool


class Placement:
    """One set's rule, read once and asked of every node. Raises: ValueError when the template's spec cannot be read."""

    def __init__(self, daemon_set: DaemonSet) -> None:
        spec = {**(daemon_set.spec.template.get("spec") or {}), "tolerations": tolerations(daemon_set.spec.template)}
        try:
            self._pod = msgspec.convert({"spec": spec}, Pod)
        except msgspec.ValidationError as err:
            raise ValueError(f"DaemonSet {daemon_set.key}: spec.template: {err}") from None
        held = self._pod.spec
        self._anywhere = not (held.node_name or held.node_selector or (held.affinity and held.affinity.node_affinity))

    def on(self, node: Node) -> Belongs:
        if not (self._anywhere or self._selected(node)):
            return Belongs(start=False, stay=False)
        hostile = [taint for taint in node.spec.taints or () if self._repels(taint)]
        return Belongs(start=not hostile, stay=all(taint.effect != "NoExecute" for taint in hostile))

    def _selected(self, node: Node) -> bool:
        return self._pod.spec.node_name in ("", node.name) and selects(self._pod, NodeView(node.name, node.labels, {}))

    def _repels(self, taint: Taint) -> bool:
        if taint.effect not in ("NoSchedule", "NoExecute"):
            return False
        held: list[Toleration] = self._pod.spec.tolerations or []
        return not any(tolerates(toleration, taint_key(taint)) for toleration in held)


def tolerations(template: Template) -> list[dict[str, Any]]:
    """The template's own, and those of a daemon: it stays where others must leave."""
    spec = template.get("spec") or {}
    endured = (*_ENDURED, _NETWORK) if spec.get("hostNetwork") else _ENDURED
    own: list[dict[str, Any]] = list(spec.get("tolerations") or [])
    return own + [{"key": key, "operator": "Exists", "effect": effect} for key, effect in endured]


def tied(spec: dict[str, Any], node: str) -> dict[str, Any]:
    """A pod spec that fits no other node. Which nodes are wanted was decided before: the template's own terms are replaced."""
    affinity = dict(spec.get("affinity") or {})
    term = {"matchFields": [{"key": NAME_FIELD, "operator": "In", "values": [node]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    affinity["nodeAffinity"] = {**(affinity.get("nodeAffinity") or {}), **required}
    return {**spec, "affinity": affinity}


def node_of(pod: Pod) -> str:
    """The node that the pod is on or is tied to; empty when it could go anywhere."""
    if pod.spec.node_name:
        return pod.spec.node_name
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity else None
    required = affinity.required_during_scheduling_ignored_during_execution if affinity else None
    for term in required.node_selector_terms if required else ():
        for field in term.match_fields or ():
            if field.key == NAME_FIELD and field.operator == "In" and len(field.values or ()) == 1:
                return (field.values or [""])[0]
    return ""
