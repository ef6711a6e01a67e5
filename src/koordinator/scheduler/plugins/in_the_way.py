"""Which pods stand in a pod's way: found for people who ask why, so only the first few are looked for."""

from collections.abc import Callable, Iterable

import numpy as np

from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.domains import Domains
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.engine.remedy import LISTED

Means = Callable[[PodInfo], bool]


def pods_in_domain(cluster: Cluster, domains: Domains, row: int, means: Means) -> tuple[str, ...]:
    """Keys of pods that count in the row's domain. ``means`` tells them from others on the same nodes."""
    columns = cluster.columns
    size = columns.size
    counted = domains.handle.tally.counts.values[:size] > 0
    there = counted & domains.mask[:size] & (domains.label.values[:size] == domains.label.values.item(row))
    return pods_on_rows(cluster, np.flatnonzero(there).tolist(), means)


def pods_on_rows(cluster: Cluster, rows: Iterable[int], means: Means) -> tuple[str, ...]:
    """Keys of pods on these rows, those of the first rows first."""
    found: list[str] = []
    for row in rows:
        found += sorted(placed.info.key for placed in cluster.pods_on(cluster.columns.names[row]) if means(placed.info))
        if len(found) >= LISTED:
            break
    return tuple(found[:LISTED])
