"""Batch resources per NUMA zone: what is known of the whole node is spread over its zones, then the same formulas apply.

Spreading may leave fractions of a byte, so memory is counted in milli-bytes here.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from koordinator.manager.overcommit.batch import LIMIT, Array, Demand, Rules, batch
from koordinator.manager.overcommit.inputs import NOT_HIGH, Pair, PodShare, PodUse, Reported

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
    """``amount`` divided by ``parts``, rounded up, in the zones ``where``; nothing in the others."""
    share = np.ceil(np.asarray(amount, dtype=np.float64) / parts).astype(np.int64)
    return np.where(where[:, None], share, 0)


def _milli(pair: Pair) -> Pair:
    return pair[0], min(pair[1], LIMIT // 1000) * 1000
