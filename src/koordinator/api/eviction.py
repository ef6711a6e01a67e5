"""What a pod says about being evicted or preempted, and by whom it wants to be scheduled."""

import re
from collections.abc import Mapping

from koordinator.api import keys, numbers
from koordinator.api.annotations import Annotation, Choice, Flag, Malformed, Text
from koordinator.api.core import Pod

NEVER = "Never"
PREEMPT_LOWER_PRIORITY = "PreemptLowerPriority"
NEVER_EVICT_COST = 2**31 - 1
"""An eviction cost that keeps the descheduler away altogether."""

_COST = re.compile(r"(-|[1-9]|0\Z)")


def _cost(text: str) -> int:
    """A 32-bit integer without sign + and leading zeros."""
    if not _COST.match(text):
        raise ValueError(f"{text!r} is not a cost: a sign + and leading zeros are not allowed")
    return numbers.decimal_int(text, 32)


EVICTION_ENABLED = Flag(keys.EVICTION_ENABLED, "Pod label", "koordlet may evict the pod though it is not best-effort.")
EVICTION_PRIORITY = Text(keys.EVICTION_PRIORITY, numbers.int32, "Pod annotation", "Lower is evicted first by koordlet.")
EVICTION_POLICY: Annotation[list[str]] = Annotation(
    keys.EVICTION_POLICY,
    list[str],
    "Pod annotation",
    "koordlet features that may evict the pod; absent allows all, unreadable none.",
)
EVICTION_COST = Text(keys.EVICTION_COST, _cost, "Pod annotation", "Higher is moved later by the descheduler; 2147483647 never.")
DISABLE_PREEMPTIBLE = Flag(keys.DISABLE_PREEMPTIBLE, "Pod label", "No reservation may preempt the pod.")
QUOTA_NOT_PREEMPTIBLE = Flag(
    keys.QUOTA_PREEMPTIBLE, "Pod label", "false: never preempted, and held within its quota's minimum.", on_text="false"
)
PREEMPTION_POLICY = Choice(
    keys.PREEMPTION_POLICY, (NEVER, PREEMPT_LOWER_PRIORITY), on="Pod label", doc="Whether the pod may preempt others."
)


def evictable(labels: Mapping[str, str] | None) -> bool:
    """Whether koordlet's CPU and memory evictors may take a pod that is not best-effort."""
    return EVICTION_ENABLED.read(labels)


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
    return not DISABLE_PREEMPTIBLE.read(labels)


def quota_preemptible(labels: Mapping[str, str] | None) -> bool:
    """Whether the pod may be preempted, and may use more than its quota's minimum."""
    return not QUOTA_NOT_PREEMPTIBLE.read(labels)


def preemption_policy(labels: Mapping[str, str] | None) -> str | None:
    """The labelled preemption policy; None for any other text. Whoever needs one takes ``NEVER`` then."""
    return PREEMPTION_POLICY.read(labels) or None


def scheduler_name(pod: Pod) -> str:
    """The scheduler that the label names, even when empty; without the label the one of the spec."""
    return pod.labels.get(keys.SCHEDULER_NAME, pod.spec.scheduler_name)
