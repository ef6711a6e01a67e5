"""The steps between popping a pod and choosing its node in which plugins have a say. The cycle calls them in order."""

import contextlib
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

import numpy as np

from koordinator.scheduler.engine import notes
from koordinator.scheduler.engine.choose import Chooser
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.columns import Columns
from koordinator.scheduler.engine.evaluate import Evaluation, Restricted
from koordinator.scheduler.engine.framework import Code, CycleState, Diagnosis, Plugin, PluginFailed, Status
from koordinator.scheduler.engine.hooks import IGNORED_NOMINATIONS, PHASE, POST_FILTER, Plan, View
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.engine.queued import QueuedPod

P = ParamSpec("P")
T = TypeVar("T")


def run(plugin: Plugin, point: str, hook: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Raises PluginFailed, naming plugin and hook, for whatever the plugin raises."""
    meter = plugin.meter
    try:
        if meter is not None and meter.watch.on:
            return meter.watch.timed(plugin.name, point, hook, *args, **kwargs)
        return hook(*args, **kwargs)
    except Exception as err:
        raise PluginFailed(plugin.name, point, err) from err


def named(status: Status, plugin: Plugin) -> Status:
    return Status(status.code, status.reasons, plugin.name)


class Judged:
    """A pod with everybody's verdict about it. ``row`` is set when its node is decided before scores are compared."""

    __slots__ = ("chooser", "evaluation", "info", "pod", "reasons", "row", "state")

    def __init__(
        self, cluster: Cluster, pod: QueuedPod, info: PodInfo, state: CycleState, evaluation: Evaluation | Restricted
    ) -> None:
        self.pod, self.info, self.state, self.evaluation = pod, info, state, evaluation
        self.chooser = Chooser(cluster, pod.profile, info, evaluation, self._views() if pod.profile.views else {})
        if IGNORED_NOMINATIONS in state:
            self.chooser.ignored = frozenset(state[IGNORED_NOMINATIONS])
        self.row: int | None = None
        self.reasons: dict[str, int] = {}
        """Why extenders refused nodes."""

    def _views(self) -> dict[str, View]:
        found: dict[str, View] = {}
        for plugin in self.pod.profile.views:
            found.update(run(plugin, "BeforeFilter", plugin.views, self.state, self.info))
        return found

    def fitting(self) -> list[str]:
        """Names of the nodes that fit, for those who cannot see our columns."""
        names = self.evaluation.columns.names
        return [names[row] for row in np.flatnonzero(self.evaluation.totals() >= 0)]


def transformed(profile: Profile, state: CycleState, pod: PodInfo) -> PodInfo | Status:
    """BeforePreFilter: the pod as it is judged in this cycle."""
    for plugin in profile.transformers:
        answer = run(plugin, "BeforePreFilter", plugin.before_pre_filter, state, pod)
        if isinstance(answer, Status):
            return named(answer, plugin)
        pod = pod if answer is None else answer
    return pod


def pod_checks(profile: Profile, state: CycleState, pod: PodInfo, columns: Columns) -> Status | None:
    """PreFilter of plugins that want to see every single pod."""
    for plugin in profile.pod_checks:
        result = run(plugin, "PreFilter", plugin.pre_filter, state, pod, columns)
        if result is not None and result.status is not None and result.status.code is not Code.SKIP:
            return named(result.status, plugin)
    return None


def after_pre_filter(profile: Profile, state: CycleState, pod: PodInfo, evaluation: Evaluation | Restricted) -> Status | None:
    only = evaluation.compiled.only
    for plugin in profile.transformers:
        status = run(plugin, "AfterPreFilter", plugin.after_pre_filter, state, pod, only)
        if status is not None:
            return named(status, plugin)
    return None


def before_score(profile: Profile, state: CycleState, pod: PodInfo) -> Status | None:
    for plugin in profile.score_transformers:
        status = run(plugin, "BeforeScore", plugin.before_score, state, pod)
        if status is not None:
            return named(status, plugin)
    return None


class AttemptFailed(Exception):
    """The attempt ends with an error, in these words."""


def preset(judged: Judged, *, jobs: bool = False) -> Status | Plan | None:
    """Sets the row when it is decided already: by a planner, by a promise, by preference. A status refuses the pod.

    A plan is for the whole job; without ``jobs`` only its word about this pod counts. Raises AttemptFailed if it has none.
    """
    profile, chooser = judged.pod.profile, judged.chooser
    row_of = judged.evaluation.columns.row_of
    for finder in profile.finders:
        found = run(finder, "FindOneNodePlugin", finder.find_one_node, judged.state, judged.info)
        if isinstance(found, Status):
            return named(found, finder)
        if isinstance(found, Plan):
            if jobs:
                return found
            found = found.nodes.get(judged.info.key, "")
        if found == "":
            reason = f"succeeded but produced no node for pod {judged.info.key}"
            raise AttemptFailed(f'FindOneNodePlugin "{finder.name}" {reason}')
        if found is not None:
            judged.chooser.restrict(frozenset((found,)))
            judged.row = row_of[found] if chooser.fits_on(found) else None
            return None
    for preferer in profile.preferers:
        only = judged.evaluation.compiled.only
        names = run(preferer, "PreferNodesPlugin", preferer.prefer_nodes, judged.state, only)
        for name in names:
            if chooser.fits_on(name):
                judged.row = row_of[name]
                return None
    promised = chooser.promised
    if promised and chooser.fits_on(promised):
        judged.row = row_of[promised]
    return None


@contextlib.contextmanager
def _phase(name: str, *states: CycleState) -> Iterator[None]:
    for state in states:
        state[PHASE] = name
    try:
        yield
    finally:
        for state in states:
            del state[PHASE]


def _messages(pod: QueuedPod, judged: Judged, diagnosis: Diagnosis) -> Iterator[str]:
    """What PostFilter plugins have to say, one after the other, until one has found or broken something."""
    for plugin in pod.profile.post_filters:
        nominated, status = run(plugin, "PostFilter", plugin.post_filter, judged.state, judged.info, diagnosis)
        yield status.message
        diagnosis.nominated = nominated
        if nominated or not status.rejected:
            return


def post_filter(pod: QueuedPod, judged: Judged) -> Diagnosis:
    """No node fits: may room be made somewhere? The first plugin that says so, or fails, ends the row."""
    diagnosis = judged.chooser.diagnose()
    for reason, count in judged.reasons.items():
        diagnosis.reasons[reason] = diagnosis.reasons.get(reason, 0) + count
    with _phase(POST_FILTER, judged.state, judged.evaluation.compiled.state):
        diagnosis.post_filter_message = ", ".join(filter(None, _messages(pod, judged, diagnosis)))
    diagnosis.notes = judged.state.get(notes.KEY)
    for after in pod.profile.after_post_filters:
        run(after, "AfterPostFilter", after.after_post_filter, judged.state, judged.info, diagnosis)
    return diagnosis
