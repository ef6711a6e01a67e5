"""Device resources of a pod's containers: shorthand made explicit, and the rules that amounts must keep."""

from collections.abc import Iterator
from typing import Any

from koordinator.api import quantity
from koordinator.api.quantity import Quantity
from koordinator.api.resources import GPU, GPU_CORE, GPU_MEMORY, GPU_MEMORY_RATIO, GPU_SHARED, HUAWEI_NPU_CORE

JsonObject = dict[str, Any]

_GPU_NAMES = (GPU, GPU_CORE, GPU_MEMORY, GPU_MEMORY_RATIO, GPU_SHARED)
_FIELD = "pod.spec.containers[*].resources.requests"


def complete_devices(pod: JsonObject) -> None:
    """Spell out the GPU requests of every container in place."""
    for container in (pod.get("spec") or {}).get("containers") or []:
        resources = container.get("resources") or {}
        if any(name in (resources.get(part) or {}) for name in _GPU_NAMES for part in ("requests", "limits")):
            container["resources"] = complete_container(resources)


def complete_container(resources: JsonObject) -> JsonObject:
    """``koordinator.sh/gpu`` split into core and memory ratio, and the number of GPUs that share it written down."""
    requests = dict(resources.get("requests") or {})
    limits = dict(resources.get("limits") or {})
    shared_given = GPU_SHARED in requests
    if GPU in requests:
        whole = requests.pop(GPU)
        limits.pop(GPU, None)
        for part in (requests, limits):
            part[GPU_CORE] = part[GPU_MEMORY_RATIO] = whole
    if not shared_given:
        requests[GPU_SHARED] = limits[GPU_SHARED] = str(_shared(requests))
    return {**resources, "requests": requests, "limits": limits}


def _shared(requests: JsonObject) -> int:
    name = GPU_MEMORY_RATIO if GPU_MEMORY_RATIO in requests else GPU_CORE
    percent = quantity.value(requests.get(name, 0))
    return percent // 100 if percent > 100 and percent % 100 == 0 else 1


def device_problems(requests: dict[str, str | int | float] | None) -> Iterator[str]:
    """What is wrong with one container's device requests, in the API server's words."""
    amounts = {name: quantity.read(raw) for name, raw in (requests or {}).items() if name in (*_GPU_NAMES, HUAWEI_NPU_CORE)}
    gpu, shared = amounts.get(GPU), amounts.get(GPU_SHARED)
    if gpu is not None and shared is not None:
        yield f"{_FIELD}: Forbidden: Forbidden declare GPU and GPU share at same time"
        return
    if gpu is not None:
        yield from _whole(gpu)
    if shared is not None:
        yield from _share(shared, amounts)


def _whole(gpu: Quantity) -> Iterator[str]:
    if gpu.value == 0:
        yield f'{_FIELD}: Invalid value: "{gpu}": the requested GPU must be greater than zero'
    elif gpu.value > 100 and gpu.value % 100:
        yield f'{_FIELD}: Invalid value: "{gpu}": the requested GPU must be percentage of 100'


def _share(shared: Quantity, amounts: dict[str, Quantity]) -> Iterator[str]:
    memory, ratio, core = (amounts.get(name, quantity.ZERO) for name in (GPU_MEMORY, GPU_MEMORY_RATIO, GPU_CORE))
    if shared.value == 0:
        yield f'{_FIELD}: Invalid value: "{shared}": the requested GPU must be greater than zero'
    if amounts.get(HUAWEI_NPU_CORE, quantity.ZERO).value:
        return
    if memory.value == 0 and ratio.value == 0:
        yield f"{_FIELD}: Forbidden: GPU memory and GPU memory ratio all is zero"
    if memory.value and ratio.value:
        yield f"{_FIELD}: Forbidden: declare GPU memory and GPU memory ratio at same time"
    if shared.value and core.value % shared.value:
        yield f'{_FIELD}: Invalid value: "{core}": the requested gpuCore must multiple of shared'
    if shared.value and ratio.value % shared.value:
        yield f'{_FIELD}: Invalid value: "{ratio}": the requested gpuMemoryRatio must multiple of shared'
