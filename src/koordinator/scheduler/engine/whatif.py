"""What would a node say if some pods were gone, or others there? Asked of the real filters on the real columns, then undone."""

import contextlib
from collections.abc import Iterable, Iterator

import numpy as np

from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.compile import Compiled, run_filter
from koordinator.scheduler.engine.framework import UNRESOLVABLE
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.engine.profile import Profile


@contextlib.contextmanager
def supposing(cluster: Cluster, node: str, without: Iterable[str] = (), added: Iterable[PodInfo] = ()) -> Iterator[None]:
    """Inside, the pods ``without`` (uids) are gone and ``added`` are on the node. Nothing may be scheduled meanwhile."""
    with cluster.rehearsal():
        taken = [placed for uid in without if (placed := cluster.withdraw(uid)) is not None]
        put = [placed for info in added if (placed := cluster.lend(info, node)) is not None]
        try:
            yield
        finally:
            for placed in put:
                cluster.withdraw(placed.info.uid)
            for placed in reversed(taken):
                cluster.restore(placed)


class Judge:
    """The filters of one pod, for one node at a time. To be made before anything is supposed.

    What was prepared for the pod's signature serves as long as it holds. Filters whose verdict depends on other nodes are
    prepared afresh, and so are all when what is supposed gives the pod another signature (a pod that is lent wants distance
    from it, say): for this very pod, since others of its signature may stand differently to what is supposed.
    """

    def __init__(self, profile: Profile, compiled: Compiled, cluster: Cluster, pod: PodInfo) -> None:
        self._profile, self._compiled, self._cluster, self._pod = profile, compiled, cluster, pod
        self._far = any(plugin.far for plugin in compiled.filters)
        self._signature = profile.signature(pod)

    @property
    def holds(self) -> bool:
        """Whether what was prepared before is still right."""
        return not self._far and self._profile.signature(self._pod) == self._signature

    def fits(self, row: int) -> bool:
        """Whether every filter lets the pod on the node, as things stand at this moment."""
        return self.objection(row) is None

    def objection(self, row: int) -> tuple[str, int, Compiled] | None:
        """The first filter that refuses, and its code."""
        compiled = self._compiled
        columns = self._cluster.columns
        if not self.holds:
            compiled = Compiled(self._profile, self._pod, columns)
            if compiled.status is not None:
                return compiled.status.plugin, UNRESOLVABLE, compiled
        rows = np.array([row], dtype=np.intp)
        for plugin in compiled.filters:
            code = int(run_filter(plugin, compiled, columns, rows)[0])
            if code:
                return plugin.name, code, compiled
        return None

    def reasons(self, row: int) -> list[str]:
        found = self.objection(row)
        if found is None:
            return []
        name, code, compiled = found
        plugin = next((one for one in compiled.filters if one.name == name), None)
        if plugin is None:
            return list(compiled.status.reasons) if compiled.status is not None else []
        return plugin.explain(compiled.state, code & ~UNRESOLVABLE, self._cluster.columns)
