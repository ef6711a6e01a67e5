"""Every filter's verdict and every score on every node, spelled out for one pod.

The engine stops at a node's first objection and adds scores up; people want all objections and all parts.
"""

import numpy as np
from numpy.typing import NDArray

from koordinator.scheduler.engine.columns import Columns
from koordinator.scheduler.engine.compile import Compiled, run_filter
from koordinator.scheduler.engine.evaluate import Evaluation, Restricted
from koordinator.scheduler.engine.framework import UNRESOLVABLE, FilterPlugin
from koordinator.scheduler.explain.answers import Group, NodeVerdict, Refusal
from koordinator.scheduler.explain.attempts import top

RowIds = NDArray[np.intp]


class Verdicts:
    """What all filters say to one pod, at this moment. ``codes`` has one row per filter over the rows looked at."""

    def __init__(self, compiled: Compiled, columns: Columns) -> None:
        self.compiled, self.columns = compiled, columns
        alive = np.flatnonzero(columns.alive[: columns.size])
        self.excluded = self._excluded(alive)
        self.rows: RowIds = alive if not len(self.excluded) else np.setdiff1d(alive, self.excluded)
        self.codes = [run_filter(plugin, compiled, columns, self.rows) for plugin in compiled.filters]
        refused = np.zeros(len(self.rows), dtype=np.bool_)
        for codes in self.codes:
            refused |= codes != 0
        self.fitting: RowIds = self.rows[~refused]
        self.refused: RowIds = np.flatnonzero(refused)

    def _excluded(self, alive: RowIds) -> RowIds:
        only = self.compiled.only
        if only is None:
            return np.zeros(0, dtype=np.intp)
        names = self.columns.names
        return np.array([row for row in alive.tolist() if names[row] not in only], dtype=np.intp)

    # -- objections ----------------------------------------------------------------------------------------------------

    def groups(self, *, excluded: bool = True) -> list[Group]:
        """Nodes by their first objection, sorted by plugin and reason. ``excluded``: with those that PreFilter left out."""
        found: dict[tuple[str, str, bool], list[str]] = {}
        names = self.columns.names
        blamed = " ".join(self.compiled.restricting)
        for row in self.excluded.tolist() if excluded else ():
            found.setdefault((blamed, self.compiled.excluded_reason, False), []).append(names[row])
        for place in self.refused.tolist():
            first = next(index for index, codes in enumerate(self.codes) if codes[place])
            plugin, code = self.compiled.filters[first], int(self.codes[first][place])
            reason = ", ".join(self._reasons(plugin, code))
            found.setdefault((plugin.name, reason, not code & UNRESOLVABLE), []).append(names[self.rows[place]])
        ordered = sorted(found.items(), key=lambda one: (one[0][0], one[0][1], not one[0][2]))
        return [
            Group(plugin=plugin, reason=reason, preempt_might_help=helps, nodes=sorted(nodes))
            for (plugin, reason, helps), nodes in ordered
        ]

    def objections(self, most: int | None = None) -> list[NodeVerdict]:
        """Refused nodes with all their objections, those first where the least would have to change."""
        verdicts = [NodeVerdict(node=self._name(place), refusals=self._refusals(place)) for place in self._nearest(most)]
        return sorted(verdicts, key=lambda one: (one.effort, one.node))[:most]

    def _nearest(self, most: int | None) -> list[int]:
        """Places worth a closer look: fewest objecting plugins first; several times what is wanted of each kind."""
        count = np.zeros(len(self.rows), dtype=np.int64)
        for codes in self.codes:
            count += codes != 0
        ordered = self.refused[np.argsort(count[self.refused], kind="stable")]
        places: list[int] = ordered.tolist()
        return places if most is None else places[: 50 * most]

    def _name(self, place: int) -> str:
        name: str = self.columns.names[self.rows[place]]
        return name

    def _refusals(self, place: int) -> list[Refusal]:
        row = int(self.rows[place])
        found = []
        for plugin, codes in zip(self.compiled.filters, self.codes, strict=True):
            if code := int(codes[place]):
                remedies = plugin.remedies(self.compiled.state, self.compiled.pod, self.columns, row)
                helps = not code & UNRESOLVABLE
                found.append(
                    Refusal(
                        plugin=plugin.name, reasons=self._reasons(plugin, code), preempt_might_help=helps, remedies=remedies
                    )
                )
        return found

    def _reasons(self, plugin: FilterPlugin, code: int) -> list[str]:
        return plugin.explain(self.compiled.state, code & ~UNRESOLVABLE, self.columns)

    def of_node(self, row: int) -> list[Refusal]:
        """All objections of one node."""
        if row in self.excluded:
            blamed, reason = " ".join(self.compiled.restricting), self.compiled.excluded_reason
            return [Refusal(plugin=blamed, reasons=[reason], preempt_might_help=False)]
        place = int(np.searchsorted(self.rows, row))
        return self._refusals(place)


class Judged(Verdicts):
    """Verdicts and scores."""

    def __init__(self, evaluation: Evaluation | Restricted) -> None:
        super().__init__(evaluation.compiled, evaluation.columns)
        self.evaluation = evaluation

    # -- scores --------------------------------------------------------------------------------------------------------
    def best(self, most: int) -> list[NodeVerdict]:
        """The fitting nodes with the highest totals, every plugin's weighted score beside."""
        evaluation, names = self.evaluation, self.columns.names
        if isinstance(evaluation, Restricted):
            return [NodeVerdict(node=names[row], score=0) for row in self.fitting[:most].tolist()]
        plugins = [plugin.name for plugin, _ in evaluation.scores]
        found = [(names[row], evaluation.parts(row)) for row in top(evaluation, most)]
        return [NodeVerdict(node=name, score=sum(parts), parts=dict(zip(plugins, parts, strict=True))) for name, parts in found]
