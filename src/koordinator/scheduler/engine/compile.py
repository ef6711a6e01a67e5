"""What a pod asks of the profile's plugins, worked out once per signature: which filters and scores run, and their state."""

import numpy as np
from numpy.typing import NDArray

from koordinator.scheduler.engine.columns import Bools, Columns, Ints, Rows
from koordinator.scheduler.engine.framework import (
    UNRESOLVABLE,
    Code,
    CycleState,
    Diagnosis,
    FilterPlugin,
    PluginFailed,
    PreFilterPlugin,
    PreFilterResult,
    PreScorePlugin,
    ScorePlugin,
    Status,
    Verdict,
)
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.engine.profile import Profile


class Compiled:
    """PreFilter's and PreScore's outcome.

    ``status`` is set when PreFilter already refused the pod. ``only`` names the nodes worth looking at, None for all, and
    ``restricting`` the plugins that said so.
    """

    def __init__(self, profile: Profile, pod: PodInfo, columns: Columns) -> None:
        self.pod, self.profile = pod, profile
        self.state: CycleState = {}
        self.status: Status | None = None
        self.only: frozenset[str] | None = None
        self.restricting: list[str] = []
        skipped = self._pre_filters(profile, columns)
        self.filters: list[FilterPlugin] = [plugin for plugin in profile.filters if plugin.name not in skipped]
        self.scores = self._scores(profile, columns)

    def _pre_filters(self, profile: Profile, columns: Columns) -> set[str]:
        """Names of the plugins whose Filter need not run."""
        skipped = set()
        for plugin in profile.pre_filters:
            result = _guarded(plugin, self.state, self.pod, columns)
            if result is None:
                continue
            if result.status is not None and result.status.code is Code.SKIP:
                skipped.add(plugin.name)
            elif result.status is not None:
                self.status = Status(result.status.code, result.status.reasons, plugin.name)
                return skipped
            elif result.nodes is not None:
                self.only = result.nodes if self.only is None else self.only & result.nodes
                self.restricting.append(plugin.name)
        if self.only is not None and not self.only:
            self.status = _conflict(self.restricting)
        return skipped

    def _scores(self, profile: Profile, columns: Columns) -> list[tuple[ScorePlugin, int]]:
        skipped = set()
        for plugin in profile.pre_scores:
            status = _run_pre_score(plugin, self.state, self.pod, columns)
            if status is not None and status.code is Code.SKIP:
                skipped.add(plugin.name)
        return [(plugin, weight) for plugin, weight in profile.scores if plugin.name not in skipped]

    @property
    def excluded_reason(self) -> str:
        """Why nodes outside ``only`` were not looked at."""
        return f"node(s) didn't satisfy plugin(s) [{' '.join(self.restricting)}]"

    def diagnose(self, columns: Columns, rows: NDArray[np.intp]) -> Diagnosis:
        """Why none of the rows is feasible: per node the reasons of the first filter that refused it."""
        diagnosis = Diagnosis(nodes=len(columns), reasons={}, plugins=set())
        stuck = np.zeros(columns.size, dtype=np.bool_)
        alive = columns.alive[: columns.size]
        self._count_excluded(diagnosis, alive, rows, stuck)
        objections = Objections(self, columns)
        objections.look(rows)
        objections.tell(diagnosis)
        diagnosis.unresolvable = stuck | objections.stuck[: columns.size]
        return diagnosis

    def _count_excluded(self, diagnosis: Diagnosis, alive: Bools, rows: NDArray[np.intp], stuck: Bools) -> None:
        if self.only is None:
            return
        excluded = alive.copy()
        excluded[rows] = False
        stuck |= excluded
        diagnosis.plugins.update(self.restricting)
        if count := int(excluded.sum()):
            diagnosis.reasons[self.excluded_reason] = count


