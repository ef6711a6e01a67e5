"""The best zones for a pod, of all ways to pick one hint from every list.

A pick's zones are those in all its hints. It is preferred when every hint is, and all name the same zones; unsatisfied when
they do not. Picks are compared in the order in which the innermost list runs fastest: a preferred one beats one that is not,
then fewer zones win, then of as many zones a pick takes over that has the lower number *or* the higher score. That last rule
depends on the order, so picks cannot just be sorted; but there may be billions of them.

They are not enumerated. A later pick that the standing one beats (``_beats``) never matters, so a run of picks can be cut down
to the few that beat neither their neighbours nor are beaten by them (``_append``), and what follows a beginning of lists
depends only on the zones that are left, on whether the hints agreed, and on the score: so much is worked out once. The work
grows with the number of different zone sets, not with the number of picks.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from koordinator.scheduler.engine.hooks import Hint
from koordinator.scheduler.numa.hints import Wishes, Zones

BEST_EFFORT, RESTRICTED, SINGLE_NUMA_NODE = "BestEffort", "Restricted", "SingleNUMANode"

Lists = tuple[tuple[Hint, ...], ...]


class Merged(NamedTuple):
    """The zones that a pod gets, or why it gets none. The hint of a pod that is not admitted says nothing."""

    hint: Hint
    admitted: bool = True
    reasons: tuple[str, ...] = ()


def merged(policy: str, wishes: Wishes, zones: Zones) -> Merged:
    """What a node's policy makes of the wishes."""
    merge = _POLICIES.get(policy)
    return merge(wishes, zones) if merge is not None else Merged(Hint(preferred=False))


def _best_effort(wishes: Wishes, zones: Zones) -> Merged:
    nowhere = Hint(zones.mask, preferred=False)
    best = preferred(wishes.lists, zones) or any_at_all(wishes.lists, zones)
    return Merged(nowhere if best.unsatisfied else best)


def _restricted(wishes: Wishes, zones: Zones) -> Merged:
    nowhere = Hint(zones.mask, preferred=False)
    if wishes.reasons:
        return Merged(nowhere, admitted=False, reasons=wishes.reasons)
    best = preferred(wishes.lists, zones)
    return Merged(best) if best is not None else _unaligned(nowhere, wishes, " & ")


def _single(wishes: Wishes, zones: Zones) -> Merged:
    nowhere = Hint(preferred=False)
    if wishes.reasons:
        return Merged(nowhere, admitted=False, reasons=wishes.reasons)
    lists = tuple(tuple(hint for hint in hints if _of_one_zone(hint)) for hints in wishes.lists)
    best = preferred(lists, zones)
    if best is None:
        return _unaligned(nowhere, wishes, ",")
    return Merged(best._replace(affinity=None) if best.affinity == zones.mask else best)


def _of_one_zone(hint: Hint) -> bool:
    return hint.preferred and (hint.affinity is None or hint.affinity.bit_count() == 1)


def _unaligned(hint: Hint, wishes: Wishes, between: str) -> Merged:
    reason = f"Unaligned NUMA Hint cause {between.join(wishes.summaries)}"
    return Merged(hint, admitted=False, reasons=(reason,))


_POLICIES: dict[str, Callable[[Wishes, Zones], Merged]] = {
    BEST_EFFORT: _best_effort,
    RESTRICTED: _restricted,
    SINGLE_NUMA_NODE: _single,
}


# --- picks of which all hints are preferred and name the same zones -----------------------------------------------------------


def preferred(lists: Lists, zones: Zones) -> Hint | None:
    """The best preferred pick; None when there is none."""
    states: dict[tuple[int | None, int], None] = {(None, 0): None}
    for hints in lists:
        wanted = [hint for hint in hints if hint.preferred]
        states = _agreeing(states, wanted)
    best = None
    for affinity, score in states:
        hint = _of_pick(affinity, score, zones.mask)
        if hint.affinity and zones.allow(hint.affinity) and (best is None or not _beats(best, hint)):
            best = hint
    return best


