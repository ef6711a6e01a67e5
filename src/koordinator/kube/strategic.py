"""Strategic merge patch, the dialect of ``kubectl apply`` and ``kubectl patch`` for Kubernetes' own kinds.

A merge patch that knows lists: some are maps in disguise (containers by name), some are sets (finalizers), the rest are
replaced whole. Directives in the patch do what values cannot: ``$patch: delete|replace``, ``$retainKeys``,
``$setElementOrder/<list>``, ``$deleteFromPrimitiveList/<list>``.

The rules are those of the API server, its order of merged lists included (a test compares with kubectl). Differences: two
ports of one number and different protocols stay two ports, where the Go server merges them into one; elements that only the
server knows keep the documented order even if the same patch deletes others, where the Go server's depends on slice capacity.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from koordinator.kube.errors import ApiError

Json = dict[str, Any]

PATCH = "$patch"
RETAIN = "$retainKeys"
ORDER = "$setElementOrder/"
REMOVE = "$deleteFromPrimitiveList/"

MERGE_KEYS: Mapping[str, tuple[str, ...]] = {
    # pod specs
    "containers": ("name",),
    "initContainers": ("name",),
    "ephemeralContainers": ("name",),
    "volumes": ("name",),
    "env": ("name",),
    "ports": ("containerPort", "port"),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "imagePullSecrets": ("name",),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey",),
    "resourceClaims": ("name",),
    "schedulingGates": ("name",),
    # status
    "conditions": ("type",),
    "addresses": ("type",),
    "podIPs": ("ip",),
    "hostIPs": ("ip",),
    "resourceClaimStatuses": ("name",),
    # the rest
    "ownerReferences": ("uid",),
    "webhooks": ("name",),
    "matchConditions": ("name",),
    "secrets": ("name",),
    "drivers": ("name",),
}
"""List field → the field that identifies an element (the first that the elements have)."""

SETS = frozenset({"finalizers", "podCIDRs"})
"""Lists of scalars that are merged as sets."""


def strategic_merge(original: Mapping[str, Any], patch: Mapping[str, Any]) -> Json:
    """``original`` with ``patch`` applied. Neither is changed; untouched parts are shared. Raises: ApiError 400."""
    try:
        return _merge(original, patch)
    except TypeError as err:  # a list or map where a name must stand
        raise _bad(str(err)) from None


def _merge(original: Mapping[str, Any], patch: Mapping[str, Any]) -> Json:
    match patch.get(PATCH):
        case None | "merge":
            pass
        case "replace":
            return {key: value for key, value in patch.items() if key != PATCH}
        case "delete":
            return {}
        case other:
            raise _bad(f"unknown $patch directive {other!r}")
    result = _retained(original, patch)
    for key, value in patch.items():
        if key.startswith("$"):
            continue
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(key, result.get(key), value)
    for key, value in patch.items():
        if key.startswith(REMOVE):
            _remove(result, key.removeprefix(REMOVE), value)
    for key, value in patch.items():
        if key.startswith(ORDER):
            _reorder(original, result, key.removeprefix(ORDER), value)
    return result


def _retained(original: Mapping[str, Any], patch: Mapping[str, Any]) -> Json:
    """A copy of ``original``, without what ``$retainKeys`` does not list."""
    keep = patch.get(RETAIN)
    if keep is None:
        return dict(original)
    if not isinstance(keep, list):
        raise _bad("$retainKeys must be a list")
    if stray := [key for key in patch if not key.startswith("$") and key not in keep]:
        raise _bad(f"$retainKeys must list every field of the patch; {stray[0]!r} is missing")
    return {key: value for key, value in original.items() if key in keep}


def _merged(field: str, old: Any, new: Any) -> Any:
    if isinstance(new, dict):
        return _merge(old if isinstance(old, dict) else {}, new)
    if isinstance(new, list):
        return _merged_list(field, old if isinstance(old, list) else [], new)
    return new


def _merged_list(field: str, old: list[Any], new: list[Any]) -> list[Any]:
    if field in SETS:
        return _in_order(list(dict.fromkeys([*old, *new])), list(dict.fromkeys(new)), old, _itself)
    if field not in MERGE_KEYS or not all(isinstance(item, dict) for item in [*old, *new]):
        return new
    if any(item.get(PATCH) == "replace" and len(item) == 1 for item in new):
        return [item for item in new if PATCH not in item]
    key = _key_of(field, [*new, *old])
    if key is None:
        return new
    return _merged_by_key(field, key, old, new)


def _key_of(field: str, items: Iterable[Json]) -> str | None:
    """The merge key that the elements use; None if the list is empty. Raises: ApiError if an element has none."""
    key = None
    for item in items:
        key = key or next((candidate for candidate in MERGE_KEYS[field] if candidate in item), None)
        if key is None or key not in item:
            raise _bad(f"an element of {field} has no {' or '.join(MERGE_KEYS[field])}: {item}")
    return key


def _merged_by_key(field: str, key: str, old: list[Json], new: list[Json]) -> list[Json]:
    merged = list(old)
    for item in new:
        if item.get(PATCH) == "delete":
            merged = [present for present in merged if not _deletes(item, present, key)]
    touched: list[Json] = []
    wanted = [item for item in new if item.get(PATCH) != "delete"]
    for item in wanted:
        at = _find(merged, item, key, wanted)
        result = _merge(merged[at] if at is not None else {}, item)
        if at is None:
            merged.append(result)
        else:
            merged[at] = result
        touched.append(result)
    return _in_order(merged, _unique(touched, _identity(key)), old, _identity(key))


def _deletes(item: Json, present: Json, key: str) -> bool:
    same_protocol = "protocol" not in item or key not in MERGE_KEYS["ports"] or _protocol(item) == _protocol(present)
    return present.get(key) == item[key] and same_protocol


def _find(items: Sequence[Json], wanted: Json, key: str, patch: Sequence[Json]) -> int | None:
    """Where the element that ``wanted`` patches is. A port is found by its protocol too, if others share its number."""
    same = [index for index, item in enumerate(items) if item.get(key) == wanted[key]]
    if not same or key not in MERGE_KEYS["ports"] or "protocol" not in wanted:
        return same[0] if same else None
    exact = [index for index in same if _protocol(items[index]) == _protocol(wanted)]
    if exact:
        return exact[0]
    spoken_for = {_protocol(item) for item in patch if item.get(key) == wanted[key]}
    return next((index for index in same if _protocol(items[index]) not in spoken_for), None)


def _protocol(port: Json) -> str:
    return str(port.get("protocol") or "TCP")


def _identity(key: str) -> Any:
    """What makes an element of a keyed list itself."""
    if key in MERGE_KEYS["ports"]:
        return lambda item: (item.get(key), _protocol(item))
    return lambda item: item.get(key)


def _itself(item: Any) -> Any:
    return item


def _unique(items: Iterable[Any], identity: Any) -> list[Any]:
    return list({identity(item): item for item in items}.values())


def _in_order(merged: list[Any], wanted: Sequence[Any], original: Sequence[Any], identity: Any) -> list[Any]:
    """``merged`` with the ``wanted`` elements in the patch's order; the others keep their place relative to the original.

    An element that the server alone knows comes before the next wanted one only if it did so in the original list.
    """
    names = dict.fromkeys(identity(item) for item in wanted)
    by_name = {identity(item): item for item in merged}
    place = {identity(item): index for index, item in enumerate(original)}
    right = [by_name[name] for name in names if name in by_name]
    left = [item for item in merged if identity(item) not in names]
    result: list[Any] = []
    for item in right:
        here = place.get(identity(item))
        while left and here is not None and place.get(identity(left[0]), here) < here:
            result.append(left.pop(0))
        result.append(item)
    return result + left


def _remove(result: Json, field: str, values: Any) -> None:
    if not isinstance(values, list):
        raise _bad(f"{REMOVE}{field} must be a list")
    if isinstance(present := result.get(field), list):
        result[field] = [item for item in present if item not in values]


def _reorder(original: Mapping[str, Any], result: Json, field: str, order: Any) -> None:
    """Put a merged list into the order that the patch asks for."""
    if not isinstance(order, list):
        raise _bad(f"{ORDER}{field} must be a list")
    merged = result.get(field)
    if not isinstance(merged, list) or not merged or not order:
        return
    before = original.get(field)
    before = before if isinstance(before, list) else []
    if field in MERGE_KEYS and all(isinstance(item, dict) for item in [*merged, *order]):
        key = _key_of(field, [*order, *merged])
        result[field] = _in_key_order(merged, order, before, str(key))
    else:
        result[field] = _in_order(merged, order, before, _itself)


def _in_key_order(merged: list[Json], order: Sequence[Json], before: Sequence[Json], key: str) -> list[Json]:
    """As ``_in_order``; the order names elements by their key alone, so several ports of a number stand together."""
    wanted: list[Json] = []
    for name in order:
        wanted += [item for item in merged if item.get(key) == name[key] and item not in wanted]
    return _in_order(merged, wanted, before, _identity(key))


def _bad(message: str) -> ApiError:
    return ApiError(400, "BadRequest", f"strategic merge patch: {message}")
