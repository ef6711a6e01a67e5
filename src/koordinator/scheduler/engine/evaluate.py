"""Verdicts and scores for all nodes, kept between pods that look alike.

An ``Evaluation`` holds, for one pod signature, every filter's codes, every score and the weighted total over all rows. Before
each use it is brought up to date: only rows that moved since, and only plugins that read what moved, are computed again.
``Best`` keeps the rows of the highest total at hand, so that choosing one costs nothing that grows with the cluster.
"""

from collections.abc import Hashable
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from koordinator.scheduler.engine.columns import Bools, Change, Columns, Ints, Rows
from koordinator.scheduler.engine.compile import Compiled, Objections, run_filter
from koordinator.scheduler.engine.framework import Diagnosis, FilterPlugin, PluginFailed, ScorePlugin, Status
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.engine.profile import Profile

INFEASIBLE = -1
_REBUILD_SHARE = 64
"""When more than this part of the rows moved, finding the best rows afresh costs less than following each."""
CACHE_BYTES = 128_000_000
"""What all kept evaluations of a profile may take together."""
Totals = NDArray[np.int32]


class Best:
    """The rows that share the highest total, as a bag from which one can be drawn at random.

    Rows whose total has fallen stay in the bag until they are drawn by chance; then they are thrown out and the draw repeated,
    so that every row that still has the highest total is equally likely.
    """

    __slots__ = ("_count", "_member", "_rows", "score", "stale")

    def __init__(self, capacity: int) -> None:
        self.stale = True
        self.score = INFEASIBLE
        self._count = 0
        self._rows: NDArray[np.int32] = np.empty(capacity, dtype=np.int32)
        self._member: Bools = np.zeros(capacity, dtype=np.bool_)

    def rebuild(self, total: Totals) -> None:
        self.stale = False
        self.score = int(total.max()) if len(total) else INFEASIBLE
        equal = total == self.score if self.score >= 0 else np.zeros(len(total), dtype=np.bool_)
        rows = np.flatnonzero(equal)
        self._count = len(rows)
        self._rows[: len(rows)] = rows
        self._member[: len(total)] = equal

    def update(self, row: int, score: int) -> None:
        """A row has a new total."""
        if score > self.score:
            self.score = score
            self._member[:] = False
            self._count = 0
        if score == self.score and score >= 0 and not self._member[row]:
            self._rows[self._count] = row
            self._member[row] = True
            self._count += 1

    def draw(self, total: Totals, random: Random) -> int | None:
        """One of the best rows, or None when no row is feasible."""
        while True:
            if self.stale or not self._count:
                self.rebuild(total)
                if not self._count:
                    return None
            place = int(random.random() * self._count)
            row = self._rows.item(place)
            if total[row] == self.score:
                return row
            self._member[row] = False
            self._count -= 1
            self._rows[place] = self._rows[self._count]


