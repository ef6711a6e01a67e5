"""What a hollow node looks like: ``cpu=64,memory=256Gi,pods=110,zone=a|b|c,gpu=8`` read into resources and zones."""

from collections.abc import Callable

import msgspec

from koordinator.api import quantity
from koordinator.errors import ConfigInvalid

WHERE = "node shape"
GPU = "nvidia.com/gpu"


class Shape(msgspec.Struct, frozen=True):
    """Quantities as text, as they stand in the node's status. Nodes take turns in the zones."""

    cpu: str = "32"
    memory: str = "128Gi"
    pods: str = "110"
    storage: str = "200Gi"
    gpu: str = ""
    zones: tuple[str, ...] = ()

    @property
    def resources(self) -> dict[str, str]:
        found = {"cpu": self.cpu, "memory": self.memory, "pods": self.pods, "ephemeral-storage": self.storage}
        return found | ({GPU: self.gpu} if self.gpu else {})


def parse(text: str) -> Shape:
    """Read a shape; parts that are left out keep their default. Raises: ConfigInvalid naming the part."""
    values: dict[str, str | tuple[str, ...]] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        reader = READERS.get(key)
        if not equals or reader is None:
            raise _wrong(part, f"must be key=value with a key of {', '.join(READERS)}")
        field, read = reader
        if field in values:
            raise _wrong(part, f"must not give {key} twice")
        try:
            values[field] = read(value)
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


READERS: dict[str, tuple[str, Callable[[str], str | tuple[str, ...]]]] = {
    "cpu": ("cpu", _amount),
    "memory": ("memory", _amount),
    "pods": ("pods", _count),
    "storage": ("storage", _amount),
    "gpu": ("gpu", _count),
    "zone": ("zones", _zones),
}
