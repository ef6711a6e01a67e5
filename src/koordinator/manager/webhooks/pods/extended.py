"""The extended-resource-spec annotation: tells koordlet's runtime hooks what batch resources each container asked for,
because the container runtime's own request no longer says so.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from koordinator.api import keys
from koordinator.api.annotations import Malformed
from koordinator.api.core import Quantities
from koordinator.api.podqos import EXTENDED_RESOURCE_SPEC, ContainerResources, ExtendedResourceSpec
from koordinator.api.resources import BATCH_CPU, BATCH_MEMORY, exact, texts


def write_extended_spec(pod: dict[str, Any]) -> None:
    """Bring the annotation up to date in place. Raises ValueError when the one that is there cannot be read."""
    wanted = dict(_specs(pod))
    annotations = (pod.get("metadata") or {}).get("annotations") or {}
    found = EXTENDED_RESOURCE_SPEC.read(annotations)
    if isinstance(found, Malformed):
        raise ValueError(f"metadata.annotations: {found}")  # noqa: TRY004 — data, not a bug
    if _numbers((found and found.containers) or {}) == _numbers(wanted):
        return
    metadata = pod.setdefault("metadata", {})
    text = EXTENDED_RESOURCE_SPEC.write(ExtendedResourceSpec(containers=wanted or None))
    metadata["annotations"] = {**annotations, keys.EXTENDED_RESOURCE_SPEC: text}


def _specs(pod: dict[str, Any]) -> Iterator[tuple[str, ContainerResources]]:
    """Containers that name batch resources, and which."""
    for container in (pod.get("spec") or {}).get("containers") or []:
        resources = container.get("resources") or {}
        requests, limits = _batch(resources.get("requests")), _batch(resources.get("limits"))
        if requests or limits:
            yield container.get("name", ""), ContainerResources(requests=requests, limits=limits)


def _batch(amounts: dict[str, Any] | None) -> Quantities | None:
    found = exact({name: text for name, text in (amounts or {}).items() if name in (BATCH_CPU, BATCH_MEMORY)})
    return texts(found) or None


def _numbers(containers: Mapping[str, ContainerResources]) -> dict[str, Any]:
    """By number, whatever text the quantities are written in."""
    return {
        name: {part: exact(amounts) for part, amounts in (("requests", one.requests), ("limits", one.limits)) if amounts}
        for name, one in containers.items()
    }
