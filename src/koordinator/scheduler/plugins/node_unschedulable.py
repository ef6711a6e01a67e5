"""NodeUnschedulable: a cordoned node takes only pods that tolerate being there."""

from collections.abc import Hashable, Sequence

import numpy as np

from koordinator.api.core import Node
from koordinator.scheduler.engine.columns import Change, Columns, Rows
from koordinator.scheduler.engine.events import ClusterEvent, Happening, Hint
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
from koordinator.scheduler.plugins.taint_toleration import tolerated

_TAINT = ("node.kubernetes.io/unschedulable", "", "NoSchedule")


class NodeUnschedulable(PreFilterPlugin, FilterPlugin):
    name = "NodeUnschedulable"
    reads = Change.TAINTS

    def signature(self, pod: PodInfo) -> Hashable:
        return tolerated(pod.pod.spec.tolerations or (), _TAINT)

    def events(self) -> Sequence[tuple[int, Hint | None]]:
        return ((Happening.NODE_ADD | Happening.NODE_TAINT, self._is_open),)

    @staticmethod
    def _is_open(pod: PodInfo, event: ClusterEvent) -> bool:
        return not isinstance(event.new, Node) or not event.new.spec.unschedulable

    def pre_filter(self, state: CycleState, pod: PodInfo, nodes: Columns) -> PreFilterResult | None:
        return PreFilterResult(SKIP) if tolerated(pod.pod.spec.tolerations or (), _TAINT) else None

    def filter(self, state: CycleState, pod: PodInfo, nodes: Columns, rows: Rows) -> Verdict:
        return nodes.unschedulable[rows] * np.int64(UNRESOLVABLE | 1)

    def explain(self, state: CycleState, code: int, nodes: Columns) -> list[str]:
        return ["node(s) were unschedulable"]

    def remedies(self, state: CycleState, pod: PodInfo, nodes: Columns, row: int) -> list[Remedy]:
        return [Remedy("node", f"kubectl uncordon {nodes.names[row]}")]
