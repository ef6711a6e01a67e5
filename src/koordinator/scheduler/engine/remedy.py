"""What it would take for a node to accept a pod: how plugins tell it, for ``koord explain``."""

from collections.abc import Sequence

import msgspec

from koordinator.api.resources import CPU, as_quantity
from koordinator.api.selectors import DOES_NOT_EXIST, EXISTS, IN, Requirement, Selector


class Remedy(msgspec.Struct, frozen=True, rename="camel"):
    """One change that takes one of a plugin's objections away. All of a plugin's remedies are needed together.

    ``kind`` is request, toleration, affinity, usage, node or other. ``size`` says how far the change goes: for amounts the
    share of them that has to give way; a word changed in a manifest weighs like a quarter of a request; 2 for what only
    others can change.
    """

    kind: str
    text: str
    size: float = 0.25
    have: str = ""
    """What the node has and the pod needs, in figures."""
    pods: tuple[str, ...] = ()
    """The pods in the way, where there are any: those that would have to leave, or the first of them."""


LISTED = 10
"""So many pods in the way are named to programs; people are shown the first few."""
_SHOWN = 3

_BINARY = (("Ti", 2**40), ("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10))


def figure(name: str, number: int) -> str:
    """An amount for people: cores with at most three digits after the point, bytes rounded down to a tenth of their unit."""
    if name == CPU:
        return f"{number / 1000:.3f}".rstrip("0").rstrip(".")
    text = str(as_quantity(name, number))
    if not text.isdigit():
        return text
    bytes_ = name == "memory" or name.endswith(("-memory", "storage"))
    for unit, size in _BINARY if bytes_ else ():
        if number >= size:
            return f"{number * 10 // size / 10:g}{unit}"
    return text


def count(number: int, one: str) -> str:
    return f"{number} {one}{'' if number == 1 else 's'}"


def pods_named(names: Sequence[str], number: int = 0) -> str:
    """``number``: how many there are, where not all are named."""
    further = max(number, len(names)) - min(len(names), _SHOWN)
    shown = ", ".join(names[:_SHOWN])
    return f"{'pod' if len(names) + further == 1 else 'pods'} {shown}{f' and {further} more' if further else ''}"


_SHORT = {"topology.kubernetes.io/zone": "zone", "topology.kubernetes.io/region": "region", "kubernetes.io/hostname": "node"}


def domain_named(key: str, value: str) -> str:
    """The nodes with a label."""
    return f"{_SHORT[key]} {value}" if key in _SHORT else f"{key}={value}"


def selector_named(selector: Selector) -> str:
    """As ``kubectl`` takes it."""
    if selector.never:
        return "nothing"
    return ",".join(map(_requirement, selector.requirements)) or "anything"


def _requirement(one: Requirement) -> str:
    values = sorted(one.values)
    if one.operator in (EXISTS, DOES_NOT_EXIST):
        return one.key if one.operator == EXISTS else f"!{one.key}"
    if one.operator == IN and len(values) == 1:
        return f"{one.key}={values[0]}"
    return f"{one.key} {'in' if one.operator == IN else 'notin'} ({','.join(values)})"
