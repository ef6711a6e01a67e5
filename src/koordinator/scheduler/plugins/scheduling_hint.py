"""SchedulingHint: another scheduler has thought about this pod and says which nodes to take, or to try first.

Required nodes restrict the cycle to them. Preferred ones are tried in their order: the first that passes every filter is taken
without scoring. What the hint says to other plugins (``extensions``) is left for them in the cycle state.
"""

from collections.abc import Hashable, Sequence

from koordinator.api import scheduling
from koordinator.api.annotations import Malformed
from koordinator.api.meta import Struct
from koordinator.errors import ConfigInvalid
from koordinator.scheduler.engine.columns import Columns
from koordinator.scheduler.engine.events import ClusterEvent, Happening, Hint
from koordinator.scheduler.engine.framework import Code, CycleState, PreFilterPlugin, PreFilterResult, Status
from koordinator.scheduler.engine.hooks import PLACEMENT_HINT, PlacementHint, PreferNodesPlugin
from koordinator.scheduler.engine.pod import PodInfo


class SchedulingHintArgs(Struct):
    max_hint_nodes: int = 100  #: How many preferred nodes are tried at most.


def checked(args: SchedulingHintArgs) -> SchedulingHintArgs:
    """The arguments themselves. Raises ConfigInvalid."""
    if args.max_hint_nodes <= 0:
        raise ConfigInvalid(
            "SchedulingHintArgs.maxHintNodes", args.max_hint_nodes, "must be above 0", "the scheduler does not start"
        )
    return args


class SchedulingHint(PreFilterPlugin, PreferNodesPlugin):
    name = "SchedulingHint"

    def __init__(self, args: SchedulingHintArgs | None = None) -> None:
        self.args = checked(args or SchedulingHintArgs())

    def signature(self, pod: PodInfo) -> Hashable:
        hint = scheduling.scheduling_hint(pod.pod.metadata.annotations)
        if hint is None or isinstance(hint, Malformed):
            return hint
        return tuple(hint.node_names or ()), tuple(hint.preferred_node_names or ()), repr(hint.extensions)

    def events(self) -> Sequence[tuple[int, Hint | None]]:
        return ((Happening.NODE_ADD, self._is_named),)

    @staticmethod
    def _is_named(pod: PodInfo, event: ClusterEvent) -> bool:
        hint = scheduling.scheduling_hint(pod.pod.metadata.annotations)
        return not isinstance(hint, scheduling.SchedulingHint) or event.node in (hint.node_names or ())

    def pre_filter(self, state: CycleState, pod: PodInfo, nodes: Columns) -> PreFilterResult | None:
        hint = scheduling.scheduling_hint(pod.pod.metadata.annotations)
        if isinstance(hint, Malformed):
            return PreFilterResult(Status(Code.ERROR, (str(hint),)))
        state[self.name] = hint
        if hint is not None and hint.extensions:
            state[PLACEMENT_HINT] = PlacementHint(tuple(hint.node_names or ()), hint.extensions)
        return PreFilterResult(nodes=frozenset(hint.node_names)) if hint is not None and hint.node_names else None

    def prefer_nodes(self, state: CycleState, allowed: frozenset[str] | None) -> list[str]:
        """The nodes to try before all others, in order; only allowed ones, when PreFilter has restricted the pod."""
        hint: scheduling.SchedulingHint | None = state.get(self.name)
        wanted = (hint.preferred_node_names or [])[: self.args.max_hint_nodes] if hint is not None else []
        return [name for name in wanted if allowed is None or name in allowed]
