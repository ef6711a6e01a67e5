"""How much hollow pods use: a model, not a measurement. Pure: the same seed, pod and time give the same number, in any order.

A pod uses a share of what it requests. The share follows its QoS class: latency-sensitive work swings with the time of day and
mostly idles, best-effort work runs flat out. Noise moves smoothly from minute to minute. A node never uses more than it has:
best-effort pods are squeezed first, as koordlet does on a real one.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping

import msgspec

from koordinator.api.qos import QoS

DAY = 86_400.0
NOISE_STEP = 60.0
IDLE_CPU, IDLE_MEMORY = 50, 64 * 1024**2
"""What a pod without requests uses, in milli-CPU and bytes."""
CEILING = 0.98
"""A node does not get busier than this share of its CPUs."""
SYSTEM_CPU_SHARE, SYSTEM_MEMORY_SHARE = 0.02, 0.04
BE_FLOOR = 0.02
_MASK = 2**64 - 1


class Pattern(msgspec.Struct, frozen=True):
    """Share of the request that is used: its daily mean, the swing around it over the day, and the noise. All of CPU."""

    mean: float
    swing: float = 0.0
    noise: float = 0.05
    memory: float = 0.7


PATTERNS: Mapping[QoS, Pattern] = {
    QoS.LSE: Pattern(0.50, swing=0.25, noise=0.06),
    QoS.LSR: Pattern(0.45, swing=0.25, noise=0.08),
    QoS.LS: Pattern(0.35, swing=0.20, noise=0.10, memory=0.6),
    QoS.BE: Pattern(0.92, noise=0.08, memory=0.8),
    QoS.SYSTEM: Pattern(0.30, noise=0.05),
    QoS.NONE: Pattern(0.35, swing=0.15, noise=0.10, memory=0.6),
}


class Load(msgspec.Struct, frozen=True):
    """What the model needs to know of a pod. Requests in milli-CPU and bytes; ``fixed_*`` override the pattern."""

    seed: int
    qos: QoS
    cpu: int
    memory: int
    fixed_cpu: int | None = None
    fixed_memory: int | None = None


class Usage(msgspec.Struct, frozen=True):
    """Milli-CPU and bytes."""

    cpu: int
    memory: int


class NodeUsage(msgspec.Struct, frozen=True):
    """A node's usage: all of it, the part that is no pod's, and each pod's by key."""

    node: Usage
    system: Usage
    pods: dict[str, Usage]


def seed_of(identity: str, seed: int) -> int:
    """Where in the noise something starts."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{identity}".encode(), digest_size=8).digest())


def pod_usage(load: Load, at: float, peak_hour: float = 15.0) -> Usage:
    """What one pod would use at ``at`` (seconds since the epoch, UTC), were it alone."""
    pattern = PATTERNS[load.qos]
    wave = pattern.swing * math.cos(2 * math.pi * (at / DAY - peak_hour / 24))
    share = max(0.01, pattern.mean + wave + pattern.noise * noise(load.seed, at))
    cpu = round(load.cpu * share) if load.cpu else IDLE_CPU
    slow = 0.05 * noise(load.seed ^ _MASK, at / 10)
    memory = round(load.memory * min(1.0, pattern.memory + slow)) if load.memory else IDLE_MEMORY
    return Usage(
        load.fixed_cpu if load.fixed_cpu is not None else cpu,
        load.fixed_memory if load.fixed_memory is not None else memory,
    )


def node_usage(capacity: Usage, seed: int, loads: Mapping[str, Load], at: float) -> NodeUsage:
    """What a node and its pods use at ``at``; the sum stays within the node."""
    wobble = 1 + 0.2 * noise(seed, at)
    system = Usage(round(capacity.cpu * SYSTEM_CPU_SHARE * wobble), round(capacity.memory * SYSTEM_MEMORY_SHARE))
    pods = {key: pod_usage(load, at) for key, load in loads.items()}
    room = max(0, int(capacity.cpu * CEILING) - system.cpu)
    pods = _squeezed(pods, loads, room)
    cpu = system.cpu + sum(usage.cpu for usage in pods.values())
    memory = min(capacity.memory, system.memory + sum(usage.memory for usage in pods.values()))
    return NodeUsage(Usage(cpu, memory), system, pods)


def _squeezed(pods: dict[str, Usage], loads: Mapping[str, Load], room: int) -> dict[str, Usage]:
    """Share ``room`` milli-CPU: best-effort pods give way first, down to a floor; then everybody alike."""
    best_effort = sum(usage.cpu for key, usage in pods.items() if loads[key].qos is QoS.BE)
    others = sum(usage.cpu for usage in pods.values()) - best_effort
    if best_effort + others <= room:
        return pods
    be_room = min(best_effort, max(room - others, int(best_effort * BE_FLOOR), 0))
    be_scale = be_room / best_effort if best_effort else 0.0
    scale = min(1.0, max(0, room - be_room) / others) if others else 0.0
    if be_room > room:
        be_scale, scale = room / best_effort, 0.0
    return {
        key: Usage(int(usage.cpu * (be_scale if loads[key].qos is QoS.BE else scale)), usage.memory)
        for key, usage in pods.items()
    }


def noise(seed: int, at: float) -> float:
    """Smooth noise from −1 to 1: random heights a minute apart, joined by an S-curve."""
    position = at / NOISE_STEP + (seed & 0xFFFF) / 0x10000
    step = math.floor(position)
    between = position - step
    left, right = _height(seed, step), _height(seed, step + 1)
    return left + (right - left) * between * between * (3 - 2 * between)


def _height(seed: int, step: int) -> float:
    """A number from −1 to 1 that only depends on its arguments (the finalizer of SplitMix64)."""
    mixed = (seed + step * 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((mixed ^ (mixed >> 31)) >> 11) / 2**52 - 1.0


def percentiles(mean: Usage, ceiling: Usage, names: Iterable[str]) -> dict[str, Usage]:
    """What koordlet would report of a window around ``mean``: by aggregation type, never above ``ceiling``."""
    return {
        name: Usage(
            min(ceiling.cpu, round(mean.cpu * SPREAD[name])), min(ceiling.memory, round(mean.memory * SPREAD[name] ** 0.2))
        )
        for name in names
    }


SPREAD: Mapping[str, float] = {"avg": 1.0, "p50": 1.0, "p90": 1.08, "p95": 1.12, "p99": 1.2}
