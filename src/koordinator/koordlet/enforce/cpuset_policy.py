"""Which CPUs best-effort pods may use when they are squeezed by CPU set. Pure.

Whole cores first, spread over sockets and NUMA nodes, so that neighbours on a hyper-thread are best-effort too.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from koordinator.api import cpuset, keys, qos, wirejson
from koordinator.api.core import Pod
from koordinator.koordlet.host.machine import Processor

_T = TypeVar("_T")

_MIN_CPUS = 2
_STEP = 0.1
"""The set grows by at most this part of the machine in a round; it shrinks at once."""


class CpusetStatus(msgspec.Struct, frozen=True):
    cpuset: str = ""


class Reservation(msgspec.Struct, frozen=True, rename={"reserved_cpus": "reservedCPUs"}):
    reserved_cpus: str = ""


class SystemCpus(msgspec.Struct, frozen=True, rename="camel"):
    cpuset: str = ""
    cpuset_exclusive: bool | None = None


def owners(pods: Sequence[Pod]) -> dict[int, qos.QoS]:
    """QoS class of the pod that holds each CPU exclusively. Unreadable annotations hold none."""
    result: dict[int, qos.QoS] = {}
    for pod in pods:
        result.update(dict.fromkeys(_cpus(pod.annotations, keys.RESOURCE_STATUS, CpusetStatus, "cpuset"), qos.raw(pod)))
    return result


def excluded(topology: Mapping[str, str]) -> frozenset[int]:
    """CPUs that are nobody's here: reserved on the node, or for system pods alone."""
    reserved = _cpus(topology, keys.NODE_RESERVATION, Reservation, "reserved_cpus")
    system = _decode(topology, keys.SYSTEM_QOS_RESOURCE, SystemCpus)
    if system is None or system.cpuset_exclusive is False:
        return reserved
    return reserved | _parse(system.cpuset)


def full(processors: Sequence[Processor], pods: Sequence[Pod], topology: Mapping[str, str]) -> frozenset[int]:
    """What best-effort pods may use when they are not squeezed."""
    owner = owners(pods)
    allowed = frozenset(processor.cpu for processor in processors) - excluded(topology)
    return frozenset(cpu for cpu in allowed if owner.get(cpu) is not qos.QoS.LSE)


def squeezed(
    suppress_milli: int,
    processors: Sequence[Processor],
    old: frozenset[int],
    owner: Mapping[int, qos.QoS],
    not_ours: frozenset[int],
) -> list[int]:
    """The CPUs for a budget, in the order in which they were picked; none when there are too few to choose from."""
    usable = [processor for processor in processors if processor.cpu not in not_ours]
    reserved = [processor for processor in usable if owner.get(processor.cpu) is qos.QoS.LSR]
    shared = [processor for processor in usable if owner.get(processor.cpu) not in (qos.QoS.LSR, qos.QoS.LSE)]
    if not reserved and not shared:
        return []
    count = max(math.ceil(suppress_milli / 1000), _MIN_CPUS)
    count = min(count, len(old) + math.ceil(len(processors) * _STEP))
    from_reserved = count * len(reserved) // (len(reserved) + len(shared))
    return [*pick(from_reserved, reserved), *pick(count - from_reserved, shared)]


def pick(count: int, processors: Sequence[Processor]) -> list[int]:
    """``count`` CPUs: cores in pairs round robin over sockets, then single ones from where pairs ended. Empty when too few."""
    if count <= 0 or len(processors) < count:
        return []
    buckets = _buckets(processors)
    used: list[set[int]] = [set() for _ in buckets]
    picked: list[int] = []
    place = _pick_pairs(count, buckets, used, picked)
    _pick_singles(count, buckets, used, picked, place)
    return picked


def _buckets(processors: Sequence[Processor]) -> list[list[Processor]]:
    by_place: dict[int, list[Processor]] = {}
    for processor in processors:
        by_place.setdefault((processor.node + len(processors)) * (processor.socket + 1), []).append(processor)
    buckets = [sorted(bucket, key=lambda one: (one.core, one.cpu)) for bucket in by_place.values()]
    return sorted(buckets, key=lambda bucket: (-len(bucket), bucket[0].cpu))


def _pick_pairs(count: int, buckets: list[list[Processor]], used: list[set[int]], picked: list[int]) -> int:
    """Take sibling pairs while two or more are needed; returns the bucket where to go on."""
    place, before = 0, 0
    while count - len(picked) > 1:
        bucket = buckets[place]
        pair = next(
            (j for j in range(len(bucket) - 1) if j not in used[place] and bucket[j].core == bucket[j + 1].core),
            None,
        )
        if pair is not None:
            used[place].update((pair, pair + 1))
            picked += [bucket[pair].cpu, bucket[pair + 1].cpu]
        place = (place + 1) % len(buckets)
        if place == 0:
            if len(picked) == before:
                break
            before = len(picked)
    return place


def _pick_singles(count: int, buckets: list[list[Processor]], used: list[set[int]], picked: list[int], place: int) -> None:
    idle = 0
    while len(picked) < count and idle < len(buckets):
        bucket = buckets[place]
        free = next((j for j in range(len(bucket)) if j not in used[place]), None)
        idle = idle + 1 if free is None else 0
        if free is not None:
            used[place].add(free)
            picked.append(bucket[free].cpu)
        place = (place + 1) % len(buckets)


def _cpus(annotations: Mapping[str, str], key: str, type_: type[Any], field: str) -> frozenset[int]:
    found = _decode(annotations, key, type_)
    return frozenset() if found is None else _parse(getattr(found, field))


def _decode(annotations: Mapping[str, str], key: str, type_: type[_T]) -> _T | None:
    if (raw := annotations.get(key)) is None:
        return None
    try:
        found: _T = wirejson.decode(raw, type_)
    except ValueError:
        return None
    return found


def _parse(text: str) -> frozenset[int]:
    try:
        return cpuset.parse(text)
    except ValueError:
        return frozenset()
