"""Batch resources per NUMA zone: what is known of the whole node is spread over its zones, then the same formulas apply.
The results go into the node's NodeResourceTopology.

Spreading may leave fractions of a byte, so memory is counted in milli-bytes here.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from koordinator.api import quantity
from koordinator.api.resources import BATCH_CPU, BATCH_MEMORY, CPU, MEMORY
from koordinator.manager.overcommit.arrays import LIMIT, Array
from koordinator.manager.overcommit.batch import Demand, Rules, batch
from koordinator.manager.overcommit.inputs import NOT_HIGH, Pair, PodShare, PodUse, Reported

JsonObject = dict[str, Any]

_UNIT = (1, 1000)


def zone_batch(
    capacities: Sequence[Pair], row: Sequence[int], rules: Rules, pods: Iterable[PodShare], metric: Reported
) -> Array:
    """Batch resources of each zone in list order: int64 (zones, 2), milli-cores and milli-bytes.

    ``capacities`` are the zones' allocatable, ``row`` the node's own row of ``batch.Demand`` (its reserved and system parts
    are spread evenly), ``rules`` the node's rules, one row.
    """
    count = len(capacities)
    everywhere = np.ones(count, dtype=bool)
    request, used, top = (np.zeros((count, 2), dtype=np.int64) for _ in range(3))
    active = set()
    for pod in pods:
        if pod.active:
            active.add(pod.key)
            if pod.band not in NOT_HIGH:
                _add_pod(pod, metric.pods.get(pod.key), (request, used, top))
    for key, use in metric.pods.items():
        if key not in active and use.band not in NOT_HIGH:
            share = spread(_milli(use.usage), everywhere, count)
            used += share
            top += share
    demand = Demand(
        capacity=np.asarray([_milli(pair) for pair in capacities], dtype=np.int64),
        reserved=spread(_milli((row[2], row[3])), everywhere, count),
        system=spread(_milli((row[4], row[5])), everywhere, count),
        hp_request=request,
        hp_used=used,
        hp_max=top,
    )
    wide = Rules(*(np.repeat(field, count, axis=0) for field in rules))
    return batch(demand, wide, _UNIT)


def _add_pod(pod: PodShare, use: PodUse | None, sums: tuple[Array, Array, Array]) -> None:
    request, used, top = sums
    count = len(request)
    listed = [zone for zone in pod.zones if 0 <= zone < count]
    where = np.isin(np.arange(count), listed) if listed else np.ones(count, dtype=bool)
    asks = spread(_milli(pod.request), where, len(listed) or count)
    request += asks
    if use is None:
        used += asks
        top += asks
        return
    uses = spread(_milli(use.usage), where, len(listed) or count)
    top += np.maximum(asks, uses)
    used += np.column_stack((asks[:, 0], uses[:, 1])) if pod.exclusive else uses


def spread(amount: Pair, where: np.typing.NDArray[np.bool_], parts: int) -> Array:
    """``amount`` divided by ``parts``, rounded up, in the zones ``where`` (one truth per zone); nothing in the others.

    Returns: int64 (zones, 2), in the unit of ``amount``.
    """
    share = np.ceil(np.asarray(amount, dtype=np.float64) / parts).astype(np.int64)
    return np.where(where[:, None], share, 0)


def _milli(pair: Pair) -> Pair:
    return pair[0], min(pair[1], LIMIT // 1000) * 1000


def zone_capacities(zones: Sequence[JsonObject]) -> list[Pair]:
    """Each zone's allocatable CPU and memory; empty when no zone has any. Raises ValueError naming the zone."""
    capacities = [_capacity(zone) for zone in zones]
    return [pair or (0, 0) for pair in capacities] if any(capacities) else []


def _capacity(zone: JsonObject) -> Pair | None:
    given = {one.get("name"): one.get("allocatable", 0) for one in zone.get("resources") or []}
    if CPU not in given and MEMORY not in given:
        return None
    try:
        return quantity.milli_value(given.get(CPU, 0)), quantity.value(given.get(MEMORY, 0))
    except ValueError as err:
        raise ValueError(f"zone {zone.get('name')}: {err}") from err


def updated_zones(zones: Sequence[JsonObject], sold: Array, ratio: float, threshold: float) -> list[JsonObject] | None:
    """The zones with their batch resources brought up to date; None when nothing has moved far enough.

    ``sold`` comes from ``zone_batch``: int64 (zones, 2), milli-cores and milli-bytes, rows in the order of ``zones``. ``ratio``
    is the CPU normalisation; above 1 it multiplies batch CPU. ``threshold`` is the share of the old value by which a new one
    must differ to be written (0.1 for 10 %). Resources of other names are kept. Raises: ValueError when the counts differ.
    """
    result = [_updated_zone(zone, row, ratio, threshold) for zone, row in zip(zones, sold.tolist(), strict=True)]
    return result if result != list(zones) else None


def emptied_zones(zones: Sequence[JsonObject]) -> list[JsonObject] | None:
    """The zones with nothing sold in any; None when nothing was. Zones that never sold anything stay as they are."""
    result = [_emptied_zone(zone) for zone in zones]
    return result if result != list(zones) else None


def _emptied_zone(zone: JsonObject) -> JsonObject:
    none = quantity.of_milli(0)
    listed = [
        _updated(one, none, 0.0) if one.get("name") in (BATCH_CPU, BATCH_MEMORY) else one for one in zone.get("resources") or []
    ]
    return {**zone, "resources": listed} if listed else zone


def _updated_zone(zone: JsonObject, row: Sequence[int], ratio: float, threshold: float) -> JsonObject:
    cpu_milli = row[0] * 1000
    amounts = {
        BATCH_CPU: quantity.of_milli(int(cpu_milli * ratio) if ratio > 1 else cpu_milli),
        BATCH_MEMORY: quantity.of_milli(row[1], quantity.BINARY_SI),
    }
    resources = {one["name"]: one for one in zone.get("resources") or []}
    added = False
    for name, amount in amounts.items():
        added = added or name not in resources
        resources[name] = _updated(resources.get(name, {"name": name}), amount, threshold)
    listed = list(resources.values())
    return {**zone, "resources": sorted(listed, key=lambda one: str(one["name"])) if added else listed}


def _updated(resource: JsonObject, amount: quantity.Quantity, threshold: float) -> JsonObject:
    fields = [field for field in ("capacity", "allocatable", "available") if _moved(resource.get(field), amount, threshold)]
    return {**resource, **dict.fromkeys(fields, str(amount))} if fields else resource


def _moved(old: str | None, new: quantity.Quantity, threshold: float) -> bool:
    try:
        return old is None or quantity.differs(quantity.read(old), new, threshold)
    except ValueError:
        return True
