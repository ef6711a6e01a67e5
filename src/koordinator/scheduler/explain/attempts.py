"""What is remembered of choices: the winner's score and its parts, and, when nothing else is waiting, the next best.

Called once per placed pod, so it copies a handful of numbers and no more.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from koordinator.scheduler.engine.evaluate import Evaluation, Restricted
from koordinator.scheduler.engine.queued import QueuedPod
from koordinator.scheduler.explain.answers import Decision, NodeVerdict

REMEMBERED = 10_000
RUNNERS_UP = 4
_DETAIL_SECONDS = 0.05


class Choice(NamedTuple):
    """What was copied of one decision."""

    node: str
    at: float
    attempt: int
    fitting: int
    nodes: int
    plugins: tuple[str, ...]
    parts: list[int]
    tied: int = 0
    others: tuple[tuple[str, list[int]], ...] = ()


class Attempts:
    """The latest choices, by pod uid; the oldest go first."""

    def __init__(self, now: Callable[[], float], idle: Callable[[], bool], most: int = REMEMBERED) -> None:
        self._now, self._idle, self._most = now, idle, most
        self._choices: dict[str, Choice] = {}
        self._detailed_at = -1.0

    def chosen(self, pod: QueuedPod, evaluation: Evaluation | Restricted, row: int) -> Choice:
        """A pod has got a row."""
        choices = self._choices
        if len(choices) >= self._most:
            del choices[next(iter(choices))]
        uid = pod.info.uid
        choices.pop(uid, None)
        choice = choices[uid] = self._choice(pod, evaluation, row)
        return choice

    def _choice(self, pod: QueuedPod, evaluation: Evaluation | Restricted, row: int) -> Choice:
        columns, now = evaluation.columns, self._now()
        node, nodes = columns.names[row], len(columns.row_of)
        if isinstance(evaluation, Restricted):
            return Choice(node, now, pod.attempts, int(np.count_nonzero(evaluation.fitting)), nodes, (), [])
        plugins = tuple([plugin.name for plugin, _ in evaluation.scores])
        fitting = int(np.count_nonzero(evaluation.feasible[: columns.size]))
        choice = Choice(node, now, pod.attempts, fitting, nodes, plugins, evaluation.parts(row))
        if now - self._detailed_at < _DETAIL_SECONDS or not self._idle():
            return choice
        self._detailed_at = now
        tied, others = _runners_up(evaluation, row)
        return choice._replace(tied=tied, others=others)

    def decision(self, uid: str) -> Decision | None:
        choice = self._choices.get(uid)
        if choice is None:
            return None
        return Decision(
            node=choice.node,
            at=choice.at,
            attempt=choice.attempt,
            fitting=choice.fitting,
            nodes=choice.nodes,
            score=sum(choice.parts),
            tied=choice.tied,
            parts=dict(zip(choice.plugins, choice.parts, strict=True)),
            others=[
                NodeVerdict(node=node, score=sum(parts), parts=dict(zip(choice.plugins, parts, strict=True)))
                for node, parts in choice.others
            ],
        )


def top(evaluation: Evaluation, most: int) -> list[int]:
    """The feasible rows with the highest totals, best first."""
    total = evaluation.total[: evaluation.columns.size]
    few = np.argpartition(-total, most)[:most] if most < len(total) else np.arange(len(total))
    return [row for row in sorted(few.tolist(), key=lambda row: -total.item(row)) if total[row] >= 0]


def _runners_up(evaluation: Evaluation, row: int) -> tuple[int, tuple[tuple[str, list[int]], ...]]:
    """How many rows share the highest total, and the next best of the others."""
    total = evaluation.total[: evaluation.columns.size]
    tied = int(np.count_nonzero(total == total[row]))
    names = evaluation.columns.names
    others = [one for one in top(evaluation, RUNNERS_UP + 1) if one != row][:RUNNERS_UP]
    return tied, tuple((names[one], evaluation.parts(one)) for one in others)
