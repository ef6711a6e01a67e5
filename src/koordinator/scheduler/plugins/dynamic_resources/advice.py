"""What people ask about devices: what would have to change for a node to take a pod, and who has what on a node."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from koordinator.api.dra import ResourceClaim
from koordinator.scheduler.engine.remedy import LISTED, Remedy, count, pods_named
from koordinator.scheduler.plugins.dynamic_resources.asks import Ask, Refused, Request
from koordinator.scheduler.plugins.dynamic_resources.stock import Offer, Stock

_OTHERS = 2.0


def remedies(stock: Stock, row: int, asks: Sequence[Ask]) -> list[Remedy]:
    """One for every request that lacks devices; of requests with alternatives, for the first of these."""
    node = stock.columns.names[row]
    offers = list(stock.offers_at(row, (pool for pool in stock.pools_at(row) if pool.usable)))
    try:
        found = [_lacking(stock, node, offers, choices[0]) for ask in asks for choices in ask.choices if choices]
    except Refused:  # a broken selector: the reason says it all
        return []
    lacking = [one for one in found if one is not None]
    return lacking or [_loosen(ask) for ask in asks if ask.constraints]


def _lacking(stock: Stock, node: str, offers: Iterable[Offer], request: Request) -> Remedy | None:
    right = [offer for offer in offers if request.accepts(offer)]
    free = [offer for offer in right if request.admin or offer.id not in stock.users]
    wanted = request.wanted or max(len(right), 1)
    missing = wanted - len(free)
    if missing <= 0:
        return None
    have = f"{len(free)} of {len(right)} free, {wanted} wanted"
    what = f"{count(missing, 'device')} of class {request.class_.name}"
    if len(right) < wanted:
        return Remedy("node", f"{what} more on {node}", _OTHERS * missing, have)
    held = {uid for offer in right for uid in stock.users.get(offer.id, ())}
    pods = [pod for claim in _claims(stock, held) for pod in _pods(claim)]
    by = f" (held by {pods_named(pods)})" if pods else ""
    return Remedy("other", f"free {what} on {node}{by}", _OTHERS * missing, have, tuple(pods[:LISTED]))


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
