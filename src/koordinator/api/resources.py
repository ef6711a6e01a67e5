"""Resource names, and resource lists as plain integers: milli-CPU for ``cpu``, whole units for everything else."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from koordinator.api import keys, quantity
from koordinator.api.core import Container, Pod, Quantities
from koordinator.api.priority import Band
from koordinator.api.quantity import Quantity

CPU = "cpu"
MEMORY = "memory"
EPHEMERAL_STORAGE = "ephemeral-storage"
PODS = "pods"
BATCH_CPU = "kubernetes.io/batch-cpu"
BATCH_MEMORY = "kubernetes.io/batch-memory"
MID_CPU = "kubernetes.io/mid-cpu"
MID_MEMORY = "kubernetes.io/mid-memory"
GPU = "koordinator.sh/gpu"
GPU_CORE = "koordinator.sh/gpu-core"
GPU_MEMORY = "koordinator.sh/gpu-memory"
GPU_MEMORY_RATIO = "koordinator.sh/gpu-memory-ratio"
GPU_SHARED = "koordinator.sh/gpu.shared"
RDMA = "koordinator.sh/rdma"
FPGA = "koordinator.sh/fpga"
NVIDIA_GPU = "nvidia.com/gpu"
AMD_GPU = "amd.com/gpu"
HYGON_GPU = "dcu.com/gpu"
HUAWEI_NPU_CORE = "huawei.com/npu-core"
HUAWEI_NPU_CPU = "huawei.com/npu-cpu"
HUAWEI_NPU_DVPP = "huawei.com/npu-dvpp"

TRANSLATED = {
    Band.BATCH: {CPU: BATCH_CPU, MEMORY: BATCH_MEMORY},
    Band.MID: {CPU: MID_CPU, MEMORY: MID_MEMORY},
}
"""What ``cpu`` and ``memory`` of a pod become in the bands that live on other pods' idle resources."""

BAND_OF = {name: band for band, names in TRANSLATED.items() for name in names.values()}

BATCH_ALIASES = {"koordinator.sh/batch-cpu": BATCH_CPU, "koordinator.sh/batch-memory": BATCH_MEMORY}
DEVICE_ALIASES = {
    "kubernetes.io/gpu": GPU,
    "kubernetes.io/gpu-core": GPU_CORE,
    "kubernetes.io/gpu-memory": GPU_MEMORY,
    "kubernetes.io/gpu-memory-ratio": GPU_MEMORY_RATIO,
    "kubernetes.io/rdma": RDMA,
    "kubernetes.io/fpga": FPGA,
}

UNLIMITED = -1

Amounts = dict[str, int]
"""Resource name → milli-CPU for ``cpu``, whole units (bytes, batch milli-cores, counts) for the rest."""

N = TypeVar("N", int, Quantity)


# Reading


def amount(name: str, raw: str | float) -> int:
    """One quantity in its own unit. Raises ValueError when it is not a quantity."""
    return quantity.milli_value(raw) if name == CPU else quantity.value(raw)


def amounts(raw: Mapping[str, str | int | float] | None) -> Amounts:
    """A resource list on the wire as integers. Raises ValueError naming the resource."""
    return {name: _named(name, text, amount) for name, text in raw.items()} if raw else {}


def exact(raw: Mapping[str, str | int | float] | None) -> dict[str, Quantity]:
    """A resource list on the wire as quantities, format and text kept. Raises ValueError naming the resource."""
    return {name: _named(name, text, lambda _, one: quantity.read(one)) for name, text in (raw or {}).items()}


def texts(quantities: Mapping[str, Quantity]) -> Quantities:
    """Quantities as they go on the wire."""
    return {name: str(one) for name, one in quantities.items()}


def as_quantity(name: str, number: int) -> Quantity:
    """An amount in its own unit as a quantity: memory and storage in binary form, everything else decimal."""
    if name == CPU:
        return quantity.of_milli(number)
    return quantity.of(number, quantity.BINARY_SI if _is_bytes(name) else quantity.DECIMAL_SI)


