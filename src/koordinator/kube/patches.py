"""Patches: what we write instead of whole objects. Pure functions on plain JSON.

``merge_diff`` and ``json_diff`` make patches, ``merge``, ``apply_json`` and ``strategic_merge`` apply them. For every pair of
objects ``apply(before, diff(before, after)) == after`` (merge patches cannot say null: there, nulls mean absent).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from koordinator.kube.errors import Invalid
from koordinator.kube.strategic import strategic_merge

__all__ = ["apply_json", "json_diff", "merge", "merge_diff", "strategic_merge"]

Json = dict[str, Any]
_ABSENT = object()


def merge(original: Any, patch: Any) -> Any:
    """``original`` with a merge patch (RFC 7386) applied. Neither is changed; untouched parts are shared."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(original) if isinstance(original, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def merge_diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> Json:
    """The smallest merge patch from ``before`` to ``after``; empty when nothing changes. Lists are replaced whole."""
    patch: Json = {key: None for key in before if key not in after}
    for key, value in after.items():
        old = before.get(key, _ABSENT)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            if change := merge_diff(old, value):
                patch[key] = change
        elif not _same(old, value):
            patch[key] = value
    return patch


def json_diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Json]:
    """A JSON patch (RFC 6902) from ``before`` to ``after``, as webhooks answer. Lists of another length are replaced whole."""
    return list(_operations("", before, after))


def _operations(path: str, before: Any, after: Any) -> Iterator[Json]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in before:
            if key not in after:
                yield {"op": "remove", "path": f"{path}/{_pointer(key)}"}
        for key, value in after.items():
            if key in before:
                yield from _operations(f"{path}/{_pointer(key)}", before[key], value)
            else:
                yield {"op": "add", "path": f"{path}/{_pointer(key)}", "value": value}
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from _operations(f"{path}/{index}", old, new)
    elif not _same(before, after):
        yield {"op": "replace", "path": path, "value": after}


def _pointer(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: Python takes True for 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    return bool(one == other)


def apply_json(original: Mapping[str, Any], operations: Sequence[Mapping[str, Any]]) -> Json:
    """``original`` with a JSON patch applied. Raises: Invalid, naming the operation that does not fit."""
    import jsonpatch

    try:
        result: Json = jsonpatch.apply_patch(dict(original), list(operations))
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, TypeError, KeyError) as err:
        raise Invalid(422, "Invalid", f"the JSON patch does not apply: {err}") from None
    return result
