"""NodeResourcesBalancedAllocation: prefer nodes whose resources would be used up evenly."""

from collections.abc import Hashable

import numpy as np
from numpy.typing import NDArray

from koordinator.api.resources import CPU, MEMORY
from koordinator.scheduler.engine.columns import Change, Columns, Ints, Rows
from koordinator.scheduler.engine.framework import SKIP, CycleState, PreScorePlugin, ScorePlugin, Status
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.plugins.resources_fit import Asked, ResourceWeight, asked, totals


class NodeResourcesBalancedAllocation(PreScorePlugin, ScorePlugin):
    name = "NodeResourcesBalancedAllocation"
    score_reads = Change.ALLOCATABLE | Change.REQUESTED

    def __init__(self, resources: tuple[ResourceWeight, ...] = (ResourceWeight(CPU), ResourceWeight(MEMORY))) -> None:
        self.resources = resources

    def signature(self, pod: PodInfo) -> Hashable:
        return tuple(pod.template.requests.get(one.name, 0) for one in self.resources)

    def pre_score(self, state: CycleState, pod: PodInfo, nodes: Columns) -> Status | None:
        """A pod that asks for none of the resources can unbalance nothing."""
        if not any(pod.template.requests.get(one.name) for one in self.resources):
            return SKIP
        state[self.name] = asked(self.resources, pod.template.requests, nodes)
        return None

    def score(self, state: CycleState, pod: PodInfo, nodes: Columns, rows: Rows) -> Ints:
        scored: Asked = state[self.name]
        capacity, wanted = totals(nodes.requested, scored, nodes, rows)
        if capacity.shape[1] == 2 and np.count_nonzero(capacity) == capacity.size:
            shares = np.minimum(wanted / capacity, 1.0)
            spread = np.abs(shares[:, 0] - shares[:, 1]) / 2
        else:
            spread = _deviation(capacity, wanted)
        answer: Ints = ((1 - spread) * 100).astype(np.int64)
        return answer


def _deviation(capacity: Ints, wanted: Ints) -> NDArray[np.float64]:
    """The population's standard deviation of the used shares, over the resources that a node has."""
    has = capacity > 0
    count = np.maximum(has.sum(axis=1), 1)
    shares = np.where(has, np.minimum(wanted / np.maximum(capacity, 1), 1.0), 0.0)
    mean = shares.sum(axis=1) / count
    squares = np.where(has, (shares - mean[:, None]) ** 2, 0.0).sum(axis=1) / count
    exact = np.sqrt(squares)
    if capacity.shape[1] == 2:
        halves = np.abs(shares[:, 0] - shares[:, 1]) / 2
        exact = np.where(has.all(axis=1), halves, exact)
    answer: NDArray[np.float64] = exact
    return answer