class Evaluation:
    """One pod signature against all nodes."""

    def __init__(self, compiled: Compiled, columns: Columns) -> None:
        self.columns = columns
        self.pod, self.state = compiled.pod, compiled.state
        self.filters, self.scores = compiled.filters, compiled.scores
        self.compiled = compiled
        self.position = -1
        self._objections: Objections | None = None
        self._diagnosed_at = -1
        self._allocate()

    def _allocate(self) -> None:
        capacity = self.columns.capacity
        self._objections = None
        self.best = Best(capacity)
        self.refused: Bools = np.zeros((len(self.filters), capacity), dtype=np.bool_)
        self.raw = {i: np.zeros(capacity, dtype=np.int64) for i, (plugin, _) in enumerate(self.scores) if plugin.normalizes}
        self.weighted: NDArray[np.int32] = np.zeros((len(self.scores), capacity), dtype=np.int32)
        self.feasible: Bools = np.zeros(capacity, dtype=np.bool_)
        self.total: Totals = np.full(capacity, INFEASIBLE, dtype=np.int32)
        self.bounds: list[Any] = [None] * len(self.scores)

    @property
    def bytes(self) -> int:
        """What keeping this costs: bits per filter, 4 bytes per score, 8 more where scores are normalised, 10 for the rest."""
        return len(self.total) * (len(self.filters) + 4 * len(self.scores) + 8 * len(self.raw) + 10)

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
            if len(rows) * _REBUILD_SHARE > columns.size:
                self.best.stale = True
            elif not self.best.stale:
                total = self.total
                for row in rows:
                    self.best.update(row, total.item(row))
        self.position = columns.position

    def _compute(self, rows: Rows, kinds: int) -> None:
        """Mostly for one row: there numpy's methods of arrays cost a call more than its functions."""
        kinds = Change.ALL if kinds & Change.NODE else kinds
        reached = self._filter(rows, kinds)
        was = self.feasible[reached]
        now = self.columns.alive[reached] & ~np.logical_or.reduce(self.refused[:, reached], axis=0)
        moved = was.tobytes() != now.tobytes()
        self.feasible[reached] = now
        rescaled = self._score(rows, kinds, feasibility_moved=moved)
        if rescaled or reached is not rows:
            rows = self.columns.rows
            now = self.feasible[rows]
            self.best.stale = True
        total: Totals = np.add.reduce(self.weighted[:, rows], axis=0, dtype=np.int32)
        total[~now] = INFEASIBLE
        self.total[rows] = total

    def _filter(self, rows: Rows, kinds: int) -> Rows:
        """Verdicts for the rows; says for which rows there are new ones, all of them when some plugin reached beyond."""
        reached = rows
        for index, plugin in enumerate(self.filters):
            if plugin.reads & kinds:
                where = run_reach(plugin, self.compiled, self.columns, rows) if plugin.far else rows
                self.refused[index, where] = run_filter(plugin, self.compiled, self.columns, where)
                if where is not rows:
                    reached = self.columns.rows
        return reached

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
        if not moved and not feasibility_moved:
            return False
        size = self.columns.size
        far = plugin.score_far and run_survey(plugin, self.compiled, self.columns, self.feasible[:size])
        if moved or far:
            where = self.columns.rows if far else rows
            self.raw[index][where] = run_score(plugin, self.compiled, self.columns, where)
        bounds = plugin.bounds(self.raw[index][:size], self.feasible[:size])
        everywhere: bool = far or bounds != self.bounds[index]
        if everywhere or moved:
            self.bounds[index] = bounds
            where = self.columns.rows if everywhere else rows
            self.weighted[index, where] = plugin.normalize(self.raw[index][where], bounds) * weight
        return everywhere

    # -- answers -------------------------------------------------------------------------------------------------------

    def choose(self, random: Random) -> int | None:
        """A row of the highest total; None when no node is feasible."""
        return self.best.draw(self.total[: self.columns.size], random)

    def fits(self, row: int) -> bool:
        return bool(self.feasible[row])

    def totals(self) -> Totals:
        """A copy of every row's weighted total; ``INFEASIBLE`` where the pod does not fit."""
        return self.total[: self.columns.size].copy()

    def scored(self, rows: NDArray[np.intp]) -> Totals:
        """The totals that rows would have if the pod fitted there."""
        total: Totals = self.weighted[:, rows].sum(axis=0, dtype=np.int32)
        return total

    def parts(self, row: int) -> list[int]:
        """The weighted scores of a row, in the order of ``scores``."""
        parts: list[int] = self.weighted[:, row].tolist()
        return parts

    def diagnose(self) -> Diagnosis:
        """Why no row is feasible: rows that have moved since somebody asked are looked at again."""
        columns = self.columns
        if self._objections is None or columns.capacity != len(self.total) or not self._follow(self._objections):
            self._objections = Objections(self.compiled, columns)
            self._objections.look(np.arange(columns.size))
        self._diagnosed_at = columns.position
        diagnosis = Diagnosis(nodes=len(columns), reasons={}, plugins=set())
        self._objections.tell(diagnosis)
        diagnosis.unresolvable = self._objections.stuck[: columns.size].copy()
        return diagnosis

    def _follow(self, objections: Objections) -> bool:
        """Look again at what has moved; False when that would be most, or cannot be told."""
        changed = self.columns.changed_since(self._diagnosed_at)
        if changed is None or len(changed[0]) * 4 > self.columns.size or any(plugin.far for plugin in self.filters):
            return False
        if changed[0]:
            objections.look(np.array(changed[0], dtype=np.intp))
        return True


