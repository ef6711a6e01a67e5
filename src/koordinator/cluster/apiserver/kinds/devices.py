"""Dynamic resource allocation: claims, their templates, classes of devices, and the slices that drivers publish."""

from collections.abc import Iterator
from typing import Any

from koordinator.api import dra
from koordinator.api.meta import Object
from koordinator.cluster.apiserver.kinds import columns
from koordinator.cluster.apiserver.kinds.base import Json, Rules
from koordinator.cluster.apiserver.refusals import (
    FieldError,
    duplicate,
    forbidden_field,
    required,
    unsupported,
    wrong,
)
from koordinator.kube.semantics import fields
from koordinator.kube.semantics.devicecel import SelectorError, compile_

_MODES = (dra.ALL_DEVICES, dra.EXACT_COUNT)
_IMMUTABLE = "field is immutable"
_PLACES = ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection")


class ClaimRules(Rules):
    model: type[Object] = dra.ResourceClaim
    columns = columns.RESOURCE_CLAIMS
    has_status = True

    def default(self, obj: Json) -> None:
        _fill(obj.setdefault("spec", {}))
        obj.setdefault("status", {})

    def validate(self, obj: Json) -> Iterator[FieldError]:
        yield from _claim_errors(obj["spec"], "spec")
        yield from _status_errors(obj["status"])

    def validate_update(self, obj: Json, old: Json) -> Iterator[FieldError]:
        if obj["spec"] != old["spec"]:
            yield wrong("spec", obj["spec"], _IMMUTABLE)
        before, after = old["status"].get("allocation"), obj["status"].get("allocation")
        if before and after and before != after:
            yield wrong("status.allocation", after, _IMMUTABLE)


class ClaimTemplateRules(Rules):
    model = dra.ResourceClaimTemplate
    columns = columns.AGE_ONLY

    def default(self, obj: Json) -> None:
        _fill(obj.setdefault("spec", {}).setdefault("spec", {}))

    def validate(self, obj: Json) -> Iterator[FieldError]:
        yield from _claim_errors(obj["spec"]["spec"], "spec.spec")

    def validate_update(self, obj: Json, old: Json) -> Iterator[FieldError]:
        if obj["spec"] != old["spec"]:
            yield wrong("spec", obj["spec"], _IMMUTABLE)


class DeviceClassRules(Rules):
    model = dra.DeviceClass
    columns = columns.AGE_ONLY
    generation = True

    def default(self, obj: Json) -> None:
        obj.setdefault("spec", {})

    def validate(self, obj: Json) -> Iterator[FieldError]:
        yield from _selector_errors(obj["spec"], "spec")


class ResourceSliceRules(Rules):
    model = dra.ResourceSlice
    columns = columns.RESOURCE_SLICES
    generation = True
    fields = fields.RESOURCE_SLICES.names

    def index(self, obj: Json) -> dict[str, str]:
        return fields.RESOURCE_SLICES.read(obj)

    def default(self, obj: Json) -> None:
        obj.setdefault("spec", {})

    def validate(self, obj: Json) -> Iterator[FieldError]:
        spec = obj["spec"]
        for name, value in (("driver", spec.get("driver")), ("pool.name", (spec.get("pool") or {}).get("name"))):
            if not value:
                yield required(f"spec.{name}")
        if (spec.get("pool") or {}).get("resourceSliceCount", 0) < 1:
            count = (spec.get("pool") or {}).get("resourceSliceCount", 0)
            yield wrong("spec.pool.resourceSliceCount", count, "must be greater than zero")
        if sum(bool(spec.get(name)) for name in _PLACES) != 1:
            yield wrong("spec", {}, f"exactly one of {', '.join(_PLACES)} is required")
        seen = set[Any]()
        for place, device in enumerate(spec.get("devices") or ()):
            name = device.get("name")
            if not name:
                yield required(f"spec.devices[{place}].name")
            elif name in seen:
                yield duplicate(f"spec.devices[{place}].name", name)
            seen.add(name)

    def validate_update(self, obj: Json, old: Json) -> Iterator[FieldError]:
        for name in ("driver", "nodeName"):
            if obj["spec"].get(name) != old["spec"].get(name):
                yield wrong(f"spec.{name}", obj["spec"].get(name), _IMMUTABLE)
        before, after = ((one["spec"].get("pool") or {}).get("name") for one in (old, obj))
        if before != after:
            yield wrong("spec.pool.name", after, _IMMUTABLE)


