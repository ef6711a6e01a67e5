"""Resource names, and resource lists as plain integers: milli-CPU for ``cpu``, whole units for everything else."""

from collections.abc import Mapping

from koordinator.api import quantity
from koordinator.api.core import Pod

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


def pod_requests(pod: Pod) -> Amounts:
    """What a pod asks of a node: max(containers + sidecars, each init step) per resource, plus overhead.

    Pod-level requests, where present, win for the names they carry. Raises ValueError on a bad quantity.
    """
    running: Amounts = {}
    for container in pod.spec.containers:
        _add(running, amounts(container.resources.requests))
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in pod.spec.init_containers or []:
        step = amounts(container.resources.requests)
        if container.restart_policy == "Always":
            _add(running, step)
            _add(sidecars, step)
            step = dict(sidecars)
        else:
            _add(step, sidecars)
        _max(peak, step)
    _max(running, peak)
    if pod.spec.resources is not None:
        running.update(amounts(pod.spec.resources.requests))
    _add(running, amounts(pod.spec.overhead))
    return running


def _add(into: Amounts, other: Mapping[str, int]) -> None:
    for name, number in other.items():
        into[name] = into.get(name, 0) + number


def _max(into: Amounts, other: Mapping[str, int]) -> None:
    for name, number in other.items():
        into[name] = max(into.get(name, 0), number)
