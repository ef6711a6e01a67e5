"""Resource names, and resource lists as plain integers: milli-CPU for ``cpu``, whole units for everything else."""

from collections.abc import Callable, Mapping

from koordinator.api import quantity
from koordinator.api.core import Container, Pod

CPU = "cpu"
MEMORY = "memory"
EPHEMERAL_STORAGE = "ephemeral-storage"
PODS = "pods"
BATCH_CPU = "kubernetes.io/batch-cpu"
BATCH_MEMORY = "kubernetes.io/batch-memory"
MID_CPU = "kubernetes.io/mid-cpu"
MID_MEMORY = "kubernetes.io/mid-memory"

Amounts = dict[str, int]
"""Resource name → milli-CPU for ``cpu``, whole units (bytes, batch milli-cores, counts) for the rest."""


def amount(name: str, raw: str | float) -> int:
    """One quantity in its own unit. Raises ValueError when it is not a quantity."""
    return quantity.milli_value(raw) if name == CPU else quantity.value(raw)


def amounts(raw: Mapping[str, str | int | float] | None) -> Amounts:
    """A resource list on the wire as integers. Raises ValueError naming the resource."""
    result: Amounts = {}
    for name, text in (raw or {}).items():
        try:
            result[name] = amount(name, text)
        except ValueError as err:
            raise ValueError(f"{name}: {text!r} is not a quantity: {err}") from err
    return result


def pod_requests(pod: Pod, defaults: Mapping[str, int] | None = None) -> Amounts:
    """What a pod asks of a node: max(containers + sidecars, each init step) per resource, plus overhead.

    Pod-level requests, where present, win for the names they carry. ``defaults`` stand in for names that a container does not
    mention at all; where the pod as a whole asks, they only fill what comes out as zero. Raises ValueError on a bad quantity.
    """
    whole = amounts(pod.spec.resources.requests) if pod.spec.resources is not None else {}
    per_container = {} if pod.spec.resources is not None else defaults or {}
    running = _peak(pod, lambda container: {**per_container, **amounts(container.resources.requests)})
    running.update(whole)
    if pod.spec.resources is not None:
        running.update({name: number for name, number in (defaults or {}).items() if not running.get(name)})
    _add(running, amounts(pod.spec.overhead))
    return running


def pod_limits(pod: Pod) -> Amounts:
    """The most that a pod may use, by the formula of ``pod_requests``; overhead counts only where a limit is set."""
    running = _peak(pod, lambda container: amounts(container.resources.limits))
    if pod.spec.resources is not None:
        running.update(amounts(pod.spec.resources.limits))
    overhead = amounts(pod.spec.overhead)
    _add(running, {name: number for name, number in overhead.items() if running.get(name)})
    return running


def _peak(pod: Pod, of: Callable[[Container], Amounts]) -> Amounts:
    """Per resource the larger of all that runs together and the hungriest init step, sidecars before it included."""
    running: Amounts = {}
    for container in pod.spec.containers:
        _add(running, of(container))
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in pod.spec.init_containers or []:
        step = of(container)
        if container.restart_policy == "Always":
            _add(running, step)
            _add(sidecars, step)
            step = dict(sidecars)
        else:
            step = dict(step)
            _add(step, sidecars)
        _max(peak, step)
    _max(running, peak)
    return running


def _add(into: Amounts, other: Mapping[str, int]) -> None:
    for name, number in other.items():
        into[name] = into.get(name, 0) + number


def _max(into: Amounts, other: Mapping[str, int]) -> None:
    for name, number in other.items():
        into[name] = max(into.get(name, 0), number)
