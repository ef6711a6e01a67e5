"""NodeName: a pod that names its node fits only there."""

from collections.abc import Hashable, Sequence

import numpy as np

from koordinator.scheduler.engine.columns import Change, Columns, Rows
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


class NodeName(PreFilterPlugin, FilterPlugin):
    name = "NodeName"
    reads = Change.NODE

    def signature(self, pod: PodInfo) -> Hashable:
        return pod.pod.spec.node_name

    def events(self) -> Sequence[tuple[int, Hint | None]]:
        return ((Happening.NODE_ADD, lambda pod, event: event.node == pod.pod.spec.node_name),)

    def pre_filter(self, state: CycleState, pod: PodInfo, nodes: Columns) -> PreFilterResult | None:
        return None if pod.pod.spec.node_name else PreFilterResult(SKIP)

    def filter(self, state: CycleState, pod: PodInfo, nodes: Columns, rows: Rows) -> Verdict:
        wanted = nodes.node_names.id_of(pod.pod.spec.node_name)
        return np.where(nodes.node_names.values[rows] == wanted, 0, UNRESOLVABLE | 1)

    def explain(self, state: CycleState, code: int, nodes: Columns) -> list[str]:
        return ["node(s) didn't match the requested node name"]

    def remedies(self, state: CycleState, pod: PodInfo, nodes: Columns, row: int) -> list[Remedy]:
        wanted = pod.pod.spec.node_name
        there = wanted in nodes.row_of
        have = f"the pod names {wanted}" + ("" if there else ", which does not exist")
        return [Remedy("affinity", f"name node {nodes.names[row]} instead of {wanted}, or none", have=have)]
