"""Quality-of-service classes of pods: as labelled, as Kubernetes sees them, and the two combined.

``raw`` is what the user wrote; ``with_default`` is what most components go by. Which one a rule uses is part of the protocol.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from koordinator.api import keys, quantity
from koordinator.api.core import Pod, Quantities, ResourceRequirements


class QoS(StrEnum):
    """NONE is the absence of a class."""

    NONE = ""
    LSE = "LSE"
    LSR = "LSR"
    LS = "LS"
    BE = "BE"
    SYSTEM = "SYSTEM"


GUARANTEED = "Guaranteed"
BURSTABLE = "Burstable"
BEST_EFFORT = "BestEffort"

_BY_LABEL = {qos.value: qos for qos in QoS if qos}
_BY_KUBE = {GUARANTEED: QoS.LSR, BURSTABLE: QoS.LS, BEST_EFFORT: QoS.BE}
_COUNTED = ("cpu", "memory")


def of_labels(labels: Mapping[str, str] | None) -> QoS:
    """The class that the labels name, NONE for any other text. Case matters."""
    return _BY_LABEL.get(labels.get(keys.QOS_CLASS, ""), QoS.NONE) if labels else QoS.NONE


def raw(pod: Pod | None) -> QoS:
    """The class that the pod's label names."""
    return of_labels(pod.metadata.labels) if pod is not None else QoS.NONE


def from_kube(kube_qos: str) -> QoS:
    """Guaranteed → LSR, Burstable → LS, BestEffort → BE."""
    return _BY_KUBE.get(kube_qos, QoS.NONE)


def with_default(pod: Pod | None) -> QoS:
    """The labelled class, else the one that follows from the Kubernetes class."""
    if pod is None:
        return QoS.NONE
    return raw(pod) or from_kube(kube(pod))


def kube(pod: Pod) -> str:
    """Kubernetes' own class: the reported one, else computed from cpu and memory of all containers and init containers.

    A quantity that cannot be read counts as not there.
    """
    if pod.status.qos_class:
        return pod.status.qos_class
    return _computed(list(_counted(pod)))


def _counted(pod: Pod) -> Iterable[ResourceRequirements]:
    whole = pod.spec.resources
    if whole is not None and (whole.requests or whole.limits):
        return [whole]
    return [container.resources for container in (*pod.spec.containers, *(pod.spec.init_containers or ()))]


def _computed(all_requirements: list[ResourceRequirements]) -> str:
    requests: dict[str, int] = {}
    limits: dict[str, int] = {}
    guaranteed = bool(all_requirements)
    for requirements in all_requirements:
        own_limits = _positive(requirements.limits)
        guaranteed = guaranteed and len(own_limits) == len(_COUNTED)
        _accumulate(requests, _positive(requirements.requests))
        _accumulate(limits, own_limits)
    if not requests and not limits:
        return BEST_EFFORT
    return GUARANTEED if guaranteed and requests == limits else BURSTABLE


def _positive(quantities: Quantities | None) -> dict[str, int]:
    result: dict[str, int] = {}
    for name in _COUNTED:
        text = quantities.get(name) if quantities else None
        if text is not None and (nano := _nano(text)) > 0:
            result[name] = nano
    return result


def _nano(text: str | float) -> int:
    try:
        return quantity.read(text).nano
    except ValueError:
        return 0


def _accumulate(into: dict[str, int], more: Mapping[str, int]) -> None:
    for name, nano in more.items():
        into[name] = into.get(name, 0) + nano
