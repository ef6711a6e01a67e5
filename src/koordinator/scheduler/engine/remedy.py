"""What it would take for a node to accept a pod: how plugins tell it, for ``koord explain``."""

import msgspec

from koordinator.api.resources import CPU, as_quantity


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
