"""Tallies summed over the nodes that share a label value: pods per zone, per rack, per host.

A ``View`` keeps the sums of one pod signature up to date with the columns' journal: one addition per row that moved; all afresh
only when nodes come, go or change their labels.
"""

from collections.abc import Callable, Sequence

import numpy as np

from koordinator.scheduler.engine.columns import Bools, Change, Columns, Ints, LabelColumn, Rows
from koordinator.scheduler.engine.residents import TallyHandle

Participates = Callable[[Columns], Bools]
"""Which nodes count, over all rows."""
_FOLLOWED = 256
"""When more rows than this moved, counting afresh costs less than following each."""


class Domains:
    """One tally by one label. Domain numbers are the ids of the label's values; number 0 (no such label) is always empty.

    - ``sums``: pods per domain, on nodes that participate
    - ``sizes`` / ``members``: participating nodes / all nodes per domain
    - ``flipped``: domains that have become empty or have ceased to be so since somebody cleared it
    - ``wide``: whether, since somebody cleared it, the sum of a domain with more than one node has moved
    """

    __slots__ = ("flipped", "handle", "label", "mask", "members", "participates", "present", "seen", "sizes", "sums", "wide")

    def __init__(self, handle: TallyHandle, label: LabelColumn, participates: Participates | None = None) -> None:
        self.handle, self.label, self.participates = handle, label, participates
        self.wide = True
        self.flipped: set[int] = set()
        self.sums: Ints
        self.seen: Ints
        self.sizes: Ints
        self.members: Ints
        self.present: Ints
        self.mask: Bools

    def recount(self, columns: Columns) -> None:
        size = columns.size
        values = self.label.values[:size]
        alive = columns.alive[:size]
        self.seen = self.handle.tally.counts.values[:size].copy()
        self.mask = alive & self.participates(columns) if self.participates is not None else alive
        width = len(self.label.interner)
        self.sums = np.bincount(values, weights=self.seen * self.mask, minlength=width).astype(np.int64)
        self.sizes = np.bincount(values[self.mask], minlength=width)
        self.members = np.bincount(values[alive], minlength=width)
        self.sums[0] = self.sizes[0] = 0
        self.present = np.flatnonzero(self.sizes)
        self.wide = True

    def follow(self, rows: Sequence[int]) -> None:
        counts, seen, sums = self.handle.tally.counts.values, self.seen, self.sums
        for row in rows:
            now = counts.item(row)
            moved = now - seen.item(row)
            if not moved:
                continue
            seen[row] = now
            domain = self.label.values.item(row)
            if not domain or not self.mask[row]:
                continue
            before = sums.item(domain)
            sums[domain] = before + moved
            if (before > 0) != (before + moved > 0):
                self.flipped.add(domain)
            if self.members[domain] > 1:
                self.wide = True

    def at(self, rows: Rows) -> Ints:
        """Per row the sum of its domain."""
        answer: Ints = self.sums[self.label.values[rows]]
        return answer


class View:
    """Domains that follow the columns together. ``structure``: which changes call for counting afresh."""

    def __init__(self, columns: Columns, parts: Sequence[Domains], structure: int = Change.NODE | Change.LABELS) -> None:
        self.columns, self.parts, self._structure = columns, parts, structure
        self._position = -1
        self.recounts = 0
        """How often all was counted afresh."""

    def refresh(self) -> None:
        columns = self.columns
        if self._position == columns.position:
            return
        changed = columns.changed_since(self._position) if self._position >= 0 else None
        if changed is None or changed[1] & self._structure or len(changed[0]) > _FOLLOWED:
            self.recounts += 1
            for part in self.parts:
                part.recount(columns)
        elif changed[1] & Change.PODS:
            for part in self.parts:
                part.follow(changed[0])
        self._position = columns.position