def wire(values: Mapping[str, int]) -> Quantities:
    """Amounts as quantity texts: the inverse of ``amounts``."""
    return {name: str(as_quantity(name, number)) for name, number in values.items()}


# List arithmetic; numbers may be amounts or quantities


def add(a: Mapping[str, N], b: Mapping[str, N]) -> dict[str, N]:
    """Sum over the names of both."""
    result = dict(a)
    for name, number in b.items():
        result[name] = result[name] + number if name in result else number
    return result


def subtract(a: Mapping[str, int], b: Mapping[str, int]) -> Amounts:
    """``a`` − ``b`` over the names of both; may be negative."""
    return {name: a.get(name, 0) - b.get(name, 0) for name in (*a, *(name for name in b if name not in a))}


def subtract_to_zero(a: Mapping[str, int], b: Mapping[str, int]) -> Amounts:
    """``a`` − ``b``, never below zero."""
    return {name: max(number, 0) for name, number in subtract(a, b).items()}


def maximum(a: Mapping[str, N], b: Mapping[str, N]) -> dict[str, N]:
    """The larger over the names of both."""
    result = dict(a)
    for name, number in b.items():
        if name not in result or result[name] < number:
            result[name] = number
    return result


def minimum(a: Mapping[str, N], b: Mapping[str, N]) -> dict[str, N]:
    """The smaller, of the names that are in both."""
    return {name: min(number, b[name]) for name, number in a.items() if name in b}


def mask(values: Mapping[str, N], names: Iterable[str]) -> dict[str, N]:
    """Only these names."""
    wanted = frozenset(names)
    return {name: number for name, number in values.items() if name in wanted}


def is_zero(values: Mapping[str, int]) -> bool:
    """Whether every amount is zero; an empty list is."""
    return not any(values.values())


def without_zeros(values: Mapping[str, int]) -> Amounts:
    return {name: number for name, number in values.items() if number}


# Names


def translate(band: Band, name: str) -> str:
    """What ``name`` is called for pods of this band; "" when the band has no such resource."""
    if band in (Band.PROD, Band.NONE):
        return name
    return TRANSLATED.get(band, {}).get(name, "")


def translate_spec(band: Band, quantities: Mapping[str, Quantity]) -> dict[str, Quantity]:
    """A container's resources under the names of its band: cores become milli-core counts. Others stay as they are."""
    result: dict[str, Quantity] = {}
    for name, one in quantities.items():
        translated = translate(band, name)
        if translated in ("", name):
            result[name] = one
        else:
            result[translated] = quantity.of(one.milli) if name == CPU else one
    return result


def rename(quantities: Quantities, aliases: Mapping[str, str]) -> Quantities:
    """Move each old name to its new one. Where the new name is there already, both stay. Raises ValueError on bad ``cpu``."""
    if not any(old in quantities for old in aliases):
        return quantities
    result = dict(quantities)
    for old, new in aliases.items():
        if old in result and new not in result:
            text = result.pop(old)
            result[new] = str(quantity.of(_named(old, text, amount))) if old == CPU else text
    return result


def replacements(annotations: Mapping[str, str] | None) -> dict[str, str]:
    """The pod's own renames, ``from1:to1,from2:`` → {from: to}; an empty ``to`` erases. Items of another form are skipped."""
    result: dict[str, str] = {}
    for item in (annotations or {}).get(keys.REPLACE_RESOURCES, "").split(","):
        parts = item.split(":")
        if len(parts) == 2 and parts[0].strip():
            result[parts[0].strip()] = parts[1].strip()
    return result


# Pods


def pod_requests(pod: Pod, defaults: Mapping[str, int] | None = None) -> Amounts:
    """What a pod asks of a node: max(containers + sidecars, each init step) per resource, plus overhead.

    Pod-level requests, where present, win for the names they carry. ``defaults`` stand in for names that a container does not
    mention at all; where the pod as a whole asks, they only fill what comes out as zero. Raises ValueError on a bad quantity.
    """
    whole = amounts(pod.spec.resources.requests) if pod.spec.resources is not None else {}
    per_container = {} if pod.spec.resources is not None else defaults or {}
    running = _peak(pod, lambda container: {**per_container, **amounts(container.resources.requests)})
    running.update(whole)
    if pod.spec.resources is not None:
        running.update({name: number for name, number in (defaults or {}).items() if not running.get(name)})
    _add(running, amounts(pod.spec.overhead))
    return running


