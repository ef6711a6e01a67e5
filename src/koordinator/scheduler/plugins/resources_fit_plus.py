"""NodeResourcesFitPlus: a strategy of its own for every resource, so that GPUs are packed while CPUs are spread.

Only resources that the pod asks for count. What a pod adds to a node is counted in the plugin's own way, which depends on the
order of init containers: that is part of the protocol.
"""

from collections.abc import Hashable
from typing import NamedTuple

import numpy as np

from koordinator.api.core import Container, Pod
from koordinator.api.meta import Struct
from koordinator.api.resources import CPU, MEMORY, PODS, amount
from koordinator.errors import ConfigInvalid
from koordinator.scheduler.engine.columns import Change, Columns, Ints, Rows
from koordinator.scheduler.engine.framework import MAX_SCORE, CycleState, PreScorePlugin, ScorePlugin, Status
from koordinator.scheduler.engine.pod import NONZERO_DEFAULTS, PodInfo

MOST, LEAST = "MostAllocated", "LeastAllocated"
_EFFECT = "the scheduler does not start"


class ResourceStrategy(Struct):
    """How one resource scores, and how much it counts."""

    type: str = LEAST  #: MostAllocated packs, LeastAllocated spreads.
    weight: int = 0  #: Share in the score.


class FitPlusArgs(Struct):
    resources: dict[str, ResourceStrategy] | None = None  #: By resource; others do not count.


def checked(args: FitPlusArgs) -> FitPlusArgs:
    """The arguments themselves. Raises ConfigInvalid: a negative weight turns a strategy around, a misspelt one scores 0."""
    for name, strategy in (args.resources or {}).items():
        where = f"NodeResourcesFitPlusArgs.resources[{name}]"
        if strategy.type not in (MOST, LEAST):
            raise ConfigInvalid(f"{where}.type", strategy.type, f"must be {MOST} or {LEAST}", _EFFECT)
        if strategy.weight < 0:
            raise ConfigInvalid(f"{where}.weight", strategy.weight, "must be 0 or more", _EFFECT)
    return args


class _Ask(NamedTuple):
    """The resources that count for a pod."""

    columns: Ints
    weights: Ints
    amounts: Ints
    most: Ints
    least: Ints


class NodeResourcesFitPlus(PreScorePlugin, ScorePlugin):
    name = "NodeResourcesFitPlus"
    score_reads = Change.ALLOCATABLE | Change.REQUESTED

    def __init__(self, args: FitPlusArgs | None = None) -> None:
        self.strategies = (args or FitPlusArgs()).resources or {}

    def signature(self, pod: PodInfo) -> Hashable:
        return tuple((name, pod_request(pod.pod, name)) for name in self._counting(pod))

    def _counting(self, pod: PodInfo) -> list[str]:
        requests = pod.template.requests
        return [name for name in self.strategies if name != PODS and requests.get(name, 0) > 0]

    def pre_score(self, state: CycleState, pod: PodInfo, nodes: Columns) -> Status | None:
        names = self._counting(pod)
        chosen = [self.strategies[name] for name in names]
        state[self.name] = _Ask(
            np.array([nodes.resource(name) for name in names], dtype=np.intp),
            np.array([one.weight for one in chosen], dtype=np.int64),
            np.array([pod_request(pod.pod, name) for name in names], dtype=np.int64),
            np.array([one.type == MOST for one in chosen], dtype=np.int64),
            np.array([one.type == LEAST for one in chosen], dtype=np.int64),
        )
        return None

    def score(self, state: CycleState, pod: PodInfo, nodes: Columns, rows: Rows) -> Ints:
        ask: _Ask = state[self.name]
        total = int(ask.weights.sum())
        if not total:
            return np.full(len(nodes.alive[rows]), MAX_SCORE, dtype=np.int64)
        capacity = nodes.allocatable[rows][:, ask.columns]
        wanted = nodes.nonzero[rows][:, ask.columns] + ask.amounts
        counted = ask.most * np.minimum(wanted, capacity) + ask.least * np.maximum(capacity - wanted, 0)
        answer: Ints = (counted * MAX_SCORE // np.maximum(capacity, 1)) @ ask.weights // total
        return answer


def pod_request(pod: Pod, name: str) -> int:
    """What a pod adds to its node: containers summed, then init containers one after the other over what came before."""
    total = sum(_asked(container, name) for container in pod.spec.containers or ())
    for container in pod.spec.init_containers or ():
        asked = _asked(container, name)
        total = total + asked if container.restart_policy == "Always" else max(total, asked)
    overhead = (pod.spec.overhead or {}).get(name)
    return total if overhead is None else total + amount(name, overhead)


def _asked(container: Container, name: str) -> int:
    raw = (container.resources.requests or {}).get(name)
    if raw is not None:
        return amount(name, raw)
    return NONZERO_DEFAULTS[name] if name in (CPU, MEMORY) else 0