# --- claims ------------------------------------------------------------------------------------------------------------------


def _fill(spec: Json) -> None:
    """Defaults of all requests."""
    for request in spec.setdefault("devices", {}).get("requests") or ():
        exact = [request["exactly"]] if request.get("exactly") else []
        for one in (*exact, *(request.get("firstAvailable") or ())):
            one.setdefault("allocationMode", dra.EXACT_COUNT)
            if one["allocationMode"] == dra.EXACT_COUNT:
                one.setdefault("count", 1)
            for toleration in one.get("tolerations") or ():
                toleration.setdefault("operator", "Equal")


def _claim_errors(spec: Json, path: str) -> Iterator[FieldError]:
    seen = set[Any]()
    for place, request in enumerate(spec["devices"].get("requests") or ()):
        where, name = f"{path}.devices.requests[{place}]", request.get("name")
        if not name:
            yield required(f"{where}.name")
        elif name in seen:
            yield duplicate(f"{where}.name", name)
        seen.add(name)
        yield from _request_errors(request, where)
    for place, constraint in enumerate(spec["devices"].get("constraints") or ()):
        yield from _constraint_errors(constraint, f"{path}.devices.constraints[{place}]", seen)


def _request_errors(request: Json, path: str) -> Iterator[FieldError]:
    exact, alternatives = request.get("exactly"), request.get("firstAvailable")
    if bool(exact) == bool(alternatives):
        yield wrong(path, {}, "exactly one of `exactly` or `firstAvailable` is required")
    if exact:
        yield from _kind_errors(exact, f"{path}.exactly")
    for place, one in enumerate(alternatives or ()):
        where = f"{path}.firstAvailable[{place}]"
        if not one.get("name"):
            yield required(f"{where}.name")
        yield from _kind_errors(one, where)


def _kind_errors(wanted: Json, path: str) -> Iterator[FieldError]:
    """What an exact request and an alternative have in common."""
    if not wanted.get("deviceClassName"):
        yield required(f"{path}.deviceClassName")
    mode, count = wanted.get("allocationMode"), wanted.get("count", 0)
    if mode not in _MODES:
        yield unsupported(f"{path}.allocationMode", mode or "", _MODES)
    elif mode == dra.EXACT_COUNT and count < 1:
        yield wrong(f"{path}.count", count, "must be greater than zero")
    elif mode == dra.ALL_DEVICES and count:
        yield wrong(f"{path}.count", count, "must not be specified when allocationMode is 'All'")
    yield from _selector_errors(wanted, path)


def _selector_errors(holder: Json, path: str) -> Iterator[FieldError]:
    for place, selector in enumerate(holder.get("selectors") or ()):
        where, text = f"{path}.selectors[{place}].cel", (selector.get("cel") or {}).get("expression")
        if not text:
            yield required(f"{where}.expression" if "cel" in selector else where)
        elif isinstance(problem := compile_(text), SelectorError):
            yield wrong(f"{where}.expression", text, str(problem))


def _constraint_errors(constraint: Json, path: str, names: set[Any]) -> Iterator[FieldError]:
    kinds = [constraint.get("matchAttribute"), constraint.get("distinctAttribute")]
    if sum(bool(one) for one in kinds) != 1:
        yield required(f"{path}.matchAttribute")
    for field, value in zip(("matchAttribute", "distinctAttribute"), kinds, strict=True):
        if value and "/" not in value:
            yield wrong(f"{path}.{field}", value, "must include a domain")
    for place, name in enumerate(constraint.get("requests") or ()):
        if name.partition("/")[0] not in names:
            yield wrong(f"{path}.requests[{place}]", name, "must be the name of a request in the claim")


def _status_errors(status: Json) -> Iterator[FieldError]:
    users = status.get("reservedFor") or []
    if users and not status.get("allocation"):
        yield forbidden_field("status.reservedFor", "may not be specified when `allocated` is not set")
    if len(users) > dra.MOST_CONSUMERS:
        yield wrong("status.reservedFor", len(users), f"must have at most {dra.MOST_CONSUMERS} items")
    seen = set[Any]()
    for place, user in enumerate(users):
        if user.get("uid") in seen:
            yield duplicate(f"status.reservedFor[{place}].uid", user.get("uid"))
        seen.add(user.get("uid"))