def pod_limits(pod: Pod) -> Amounts:
    """The most that a pod may use, by the formula of ``pod_requests``; overhead counts only where a limit is set."""
    running = _peak(pod, lambda container: amounts(container.resources.limits))
    if pod.spec.resources is not None:
        running.update(amounts(pod.spec.resources.limits))
    overhead = amounts(pod.spec.overhead)
    _add(running, {name: number for name, number in overhead.items() if running.get(name)})
    return running


def _peak(pod: Pod, of: Callable[[Container], Amounts]) -> Amounts:
    """Per resource the larger of all that runs together and the hungriest init step, sidecars before it included."""
    running: Amounts = {}
    for container in pod.spec.containers:
        _add(running, of(container))
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in pod.spec.init_containers or []:
        step = of(container)
        if container.restart_policy == "Always":
            _add(running, step)
            _add(sidecars, step)
            step = dict(sidecars)
        else:
            step = dict(step)
            _add(step, sidecars)
        _max(peak, step)
    _max(running, peak)
    return running


def be_cpu_request(pod: Pod) -> int:
    """Milli-CPU that a best-effort pod's containers and sidecars request together. Raises ValueError on a bad quantity."""
    return sum(max(0, _request(container, BATCH_CPU)) for container in _running(pod))


def be_limit(pod: Pod, name: str) -> int:
    """Sum of the ``batch-*`` limits of containers and sidecars; -1 when one has none. Raises ValueError on a bad quantity."""
    limits = [limit(container, name) for container in _running(pod)]
    total = sum(limits)
    return UNLIMITED if total <= 0 or any(one <= 0 for one in limits) else total


def prod_cpu_limit(pod: Pod) -> int:
    """Milli-CPU that the pod's containers may use together; -1 when one has no limit. Raises ValueError on a bad quantity."""
    if pod.spec.resources and pod.spec.resources.limits and CPU in pod.spec.resources.limits:
        return amount(CPU, pod.spec.resources.limits[CPU]) or UNLIMITED
    total = 0
    for container in pod.spec.containers:
        if (own := limit(container, CPU)) <= 0:
            return UNLIMITED
        total += own
    for container in pod.spec.init_containers or []:
        if (own := limit(container, CPU)) <= 0:
            return UNLIMITED
        total = total + own if container.restart_policy == "Always" else max(total, own)
    return total or UNLIMITED


def limit(container: Container, name: str) -> int:
    """One container's limit in the resource's own unit; -1 when there is none. Raises ValueError on a bad quantity."""
    text = (container.resources.limits or {}).get(name)
    return UNLIMITED if text is None else amount(name, text)


def _request(container: Container, name: str) -> int:
    text = (container.resources.requests or {}).get(name)
    return UNLIMITED if text is None else amount(name, text)


def _running(pod: Pod) -> Iterable[Container]:
    yield from pod.spec.containers
    yield from (one for one in pod.spec.init_containers or [] if one.restart_policy == "Always")


def _is_bytes(name: str) -> bool:
    return name in (MEMORY, EPHEMERAL_STORAGE, BATCH_MEMORY, MID_MEMORY, GPU_MEMORY) or name.startswith("hugepages-")


def _named(name: str, raw: str | float, read: "Callable[[str, str | float], N]") -> N:
    try:
        return read(name, raw)
    except ValueError as err:
        raise ValueError(f"{name}: {raw!r} is not a quantity: {err}") from err


def _add(into: Amounts, other: Mapping[str, int]) -> None:
    for name, number in other.items():
        into[name] = into.get(name, 0) + number


def _max(into: Amounts, other: Mapping[str, int]) -> None:
    for name, number in other.items():
        into[name] = max(into.get(name, 0), number)
