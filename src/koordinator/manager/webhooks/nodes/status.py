"""Amplified nodes: the kubelet reports what it has, the node offers more, and the real amounts are remembered."""

from typing import Any

from koordinator.api import keys, nodes, quantity, wirejson
from koordinator.api.annotations import Malformed
from koordinator.api.resources import CPU, MEMORY, exact, texts

JsonObject = dict[str, Any]

_AMPLIFIED = (CPU, MEMORY)


def amplify_status(node: JsonObject, old: JsonObject) -> None:
    """Rewrite allocatable and the raw-allocatable annotation of ``node`` in place. Capacity is never touched.

    Raises: ValueError naming the annotation or quantity that cannot be read.
    """
    annotations = (node.get("metadata") or {}).get("annotations") or {}
    if not annotations.get(keys.RESOURCE_AMPLIFICATION_RATIO):
        if keys.RAW_ALLOCATABLE in annotations:
            node["metadata"]["annotations"] = {key: text for key, text in annotations.items() if key != keys.RAW_ALLOCATABLE}
        return
    allocatable = (node.get("status") or {}).get("allocatable")
    if allocatable is None:
        return
    raw = _raw(annotations, allocatable, (old.get("status") or {}).get("allocatable") or {})
    if raw:
        node["metadata"]["annotations"] = {**annotations, keys.RAW_ALLOCATABLE: wirejson.encode(texts(raw))}
    for name, ratio in _ratios(annotations).items():
        if name in raw and ratio > 1:
            allocatable[name] = str(quantity.scale_milli(raw[name], ratio))


def _raw(annotations: dict[str, str], new: JsonObject, old: JsonObject) -> dict[str, quantity.Quantity]:
    """What the node really has: as just reported, or, when the report changed nothing, as remembered."""
    reported = exact({name: new[name] for name in _AMPLIFIED if name in new})
    if keys.RAW_ALLOCATABLE not in annotations or reported != exact({name: old[name] for name in _AMPLIFIED if name in old}):
        return reported
    found = nodes.RAW_ALLOCATABLE.read(annotations)
    if isinstance(found, Malformed):
        raise ValueError(f"metadata.annotations: {found}")  # noqa: TRY004 — data, not a bug
    return exact(found)


def _ratios(annotations: dict[str, str]) -> dict[str, float]:
    found = nodes.AMPLIFICATION_RATIOS.read(annotations)
    if isinstance(found, Malformed):
        raise ValueError(f"metadata.annotations: {found}")  # noqa: TRY004 — data, not a bug
    return {name: ratio for name, ratio in (found or {}).items() if name in _AMPLIFIED}
