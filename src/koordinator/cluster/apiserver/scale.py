"""The scale subresource: how many replicas, of kinds that say where they keep that number."""

from typing import Any

import msgspec

from koordinator.cluster.apiserver.calls import Answer, Call, as_object, decode_object
from koordinator.cluster.apiserver.kinds.base import Json, ScalePaths
from koordinator.cluster.apiserver.kinds.columns import selector_text
from koordinator.cluster.apiserver.refusals import bad_request, invalid, not_found, wrong
from koordinator.cluster.apiserver.writes import Writer, patcher

_KEPT = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


class Scales:
    """Reads and writes the number of replicas."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def get(self, call: Call) -> Answer:
        entry = self._writer.store.get(call.kind.key, call.namespace, call.name)
        if entry is None:
            raise not_found(call.kind.plural, call.kind.group, call.name)
        return Answer(200, msgspec.json.encode(_scale(entry.decode(), call.kind.rules.scale)))

    async def put(self, call: Call) -> Answer:
        """PUT or PATCH of the number of replicas. Raises: Refused."""
        paths = call.kind.rules.scale
        apply = patcher(call) if call.method == "PATCH" else None
        posted = None if apply else decode_object(call)

        def mutate(obj: Json) -> Json:
            scale = as_object(apply(_scale(obj, paths)) if apply else posted)
            metadata = scale.get("metadata") or {}
            if isinstance(metadata, dict) and metadata.get("resourceVersion") and posted is not None:
                obj["metadata"]["resourceVersion"] = metadata["resourceVersion"]
            _set(obj, paths.replicas, _replicas(scale, call.name))
            return obj

        target = msgspec.structs.replace(call.target, subresource="")
        entry = await self._writer.change(msgspec.structs.replace(call, target=target), mutate)
        return Answer(200, msgspec.json.encode(_scale(entry.decode(), paths)))


def _replicas(scale: Json, name: str) -> int:
    spec = scale.get("spec") or {}
    replicas = spec.get("replicas", 0) if isinstance(spec, dict) else spec
    if not isinstance(replicas, int) or isinstance(replicas, bool) or not 0 <= replicas < 1 << 31:
        problem = wrong("spec.replicas", replicas, "must be greater than or equal to 0")
        raise invalid("Scale", "autoscaling", name, [problem])
    return replicas


def _scale(obj: Json, paths: ScalePaths) -> Json:
    metadata = obj["metadata"]
    status: Json = {"replicas": _get(obj, paths.status) or 0}
    if selector := _get(obj, paths.selector) if paths.selector else None:
        status["selector"] = selector if isinstance(selector, str) else selector_text(selector)
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: metadata[key] for key in _KEPT if key in metadata},
        "spec": {"replicas": _get(obj, paths.replicas) or 0},
        "status": status,
    }


def _get(obj: Json, path: str) -> Any:
    value: Any = obj
    for name in path.strip(".").split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def _set(obj: Json, path: str, value: int) -> None:
    *parents, last = path.strip(".").split(".")
    for name in parents:
        obj = obj.setdefault(name, {})
        if not isinstance(obj, dict):
            raise bad_request(f"{path} cannot be set: {name} is no object")
    obj[last] = value
