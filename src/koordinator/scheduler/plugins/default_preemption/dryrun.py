"""Who would have to go on each node so that a pod fits: asked of one node at a time, remembered for pods that look alike.

Where only resources stand in the way, the question is answered by adding and subtracting a few integers. Where filters look at
the pods on a node in other ways (ports, affinity, spreading, usage), the pods are taken away for the question and the filters
asked.
"""

from collections.abc import Callable, Sequence

import numpy as np

from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.columns import Bools, Change
from koordinator.scheduler.engine.compile import run_filter
from koordinator.scheduler.engine.evaluate import Evaluation, Restricted
from koordinator.scheduler.engine.framework import UNRESOLVABLE, FilterPlugin
from koordinator.scheduler.engine.pod import PodInfo, Template
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.engine.whatif import Judge, supposing
from koordinator.scheduler.plugins.default_preemption.victims import Victims, by_importance, spare
from koordinator.scheduler.plugins.resources_fit import NodeResourcesFit

NO_VICTIMS = "No preemption victims found for incoming pod"
_BY_PODS = Change.REQUESTED | Change.PODS
Answer = Victims | tuple[str, ...]
"""Victims, or why evicting does not help on this node."""
Protected = Callable[[Sequence[PodInfo]], list[bool]]


class DryRun:
    """One pod's question. ``protected`` says for pods, most important first, which of them a budget protects."""

    def __init__(self, cluster: Cluster, pod: PodInfo, now: float, protected: Protected) -> None:
        self.cluster, self.pod, self.now, self.protected = cluster, pod, now, protected
        self.personal: set[int] = set()
        """Rows whose answer is for this pod alone, and not for others of its signature."""

    def lesser(self, node: str) -> list[PodInfo]:
        """The pods on a node that may be evicted for this one, the most important first."""
        limit = self.pod.priority
        found = [placed.info for placed in self.cluster.pods_on(node) if placed.info.priority < limit]
        return by_importance(found, self.now) if len(found) > 1 else found

    def ask(self, row: int) -> Answer:
        raise NotImplementedError


class Relief:
    """The filters that pods leaving may relieve: asked with a quick look before anything is taken away for a rehearsal."""

    def __init__(self, evaluation: Evaluation | Restricted) -> None:
        self._compiled, self._columns = evaluation.compiled, evaluation.columns
        self._plugins: list[tuple[FilterPlugin, Bools]] = []
        if isinstance(evaluation, Evaluation):
            both = zip(evaluation.filters, evaluation.refused, strict=True)
            self._plugins = [(plugin, refused) for plugin, refused in both if plugin.relieved]

    def wanted(self, row: int) -> bool:
        """Whether some of them refuses the row."""
        return any(refused[row] for _, refused in self._plugins)

    def none(self, pod: PodInfo, row: int, gone: Sequence[PodInfo]) -> tuple[str, ...]:
        """Why it would not do if these pods left; empty when it might."""
        state, columns = self._compiled.state, self._columns
        for plugin, refused in self._plugins:
            if refused[row] and not plugin.would_relieve(state, pod, row, gone):
                code = int(run_filter(plugin, self._compiled, columns, np.array([row], dtype=np.intp))[0])
                return tuple(plugin.explain(state, code & ~UNRESOLVABLE, columns))
        return ()


