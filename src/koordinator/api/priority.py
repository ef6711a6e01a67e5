"""Priority bands of pods (prod, mid, batch, free), their values, and the finer order inside a band."""

from collections.abc import Mapping
from enum import StrEnum

from koordinator.api import keys, numbers, qos
from koordinator.api.annotations import Malformed, Text
from koordinator.api.core import Pod
from koordinator.api.qos import QoS


class Band(StrEnum):
    """NONE is every priority outside the four bands."""

    NONE = ""
    PROD = "koord-prod"
    MID = "koord-mid"
    BATCH = "koord-batch"
    FREE = "koord-free"


RANGES = {Band.PROD: (9000, 9999), Band.MID: (7000, 7999), Band.BATCH: (5000, 5999), Band.FREE: (3000, 3999)}
"""Lowest and highest ``spec.priority`` of each band, both inclusive. The lowest is also the PriorityClass object's value."""

DEFAULT_VALUES = {Band.PROD: 9500, Band.MID: 7500, Band.BATCH: 5500, Band.FREE: 3500, Band.NONE: 0}

SUB_PRIORITY = Text(
    keys.PRIORITY,
    numbers.prefixed_int32,
    "Pod label",
    "Order inside a priority band, higher first.",
    blank_is_absent=True,
)

_BY_NAME = {band.value: band for band in Band if band}
_BY_QOS = {QoS.SYSTEM: Band.PROD, QoS.LSE: Band.PROD, QoS.LSR: Band.PROD, QoS.LS: Band.PROD, QoS.BE: Band.BATCH}


def by_value(value: int | None) -> Band:
    """The band that a ``spec.priority`` lies in."""
    if value is None:
        return Band.NONE
    return next((band for band, (low, high) in RANGES.items() if low <= value <= high), Band.NONE)


def by_name(name: str) -> Band:
    """The band of that name, NONE for any other text."""
    return _BY_NAME.get(name, Band.NONE)


def from_qos(qos_class: QoS) -> Band:
    """BE → batch, every other class → prod, none → none."""
    return _BY_QOS.get(qos_class, Band.NONE)


def raw(pod: Pod | None) -> Band:
    """The band that the label names; only without that label the one that ``spec.priority`` lies in."""
    if pod is None:
        return Band.NONE
    labels = pod.metadata.labels
    if labels and (name := labels.get(keys.PRIORITY_CLASS)) is not None:
        return by_name(name)
    return by_value(pod.spec.priority)


def with_default(pod: Pod | None) -> Band:
    """``raw``, else the band that follows from the pod's QoS class."""
    return raw(pod) or from_qos(qos.with_default(pod))


def value_with_default(pod: Pod | None) -> int:
    """``spec.priority`` when set and not 0 (even outside every band), else the default value of the pod's band."""
    if pod is None:
        return 0
    return pod.spec.priority or DEFAULT_VALUES[with_default(pod)]


def sub_priority(labels: Mapping[str, str] | None) -> int | Malformed:
    """The order inside a band, higher first; 0 when not labelled."""
    return SUB_PRIORITY.read(labels) or 0
