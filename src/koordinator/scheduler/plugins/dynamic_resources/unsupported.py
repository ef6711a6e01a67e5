"""In the plugin's place where resource.k8s.io is not watched: a pod with claims is told so instead of starting without."""

from collections.abc import Hashable, Sequence

from koordinator.scheduler.engine.columns import Columns
from koordinator.scheduler.engine.events import Hint
from koordinator.scheduler.engine.framework import Code, CycleState, PreFilterPlugin, PreFilterResult, Status
from koordinator.scheduler.engine.pod import PodInfo


class UnsupportedClaims(PreFilterPlugin):
    name = "DynamicResources"

    def signature(self, pod: PodInfo) -> Hashable:
        return bool(pod.pod.spec.resource_claims)

    def events(self) -> Sequence[tuple[int, Hint | None]]:
        """Nothing that happens in the cluster helps."""
        return ()

    def pre_filter(self, state: CycleState, pod: PodInfo, nodes: Columns) -> PreFilterResult | None:
        claims = pod.pod.spec.resource_claims
        if not claims:
            return None
        names = ", ".join(one.name for one in claims)
        reason = f"this scheduler does not support resource claims (spec.resourceClaims: {names})"
        return PreFilterResult(Status(Code.UNSCHEDULABLE_AND_UNRESOLVABLE, (reason,)))
