"""Pods: how they are born, bound and evicted, and what of them may change."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from koordinator.api import selectors
from koordinator.api.meta import LabelSelector, format_time
from koordinator.kube.errors import ApiError, TooManyRequests
from koordinator.kube.refusals import FieldError, conflict, forbidden, forbidden_field, wrong
from koordinator.kube.semantics import podspec

Json = dict[str, Any]

_MUTABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_NOT_READY = tuple(
    {"key": f"node.kubernetes.io/{name}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
    for name in ("not-ready", "unreachable")
)

# Birth


class Priority(msgspec.Struct, frozen=True):
    """What a PriorityClass means."""

    name: str
    value: int
    policy: str
    default: bool


def read_priority(obj: Json) -> Priority:
    policy = obj.get("preemptionPolicy", "PreemptLowerPriority")
    return Priority(obj["metadata"]["name"], int(obj.get("value", 0)), policy, bool(obj.get("globalDefault")))


def default(obj: Json) -> None:
    """The defaults of a pod, on every write."""
    spec = obj["spec"]
    podspec.default(spec)
    spec.setdefault("enableServiceLinks", True)
    podspec.requests_follow_limits(spec)


def born(obj: Json) -> None:
    """The status of a new pod, its quality of service aside."""
    obj["spec"].setdefault("serviceAccountName", "default")
    obj["status"] = {"phase": "Pending"}
    if obj["spec"].get("schedulingGates"):
        message = "Scheduling is blocked due to non-empty scheduling gates"
        gated = {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": message}
        obj["status"]["conditions"] = [{**gated, "lastProbeTime": None, "lastTransitionTime": None}]


def set_priority(obj: Json, classes: Mapping[str, Priority]) -> None:
    """The number and the policy that a new pod's PriorityClass stands for. Raises: Forbidden."""
    spec = obj["spec"]
    name = spec.get("priorityClassName") or ""
    found = classes.get(name) if name else _default_of(classes)
    pod = obj["metadata"].get("name") or obj["metadata"].get("generateName", "")
    if name and found is None:
        raise forbidden("pods", "", pod, f"no PriorityClass with name {name} was found")
    value, policy = (found.value, found.policy) if found else (0, "PreemptLowerPriority")
    if spec.get("priority", value) != value:
        why = (
            f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; priority admission "
            f"controller computed {value} from the given PriorityClass name"
        )
        raise forbidden("pods", "", pod, why)
    if found:
        spec["priorityClassName"] = found.name
    spec["priority"] = value
    spec.setdefault("preemptionPolicy", policy)


def _default_of(classes: Mapping[str, Priority]) -> Priority | None:
    return min((found for found in classes.values() if found.default), key=lambda found: found.value, default=None)


def add_default_tolerations(spec: Json) -> None:
    """Five minutes of patience with a node that stops answering, unless the pod says otherwise."""
    tolerations = spec.get("tolerations") or []
    missing = [wanted for wanted in _NOT_READY if not any(_covers(toleration, wanted["key"]) for toleration in tolerations)]
    if missing:
        spec["tolerations"] = [*tolerations, *map(dict, missing)]


def _covers(toleration: Json, key: object) -> bool:
    return toleration.get("key") in (key, None, "") and toleration.get("effect") in ("NoExecute", None, "")


# Changes


def update_errors(spec: Json, old: Json) -> Iterator[FieldError]:
    """What may not have changed between two specs of one pod."""
    if spec == old:
        return
    if _frozen(spec, old) != _frozen(old, old):
        yield forbidden_field("spec", _MUTABLE)
    before, now = old.get("tolerations") or [], spec.get("tolerations") or []
    if any(toleration not in now for toleration in before):
        yield forbidden_field("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")
    gates = [gate["name"] for gate in old.get("schedulingGates") or ()]
    if any(gate["name"] not in gates for gate in spec.get("schedulingGates") or ()):
        yield forbidden_field("spec.schedulingGates", "only deletion is allowed, but found new scheduling gate")
    deadline, earlier = spec.get("activeDeadlineSeconds"), old.get("activeDeadlineSeconds")
    if earlier is not None and (deadline is None or deadline > earlier):
        yield wrong("spec.activeDeadlineSeconds", deadline, "must be less than or equal to previous value")


