"""Pods of a quota tree run on the tree's own nodes: the profile's node selector becomes required node affinity."""

from typing import Any

from koordinator.api.meta import LabelSelector

JsonObject = dict[str, Any]


def add_pool_affinity(pod: JsonObject, selector: LabelSelector | None) -> None:
    """Append the selector's requirements to every required node selector term of ``pod`` in place, or make one term of them.

    Requirements that a term has already are not repeated. An empty selector asks nothing.
    """
    wanted = requirements(selector)
    if not wanted:
        return
    spec = pod.setdefault("spec", {})
    affinity = spec["affinity"] = dict(spec.get("affinity") or {})
    node = affinity["nodeAffinity"] = dict(affinity.get("nodeAffinity") or {})
    required = dict(node.get(_REQUIRED) or {})
    terms = [_with(term, wanted) for term in required.get("nodeSelectorTerms") or [{}]]
    node[_REQUIRED] = {**required, "nodeSelectorTerms": terms}


_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def requirements(selector: LabelSelector | None) -> list[JsonObject]:
    """A label selector as match expressions: its labels in the order of their keys, then its own expressions."""
    if selector is None:
        return []
    labels = sorted((selector.match_labels or {}).items())
    found: list[JsonObject] = [{"key": key, "operator": "In", "values": [value]} for key, value in labels]
    for one in selector.match_expressions or []:
        values = {"values": list(one.values)} if one.values else {}
        found.append({"key": one.key, "operator": one.operator, **values})
    return found


def _with(term: JsonObject, wanted: list[JsonObject]) -> JsonObject:
    given = term.get("matchExpressions") or []
    return {**term, "matchExpressions": [*given, *(one for one in wanted if one not in given)]}
