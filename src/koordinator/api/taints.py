"""Taints of nodes and of devices, and who puts up with them."""

from koordinator.api.core import Taint, Toleration

TaintKey = tuple[str, str, str]
"""Key, value and effect of a taint."""


def taint_key(taint: Taint) -> TaintKey:
    """What tolerations are compared with."""
    return taint.key, taint.value or "", taint.effect


def tolerates(toleration: Toleration, taint: TaintKey) -> bool:
    """An empty effect tolerates every effect; an empty key with Exists tolerates every key."""
    key, value, effect = taint
    if toleration.effect and toleration.effect != effect:
        return False
    if toleration.key and toleration.key != key:
        return False
    if toleration.operator == "Exists":
        return True
    return bool(toleration.key) and toleration.operator in (None, "", "Equal") and (toleration.value or "") == value
