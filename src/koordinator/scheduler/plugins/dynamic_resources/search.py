"""Finding devices on one node for all claims of a pod: the first solution in a fixed order, by trying and going back.

Requests are served in order, each with its alternatives in order, from pools in order. Two things keep the search short:
devices of one request are chosen in ascending order, because their order among themselves does not matter; and a device that is
like one that has just failed is not tried. What is found is what trying everything would have found first. Constraints can be
such that no order helps: then the search is given up after so many steps, and says so.
"""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

from koordinator.api.dra import MOST_DEVICES
from koordinator.scheduler.plugins.dynamic_resources.asks import Ask, Refused, Request
from koordinator.scheduler.plugins.dynamic_resources.stock import Counters, DeviceId, Offer, PoolId, Stock

MOST_STEPS = 20_000
"""Devices tried on one node before it is given up."""
LEAST_STEPS = 2 * MOST_DEVICES
"""Devices tried on one node however long the search took on others."""
MOST_IN_ALL = 2 * MOST_STEPS
"""Devices tried beyond that on all nodes of a pass: the cycle waits for it, and what is hard on one is hard on most."""
NONE_LEFT = "cannot allocate all claims"


class Pick(NamedTuple):
    request: Request
    offer: Offer


class _Step(NamedTuple):
    claim: int
    choices: tuple[Request, ...]


class Patience:
    """How many devices may still be tried in one pass over many nodes."""

    def __init__(self) -> None:
        self.left = MOST_IN_ALL

    def steps(self) -> int:
        """For the next node."""
        return min(MOST_STEPS, LEAST_STEPS + self.left)

    def spent(self, steps: int) -> None:
        self.left -= max(steps - LEAST_STEPS, 0)


