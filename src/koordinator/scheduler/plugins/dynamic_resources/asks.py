"""What claims ask for, read once per form of claim: requests with their classes, compiled selectors, constraints."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from koordinator.api.core import Toleration
from koordinator.api.dra import (
    EXACT_COUNT,
    MOST_DEVICES,
    POD_CLAIM_NAME,
    DeviceClass,
    DeviceConstraint,
    DeviceRequest,
    DeviceSelector,
    DeviceSubRequest,
    ResourceClaim,
)
from koordinator.api.taints import tolerates
from koordinator.kube.semantics.devicecel import Selector, SelectorError, compile_
from koordinator.scheduler.plugins.dynamic_resources.stock import Offer

_NO_SCHEDULING = ("NoSchedule", "NoExecute")

Classes = Callable[[str], DeviceClass | None]


class Refused(ValueError):
    """Why claims cannot be satisfied, on one node or on any."""


class Test(msgspec.Struct, frozen=True):
    """A compiled selector, and who says so."""

    who: str
    place: int
    selector: Selector

    def __call__(self, offer: Offer) -> bool:
        """Raises: Refused."""
        try:
            return self.selector.matches(offer.id.driver, offer.device)
        except SelectorError as err:
            where = f"{self.who}: selector #{self.place}"
            raise Refused(f"{where}: CEL runtime error: {err} (in {self.selector.source!r})") from None


class Request(NamedTuple):
    """One way to satisfy a request. ``name`` is ``request`` or ``request/subrequest``; ``wanted`` devices, 0: all."""

    name: str
    base: str
    wanted: int
    admin: bool
    tests: tuple[Test, ...]
    tolerations: tuple[Toleration, ...]
    class_: DeviceClass

    @property
    def expressions(self) -> tuple[str, ...]:
        return tuple(test.selector.source for test in self.tests)

    def accepts(self, offer: Offer) -> bool:
        """Whether the device is of the kind that is asked for, whoever has it. Raises: Refused."""
        if offer.device.binding_conditions:  # needs a driver's word after the decision, which nobody waits for here
            return False
        key = self.expressions
        known = offer.notes.get(key)
        if known is None:
            known = offer.notes[key] = all(test(offer) for test in self.tests)
        return known and self._tolerates(offer)

    def _tolerates(self, offer: Offer) -> bool:
        for taint in offer.device.taints or ():
            if taint.effect in _NO_SCHEDULING and not any(
                tolerates(one, (taint.key, taint.value or "", taint.effect)) for one in self.tolerations
            ):
                return False
        return True


class Constraint(NamedTuple):
    """All devices (of these requests) have the same value of an attribute, or all have different ones."""

    attribute: str
    distinct: bool
    requests: frozenset[str]

    def concerns(self, request: Request) -> bool:
        return not self.requests or request.name in self.requests or request.base in self.requests

    def value(self, offer: Offer) -> object:
        """The attribute's type and value; None when the device has it not."""
        held = offer.device.attributes or {}
        found = held.get(self.attribute)
        if found is None:
            domain, _, name = self.attribute.partition("/")
            found = held.get(name) if domain == offer.id.driver else None
        return found.value if found is not None else None


class Ask(NamedTuple):
    """One claim: per request its alternatives, best first; and constraints. ``title`` is how messages call it."""

    title: str
    choices: tuple[tuple[Request, ...], ...]
    constraints: tuple[Constraint, ...]


def title(claim: ResourceClaim) -> str:
    """The same for claims that were made for pods of one template: these share what is known of them, messages included."""
    entry = claim.annotations.get(POD_CLAIM_NAME)
    return f"claim {claim.key}" if entry is None else f'claim "{entry}" of the pod'


def read(claim: ResourceClaim, classes: Classes) -> Ask:
    """Raises: Refused, saying what is wrong with the claim or its classes."""
    reader = _Reader(claim, classes)
    devices = claim.spec.devices
    choices = tuple(reader.choices(request) for request in devices.requests or ())
    constraints = tuple(reader.constraint(place, one) for place, one in enumerate(devices.constraints or ()))
    least = sum(min(one.wanted or 1 for one in options) for options in choices)
    if least > MOST_DEVICES:
        raise Refused(f"{title(claim)}: number of requested devices {least} exceeds the claim limit of {MOST_DEVICES}")
    return Ask(title(claim), choices, constraints)


class _Reader:
    def __init__(self, claim: ResourceClaim, classes: Classes) -> None:
        self._title, self._classes = title(claim), classes

    def choices(self, request: DeviceRequest) -> tuple[Request, ...]:
        if request.first_available:
            return tuple(self._request(sub, request.name, f"{request.name}/{sub.name}") for sub in request.first_available)
        if request.exactly is None:
            raise Refused(f"request {request.name}: unsupported request type")
        return (self._request(request.exactly, request.name, request.name, admin=bool(request.exactly.admin_access)),)

    def _request(self, wanted: DeviceSubRequest, base: str, name: str, *, admin: bool = False) -> Request:
        if not wanted.device_class_name:
            raise Refused(f"request {name}: unsupported request type")
        class_ = self._classes(wanted.device_class_name)
        if class_ is None:
            raise Refused(f"request {name}: device class {wanted.device_class_name} does not exist")
        if wanted.capacity:
            raise Refused(f"{self._title}, request {name}: capacity is set, this scheduler gives away whole devices only")
        tests = [*self._tests(f"class {class_.name}", class_.spec.selectors), *self._tests(f"{self._title}", wanted.selectors)]
        tolerations = tuple(wanted.tolerations or ())
        return Request(name, base, self._count(wanted, name), admin, tuple(tests), tolerations, class_)

    def _count(self, wanted: DeviceSubRequest, name: str) -> int:
        match wanted.allocation_mode or EXACT_COUNT:
            case "ExactCount":
                count = 1 if wanted.count is None else wanted.count
                if count < 1:
                    raise Refused(f"{self._title}, request {name}: count must be greater than zero, not {count}")
                return count
            case "All":
                return 0
            case mode:
                raise Refused(f"{self._title}, request {name}: unsupported count mode {mode}")

    def _tests(self, who: str, selectors: Sequence[DeviceSelector] | None) -> list[Test]:
        found = []
        for place, one in enumerate(selectors or ()):
            if one.cel is None:
                raise Refused(f"{who}: selector #{place}: CEL expression empty (unsupported selector type?)")
            selector = compile_(one.cel.expression)
            if isinstance(selector, SelectorError):
                raise Refused(f"{who}: selector #{place}: CEL compile error: {selector} (in {one.cel.expression!r})")
            found.append(Test(who, place, selector))
        return found

    def constraint(self, place: int, one: DeviceConstraint) -> Constraint:
        requests = frozenset(one.requests or ())
        if one.match_attribute:
            return Constraint(one.match_attribute, False, requests)
        if one.distinct_attribute:
            return Constraint(one.distinct_attribute, True, requests)
        raise Refused(f"{self._title}, constraint #{place}: empty constraint (unsupported constraint type?)")
