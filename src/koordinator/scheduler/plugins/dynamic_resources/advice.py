"""What people ask about devices: what would have to change for a node to take a pod, and who has what on a node."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from koordinator.api.dra import ResourceClaim
from koordinator.scheduler.engine.remedy import LISTED, Remedy, count, pods_named
from koordinator.scheduler.plugins.dynamic_resources.asks import Ask, Constraint, Refused, Request
from koordinator.scheduler.plugins.dynamic_resources.stock import Offer, Stock

_OTHERS = 2.0


def remedies(stock: Stock, row: int, asks: Sequence[Ask]) -> list[Remedy]:
    """One for every request that lacks devices; of requests with alternatives, for the first of these."""
    node = stock.columns.names[row]
    offers = list(stock.offers_at(row, (pool for pool in stock.pools_at(row) if pool.usable)))
    try:
        found = [_lacking(stock, node, _Wish(ask, choices[0]), offers) for ask in asks for choices in ask.choices if choices]
    except Refused:  # a broken selector: the reason says it all
        return []
    lacking = [one for one in found if one is not None]
    return lacking or [_loosen(ask) for ask in asks if ask.constraints]


class _Wish(NamedTuple):
    ask: Ask
    request: Request

    @property
    def alike(self) -> list[Constraint]:
        """What all its devices must have in common."""
        return [one for one in self.ask.constraints if not one.distinct and one.concerns(self.request)]


def _lacking(stock: Stock, node: str, wish: _Wish, offers: Iterable[Offer]) -> Remedy | None:
    request = wish.request
    right = _best_group(stock, wish, [offer for offer in offers if request.accepts(offer)])
    if right is None:
        return None
    free = _free(stock, request, right)
    wanted = request.wanted or max(len(right), 1)
    missing = wanted - len(free)
    if missing <= 0:
        return None
    have = f"{len(free)} of {len(right)} free, {wanted} wanted"
    common = ", ".join(one.attribute for one in wish.alike)
    what = f"{count(missing, 'device')} of class {request.class_.name}"
    same = f" with the same {common}" if common else ""
    if len(right) < wanted:
        return Remedy("node", f"{what} more on {node}{same}", _OTHERS * missing, have)
    held = {uid for offer in right for uid in stock.users.get(offer.id, ())}
    pods = [pod for claim in _claims(stock, held) for pod in _pods(claim)]
    by = f" (held by {pods_named(pods)})" if pods else ""
    return Remedy("other", f"free {what} on {node}{same}{by}", _OTHERS * missing, have, tuple(pods[:LISTED]))


def _best_group(stock: Stock, wish: _Wish, right: Sequence[Offer]) -> Sequence[Offer] | None:
    """The devices with as much in common as is asked for, of which the most are free; None when there are no such."""
    alike, request = wish.alike, wish.request
    if not alike or not right:
        return right
    groups: dict[tuple[object, ...], list[Offer]] = {}
    for offer in right:
        if None not in (values := tuple(one.value(offer) for one in alike)):
            groups.setdefault(values, []).append(offer)
    return max(groups.values(), key=lambda group: (len(_free(stock, request, group)), len(group)), default=None)


def _free(stock: Stock, request: Request, offers: Iterable[Offer]) -> list[Offer]:
    return [offer for offer in offers if request.admin or offer.id not in stock.users]


def _loosen(ask: Ask) -> Remedy:
    attributes = ", ".join(sorted({one.attribute for one in ask.constraints}))
    return Remedy("other", f"loosen the constraint of {ask.title} on {attributes}, or free devices that satisfy it")


def _claims(stock: Stock, uids: Iterable[str]) -> Iterator[ResourceClaim]:
    wanted = set(uids)
    return (claim for _, claim in sorted(stock.claims.items.items()) if claim.metadata.uid in wanted)


def _pods(claim: ResourceClaim) -> list[str]:
    return [f"{claim.namespace}/{one.name}" for one in claim.status.reserved_for or ()]


def on_node(stock: Stock, node: str) -> list[dict[str, Any]]:
    """The pools that a node reaches, device by device. Raises: LookupError."""
    row = stock.columns.row_of.get(node)
    if row is None:
        raise LookupError(f"node {node} is not known")
    names = {claim.metadata.uid: claim.key for claim in stock.claims.items.values()}
    answer = []
    for pool in stock.pools_at(row):
        devices = [
            {"name": offer.id.device, "claims": [names.get(uid, uid) for uid in sorted(stock.users.get(offer.id, ()))]}
            for offer in stock.offers_at(row, [pool])
        ]
        state = "incomplete" if pool.incomplete else pool.invalid or "complete"
        answer.append({"driver": pool.id.driver, "pool": pool.id.pool, "state": state, "devices": devices})
    return answer
