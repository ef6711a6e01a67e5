"""The extended-resource-spec annotation: tells koordlet's runtime hooks what batch resources each container asked for,
because the container runtime's own request no longer says so.
"""

from typing import Any

from koordinator.api import keys, quantity, wirejson
from koordinator.api.resources import BATCH_CPU, BATCH_MEMORY

KEY = keys.EXTENDED_RESOURCE_SPEC


def write_extended_spec(pod: dict[str, Any]) -> None:
    """Bring the annotation up to date in place. Raises ValueError when the one that is there cannot be read."""
    wanted = _containers(pod)
    annotations = (pod.get("metadata") or {}).get("annotations") or {}
    raw = annotations.get(KEY, "")
    existing = _read(raw)
    if _same(existing, wanted):
        return
    text = wirejson.encode({"containers": wanted} if wanted else {})
    metadata = pod.setdefault("metadata", {})
    metadata["annotations"] = {**annotations, KEY: text}


def _containers(pod: dict[str, Any]) -> dict[str, dict[str, dict[str, str]]]:
    found = {}
    for container in (pod.get("spec") or {}).get("containers") or []:
        resources = container.get("resources") or {}
        parts = {part: _batch(resources.get(part)) for part in ("requests", "limits")}
        if any(parts.values()):
            found[container.get("name", "")] = {part: amounts for part, amounts in parts.items() if amounts}
    return found


def _batch(amounts: dict[str, Any] | None) -> dict[str, str]:
    if not amounts:
        return {}
    return {name: str(quantity.read(amounts[name])) for name in (BATCH_CPU, BATCH_MEMORY) if name in amounts}


def _read(raw: str) -> dict[str, Any]:
    if not raw:
        return {}
    try:
        return wirejson.decode(raw, dict[str, dict[str, Any]]).get("containers") or {}
    except ValueError as err:
        raise ValueError(f"metadata.annotations[{KEY}] cannot be read: {err}") from err


def _same(existing: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Equal by number, whatever text the quantities are written in."""
    return _numbers(existing) == _numbers(wanted)


def _numbers(containers: dict[str, Any]) -> dict[str, dict[str, dict[str, int]]]:
    def read(amounts: dict[str, Any]) -> dict[str, int]:
        return {name: quantity.read(text).nano for name, text in amounts.items()}

    try:
        return {name: {part: read(amounts) for part, amounts in parts.items() if amounts} for name, parts in containers.items()}
    except (ValueError, AttributeError) as err:
        raise ValueError(f"metadata.annotations[{KEY}] cannot be read: {err}") from err
