"""The price of evicting on every node, kept between pods that look alike: only nodes that changed are asked again."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from koordinator.scheduler.engine.columns import Bools, Columns
from koordinator.scheduler.plugins.default_preemption.dryrun import DryRun
from koordinator.scheduler.plugins.default_preemption.victims import Cost, Victims, cost

_FIELDS = len(Cost._fields)
Prices = NDArray[np.float64]


class Candidates:
    """Per row: the victims and their cost, or why there are none."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._price: Prices = np.zeros((columns.capacity, _FIELDS))
        self._open: Bools = np.zeros(columns.capacity, dtype=np.bool_)
        self._asked: Bools = np.zeros(columns.capacity, dtype=np.bool_)
        self.victims: dict[int, Victims] = {}
        self._why: dict[int, tuple[str, ...]] = {}
        self.personal: set[int] = set()
        """Rows whose answer is no answer to the next pod."""
        self.seen = (-1, -1, -1, -1)
        """Positions of what the answers depend on: what happened to pods and nodes, promises, budgets, the columns."""

    def forget(self, row: int) -> None:
        """Something on the node has changed."""
        if row < len(self._asked):
            self._asked[row] = self._open[row] = False
            self.victims.pop(row, None)
            self._why.pop(row, None)

    def ask(self, rows: NDArray[np.intp], question: DryRun, enough: int = 0) -> None:
        """Ask the rows that have not been asked. ``enough`` stops after so many candidates (0: never)."""
        if self._columns.capacity > len(self._asked):
            self._grow()
        for row in rows[~self._asked[rows]].tolist():
            answer = question.ask(row)
            self._asked[row] = True
            if isinstance(answer, Victims) and answer.pods:
                self.victims[row] = answer
                self._open[row] = True
                self._price[row] = np.array(cost(answer, question.now), dtype=np.float64)
                if enough and self._clean(rows) and int(self._open[rows].sum()) >= enough:
                    return
            else:
                self._why[row] = () if isinstance(answer, Victims) else answer
        self.personal |= question.personal

    def _clean(self, rows: NDArray[np.intp]) -> bool:
        """Whether some candidate breaks no budget."""
        return bool((self._open[rows] & (self._price[rows, 0] == 0)).any())

    def _grow(self) -> None:
        wider = Candidates(self._columns)
        size = len(self._asked)
        wider._price[:size], wider._open[:size], wider._asked[:size] = self._price, self._open, self._asked
        self._price, self._open, self._asked = wider._price, wider._open, wider._asked

    def cheapest(self, rows: NDArray[np.intp]) -> int | None:
        """The row of the lowest cost, compared field by field; the first among equals."""
        left = rows[self._open[rows]]
        for field in range(_FIELDS):
            if len(left) <= 1:
                break
            prices = self._price[left, field]
            left = left[prices == prices.min()]
        return int(left[0]) if len(left) else None

    def open(self, rows: NDArray[np.intp]) -> list[int]:
        """The rows where evicting helps."""
        found: list[int] = rows[self._open[rows]].tolist()
        return found

    def reasons(self, rows: NDArray[np.intp]) -> Counter[str]:
        """Why evicting does not help, counted."""
        return Counter(reason for row in rows.tolist() for reason in self._why.get(row, ()))
