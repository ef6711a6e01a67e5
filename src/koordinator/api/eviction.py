"""What a pod says about being evicted or preempted, and by whom it wants to be scheduled."""

import re
from collections.abc import Mapping

from koordinator.api import keys, numbers
from koordinator.api.annotations import Annotation, Malformed, Text
from koordinator.api.core import Pod

NEVER = "Never"
PREEMPT_LOWER_PRIORITY = "PreemptLowerPriority"
NEVER_EVICT_COST = 2**31 - 1
"""An eviction cost that keeps the descheduler away altogether."""

_COST = re.compile(r"(-|[1-9]|0\Z)")


def _cost(text: str) -> int:
    if not _COST.match(text):
        raise ValueError(f"{text!r} is not a cost: a sign + and leading zeros are not allowed")
    return numbers.decimal_int(text, 32)


EVICTION_PRIORITY = Text(keys.EVICTION_PRIORITY, lambda text: numbers.decimal_int(text, 32))
EVICTION_POLICY: Annotation[list[str]] = Annotation(keys.EVICTION_POLICY, list[str])
EVICTION_COST = Text(keys.EVICTION_COST, _cost)


def evictable(labels: Mapping[str, str] | None) -> bool:
    """Whether koordlet's CPU and memory evictors may take a pod that is not best-effort."""
    return bool(labels) and (labels or {}).get(keys.EVICTION_ENABLED) == "true"


def eviction_priority(annotations: Mapping[str, str] | None) -> int | Malformed:
    """Lower goes first, before ``spec.priority`` and sub-priority; 0 when not annotated."""
    return EVICTION_PRIORITY.read(annotations) or 0


def may_evict(annotations: Mapping[str, str] | None, feature: str) -> bool:
    """Absent allows every feature; unreadable allows none, because a typo must not cost a pod its life."""
    allowed = EVICTION_POLICY.read(annotations)
    if allowed is None:
        return True
    return not isinstance(allowed, Malformed) and feature in allowed


def eviction_cost(annotations: Mapping[str, str] | None) -> int | Malformed:
    """Higher is moved later by the descheduler; 0 when not annotated."""
    return EVICTION_COST.read(annotations) or 0


def preemptible(labels: Mapping[str, str] | None) -> bool:
    """Whether a reservation may preempt the pod."""
    return (labels or {}).get(keys.DISABLE_PREEMPTIBLE) != "true"


def quota_preemptible(labels: Mapping[str, str] | None) -> bool:
    """Whether the pod may be preempted, and may use more than its quota's minimum."""
    return (labels or {}).get(keys.QUOTA_PREEMPTIBLE) != "false"


def preemption_policy(labels: Mapping[str, str] | None) -> str | None:
    """The labelled preemption policy; None for any other text. Whoever needs one takes ``NEVER`` then."""
    policy = (labels or {}).get(keys.PREEMPTION_POLICY)
    return policy if policy in (NEVER, PREEMPT_LOWER_PRIORITY) else None


def scheduler_name(pod: Pod) -> str:
    """The scheduler that the label names, even when empty; without the label the one of the spec."""
    return pod.labels.get(keys.SCHEDULER_NAME, pod.spec.scheduler_name)
