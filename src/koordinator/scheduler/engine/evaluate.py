"""Verdicts and scores for all nodes, kept between pods that look alike.

An ``Evaluation`` holds, for one pod signature, every filter's codes, every score and the weighted total over all rows. Before
each use it is brought up to date: only rows that moved since, and only plugins that read what moved, are computed again.
``Best`` keeps the rows of the highest total at hand, so that choosing one costs nothing that grows with the cluster.
"""

from collections.abc import Hashable
from random import Random
from typing import Any

import numpy as np

from koordinator.scheduler.engine.columns import Bools, Change, Columns, Ints, Rows
from koordinator.scheduler.engine.compile import Compiled
from koordinator.scheduler.engine.framework import Diagnosis, FilterPlugin, PluginFailed, ScorePlugin, Status
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.engine.profile import Profile

INFEASIBLE = -1
CACHE_CELLS = 16_000_000
"""How many numbers all kept evaluations may hold together (128 MB)."""


class Best:
    """The rows that share the highest total, as a set from which one can be drawn at random in constant time."""

    __slots__ = ("_rows", "_where", "score", "stale")

    def __init__(self) -> None:
        self.stale = True
        self.score = INFEASIBLE
        self._rows: list[int] = []
        self._where: dict[int, int] = {}

    def rebuild(self, total: Ints) -> None:
        self.stale = False
        self.score = int(total.max()) if len(total) else INFEASIBLE
        self._rows = np.flatnonzero(total == self.score).tolist() if self.score >= 0 else []
        self._where = {row: place for place, row in enumerate(self._rows)}

    def update(self, row: int, score: int) -> None:
        """A row has a new total."""
        if score > self.score:
            self.score, self._rows, self._where = score, [row], {row: 0}
        elif score == self.score and score >= 0:
            if row not in self._where:
                self._where[row] = len(self._rows)
                self._rows.append(row)
        elif row in self._where:
            self._drop(row)
            self.stale = not self._rows

    def _drop(self, row: int) -> None:
        place, last = self._where.pop(row), self._rows.pop()
        if last != row:
            self._rows[place] = last
            self._where[last] = place

    def draw(self, random: Random) -> int | None:
        """One of the best rows, or None when no row is feasible."""
        count = len(self._rows)
        if count <= 1:
            return self._rows[0] if count else None
        return self._rows[int(random.random() * count)]


class Evaluation:
    """One pod signature against all nodes."""

    def __init__(self, compiled: Compiled, columns: Columns) -> None:
        self.columns = columns
        self.pod, self.state = compiled.pod, compiled.state
        self.filters, self.scores = compiled.filters, compiled.scores
        self.compiled = compiled
        self.best = Best()
        self.position = -1
        self._allocate()

    def _allocate(self) -> None:
        capacity = self.columns.capacity
        self.codes = np.zeros((max(len(self.filters), 1), capacity), dtype=np.int64)
        self.raw = np.zeros((max(len(self.scores), 1), capacity), dtype=np.int64)
        self.weighted = np.zeros_like(self.raw)
        self.feasible: Bools = np.zeros(capacity, dtype=np.bool_)
        self.total: Ints = np.full(capacity, INFEASIBLE, dtype=np.int64)
        self.bounds: list[Any] = [None] * len(self.scores)

    @property
    def cells(self) -> int:
        return int(self.codes.size + self.raw.size * 2 + self.total.size)

    # -- before every pod ----------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Bring every vector up to date with the columns."""
        columns = self.columns
        if self.position == columns.position:
            return
        changed = columns.changed_since(self.position) if self.position >= 0 else None
        if len(self.total) != columns.capacity:
            self._allocate()
            changed = None
        if changed is None or len(changed[0]) * 4 > columns.size:
            self._compute(columns.rows, Change.ALL)
            self.best.stale = True
        else:
            rows, kinds = changed
            self._compute(slice(rows[0], rows[0] + 1) if len(rows) == 1 else np.array(rows), kinds)
            if not self.best.stale:
                total = self.total
                for row in rows:
                    self.best.update(row, total.item(row))
        self.position = columns.position

    def _compute(self, rows: Rows, kinds: int) -> None:
        kinds = Change.ALL if kinds & Change.NODE else kinds
        self._filter(rows, kinds)
        was = self.feasible[rows]
        now = self.columns.alive[rows] & ~self.codes[:, rows].any(axis=0)
        moved = was.tobytes() != now.tobytes()
        self.feasible[rows] = now
        rescaled = self._score(rows, kinds, feasibility_moved=moved)
        if rescaled:
            rows = self.columns.rows
            now = self.feasible[rows]
            self.best.stale = True
        total = self.weighted[:, rows].sum(axis=0)
        total[~now] = INFEASIBLE
        self.total[rows] = total

    def _filter(self, rows: Rows, kinds: int) -> None:
        for index, plugin in enumerate(self.filters):
            if plugin.reads & kinds:
                self.codes[index, rows] = run_filter(plugin, self.compiled, self.columns, rows)

    def _score(self, rows: Rows, kinds: int, *, feasibility_moved: bool) -> bool:
        """Scores of the rows; says whether some plugin's normalisation moved the scores of all other rows too."""
        rescaled = False
        for index, (plugin, weight) in enumerate(self.scores):
            if plugin.normalizes:
                rescaled |= self._normalized(index, rows, kinds, feasibility_moved=feasibility_moved)
            elif plugin.score_reads & kinds:
                self.weighted[index, rows] = run_score(plugin, self.compiled, self.columns, rows) * weight
        return rescaled

    def _normalized(self, index: int, rows: Rows, kinds: int, *, feasibility_moved: bool) -> bool:
        plugin, weight = self.scores[index]
        moved = bool(plugin.score_reads & kinds)
        if moved:
            self.raw[index, rows] = run_score(plugin, self.compiled, self.columns, rows)
        elif not feasibility_moved:
            return False
        size = self.columns.size
        bounds = plugin.bounds(self.raw[index, :size], self.feasible[:size])
        everywhere = bounds != self.bounds[index]
        if everywhere or moved:
            self.bounds[index] = bounds
            where = self.columns.rows if everywhere else rows
            self.weighted[index, where] = plugin.normalize(self.raw[index, where], bounds) * weight
        return everywhere

    # -- answers -------------------------------------------------------------------------------------------------------

    def choose(self, random: Random) -> int | None:
        """A row of the highest total; None when no node is feasible."""
        if self.best.stale:
            self.best.rebuild(self.total[: self.columns.size])
        return self.best.draw(random)

    def diagnose(self) -> Diagnosis:
        size = self.columns.size
        return self.compiled.diagnose(self.columns, np.arange(size), self.codes[:, :size])