def _guarded(plugin: PreFilterPlugin, state: CycleState, pod: PodInfo, columns: Columns) -> PreFilterResult | None:
    meter = plugin.meter
    try:
        if meter is not None:
            meter.pre_filter += 1
            if meter.watch.on:
                return meter.watch.timed(plugin.name, "PreFilter", plugin.pre_filter, state, pod, columns)
        return plugin.pre_filter(state, pod, columns)
    except Exception as err:
        raise PluginFailed(plugin.name, "PreFilter", err) from err


def _run_pre_score(plugin: PreScorePlugin, state: CycleState, pod: PodInfo, columns: Columns) -> Status | None:
    meter = plugin.meter
    try:
        if meter is not None:
            meter.pre_score += 1
            if meter.watch.on:
                return meter.watch.timed(plugin.name, "PreScore", plugin.pre_score, state, pod, columns)
        return plugin.pre_score(state, pod, columns)
    except Exception as err:
        raise PluginFailed(plugin.name, "PreScore", err) from err


def run_filter(plugin: FilterPlugin, compiled: Compiled, columns: Columns, rows: Rows) -> Verdict:
    meter = plugin.meter
    try:
        if meter is not None:
            meter.filter += 1
            if meter.watch.on:
                return meter.watch.timed(plugin.name, "Filter", plugin.filter, compiled.state, compiled.pod, columns, rows)
        return plugin.filter(compiled.state, compiled.pod, columns, rows)
    except Exception as err:
        raise PluginFailed(plugin.name, "Filter", err) from err


def _conflict(plugins: list[str]) -> Status:
    one = len(plugins) == 1
    named = f"plugin {plugins[0]}" if one else f"plugin(s) [{' '.join(plugins)}] simultaneously"
    return Status(Code.UNSCHEDULABLE_AND_UNRESOLVABLE, (f"node(s) didn't satisfy {named}",), plugins[0])


class Objections:
    """Per row the first filter that refuses, and its code; kept so that rows which move can be looked at again alone."""

    def __init__(self, compiled: Compiled, columns: Columns) -> None:
        self._compiled, self._columns = compiled, columns
        self._by: NDArray[np.int16] = np.full(columns.capacity, -1, dtype=np.int16)
        self._codes: Ints = np.zeros(columns.capacity, dtype=np.int64)
        self._counts: dict[tuple[int, int], int] = {}
        self.stuck: Bools = np.zeros(columns.capacity, dtype=np.bool_)
        """Rows where evicting pods cannot help."""

    def look(self, rows: NDArray[np.intp]) -> None:
        """Ask the filters about rows, for the first time or again."""
        self._add(rows, -1)
        self._by[rows], self._codes[rows], self.stuck[rows] = -1, 0, False
        left = rows[self._columns.alive[rows]]
        for index, plugin in enumerate(self._compiled.filters):
            codes = run_filter(plugin, self._compiled, self._columns, left)
            refused = codes != 0
            if refused.any():
                where = left[refused]
                self._by[where], self._codes[where] = index, codes[refused] & ~UNRESOLVABLE
                self.stuck[where] = codes[refused] & UNRESOLVABLE != 0
                left = left[~refused]
        self._add(rows, 1)

    def _add(self, rows: NDArray[np.intp], sign: int) -> None:
        rows = rows[self._by[rows] >= 0]
        for index in np.unique(self._by[rows]).tolist():
            found, counts = np.unique(self._codes[rows[self._by[rows] == index]], return_counts=True)
            for code, count in zip(found.tolist(), counts.tolist(), strict=True):
                self._counts[index, code] = self._counts.get((index, code), 0) + sign * count

    def tell(self, diagnosis: Diagnosis) -> None:
        """Add who refused, and why how often."""
        for (index, code), count in sorted(self._counts.items()):
            if count:
                plugin = self._compiled.filters[index]
                diagnosis.plugins.add(plugin.name)
                for reason in self._reasons(plugin, code):
                    diagnosis.reasons[reason] = diagnosis.reasons.get(reason, 0) + count

    def _reasons(self, plugin: FilterPlugin, code: int) -> list[str]:
        try:
            return list(plugin.explain(self._compiled.state, code, self._columns))
        except Exception as err:
            raise PluginFailed(plugin.name, "Filter", err) from err
