"""What a pod will probably use, and when its own usage is to be believed instead."""

import math
from collections.abc import Mapping

from koordinator.api import priority
from koordinator.api.annotations import Malformed, Text
from koordinator.api.core import Node, Pod
from koordinator.api.meta import parse_time
from koordinator.api.nodes import RAW_ALLOCATABLE
from koordinator.api.resources import BATCH_CPU, BATCH_MEMORY, CPU, MEMORY, Amounts, amounts, translate
from koordinator.api.scheduling import ESTIMATED_AFTER_INITIALIZED, ESTIMATED_AFTER_SCHEDULED, ESTIMATED_SCALING_FACTORS
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.plugins.load_aware.args import LoadAwareArgs

DEFAULT_CPU = 250
DEFAULT_MEMORY = 200 * 1024 * 1024
_DEFAULTS = {CPU: DEFAULT_CPU, BATCH_CPU: DEFAULT_CPU, MEMORY: DEFAULT_MEMORY, BATCH_MEMORY: DEFAULT_MEMORY}


class Estimator:
    """``Vector``s are tuples over the plugin's dimensions: milli-CPU, bytes, whole units."""

    def __init__(self, args: LoadAwareArgs, dimensions: tuple[str, ...]) -> None:
        self.args, self.dimensions = args, dimensions

    def pod(self, info: PodInfo) -> tuple[int, ...]:
        """The estimate per dimension; a dimension without a scaling factor is 0."""
        estimated = self.amounts(info)
        return tuple(estimated.get(name, 0) for name in self.dimensions)

    def amounts(self, info: PodInfo) -> Amounts:
        band = priority.with_default(info.pod)
        requests, limits = info.template.requests, info.template.limits
        return {
            name: estimate(translate(band, name), factor, requests, limits) for name, factor in self._factors(info.pod).items()
        }

    def _factors(self, pod: Pod) -> dict[str, int]:
        configured = self.args.estimated_scaling_factors or {}
        custom = ESTIMATED_SCALING_FACTORS.read(pod.metadata.annotations) if self.args.allow_customize_estimation else None
        if not custom or isinstance(custom, Malformed):
            return configured
        return configured | custom

    def deadline(self, pod: Pod, assigned_at: float) -> float | None:
        """Until when the estimate counts although usage is reported; None when reported usage is believed at once."""
        initialized = _condition_time(pod, "Initialized")
        after_initialized = self._seconds(ESTIMATED_AFTER_INITIALIZED, self.args.estimated_seconds_after_initialized, pod)
        if after_initialized > 0 and initialized is not None:
            return initialized + after_initialized
        after_scheduled = self._seconds(ESTIMATED_AFTER_SCHEDULED, self.args.estimated_seconds_after_pod_scheduled, pod)
        return assigned_at + after_scheduled if after_scheduled > 0 else None

    def _seconds(self, annotation: Text[int], configured: int | None, pod: Pod) -> int:
        custom = annotation.read(pod.metadata.annotations) if self.args.allow_customize_estimation else None
        if custom is not None and not isinstance(custom, Malformed) and custom >= 0:
            return custom
        return configured or 0


def scheduled_at(pod: Pod) -> float | None:
    """When the pod was bound, as its PodScheduled condition says."""
    return _condition_time(pod, "PodScheduled")


def _condition_time(pod: Pod, kind: str) -> float | None:
    for condition in pod.status.conditions or ():
        if condition.type == kind and condition.status == "True":
            return parse_time(condition.last_transition_time)
    return None


def estimate(name: str, factor: int, requests: Mapping[str, int], limits: Mapping[str, int]) -> int:
    """``factor`` percent of the larger of request and limit, at most the limit; a constant for pods that do not say.

    A resource that the pod's band does not have (``name`` empty) is 0.
    """
    if not name:
        return 0
    limit = limits.get(name, 0)
    asked = max(limit, requests.get(name, 0))
    if asked == 0:
        return _DEFAULTS.get(name, 0)
    estimated = round_half_away(float(asked) * float(factor) / 100)
    return min(estimated, limit) if limit > 0 else estimated


def round_half_away(number: float) -> int:
    """The nearest integer, halves away from zero. For numbers of 0 and more."""
    whole = math.floor(number)
    return whole + (number - whole >= 0.5)


def node_amounts(node: Node) -> Amounts:
    """Allocatable, with what the node had before amplification where its annotation tells. Raises ValueError."""
    allocatable = amounts(node.status.allocatable)
    raw = RAW_ALLOCATABLE.read(node.metadata.annotations)
    if not raw or isinstance(raw, Malformed):
        return allocatable
    try:
        before = amounts(raw)
    except ValueError:
        return allocatable
    return {name: before.get(name, number) for name, number in allocatable.items()}
