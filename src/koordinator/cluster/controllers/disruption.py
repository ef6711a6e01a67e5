"""PodDisruptionBudget: how many pods may be evicted right now. The eviction call counts down, this counts up again."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from koordinator.api.core import Pod
from koordinator.api.meta import Condition, format_time, parse_time
from koordinator.api.selectors import matches, problem
from koordinator.cluster.controllers import pods as pods_
from koordinator.cluster.controllers.changes import Change, Outcome, Tell, status
from koordinator.cluster.controllers.objects import DISRUPTION_BUDGETS, DisruptionBudget
from koordinator.cluster.controllers.rollout import scaled

EVICTION_SECONDS = 120.0
"""An eviction that was let through and not seen within this time did not happen."""

ScaleOf = Callable[[Pod], tuple[str, int] | None]
"""The pod's controller and how many pods it should have; None when nothing with a scale controls it."""


class Numbers(msgspec.Struct, frozen=True):
    expected: int
    desired: int
    healthy: int

    @property
    def allowed(self) -> int:
        return max(0, self.healthy - self.desired) if self.expected else 0


def reconcile(budget: DisruptionBudget, namespace_pods: Iterable[Pod], scale_of: ScaleOf, now: float) -> Outcome:
    """``namespace_pods``: all pods of the budget's namespace."""
    if fault := problem(budget.spec.selector):
        return _failed(budget, f"spec.selector.{fault}", now)
    guarded = [pod for pod in namespace_pods if matches(budget.spec.selector, pod.labels) and not pod.terminated]
    going, wait = _going(budget, guarded, now)
    try:
        expected, desired = _floor(budget, guarded, scale_of)
    except ValueError as err:
        return _failed(budget, str(err), now)
    healthy = sum(_healthy(pod) and pod.name not in going for pod in guarded)
    return Outcome(_status(budget, Numbers(expected, desired, healthy), going, now), wait)


def _healthy(pod: Pod) -> bool:
    return pods_.is_active(pod) and pods_.is_ready(pod)


def _going(budget: DisruptionBudget, guarded: list[Pod], now: float) -> tuple[dict[str, str], float | None]:
    """Evictions that are under way and not visible yet: pod name → when; and seconds until the first lapses."""
    present = {pod.name for pod in guarded if not pod.metadata.deletion_timestamp}
    going: dict[str, str] = {}
    wait: float | None = None
    for name, stamp in (budget.status.disrupted_pods or {}).items():
        left = (parse_time(str(stamp)) or 0.0) + EVICTION_SECONDS - now
        if name in present and left > 0:
            going[name] = str(stamp)
            wait = left if wait is None else min(wait, left)
    return going, wait


def _floor(budget: DisruptionBudget, guarded: list[Pod], scale_of: ScaleOf) -> tuple[int, int]:
    """How many pods there should be, and how many of them must stay healthy. Raises: ValueError naming the field."""
    spec = budget.spec
    if spec.max_unavailable is not None:
        expected = _expected(guarded, scale_of)
        return expected, max(0, expected - _number("maxUnavailable", spec.max_unavailable, expected))
    minimum = 1 if spec.min_available is None else spec.min_available
    expected = len(guarded) if isinstance(minimum, int) else _expected(guarded, scale_of)
    return expected, _number("minAvailable", minimum, expected)


def _number(field: str, value: int | str, total: int) -> int:
    try:
        return scaled(value, total, up=True)
    except ValueError as err:
        raise ValueError(f"spec.{field}: {err}") from None


def _expected(guarded: list[Pod], scale_of: ScaleOf) -> int:
    scales: dict[str, int] = {}
    for pod in guarded:
        scale = scale_of(pod)
        if scale is None:
            raise ValueError(f"found no controller with a scale for pod {pod.key!r}, use an integer minAvailable")
        scales[scale[0]] = scale[1]
    return sum(scales.values())


def _status(budget: DisruptionBudget, numbers: Numbers, going: Mapping[str, str], now: float) -> list[Change]:
    held = budget.status
    allowed = numbers.allowed
    condition = _condition(held.conditions, allowed > 0, "SufficientPods" if allowed else "InsufficientPods", "", now)
    wished = (numbers.healthy, numbers.desired, numbers.expected, allowed, budget.metadata.generation, dict(going), [condition])
    before = (
        held.current_healthy,
        held.desired_healthy,
        held.expected_pods,
        held.disruptions_allowed,
        held.observed_generation,
        held.disrupted_pods or {},
        held.conditions,
    )
    if wished == before:
        return []
    lapsed: dict[str, str | None] = dict.fromkeys(held.disrupted_pods or {}, None)
    body: dict[str, Any] = {
        "currentHealthy": numbers.healthy,
        "desiredHealthy": numbers.desired,
        "expectedPods": numbers.expected,
        "disruptionsAllowed": allowed,
        "observedGeneration": budget.metadata.generation,
        "disruptedPods": {**lapsed, **going},
        "conditions": msgspec.to_builtins([condition]),
    }
    return [_locked(budget, body)]


def _locked(budget: DisruptionBudget, body: dict[str, Any]) -> Change:
    """An eviction that was let through while we counted must not be counted away."""
    patched = status(DISRUPTION_BUDGETS, budget, body)
    lock = {"metadata": {"resourceVersion": budget.metadata.resource_version}}
    return msgspec.structs.replace(patched, body={**patched.body, **lock})


def _failed(budget: DisruptionBudget, why: str, now: float) -> Outcome:
    """Fail safe: nothing may be evicted while the budget cannot be computed."""
    condition = _condition(budget.status.conditions, False, "SyncFailed", why, now)
    if budget.status.conditions == [condition] and budget.status.disruptions_allowed == 0:
        return Outcome()
    body = {
        "disruptionsAllowed": 0,
        "observedGeneration": budget.metadata.generation,
        "conditions": msgspec.to_builtins([condition]),
    }
    return Outcome([_locked(budget, body), Tell(budget, "CalculateExpectedPodCountFailed", why, "Warning")])


def _condition(held: list[Condition] | None, allowed: bool, reason: str, message: str, now: float) -> Condition:
    before = next((c for c in held or [] if c.type == "DisruptionAllowed"), None)
    state = "True" if allowed else "False"
    if before is not None and (before.status, before.reason, before.message or "") == (state, reason, message):
        return before
    since = before.last_transition_time if before is not None and before.status == state else format_time(now)
    return Condition(type="DisruptionAllowed", status=state, reason=reason, message=message or None, last_transition_time=since)