class Restricted:
    """One pod against the few nodes that PreFilter left. Computed afresh each time: such pods rarely look alike."""

    def __init__(self, compiled: Compiled, columns: Columns) -> None:
        self.compiled, self.columns = compiled, columns
        self.state = compiled.state

    def refresh(self) -> None:
        compiled, columns = self.compiled, self.columns
        known = sorted(columns.row_of[name] for name in compiled.only or () if name in columns.row_of)
        self.rows = np.array(known, dtype=np.intp)
        self.fitting: Bools = np.ones(len(known), dtype=np.bool_)
        for plugin in compiled.filters:
            self.fitting &= run_filter(plugin, compiled, columns, self.rows) == 0

    def fits(self, row: int) -> bool:
        return bool(self.fitting[self.rows == row].any())

    def totals(self) -> Totals:
        total: Totals = np.full(self.columns.size, INFEASIBLE, dtype=np.int32)
        fitting = self.rows[self.fitting]
        total[fitting] = totals(self.compiled, self.columns, fitting)
        return total

    def scored(self, rows: NDArray[np.intp]) -> Totals:
        """Rows that PreFilter has left out stay out."""
        inside = np.isin(rows, self.rows)
        total: Totals = np.full(len(rows), INFEASIBLE, dtype=np.int32)
        total[inside] = totals(self.compiled, self.columns, rows[inside])
        return total

    def choose(self, random: Random) -> int | None:
        fitting = self.rows[self.fitting]
        if len(fitting) <= 1:
            return int(fitting[0]) if len(fitting) else None
        total = totals(self.compiled, self.columns, fitting)
        best = fitting[total == total.max()]
        return int(best[int(random.random() * len(best))])

    def diagnose(self) -> Diagnosis:
        return self.compiled.diagnose(self.columns, self.rows)


def run_score(plugin: ScorePlugin, compiled: Compiled, columns: Columns, rows: Rows) -> Ints:
    meter = plugin.meter
    try:
        if meter is not None:
            meter.score += 1
            if meter.watch.on:
                return meter.watch.timed(plugin.name, "Score", plugin.score, compiled.state, compiled.pod, columns, rows)
        return plugin.score(compiled.state, compiled.pod, columns, rows)
    except Exception as err:
        raise PluginFailed(plugin.name, "Score", err) from err


def run_survey(plugin: ScorePlugin, compiled: Compiled, columns: Columns, feasible: Bools) -> bool:
    try:
        return plugin.survey(compiled.state, compiled.pod, columns, feasible)
    except Exception as err:
        raise PluginFailed(plugin.name, "PreScore", err) from err


def run_reach(plugin: FilterPlugin, compiled: Compiled, columns: Columns, rows: Rows) -> Rows:
    try:
        return plugin.reach(compiled.state, compiled.pod, columns, rows)
    except Exception as err:
        raise PluginFailed(plugin.name, "Filter", err) from err


def totals(compiled: Compiled, columns: Columns, feasible: Rows) -> Ints:
    """Weighted sum of all scores of rows that are all feasible."""
    total = np.zeros(len(columns.alive[feasible]), dtype=np.int64)
    among = np.zeros(columns.size, dtype=np.bool_)
    among[feasible] = True
    for plugin, weight in compiled.scores:
        if plugin.score_far:
            run_survey(plugin, compiled, columns, among)
        raw = run_score(plugin, compiled, columns, feasible)
        if plugin.normalizes:
            raw = plugin.normalize(raw, plugin.bounds(raw, np.ones(len(raw), dtype=np.bool_)))
        total += raw * weight
    return total


class Evaluator:
    """What is known per signature; the least recently used goes when there is too much of it."""

    def __init__(self, profile: Profile, columns: Columns, limit: int = CACHE_BYTES) -> None:
        self.profile, self.columns, self.limit = profile, columns, limit
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
            self._make_room(known.bytes)
        known.refresh()  # an evaluation whose refresh failed half-way is dropped, not kept
        self._known[signature] = known
        return known

    def _make_room(self, size: int) -> None:
        while self._known and (len(self._known) + 1) * size > self.limit:
            del self._known[next(iter(self._known))]
