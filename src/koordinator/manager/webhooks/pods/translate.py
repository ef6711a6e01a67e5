"""Native CPU and memory of batch and mid pods become extended resources, so that Kubernetes does not count them as its own."""

from collections.abc import Mapping
from typing import Any

from koordinator.api import quantity
from koordinator.api.priority import Band
from koordinator.api.resources import CPU, MEMORY, TRANSLATED

JsonObject = dict[str, Any]


def translate_pod(pod: JsonObject, band: Band) -> None:
    """Rewrite the resources of all containers and the overhead in place. Prod, free and classless pods stay as they are.

    Raises: ValueError naming the field of a CPU quantity that cannot be read.
    """
    if band not in TRANSLATED:
        return
    names = TRANSLATED[band]
    spec = pod.get("spec") or {}
    for kind in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(kind) or []):
            _translate_container(container, names, f"spec.{kind}[{index}].resources")
    if spec.get("overhead"):
        _translate(spec["overhead"], names, "spec.overhead")


def _translate_container(container: JsonObject, names: Mapping[str, str], path: str) -> None:
    resources = container.get("resources") or {}
    for part in ("requests", "limits"):
        if resources.get(part):
            _translate(resources[part], names, f"{path}.{part}")
    for name in names.values():
        limit = (resources.get("limits") or {}).get(name)
        if limit is not None and name not in (resources.get("requests") or {}):
            resources["requests"] = {**(resources.get("requests") or {}), name: limit}


def _translate(amounts: JsonObject, names: Mapping[str, str], path: str) -> None:
    if CPU in amounts:
        try:
            milli = quantity.milli_value(amounts[CPU])
        except ValueError as err:
            raise ValueError(f"{path}.cpu is {amounts[CPU]!r}: {err}") from err
        del amounts[CPU]
        amounts[names[CPU]] = str(quantity.of(milli))
    if MEMORY in amounts:
        amounts[names[MEMORY]] = amounts.pop(MEMORY)
