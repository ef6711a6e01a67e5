"""VolumeZone: a pod goes where its volumes' zone and region labels allow."""

from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.columns import Bools, Change, Columns, Rows
from koordinator.scheduler.engine.events import Happening, Hint
from koordinator.scheduler.engine.framework import (
    SKIP,
    UNRESOLVABLE,
    CycleState,
    FilterPlugin,
    PreFilterPlugin,
    PreFilterResult,
    Verdict,
)
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.engine.remedy import Remedy
from koordinator.scheduler.plugins.volumes.known import Volumes

_GA = {
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
}
_NAMES = {ga: (ga, beta) for beta, ga in _GA.items()}
"""A label, and what it was called before."""
_SEPARATOR = "__"

Wanted = tuple[tuple[str, frozenset[str]], ...]


class VolumeZone(PreFilterPlugin, FilterPlugin):
    name = "VolumeZone"
    reads = Change.LABELS

    def __init__(self, cluster: Cluster) -> None:
        self.volumes = cluster.shared(Volumes)

    def tells_apart(self, pod: PodInfo) -> bool:
        return bool(pod.pod.spec.volumes)

    def individual(self, pod: PodInfo) -> Hashable:
        return self._wanted(pod) if pod.pod.spec.volumes else None

    def _wanted(self, pod: PodInfo) -> Wanted:
        """Per label the values that a volume allows; a volume in several zones names them all."""
        found: list[tuple[str, frozenset[str]]] = []
        for claim in self.volumes.of(pod):
            volume = self.volumes.volume_of(claim)
            found += _places(volume.labels if volume is not None else {})
        return tuple(found)

    def pre_filter(self, state: CycleState, pod: PodInfo, nodes: Columns) -> PreFilterResult | None:
        wanted = self._wanted(pod) if pod.pod.spec.volumes else ()
        if not wanted:
            return PreFilterResult(SKIP)
        state[self.name] = wanted
        return None

    def filter(self, state: CycleState, pod: PodInfo, nodes: Columns, rows: Rows) -> Verdict:
        """A node without any such label is in no zone, and takes every volume."""
        zoned = np.zeros(len(nodes.alive[rows]), dtype=np.bool_)
        for names in _NAMES.values():
            for name in names:
                zoned |= nodes.label(name).values[rows] != 0
        fits = np.ones(len(zoned), dtype=np.bool_)
        for key, values in state[self.name]:
            fits &= _one_of(nodes, _NAMES[key], values, rows)
        return np.where(fits | ~zoned, 0, UNRESOLVABLE | 1)

    def explain(self, state: CycleState, code: int, nodes: Columns) -> list[str]:
        return ["node(s) had no available volume zone"]

    def remedies(self, state: CycleState, pod: PodInfo, nodes: Columns, row: int) -> list[Remedy]:
        """Each claim whose volume is in another zone or region."""
        found, here, labels = [], np.array([row]), nodes.labels_of(row)
        for claim in self.volumes.of(pod):
            volume = self.volumes.volume_of(claim)
            for key, values in _places(volume.labels if volume is not None else {}):
                if not _one_of(nodes, _NAMES[key], values, here)[0]:
                    where, short = " or ".join(sorted(values)), key.rpartition("/")[2]
                    there = next((labels[name] for name in _NAMES[key] if name in labels), "none")
                    text = f"use another claim than {claim.key}, whose volume {claim.spec.volume_name} is in {short} {where}"
                    found.append(Remedy("other", text, 2.0, f"{nodes.names[row]} is in {short} {there}"))
        return found

    def events(self) -> Sequence[tuple[int, Hint | None]]:
        kinds = Happening.CLAIM | Happening.VOLUME | Happening.STORAGE
        return ((kinds | Happening.NODE_ADD | Happening.NODE_LABEL, None),)


def _places(labels: Mapping[str, str]) -> Wanted:
    known = ((_GA.get(key, key), value) for key, value in labels.items())
    return tuple((key, frozenset(value.split(_SEPARATOR))) for key, value in known if key in _NAMES)


def _one_of(nodes: Columns, names: tuple[str, ...], values: frozenset[str], rows: Rows) -> Bools:
    found = np.zeros(len(nodes.alive[rows]), dtype=np.bool_)
    for name in names:
        column = nodes.label(name)
        found |= np.isin(column.values[rows], [column.id_of(value) for value in values])
    return found