class Search:
    """One node, one pod."""

    def __init__(self, stock: Stock, row: int, asks: Sequence[Ask], patience: Patience | None = None) -> None:
        self._stock, self._asks = stock, asks
        self._patience = patience or Patience()
        self._most = self._patience.steps()
        self._pools = stock.pools_at(row)
        self._offers = list(stock.offers_at(row, (pool for pool in self._pools if pool.usable)))
        self._steps = [_Step(index, choices) for index, ask in enumerate(asks) for choices in ask.choices]
        self._picked: list[list[Pick]] = [[] for _ in asks]
        self._chosen: dict[DeviceId, list[int]] = {}
        self._room: dict[PoolId, Counters] = {}
        self._kinds: dict[DeviceId, Hashable] = {}
        self._tried = 0

    def run(self) -> list[list[Pick]]:
        """Per claim its devices, by request. Raises: Refused."""
        try:
            if self._serve(0):
                return self._picked
        finally:
            self._patience.spent(self._tried)
        if any(pool.invalid for pool in self._pools):
            raise Refused("invalid resource pools were encountered")
        if any(pool.incomplete for pool in self._pools):
            raise Refused(f"{NONE_LEFT}, resource pools are currently being updated")
        raise Refused(NONE_LEFT)

    def _serve(self, at: int) -> bool:
        if at == len(self._steps):
            return True
        return any(self._satisfy(at, request) for request in self._steps[at].choices)

    def _satisfy(self, at: int, request: Request) -> bool:
        if request.wanted:
            return self._choose(at, request, (0, request.wanted))
        self._complete(self._asks[self._steps[at].claim], request)
        return self._choose_all(at, request)

    def _complete(self, ask: Ask, request: Request) -> None:
        """All devices can only be told when all are known. Raises: Refused."""
        for pool in self._pools:
            if not pool.usable:
                state = "currently being updated" if pool.incomplete else "currently invalid"
                where = f"{ask.title}, request {request.name}"
                raise Refused(f"{where}: asks for all devices, but resource pool {pool.id} is {state}")

    def _choose(self, at: int, request: Request, span: tuple[int, int]) -> bool:
        """``span``: the first device to look at, and how many are missing."""
        first, missing = span
        if not missing:
            return self._serve(at + 1)
        claim = self._steps[at].claim
        failed = set[Hashable]()
        for place in range(first, len(self._offers) - missing + 1):
            offer = self._offers[place]
            if not self._free(claim, request, offer) or (failed and self._nature(offer) in failed):
                continue
            self._take(claim, request, offer)
            if self._choose(at, request, (place + 1, missing - 1)):
                return True
            self._give_back(claim, offer)
            failed.add(self._nature(offer))
        return False

    def _choose_all(self, at: int, request: Request) -> bool:
        """There is only one way to take all devices of a kind."""
        claim, taken = self._steps[at].claim, list[Offer]()
        wanted = [offer for offer in self._offers if request.accepts(offer)]
        for offer in wanted:
            if not self._free(claim, request, offer):
                break
            self._take(claim, request, offer)
            taken.append(offer)
        if wanted and len(taken) == len(wanted) and self._serve(at + 1):
            return True
        for offer in reversed(taken):
            self._give_back(claim, offer)
        return False

    # -- one device ----------------------------------------------------------------------------------------------------

    def _free(self, claim: int, request: Request, offer: Offer) -> bool:
        chosen = self._chosen.get(offer.id)
        if request.admin:
            if chosen and claim in chosen:
                return False
        elif chosen or offer.id in self._stock.users:
            return False
        if len(self._picked[claim]) >= MOST_DEVICES or not request.accepts(offer):
            return False
        return self._satisfies(claim, request, offer) and (not offer.consumes or self._enough(offer))

    def _satisfies(self, claim: int, request: Request, offer: Offer) -> bool:
        for constraint in self._asks[claim].constraints:
            if not constraint.concerns(request):
                continue
            value = constraint.value(offer)
            if value is None:
                return False
            held = [constraint.value(pick.offer) for pick in self._picked[claim] if constraint.concerns(pick.request)]
            if value in held if constraint.distinct else held and value != held[0]:
                return False
        return True

    def _enough(self, offer: Offer) -> bool:
        room = self._room.get(offer.pool)
        if room is None:
            room = self._room[offer.pool] = self._stock.room(offer.pool)
        return all(room.get(counter, 0) >= amount for counter, amount in offer.consumes.items())

    def _take(self, claim: int, request: Request, offer: Offer) -> None:
        """Raises: Refused when the search has taken too long."""
        self._tried += 1
        if self._tried > self._most:
            raise Refused("timed out trying to allocate devices")
        self._picked[claim].append(Pick(request, offer))
        self._chosen.setdefault(offer.id, []).append(claim)
        self._consume(offer, 1)

    def _give_back(self, claim: int, offer: Offer) -> None:
        self._picked[claim].pop()
        self._chosen[offer.id].remove(claim)
        self._consume(offer, -1)

    def _consume(self, offer: Offer, sign: int) -> None:
        for counter, amount in offer.consumes.items():
            room = self._room[offer.pool]
            room[counter] = room.get(counter, 0) - sign * amount

    def _nature(self, offer: Offer) -> Hashable:
        """Equal for devices that no request and no constraint of this pod can tell apart."""
        kind = self._kinds.get(offer.id)
        if kind is None:
            kind = self._kinds[offer.id] = self._kind(offer)
        return kind, offer.id in self._stock.users, tuple(self._chosen.get(offer.id, ()))

    def _kind(self, offer: Offer) -> Hashable:
        fits = tuple(_fits(request, offer) for step in self._steps for request in step.choices)
        values = tuple(constraint.value(offer) for ask in self._asks for constraint in ask.constraints)
        return fits, values, (offer.pool, tuple(sorted(offer.consumes.items()))) if offer.consumes else ()


def _fits(request: Request, offer: Offer) -> bool | str:
    try:
        return request.accepts(offer)
    except Refused as why:
        return str(why)
