"""kube-scheduler's rules for one pod and one node, written plainly: what the columns are compared with."""

import math

from koordinator.api.resources import amounts, pod_requests

GIB = 2**30


def tolerated(tolerations, taint):
    for one in tolerations or ():
        if one.effect and one.effect != taint.effect:
            continue
        if not one.key and one.operator == "Exists":
            return True
        if one.key != taint.key:
            continue
        if one.operator == "Exists" or (one.operator in (None, "", "Equal") and (one.value or "") == (taint.value or "")):
            return True
    return False


def taint_reason(pod, node):
    for taint in node.spec.taints:
        if taint.effect != "PreferNoSchedule" and not tolerated(pod.spec.tolerations, taint):
            return [f"node(s) had untolerated taint {{{taint.key}: {taint.value or ''}}}"]
    return []


def taint_raw(pod, node):
    soft = [one for one in pod.spec.tolerations or () if one.effect in (None, "", "PreferNoSchedule")]
    return sum(taint.effect == "PreferNoSchedule" and not tolerated(soft, taint) for taint in node.spec.taints)


def _integer(text):
    try:
        return int(text)
    except (TypeError, ValueError):
        return None


def requirement_matches(one, value):
    values = one.values or []
    if one.operator == "In":
        return value in values
    if one.operator == "NotIn":
        return value not in values
    if one.operator == "Exists":
        return value is not None
    if one.operator == "DoesNotExist":
        return value is None
    if one.operator in ("Gt", "Lt") and len(values) == 1:
        have, bound = _integer(value), _integer(values[0])
        if have is None or bound is None:
            return False
        return have > bound if one.operator == "Gt" else have < bound
    return False


def term_matches(term, node):
    expressions, fields = term.match_expressions or [], term.match_fields or []
    if not expressions and not fields:
        return False
    by_label = all(requirement_matches(one, node.labels.get(one.key)) for one in expressions)
    return by_label and all(one.key == "metadata.name" and requirement_matches(one, node.name) for one in fields)


def affinity_reason(pod, node):
    fits = all(node.labels.get(key) == value for key, value in (pod.spec.node_selector or {}).items())
    wanted = pod.spec.affinity.node_affinity if pod.spec.affinity else None
    required = wanted.required_during_scheduling_ignored_during_execution if wanted else None
    if required is not None:
        fits = fits and any(term_matches(term, node) for term in required.node_selector_terms)
    return [] if fits else ["node(s) didn't match Pod's node affinity/selector"]


def affinity_raw(pod, node):
    wanted = pod.spec.affinity.node_affinity if pod.spec.affinity else None
    preferred = (wanted.preferred_during_scheduling_ignored_during_execution if wanted else None) or []
    return sum(one.weight for one in preferred if term_matches(one.preference, node))


def fit_reasons(pod, node, others):
    has = amounts(node.status.allocatable)
    used = {}
    for other in others:
        for name, number in pod_requests(other).items():
            used[name] = used.get(name, 0) + number
    reasons = [] if len(others) + 1 <= has.get("pods", 0) else ["Too many pods"]
    short = {name for name, number in pod_requests(pod).items() if number > 0 and number > has.get(name, 0) - used.get(name, 0)}
    return sorted(reasons + [f"Insufficient {name}" for name in short])


def _nonzero(pod):
    asked = pod_requests(pod)
    listed = pod.spec.containers[0].resources.requests or {}
    return {
        "cpu": asked.get("cpu", 0) if "cpu" in listed else 100,
        "memory": asked.get("memory", 0) if "memory" in listed else 200 * 2**20,
    }


def least_allocated(pod, node, others):
    has, total, weight = amounts(node.status.allocatable), 0, 0
    for name in ("cpu", "memory"):
        if not has.get(name):
            continue
        wanted = _nonzero(pod)[name] + sum(_nonzero(other)[name] for other in others)
        total += 0 if wanted > has[name] else (has[name] - wanted) * 100 // has[name]
        weight += 1
    return total // weight if weight else 0


def balanced(pod, node, others):
    has, shares = amounts(node.status.allocatable), []
    for name in ("cpu", "memory"):
        if has.get(name):
            wanted = sum(pod_requests(one).get(name, 0) for one in [pod, *others])
            shares.append(min(wanted / has[name], 1.0))
    spread = abs(shares[0] - shares[1]) / 2 if len(shares) == 2 else 0.0
    return math.trunc((1 - spread) * 100)


def normalized(raw, *, reverse):
    """DefaultNormalizeScore."""
    largest = max(raw.values(), default=0)
    if largest == 0:
        return dict.fromkeys(raw, 100) if reverse else dict(raw)
    scaled = {name: 100 * value // largest for name, value in raw.items()}
    return {name: 100 - value for name, value in scaled.items()} if reverse else scaled
