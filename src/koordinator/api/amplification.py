"""Amplified resources: a node that offers more than it has, by a ratio per resource."""

import math
from collections.abc import Mapping

from koordinator.api import quantity, resources
from koordinator.api.quantity import Quantity

_BINARY = (resources.MEMORY, resources.EPHEMERAL_STORAGE)


def amplify(values: Mapping[str, Quantity], ratios: Mapping[str, float]) -> dict[str, Quantity]:
    """Each quantity times its ratio, rounded up in its own unit. Ratios up to 1 change nothing, nor does an amount of zero."""
    return {name: amplified(name, one, ratios.get(name, 1.0)) for name, one in values.items()}


def amplified(name: str, original: Quantity, ratio: float) -> Quantity:
    """One amplified quantity: milli-cores for ``cpu``, whole units for the rest."""
    if not ratio > 1 or not original.nano or not math.isfinite(ratio):
        return original
    if name == resources.CPU:
        return quantity.of_milli(math.ceil(original.milli * ratio))
    form = quantity.BINARY_SI if name in _BINARY else quantity.DECIMAL_SI
    return quantity.of(math.ceil(original.value * ratio), form)
