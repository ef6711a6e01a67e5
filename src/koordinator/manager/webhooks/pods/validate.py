"""May this pod be created or changed so? Steps in order; the first that has an objection decides.

The texts are part of the wire protocol: tools and people match on them.
"""

from collections.abc import Callable, Iterator, Mapping

import msgspec

from koordinator.api import keys, wirejson
from koordinator.api.core import Pod
from koordinator.api.validation import aggregate, pod_problems
from koordinator.manager.webhooks.pods.devices import device_problems

_REQUESTS = "pod.spec.containers[*].resources.requests"


class Rule(msgspec.Struct, frozen=True):
    """A user's own rule: labels that every pod must carry, except in some namespaces."""

    name: str = ""
    required_labels: list[str] | None = msgspec.field(default=None, name="requiredLabels")
    namespace_whitelist: list[str] | None = msgspec.field(default=None, name="namespaceWhitelist")


class Review(msgspec.Struct, frozen=True):
    """One question: ``old`` is the pod before an UPDATE. ``gates`` are the enabled feature gates."""

    operation: str
    pod: Pod
    old: Pod | None = None
    gates: frozenset[str] = frozenset()
    rules: tuple[Rule, ...] = ()
    parent_quota: str = ""
    """The pod's quota, if that is one which has quotas below it."""


def denial(review: Review) -> str:
    """Why not; empty when the pod is fine."""
    return next(filter(None, (objection(step, review) for step in STEPS)), "")


def objection(step: str, review: Review) -> str:
    """What one step has against the pod; several objections as one text, empty when none."""
    return aggregate(list(STEPS[step](review)))


def _reservation(review: Review) -> Iterator[str]:
    if keys.RESERVE_POD in review.pod.annotations:
        yield f"annotations.{keys.RESERVE_POD}: Forbidden: cannot set in annotations"


def _colocation(review: Review) -> Iterator[str]:
    old = review.old if review.operation == "UPDATE" else None
    check = "ColocationProfileSkipValidatingPriority" not in review.gates
    try:
        yield from pod_problems(review.pod, old, check_sub_priority=check)
    except ValueError as err:
        yield f'{_REQUESTS}: Invalid value: "": {err}'


def _quota(review: Review) -> Iterator[str]:
    if review.operation == "UPDATE" and review.old is not None:
        before, after = review.old.labels.get(keys.QUOTA_PREEMPTIBLE), review.pod.labels.get(keys.QUOTA_PREEMPTIBLE)
        if before != after:
            yield "Preemptible label is forbidden modify now."
            return
    if review.parent_quota and "SupportParentQuotaSubmitPod" not in review.gates:
        yield f"pod can not be linked to a parentQuotaGroup,quota:{review.parent_quota}, pod:{review.pod.name}"


def _devices(review: Review) -> Iterator[str]:
    if "ValidatePodDeviceResource" not in review.gates:
        return
    for container in review.pod.spec.containers:
        try:
            yield from device_problems(container.resources.requests)
        except ValueError as err:
            yield f'{_REQUESTS}: Invalid value: "": {err}'


def _enhanced(review: Review) -> Iterator[str]:
    if "EnablePodEnhancedValidator" not in review.gates or review.operation not in ("CREATE", "UPDATE"):
        return
    pod = review.pod
    if pod.labels.get(keys.SKIP_ENHANCED_VALIDATION) == "true":
        return
    for rule in review.rules:
        missing = [label for label in rule.required_labels or [] if label not in pod.labels]
        if missing and pod.namespace not in (rule.namespace_whitelist or []):
            one = len(missing) == 1
            yield f"required label '{missing[0]}' is missing" if one else f"required labels are missing: [{' '.join(missing)}]"
            return


STEPS: Mapping[str, Callable[[Review], Iterator[str]]] = {
    "ClusterReservation": _reservation,
    "ClusterColocationProfile": _colocation,
    "QuotaMetaChecker": _quota,
    "DeviceResource": _devices,
    "EnhancedValidation": _enhanced,
}
"""In the order in which they are asked."""

BEFORE_QUOTA = ("ClusterReservation", "ClusterColocationProfile", "QuotaMetaChecker")
AFTER_QUOTA = ("DeviceResource", "EnhancedValidation")
"""The quota's account is asked in between (``quotas.admission``)."""


def enhanced_rules(data: Mapping[str, str] | None) -> tuple[Rule, ...]:
    """The rules of the enhanced validator's ConfigMap; none when it is off. Raises ValueError on unreadable rules."""
    if not data or data.get("enable", "").strip().lower() != "true":
        return ()
    return tuple(wirejson.decode(data.get("rules") or "[]", list[Rule]))
