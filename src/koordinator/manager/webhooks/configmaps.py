"""The webhooks that guard ``slo-controller-config``: a broken text is refused, and so is a node that matches two entries."""

from collections.abc import Callable, Iterable, Mapping

import msgspec

from koordinator.api.core import ConfigMap, Node
from koordinator.api.sloconfig import review
from koordinator.api.sloconfig.review import Refusal
from koordinator.manager.webhooks.admission import ALLOWED, Answer, Request, denied


class ConfigWebhooks:
    """``validate_config`` and ``validate_node``. The functions given read the informers' caches."""

    def __init__(
        self,
        config_map: tuple[str, str],
        nodes: Callable[[], Iterable[Node]],
        config: Callable[[], Mapping[str, str]],
        *,
        names_needed: bool = False,
    ) -> None:
        self._namespace, self._name = config_map
        self._nodes, self._config, self._names_needed = nodes, config, names_needed

    async def validate_config(self, request: Request) -> Answer:
        ours = request.namespace == self._namespace and request.name == self._name
        if not request.concerns("configmaps") or not ours or not request.has_object:
            return ALLOWED
        try:
            new = msgspec.json.decode(request.object, type=ConfigMap)
            old = msgspec.json.decode(request.old_object, type=ConfigMap) if request.has_old_object else None
        except msgspec.DecodeError as err:
            return denied(400, f"ConfigMap {self._namespace}/{self._name} cannot be read: {err}")
        where = f"{self._namespace}/{self._name}"
        before = old.data if old else None
        return _answer(
            review.review_all(new.data or {}, before, self._labels_of_nodes, where=where, names_needed=self._names_needed)
        )

    async def validate_node(self, request: Request) -> Answer:
        if not request.concerns("nodes") or request.operation != "UPDATE":
            return ALLOWED
        try:
            new, old = (msgspec.json.decode(raw, type=Node) for raw in (request.object, request.old_object))
        except msgspec.DecodeError as err:
            return denied(400, f"node {request.name} cannot be read: {err}")
        if new.labels == old.labels:
            return ALLOWED
        data = self._config()
        found = (review.conflict(key, data[key], [(new.name, new.labels)]) for key in review.CHECKED if data.get(key))
        return _answer(next(filter(None, found), None))

    def _labels_of_nodes(self) -> list[tuple[str, Mapping[str, str]]]:
        return [(node.name, node.labels) for node in self._nodes()]


def _answer(refusal: Refusal | None) -> Answer:
    return ALLOWED if refusal is None else denied(400, str(refusal))