def _agreeing(states: Iterable[tuple[int | None, int]], hints: list[Hint]) -> dict[tuple[int | None, int], None]:
    """Zones and score after one more list. Of equal ones the last stands, for it alone may still take over."""
    by_zones: dict[int | None, list[Hint]] = {}
    for hint in hints:
        for affinity in {hint.affinity} if hint.affinity is not None else {None, *(one.affinity for one in hints)}:
            by_zones.setdefault(affinity, []).append(hint)
    open_ = by_zones.get(None, [])
    found: dict[tuple[int | None, int], None] = {}
    for zones, score in states:
        for hint in hints if zones is None else by_zones.get(zones, open_):
            state = zones if hint.affinity is None else hint.affinity, score + (hint.score if hint.affinity is not None else 0)
            found.pop(state, None)
            found[state] = None
    return found


def _of_pick(affinity: int | None, score: int, everything: int) -> Hint:
    if affinity is None:
        return Hint(everything)
    inside = affinity & everything
    return Hint(inside, score=score if inside == affinity else 0, unsatisfied=inside != affinity)


# --- any picks --------------------------------------------------------------------------------------------------------------

_DISAGREE = -1


class _Begun(NamedTuple):
    """What the rest needs to know of the lists picked from so far."""

    zones: int
    named: int | None
    """The zones that all hints named so far; None when none did, ``_DISAGREE`` when they differ."""
    score: int


def any_at_all(lists: Lists, zones: Zones) -> Hint:
    """The best pick, given that none is preferred. All zones when there is no pick that leaves any."""
    run: list[Hint] = [Hint(zones.mask, preferred=False)]
    _append(run, _Ends(lists, zones.mask).after(0, _Begun(zones.mask, None, 0)))
    best = run[0]
    for hint in run[1:]:
        best = best if _beats(best, hint) else hint
    hopeless = any(hint.unsatisfied for hints in lists for hint in hints)  # every pick has it: it is alone in its list
    return best._replace(unsatisfied=best.unsatisfied or hopeless)


class _Ends:
    """Per beginning the run of picks that it can end in, cut down to what matters."""

    def __init__(self, lists: Lists, everything: int) -> None:
        self._lists = lists
        self._fewest = fewest(lists, everything)
        self._known: dict[tuple[int, _Begun], list[Hint]] = {}

    def after(self, index: int, begun: _Begun) -> list[Hint]:
        if index == len(self._lists):
            unsatisfied = begun.named is not None and begun.named != begun.zones
            return [Hint(begun.zones, preferred=False, score=begun.score, unsatisfied=unsatisfied)]
        known = self._known.get((index, begun))
        if known is None:
            known = self._known[index, begun] = []
            for hint in self._lists[index]:
                after = self._with(begun, hint)
                if after.zones:
                    _append(known, self.after(index + 1, after))
        return known

    def _with(self, begun: _Begun, hint: Hint) -> _Begun:
        affinity = hint.affinity
        if affinity is None:
            return begun
        zones = begun.zones & affinity
        if zones.bit_count() > self._fewest:  # to be among the best it has to lose more zones, and its score with them
            return _Begun(zones, _DISAGREE, 0)
        score = (begun.score if zones == begun.zones else 0) + (hint.score if zones == affinity else 0)
        return _Begun(zones, affinity if begun.named in (None, affinity) else _DISAGREE, score)


def fewest(lists: Lists, everything: int) -> int:
    """How few zones a pick can come down to without losing all."""
    left = {everything}
    for hints in lists:
        masks = {everything if hint.affinity is None else hint.affinity for hint in hints}
        left = {zones & mask for zones in left for mask in masks} - {0}
    return min((zones.bit_count() for zones in left), default=everything.bit_count())


def _append(run: list[Hint], more: Iterable[Hint]) -> None:
    """Lengthen a run of picks by those that can make a difference, whatever stood before it."""
    for hint in more:
        while run and _beats(hint, run[-1]) and not _beats(run[-1], hint):
            run.pop()
        if run and _beats(run[-1], hint):
            continue
        for index, other in enumerate(run):
            if other.affinity == hint.affinity and other.score == hint.score:
                del run[index]
                break
        run.append(hint)


def _beats(standing: Hint, other: Hint) -> bool:
    """Whether the standing pick stays when the other comes, both preferred or both not."""
    mine, theirs = standing.affinity or 0, other.affinity or 0
    if mine.bit_count() != theirs.bit_count():
        return mine.bit_count() < theirs.bit_count()
    return mine <= theirs and standing.score >= other.score
