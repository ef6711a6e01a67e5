"""Which node a pod gets, once every node has been judged: promised nodes and nodes that look different to this pod included."""

from collections import Counter
from collections.abc import Iterator, Mapping
from random import Random

import numpy as np
from numpy.typing import NDArray

from koordinator.api.resources import PODS
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.columns import Bools, Ints
from koordinator.scheduler.engine.evaluate import INFEASIBLE, Evaluation, Restricted, Totals
from koordinator.scheduler.engine.framework import Diagnosis
from koordinator.scheduler.engine.hooks import View
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.engine.whatif import Judge, supposing

_NOTHING: View = View()


class Chooser:
    """One pod's choice among nodes, in one cycle.

    Most pods see the cluster as everybody does: then the evaluation's own choice stands. A node that others have been promised
    is only taken when this pod fits beside them; a node of which the pod has a view of its own is judged by that view.
    """

    def __init__(
        self, cluster: Cluster, profile: Profile, pod: PodInfo, evaluation: Evaluation | Restricted, views: Mapping[str, View]
    ) -> None:
        self._cluster, self._pod, self._evaluation = cluster, pod, evaluation
        self._columns = cluster.columns
        row_of = self._columns.row_of
        self._views = {row_of[name]: view for name, view in views.items() if name in row_of} if views else {}
        self._profile = profile
        self._judge: Judge | None = None
        self._known: dict[int, bool] = {}
        self._allowed: Bools | None = None
        self._extra: Totals | None = None
        self.ignored: frozenset[str] = frozenset()
        """Uids of pods whose promised nodes are free for this pod."""
        self._one_pass = cluster.nominator.one_pass and cluster.nominator.any
        self._promised_away: Ints | None = None
        """Per resource on how many nodes it was short for this pod alone."""
        self.blocked: dict[int, list[str]] = {}
        """Rows that would take the pod but for pods promised there (or for their view), and why not."""

    @property
    def promised(self) -> str:
        """The node that this pod has been promised; empty for none."""
        return self._cluster.nominator.node_of(self._pod.uid) if self._cluster.nominator.any else ""

    def restrict(self, names: frozenset[str]) -> None:
        """Only these nodes: an extender has refused the others."""
        allowed = np.zeros(self._columns.size, dtype=np.bool_)
        allowed[[self._columns.row_of[name] for name in names if name in self._columns.row_of]] = True
        self._allowed = allowed

    def add_scores(self, scores: Mapping[str, int]) -> None:
        extra = np.zeros(self._columns.size, dtype=np.int32)
        for name, points in scores.items():
            if name in self._columns.row_of:
                extra[self._columns.row_of[name]] += points
        self._extra = extra

    # -- single nodes --------------------------------------------------------------------------------------------------

    def fits_on(self, name: str) -> bool:
        """Whether the pod may go to a node of that name."""
        row = self._columns.row_of.get(name)
        return row is not None and self.fits(row)

    def fits(self, row: int) -> bool:
        if (known := self._known.get(row)) is None:
            known = self._known[row] = self._fits(row)
        return known

    def _fits(self, row: int) -> bool:
        if self._allowed is not None and not self._allowed[row]:
            return False
        view = self._views.get(row, _NOTHING)
        standing = self._standing(row)
        if standing and self._one_pass:
            return self._passes(row, View(view.without, (*view.added, *standing)))
        if view is _NOTHING and not self._evaluation.fits(row):
            return False
        if standing and not self._passes(row, View(view.without, (*view.added, *standing))):
            return False
        return view is _NOTHING or self._passes(row, view)

    def objections(self, name: str) -> list[str]:
        """Why the pod may not go to a node; empty when it may."""
        row = self._columns.row_of.get(name)
        if row is None:
            return [f'node "{name}" not found']
        if self.fits(row):
            return []
        return self.blocked.get(row) or self._asking().reasons(row)

    def _standing(self, row: int) -> list[PodInfo]:
        promised = self._cluster.nominator.standing(self._columns.names[row], self._pod)
        return [one for one in promised if one.uid not in self.ignored] if self.ignored else promised

    def _passes(self, row: int, view: View) -> bool:
        with supposing(self._cluster, self._columns.names[row], view.without, view.added):
            reasons = self._asking().reasons(row)
        if reasons:
            self.blocked[row] = reasons
        return not reasons

    def _asking(self) -> Judge:
        if self._judge is None:  # few pods ever need one
            self._judge = Judge(self._profile, self._evaluation.compiled, self._cluster, self._pod)
        return self._judge

    # -- the best of all -----------------------------------------------------------------------------------------------

    def best(self, random: Random) -> int | None:
        """The row to take, ties drawn by lot; None when there is none."""
        plain = not self._views and self._allowed is None and self._extra is None
        if plain:
            row = self._evaluation.choose(random)
            if not self._one_pass and (row is None or not self._cluster.nominator.promised_on(row)):
                return row
        return self._search(random)

    def _search(self, random: Random) -> int | None:
        total = self._totals()
        self._strike(total)
        while True:
            score = int(total.max()) if len(total) else INFEASIBLE
            if score < 0:
                return None
            rows = np.flatnonzero(total == score)
            row = int(rows[int(random.random() * len(rows))])
            if self.fits(row):
                return row
            total[row] = INFEASIBLE

    def _strike(self, total: Totals) -> None:
        """Rule out, all at once, the nodes whose free resources have been promised to others."""
        nominator, columns = self._cluster.nominator, self._columns
        need = None if self.ignored or not len(nominator) else self._need()
        if need is None:
            return
        rows = np.flatnonzero((total >= 0) & nominator.promised(columns.size))
        if self._views or self._one_pass:
            others = (row for row in rows.tolist() if row not in self._views and self._evaluation.fits(row))
            rows = np.array(list(others), dtype=np.intp)
        free = columns.allocatable[rows] - columns.requested[rows] - nominator.taken(self._pod, rows)
        short = (need > free) & (need > 0)
        struck = short.any(axis=1)
        total[rows[struck]] = INFEASIBLE
        self._promised_away = short[struck].sum(axis=0)

    def _need(self) -> Ints | None:
        compiled = self._evaluation.compiled
        for plugin in compiled.filters:
            need = plugin.needs(compiled.state, self._pod, self._columns)
            if need is not None:
                return need
        return None

    def _totals(self) -> Totals:
        total = self._evaluation.totals()
        rows = self._undecided()
        if len(rows):
            total[rows] = self._evaluation.scored(rows)
        if self._extra is not None:
            total[total >= 0] += self._extra[total >= 0]
        if self._allowed is not None:
            total[~self._allowed] = INFEASIBLE
        return total

    def _undecided(self) -> NDArray[np.intp]:
        """Rows of which the evaluation does not know whether the pod fits: it sees them as nobody else does."""
        rows = np.array(list(self._views), dtype=np.intp)
        if self._one_pass:
            rows = np.union1d(rows, np.flatnonzero(self._cluster.nominator.promised(self._columns.size)))
        return rows

    def _refused_for_others(self) -> Iterator[tuple[str, int]]:
        blocked = [reasons for row, reasons in self.blocked.items() if self._evaluation.fits(row)]  # others are counted anyway
        yield from Counter(reason for reasons in blocked for reason in reasons).items()
        if self._promised_away is not None:
            for name, count in zip(self._columns.resources.values, self._promised_away.tolist(), strict=False):
                if count:
                    yield ("Too many pods" if name == PODS else f"Insufficient {name}"), count

    # -- why none ------------------------------------------------------------------------------------------------------

    def diagnose(self) -> Diagnosis:
        """The evaluation's diagnosis, with the nodes that were refused for this pod alone."""
        diagnosis = self._evaluation.diagnose()
        for reason, count in self._refused_for_others():
            diagnosis.reasons[reason] = diagnosis.reasons.get(reason, 0) + count

        if self.blocked or self._promised_away is not None:
            diagnosis.plugins |= {plugin.name for plugin in self._evaluation.compiled.filters}
        diagnosis.evaluation = self._evaluation
        return diagnosis