class ResourcesOnly(DryRun):
    """All that pods take from one another is resources. Nodes where there is more to it go to ``otherwise``."""

    def __init__(self, otherwise: "AnyFilter", fit: NodeResourcesFit, evaluation: Evaluation) -> None:
        super().__init__(otherwise.cluster, otherwise.pod, otherwise.now, otherwise.protected)
        self._otherwise, self.personal = otherwise, otherwise.personal
        cluster, pod = self.cluster, self.pod
        need = fit.needs(evaluation.state, pod, cluster.columns)
        self._columns = np.flatnonzero(need > 0)
        self._need: list[int] = need[self._columns].tolist()
        self._vectors: dict[int, tuple[Template, list[int]]] = {}

    def _vector(self, pod: PodInfo) -> list[int]:
        """What a pod takes of the resources that count."""
        template = pod.template
        known = self._vectors.get(id(template))
        if known is None:
            taken: list[int] = template.vector(self.cluster.columns)[self._columns].tolist()
            known = self._vectors[id(template)] = template, taken
        return known[1]

    def ask(self, row: int) -> Answer:
        columns, need = self.cluster.columns, self._need
        name = columns.names[row]
        promised = self.cluster.nominator.standing(name, self.pod)
        if self._otherwise.relief.wanted(row) or (promised and self._otherwise.differs(row, promised)):
            return self._otherwise.ask(row)
        lesser = self.lesser(name)
        if not lesser:
            return (NO_VICTIMS,)
        free: list[int] = (columns.allocatable[row, self._columns] - columns.requested[row, self._columns]).tolist()
        for standing in promised:
            free = [has - takes for has, takes in zip(free, self._vector(standing), strict=True)]
        for pod in lesser:
            free = [has + takes for has, takes in zip(free, self._vector(pod), strict=True)]
        short = [index for index, (has, wants) in enumerate(zip(free, need, strict=True)) if has < wants]
        if short:
            names = columns.resources.values
            found = (names[int(self._columns[index])] for index in short)
            return tuple("Too many pods" if one == "pods" else f"Insufficient {one}" for one in found)

        def fits_with(pod: PodInfo) -> bool:
            nonlocal free
            left = [has - takes for has, takes in zip(free, self._vector(pod), strict=True)]
            if any(has < wants for has, wants in zip(left, need, strict=True)):
                return False
            free = left
            return True

        return spare(lesser, self.protected, fits_with)


class AnyFilter(DryRun):
    """The filters themselves, on the columns as they would be."""

    def __init__(self, question: DryRun, judge: Judge, relief: Relief) -> None:
        super().__init__(question.cluster, question.pod, question.now, question.protected)
        self._judge, self.relief = judge, relief

    def differs(self, row: int, added: Sequence[PodInfo]) -> bool:
        """Whether these pods on the node would mean more to the pod than the resources they take."""
        with supposing(self.cluster, self.cluster.columns.names[row], added=added):
            differs = not self._judge.holds
        if differs:
            self.personal.add(row)
        return differs

    def ask(self, row: int) -> Answer:
        name = self.cluster.columns.names[row]
        lesser = self.lesser(name)
        if not lesser:
            return (NO_VICTIMS,)
        if hopeless := self.relief.none(self.pod, row, lesser):
            return hopeless
        gone = {pod.uid: pod for pod in lesser}
        standing = self.cluster.nominator.standing(name, self.pod)
        if standing:
            self.differs(row, standing)
        reasons = self._reasons(name, row, gone, standing)
        if reasons:
            return tuple(reasons)

        def fits_with(pod: PodInfo) -> bool:
            del gone[pod.uid]
            if self._reasons(name, row, gone, standing):
                gone[pod.uid] = pod
                return False
            return True

        return spare(lesser, self.protected, fits_with)

    def _reasons(self, name: str, row: int, gone: dict[str, PodInfo], standing: list[PodInfo]) -> list[str]:
        """Why the pod does not fit, with promised pods there and without; empty when it does."""
        if standing:
            with supposing(self.cluster, name, tuple(gone), standing):
                if found := self._judge.reasons(row):
                    return found
        with supposing(self.cluster, name, tuple(gone)):
            return self._judge.reasons(row)


def only_resources(evaluation: Evaluation | Restricted) -> NodeResourcesFit | None:
    """The plugin to ask when nothing but resources depends on the pods of a node."""
    if isinstance(evaluation, Restricted):
        return None
    by_pods = [plugin for plugin in evaluation.filters if depends_on_pods(plugin) and not plugin.relieved]
    if len(by_pods) == 1 and isinstance(by_pods[0], NodeResourcesFit):
        return by_pods[0]
    return None


def depends_on_pods(plugin: FilterPlugin) -> bool:
    return bool(plugin.reads & _BY_PODS) or plugin.far or plugin.relieved


def dry_run(
    cluster: Cluster, profile: Profile, pod: PodInfo, evaluation: Evaluation | Restricted, now: float, protected: Protected
) -> DryRun:
    """The quickest that gives the right answer."""
    judge = Judge(profile, evaluation.compiled, cluster, pod)
    general = AnyFilter(DryRun(cluster, pod, now, protected), judge, Relief(evaluation))
    fit = only_resources(evaluation)
    if fit is not None and isinstance(evaluation, Evaluation):
        return ResourcesOnly(general, fit, evaluation)
    return general
