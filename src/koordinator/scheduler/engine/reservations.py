"""What plugins have to say about reservations, and how a Reservation plugin asks them all (``handle.reservations``).

A reservation is known to the engine as a pod (annotation ``…/reserve-pod``) that waits, is counted on a node and is bound like
any other; who owns it, what is left of it and how its object is written is the Reservation plugin's business. Plugins that hand
out CPUs or devices have to know which of them are reserved for whom: these are their hooks. ``R`` is whatever the Reservation
plugin keeps of a reservation; the engine only needs its name.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from koordinator.scheduler.engine.framework import MAX_SCORE, Code, CycleState, Plugin, Status
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.engine.steps import named, run

if TYPE_CHECKING:
    from koordinator.scheduler.engine.profile import Profile

P = TypeVar("P", bound=Plugin)


class R(Protocol):
    """A reservation."""

    @property
    def name(self) -> str: ...


class ReservationRestorePlugin(Plugin):
    """Remembers in a state of its own what of a node's CPUs or devices is reserved, for whom, and what is left of that."""

    def pre_restore(self, state: CycleState, pod: PodInfo) -> Status | None:
        """Once per pod, before the nodes."""
        return None

    def restore(self, state: CycleState, pod: PodInfo, matched: Sequence[R], unmatched: Sequence[R], node: str) -> Any:
        """What the plugin wants to know of this node later; a status refuses the pod. ``matched``: reservations it may own."""
        raise NotImplementedError

    def pre_restore_pre_allocation(self, state: CycleState, reservation: R) -> Status | None:
        """The same for a reservation that takes over what pods have that are running."""
        return None

    def restore_pre_allocation(self, state: CycleState, reservation: R, pods: Sequence[PodInfo], node: str) -> Any:
        return None


class ReservationFilterPlugin(Plugin):
    """Whether a pod could have what it wants out of a reservation."""

    def filter_reservation(self, state: CycleState, pod: PodInfo, reservation: R, node: str) -> Status | None:
        raise NotImplementedError

    def filter_nominated(self, state: CycleState, pod: PodInfo, reservation: R, node: str) -> Status | None:
        """The same once the node is chosen and one reservation has to be."""
        return None


class ReservationScorePlugin(Plugin):
    """Which of a node's reservations suits a pod best."""

    def score_reservation(self, state: CycleState, pod: PodInfo, reservation: R, node: str) -> int:
        raise NotImplementedError

    def normalize_reservations(self, state: CycleState, pod: PodInfo, scores: Mapping[str, int]) -> Mapping[str, int]:
        """To 0..100. By default the largest becomes 100; all zero stays zero."""
        largest = max(scores.values(), default=0)
        return {name: score * MAX_SCORE // largest for name, score in scores.items()} if largest else scores


class ReservationPreBindPlugin(Plugin):
    """Runs at PreBind of reserve pods, where other PreBind plugins do not; changes are gathered as for pods."""

    async def pre_bind_reservation(self, state: CycleState, pod: PodInfo, node: str) -> Status | None:
        raise NotImplementedError


class ReservationHooks:
    """All plugins' hooks of one profile, in the order in which they were made."""

    def __init__(self) -> None:
        self._restorers: list[ReservationRestorePlugin] = []
        self._filters: list[ReservationFilterPlugin] = []
        self._scorers: list[ReservationScorePlugin] = []

    def find(self, profile: "Profile") -> None:
        """The profile's plugins are known now."""
        plugins = profile.plugins.values()
        self._restorers = [one for one in plugins if isinstance(one, ReservationRestorePlugin)]
        self._filters = [one for one in plugins if isinstance(one, ReservationFilterPlugin)]
        self._scorers = [one for one in plugins if isinstance(one, ReservationScorePlugin)]

    # -- restore -------------------------------------------------------------------------------------------------------

    def pre_restore(self, state: CycleState, pod: PodInfo) -> Status | None:
        """The first that refuses ends the row, here and below."""
        return _first(self._restorers, "PreRestoreReservation", lambda one: one.pre_restore(state, pod))

    def restore(
        self, state: CycleState, pod: PodInfo, matched: Sequence[R], unmatched: Sequence[R], node: str
    ) -> dict[str, Any] | Status:
        """What every plugin wants to know of the node later, by its name."""
        return _each(self._restorers, "RestoreReservation", lambda one: one.restore(state, pod, matched, unmatched, node))

    def pre_restore_pre_allocation(self, state: CycleState, reservation: R) -> Status | None:
        point = "PreRestoreReservationPreAllocation"
        return _first(self._restorers, point, lambda one: one.pre_restore_pre_allocation(state, reservation))

    def restore_pre_allocation(
        self, state: CycleState, reservation: R, pods: Sequence[PodInfo], node: str
    ) -> dict[str, Any] | Status:
        point = "RestoreReservationPreAllocation"
        return _each(self._restorers, point, lambda one: one.restore_pre_allocation(state, reservation, pods, node))

    # -- filter and score ------------------------------------------------------------------------------------------------

    def filter(self, state: CycleState, pod: PodInfo, reservation: R, node: str) -> Status | None:
        hook = "FilterReservation"
        return _first(self._filters, hook, lambda one: one.filter_reservation(state, pod, reservation, node))

    def filter_nominated(self, state: CycleState, pod: PodInfo, reservation: R, node: str) -> Status | None:
        hook = "FilterNominateReservation"
        return _first(self._filters, hook, lambda one: one.filter_nominated(state, pod, reservation, node))

    def scores(self, state: CycleState, pod: PodInfo, reservations: Sequence[R], node: str) -> dict[str, int] | Status:
        """The sum of all plugins' points, by the reservation's name. A score out of range is an error."""
        total = dict.fromkeys((one.name for one in reservations), 0)
        for plugin in self._scorers:
            points = run(plugin, "ScoreReservation", _scored, plugin, state, pod, reservations, node)
            for name, score in points.items():
                if not 0 <= score <= MAX_SCORE:
                    reason = f'plugin "{plugin.name}" returns an invalid score {score}, it should in the range of [0, 100]'
                    return Status(Code.ERROR, (reason,), plugin.name)
                total[name] += score
        return total


def _scored(
    plugin: ReservationScorePlugin, state: CycleState, pod: PodInfo, reservations: Sequence[R], node: str
) -> Mapping[str, int]:
    raw = {one.name: plugin.score_reservation(state, pod, one, node) for one in reservations}
    return plugin.normalize_reservations(state, pod, raw)


def _first(plugins: Sequence[P], point: str, hook: Callable[[P], Status | None]) -> Status | None:
    for plugin in plugins:
        status = run(plugin, point, hook, plugin)
        if status is not None:
            return named(status, plugin)
    return None


def _each(plugins: Sequence[P], point: str, hook: Callable[[P], Any]) -> dict[str, Any] | Status:
    found: dict[str, Any] = {}
    for plugin in plugins:
        answer = run(plugin, point, hook, plugin)
        if isinstance(answer, Status):
            return named(answer, plugin)
        found[plugin.name] = answer
    return found
