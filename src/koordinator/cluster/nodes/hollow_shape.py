"""What a hollow node looks like: ``cpu=64,memory=256Gi,gpu=8:A100,numa=2,zone=a|b|c`` read into resources and zones."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from koordinator.api import quantity
from koordinator.errors import ConfigInvalid

WHERE = "node shape"
GPU = "nvidia.com/gpu"
MODELS: Mapping[str, str] = {
    "A10": "24Gi",
    "A100": "80Gi",
    "A800": "80Gi",
    "H100": "80Gi",
    "H200": "141Gi",
    "H800": "80Gi",
    "L20": "48Gi",
    "L40": "48Gi",
    "T4": "16Gi",
    "V100": "32Gi",
}
"""Memory of one GPU by model; of others, 16Gi."""
MEMORY_OF_OTHERS = "16Gi"
MOST_ZONES = 64


class Shape(msgspec.Struct, frozen=True):
    """Quantities as text, as they stand in the node's status. Nodes take turns in the zones."""

    cpu: str = "32"
    memory: str = "128Gi"
    pods: str = "110"
    storage: str = "200Gi"
    gpu: str = ""
    gpu_model: str = ""
    gpu_memory: str = ""
    numa: int = 1
    zones: tuple[str, ...] = ()

    @property
    def gpus(self) -> int:
        return int(self.gpu or 0)

    @property
    def gpu_memory_each(self) -> str:
        return self.gpu_memory or MODELS.get(self.gpu_model, MEMORY_OF_OTHERS)

    @property
    def resources(self) -> dict[str, str]:
        found = {"cpu": self.cpu, "memory": self.memory, "pods": self.pods, "ephemeral-storage": self.storage}
        return found | ({GPU: self.gpu} if self.gpu else {})


def parse(text: str) -> Shape:
    """Read a shape; parts that are left out keep their default. Raises: ConfigInvalid naming the part."""
    values: dict[str, Any] = {}
    seen: set[str] = set()
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        reader = READERS.get(key)
        if not equals or reader is None:
            raise _wrong(part, f"must be key=value with a key of {', '.join(READERS)}")
        if key in seen:
            raise _wrong(part, f"must not give {key} twice")
        seen.add(key)
        try:
            values |= reader(value)
        except ValueError as err:
            raise _wrong(part, str(err)) from None
    return msgspec.convert(values, Shape)


def _wrong(part: str, rule: str) -> ConfigInvalid:
    return ConfigInvalid(WHERE, part, rule, "no node was made")


def _amount(text: str) -> str:
    try:
        amount = quantity.parse(text)
    except ValueError:
        raise ValueError("must be a quantity such as 4, 500m or 16Gi") from None
    if amount.nano <= 0:
        raise ValueError("must be more than zero")
    return text


def _count(text: str) -> str:
    if not (text.isascii() and text.isdigit()):
        raise ValueError("must be a whole number")
    return text


def _zones(text: str) -> tuple[str, ...]:
    zones = tuple(zone.strip() for zone in text.split("|"))
    if not all(zone and zone.replace("-", "").replace(".", "").isalnum() and len(zone) <= 63 for zone in zones):
        raise ValueError("must be names of letters, digits, dots and dashes, separated by |")
    return zones


def _gpu(text: str) -> dict[str, Any]:
    """``8``, ``8:A100`` or ``8:A100:40Gi``."""
    count, _, rest = text.partition(":")
    model, _, memory = rest.partition(":")
    if not all(letter.isalnum() or letter in "-_." for letter in model) or len(model) > 63:
        raise ValueError("must name a model of letters, digits, dots and dashes")
    found = {"gpu": _count(count), "gpu_model": model.strip("-_.")}
    return found | ({"gpu_memory": _amount(memory)} if memory else {})


def _numa(text: str) -> dict[str, Any]:
    zones = int(_count(text))
    if not 1 <= zones <= MOST_ZONES:
        raise ValueError(f"must be between 1 and {MOST_ZONES}")
    return {"numa": zones}


READERS: dict[str, Callable[[str], dict[str, Any]]] = {
    "cpu": lambda text: {"cpu": _amount(text)},
    "memory": lambda text: {"memory": _amount(text)},
    "pods": lambda text: {"pods": _count(text)},
    "storage": lambda text: {"storage": _amount(text)},
    "gpu": _gpu,
    "numa": _numa,
    "zone": lambda text: {"zones": _zones(text)},
}
