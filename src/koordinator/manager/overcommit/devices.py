"""What a node offers of its devices: sums over the healthy ones of its Device object."""

from collections.abc import Iterable
from typing import NamedTuple

from koordinator.api import keys
from koordinator.api.device import Device, DeviceInfo
from koordinator.api.resources import (
    GPU,
    GPU_CORE,
    GPU_MEMORY,
    GPU_MEMORY_RATIO,
    GPU_SHARED,
    HUAWEI_NPU_CORE,
    HUAWEI_NPU_CPU,
    HUAWEI_NPU_DVPP,
    RDMA,
    amount,
)

GPU_NAMES = (
    GPU,
    GPU_CORE,
    HUAWEI_NPU_CORE,
    HUAWEI_NPU_CPU,
    HUAWEI_NPU_DVPP,
    GPU_MEMORY,
    GPU_MEMORY_RATIO,
    GPU_SHARED,
)
LABELS = (keys.GPU_VENDOR, keys.GPU_MODEL, keys.GPU_DRIVER_VERSION)
WHOLE = 100
"""One device is a hundred shares."""


class Offered(NamedTuple):
    """Resources (None takes one back; one that is not named stays as it is) and labels that the node shall carry."""

    resources: dict[str, int | None]
    labels: dict[str, str]


def gpus(device: Device | None, *, shared: bool = False) -> Offered:
    """GPUs of every vendor. ``shared``: also in how many parts they may be asked for. Raises ValueError naming the field."""
    healthy = _healthy(device, "gpu")
    if device is None or not healthy:
        return Offered(dict.fromkeys(GPU_NAMES), {})
    total: dict[str, int | None] = {}
    for name, number in _amounts(healthy):
        total[name] = (total.get(name) or 0) + number
    if device.labels.get(keys.GPU_VENDOR, "") in ("", "nvidia"):
        total[GPU] = total.get(GPU_CORE, 0)
    if shared:
        total[GPU_SHARED] = WHOLE * len(healthy)
    return Offered(total, {key: device.labels[key] for key in LABELS if key in device.labels})


def _amounts(devices: Iterable[DeviceInfo]) -> Iterable[tuple[str, int]]:
    for one in devices:
        for name, raw in (one.resources or {}).items():
            if name in GPU_NAMES:
                try:
                    yield name, amount(name, raw)
                except ValueError as err:
                    raise ValueError(f"spec.devices[minor {one.minor}].resources.{name} is {raw!r}: {err}") from err


def rdma(device: Device | None) -> Offered:
    """RDMA NICs, whatever virtual functions they have."""
    count = len(_healthy(device, "rdma"))
    return Offered({RDMA: WHOLE * count if count else None}, {})


def _healthy(device: Device | None, kind: str) -> list[DeviceInfo]:
    return [one for one in (device.spec.devices if device else None) or [] if one.type == kind and one.health]
