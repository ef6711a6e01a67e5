"""What is written into a claim's status for the devices that were found."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from koordinator.api.core import NodeSelector, NodeSelectorRequirement, NodeSelectorTerm
from koordinator.api.dra import ResourceClaim
from koordinator.scheduler.plugins.dynamic_resources.search import Pick
from koordinator.scheduler.plugins.selectors import NAME_FIELD

Json = dict[str, Any]


def allocation(claim: ResourceClaim, picks: Sequence[Pick], node: str) -> Json:
    """``status.allocation``."""
    devices: Json = {"results": [_result(pick) for pick in picks]}
    if config := [*_of_classes(picks), *_of_claim(claim, picks)]:
        devices["config"] = config
    found: Json = {"devices": devices}
    if (selector := _reach(picks, node)) is not None:
        found["nodeSelector"] = msgspec.to_builtins(selector)
    return found


def _result(pick: Pick) -> Json:
    request, offer = pick
    found: Json = {"request": request.name, "driver": offer.id.driver, "pool": offer.id.pool, "device": offer.id.device}
    if request.admin:
        found["adminAccess"] = True
    if request.tolerations:
        found["tolerations"] = msgspec.to_builtins(list(request.tolerations))
    return found


def _of_classes(picks: Iterable[Pick]) -> list[Json]:
    """Each class says once what its driver shall know, for all requests of that class."""
    requests: dict[str, list[str]] = {}
    classes = {}
    for request, _ in picks:
        names = requests.setdefault(request.class_.name, [])
        classes[request.class_.name] = request.class_
        if request.name not in names:
            names.append(request.name)
    return [
        {"source": "FromClass", "requests": list(names), "opaque": one.opaque}
        for name, names in requests.items()
        for one in classes[name].spec.config or ()
    ]


def _of_claim(claim: ResourceClaim, picks: Iterable[Pick]) -> list[Json]:
    """What the claim wants its drivers to know, as far as it is about requests (and alternatives) that were served."""
    served = {name for request, _ in picks for name in (request.base, request.name)}
    return [
        {"source": "FromClaim", "requests": one.requests or [], "opaque": one.opaque}
        for one in claim.spec.devices.config or ()
        if not one.requests or served & set(one.requests)
    ]


def _reach(picks: Sequence[Pick], node: str) -> NodeSelector | None:
    """Which nodes can use all the devices; None for all. One device of a node ties the claim to it."""
    if any(offer.node for _, offer in picks):
        name = NodeSelectorRequirement(key=NAME_FIELD, operator="In", values=[node])
        return NodeSelector(node_selector_terms=[NodeSelectorTerm(match_fields=[name])])
    selectors = [offer.selector for _, offer in picks if offer.selector is not None]
    if not selectors:
        return None
    if len({msgspec.json.encode(one) for one in selectors}) == 1:
        return selectors[0]
    terms = [term for one in selectors for term in one.node_selector_terms]  # of each there is exactly one
    expressions = [one for term in terms for one in term.match_expressions or ()]
    fields = [one for term in terms for one in term.match_fields or ()]
    return NodeSelector(node_selector_terms=[NodeSelectorTerm(match_expressions=expressions, match_fields=fields or None)])