def _frozen(spec: Json, old: Json) -> Json:
    """A spec without what may change."""
    frozen = copy.copy(spec)
    for field in ("activeDeadlineSeconds", "tolerations", "schedulingGates"):
        frozen.pop(field, None)
    if old.get("terminationGracePeriodSeconds", 0) < 0:
        frozen.pop("terminationGracePeriodSeconds", None)
    if old.get("schedulingGates"):
        frozen.pop("nodeSelector", None)
        frozen.pop("affinity", None)
    for field in ("containers", "initContainers"):
        if field in frozen:
            frozen[field] = [{**container, "image": ""} for container in frozen[field]]
    return frozen


# Binding


def check_bindable(pod: Json, uid: str) -> None:
    """Raises: Conflict when it is another pod, is being deleted, has a node, or is gated."""
    metadata, spec = pod["metadata"], pod["spec"]
    name, why = metadata["name"], ""
    if uid and uid != metadata["uid"]:
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {metadata['uid']}"
    elif metadata.get("deletionTimestamp"):
        why = f"pod {name} is being deleted, cannot be assigned to a host"
    elif present := spec.get("nodeName"):
        why = f'pod {name} is already assigned to node "{present}"'
    elif spec.get("schedulingGates"):
        why = f"pod {name} has non-empty .spec.schedulingGates"
    if why:
        raise conflict("pods/binding", "", name, why)


def assign(pod: Json, node: str, now: str) -> None:
    """Give a pod, whose parts are the caller's to change, its node."""
    pod["spec"]["nodeName"] = node
    kept = [condition for condition in pod["status"].get("conditions") or [] if condition.get("type") != "PodScheduled"]
    scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now}
    pod["status"]["conditions"] = [*kept, scheduled]


# Eviction


def counts(pod: Json) -> bool:
    """Whether losing this pod is a disruption."""
    if pod["metadata"].get("deletionTimestamp") or not pod["spec"].get("nodeName"):
        return False
    return pod["status"].get("phase") not in ("Succeeded", "Failed", "Pending")


def guards(budget: Json, labels: Mapping[str, str]) -> bool:
    """Whether a disruption budget is about pods with these labels."""
    selector = budget["spec"].get("selector")
    try:
        return selectors.compile_(msgspec.convert(selector, LabelSelector) if selector is not None else None).matches(labels)
    except ValueError:
        return False


def several_budgets() -> ApiError:
    text = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
    return ApiError(500, "InternalError", text)


def spend(budget: Json, pod: str, now: float) -> Json:
    """The budget after one more disruption; the one given stays as it is. Raises: TooManyRequests when there is none left."""
    name, status, metadata = budget["metadata"]["name"], budget.get("status") or {}, budget["metadata"]
    if status.get("observedGeneration", 0) < metadata.get("generation", 0):
        raise _too_many(f"The disruption budget {name} is still being processed by the server.", retry=10)
    if status.get("disruptionsAllowed", 0) <= 0:
        healthy, desired = status.get("currentHealthy", 0), status.get("desiredHealthy", 0)
        raise _too_many(f"The disruption budget {name} needs {desired} healthy pods and has {healthy} currently")
    disrupted = {**(status.get("disruptedPods") or {}), pod: format_time(now)}
    left = {**status, "disruptionsAllowed": status["disruptionsAllowed"] - 1, "disruptedPods": disrupted}
    return {**budget, "metadata": dict(metadata), "status": left}


def _too_many(why: str, retry: int = 0) -> TooManyRequests:
    details: Json = {"causes": [{"reason": "DisruptionBudget", "message": why}]}
    if retry:
        details["retryAfterSeconds"] = retry
    text = "Cannot evict pod as it would violate the pod's disruption budget."
    return TooManyRequests(429, "TooManyRequests", text, details)