class Restricted:
    """One pod against the few nodes that PreFilter left. Computed afresh each time: such pods rarely look alike."""

    def __init__(self, compiled: Compiled, columns: Columns) -> None:
        self.compiled, self.columns = compiled, columns
        self.state = compiled.state

    def refresh(self) -> None:
        compiled, columns = self.compiled, self.columns
        known = sorted(columns.row_of[name] for name in compiled.only or () if name in columns.row_of)
        self.rows = np.array(known, dtype=np.intp)
        self.codes = np.zeros((max(len(compiled.filters), 1), len(known)), dtype=np.int64)
        for index, plugin in enumerate(compiled.filters):
            self.codes[index] = run_filter(plugin, compiled, columns, self.rows)

    def choose(self, random: Random) -> int | None:
        fitting = self.rows[~self.codes.any(axis=0)]
        if len(fitting) <= 1:
            return int(fitting[0]) if len(fitting) else None
        total = totals(self.compiled, self.columns, fitting)
        best = fitting[total == total.max()]
        return int(best[int(random.random() * len(best))])

    def diagnose(self) -> Diagnosis:
        return self.compiled.diagnose(self.columns, self.rows, self.codes)


def run_filter(plugin: FilterPlugin, compiled: Compiled, columns: Columns, rows: Rows) -> Ints:
    try:
        return plugin.filter(compiled.state, compiled.pod, columns, rows)
    except Exception as err:
        raise PluginFailed(plugin.name, "Filter", err) from err


def run_score(plugin: ScorePlugin, compiled: Compiled, columns: Columns, rows: Rows) -> Ints:
    try:
        return plugin.score(compiled.state, compiled.pod, columns, rows)
    except Exception as err:
        raise PluginFailed(plugin.name, "Score", err) from err


def totals(compiled: Compiled, columns: Columns, feasible: Rows) -> Ints:
    """Weighted sum of all scores of rows that are all feasible."""
    total = np.zeros(len(columns.alive[feasible]), dtype=np.int64)
    for plugin, weight in compiled.scores:
        raw = run_score(plugin, compiled, columns, feasible)
        if plugin.normalizes:
            raw = plugin.normalize(raw, plugin.bounds(raw, np.ones(len(raw), dtype=np.bool_)))
        total += raw * weight
    return total


class Evaluator:
    """What is known per signature; the least recently used goes when there is too much of it."""

    def __init__(self, profile: Profile, columns: Columns, cells: int = CACHE_CELLS) -> None:
        self.profile, self.columns, self.cells = profile, columns, cells
        self._known: dict[Hashable, Evaluation] = {}

    def evaluate(self, pod: PodInfo) -> Evaluation | Restricted | Status:
        """Verdicts and scores for a pod, up to date. A Status when PreFilter already says no. Raises PluginFailed."""
        signature = self.profile.signature(pod)
        known = self._known.pop(signature, None)
        if known is None:
            compiled = Compiled(self.profile, pod, self.columns)
            if compiled.status is not None:
                return compiled.status
            if compiled.only is not None:
                restricted = Restricted(compiled, self.columns)
                restricted.refresh()
                return restricted
            known = Evaluation(compiled, self.columns)
            self._make_room(known.cells)
        known.refresh()  # an evaluation whose refresh failed half-way is dropped, not kept
        self._known[signature] = known
        return known

    def _make_room(self, cells: int) -> None:
        while self._known and (len(self._known) + 1) * cells > self.cells:
            del self._known[next(iter(self._known))]
