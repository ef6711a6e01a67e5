"""ScarceResourceAvoidance: keep pods that need no GPU off nodes that have some, as long as other nodes will do.

A node scores by the kinds of resources that it has and the pod does not want: the fewer of them are scarce, the better.
"""

from collections.abc import Hashable
from typing import NamedTuple

import numpy as np

from koordinator.api.meta import Struct
from koordinator.api.resources import CPU, EPHEMERAL_STORAGE, MEMORY
from koordinator.errors import ConfigInvalid
from koordinator.scheduler.engine.columns import Bools, Change, Columns, Ints, Rows
from koordinator.scheduler.engine.framework import MAX_SCORE, CycleState, PreScorePlugin, ScorePlugin, Status
from koordinator.scheduler.engine.pod import PodInfo

_NATIVE = (CPU, MEMORY, EPHEMERAL_STORAGE)
_SCALAR_PREFIXES = ("hugepages-", "attachable-volumes-")


class ScarceArgs(Struct):
    resources: list[str] | None = None  #: Resources that are scarce.


def checked(args: ScarceArgs) -> ScarceArgs:
    """The arguments themselves. Raises ConfigInvalid: a name that no node can carry would never be scarce."""
    for place, name in enumerate(args.resources or ()):
        if not _counts(name):
            where = f"ScarceResourceAvoidanceArgs.resources[{place}]"
            raise ConfigInvalid(where, name, "must be cpu, memory or a qualified name", "the scheduler does not start")
    return args


class _Unwanted(NamedTuple):
    """Which resource columns the pod does not want: all of them, and the scarce ones. Known for so many columns."""

    known: int
    every: Bools
    scarce: Bools


class ScarceResourceAvoidance(PreScorePlugin, ScorePlugin):
    name = "ScarceResourceAvoidance"
    score_reads = Change.ALLOCATABLE

    def __init__(self, args: ScarceArgs | None = None) -> None:
        self.scarce = frozenset(checked(args or ScarceArgs()).resources or ())

    def signature(self, pod: PodInfo) -> Hashable:
        return frozenset(name for name, number in pod.template.requests.items() if number > 0)

    def pre_score(self, state: CycleState, pod: PodInfo, nodes: Columns) -> Status | None:
        state[self.name] = self._unwanted(pod, nodes)
        return None

    def _unwanted(self, pod: PodInfo, nodes: Columns) -> _Unwanted:
        every, scarce = np.zeros(nodes.width, dtype=np.bool_), np.zeros(nodes.width, dtype=np.bool_)
        for index, name in enumerate(nodes.resources.values):
            if _counts(name) and pod.template.requests.get(name, 0) <= 0:
                every[index] = True
                scarce[index] = name in self.scarce
        return _Unwanted(len(nodes.resources), every, scarce)

    def score(self, state: CycleState, pod: PodInfo, nodes: Columns, rows: Rows) -> Ints:
        unwanted: _Unwanted = state[self.name]
        if unwanted.known != len(nodes.resources):
            unwanted = state[self.name] = self._unwanted(pod, nodes)
        has = nodes.allocatable[rows] > 0
        spare = (has & unwanted.every).sum(axis=1)
        scarce = (has & unwanted.scarce).sum(axis=1)
        return np.where(scarce == 0, MAX_SCORE, (spare - scarce) * MAX_SCORE // np.maximum(spare, 1))


def _counts(name: str) -> bool:
    """Whether a resource is one of the kinds that are compared: the number of pods is not."""
    return name in _NATIVE or "/" in name or name.startswith(_SCALAR_PREFIXES)
