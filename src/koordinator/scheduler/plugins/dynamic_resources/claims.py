"""From a pod to its claims, and whether they are in a state in which the pod could be placed at all."""

from collections.abc import Iterator
from typing import NamedTuple

from koordinator.api.core import Pod, PodResourceClaim
from koordinator.api.dra import MOST_CONSUMERS, ResourceClaim
from koordinator.scheduler.plugins.dynamic_resources.asks import Refused
from koordinator.scheduler.plugins.dynamic_resources.stock import Stock


class Claims(NamedTuple):
    """A pod's claims: those that have devices, and those that want some."""

    allocated: list[ResourceClaim]
    waiting: list[ResourceClaim]

    def __bool__(self) -> bool:
        return bool(self.allocated or self.waiting)


class _Named(NamedTuple):
    name: str
    own: bool
    """It must have been made for this very pod."""


def names_of(pod: Pod) -> Iterator[_Named]:
    """The claims of a pod by name. Raises: Refused."""
    made = {one.name: one.resource_claim_name for one in pod.status.resource_claim_statuses or ()}
    for entry in pod.spec.resource_claims or ():
        found = _name(pod, entry, made)
        if found is not None:
            yield found


def _name(pod: Pod, entry: PodResourceClaim, made: dict[str, str | None]) -> _Named | None:
    if entry.resource_claim_name:
        return _Named(entry.resource_claim_name, own=False)
    if not entry.resource_claim_template_name:
        raise Refused(f'pod "{pod.key}", spec.resourceClaim "{entry.name}": none of the supported fields are set')
    if entry.name not in made:
        raise Refused(f'pod "{pod.key}": ResourceClaim not created yet')
    name = made[entry.name]
    return _Named(name, own=True) if name else None


def existing(pod: Pod, stock: Stock) -> Iterator[ResourceClaim]:
    """The pod's claims. Raises: Refused when one is missing, on its way out or somebody else's."""
    for name, own in names_of(pod):
        claim = stock.claims.get(f"{pod.namespace}/{name}")
        if claim is None:
            raise Refused(f'resourceclaim "{name}" not found')
        if claim.metadata.deletion_timestamp is not None:
            raise Refused(f'resourceclaim "{name}" is being deleted')
        owner = claim.owner
        if own and (owner is None or owner.uid != pod.metadata.uid):
            raise Refused(f"ResourceClaim {claim.key} was not created for Pod {pod.key} (Pod is not owner)")
        yield claim


def claims_of(pod: Pod, stock: Stock) -> Claims:
    """Raises: Refused."""
    claims = Claims([], [])
    for claim in existing(pod, stock):
        if claim.status.allocation is not None:
            if len(claim.status.reserved_for or ()) >= MOST_CONSUMERS and not claim.reserved_by(pod.metadata.uid):
                raise Refused("resourceclaim in use")
            claims.allocated.append(claim)
            continue
        if claim.metadata.uid in stock.promised:
            raise Refused(f"resource claim {claim.key} is in the process of being allocated")
        claims.waiting.append(claim)
    return claims
