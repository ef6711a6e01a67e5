"""The webhook on Reservations: ClusterColocationProfiles apply to them as to the pods that they keep room for.

Only labels decide which profiles match; resources are not translated (gate ``ReservationMutatingWebhook``).
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from koordinator.api.core import PriorityClass
from koordinator.api.registry import RESERVATIONS
from koordinator.kube.patches import json_diff
from koordinator.manager.webhooks.admission import ALLOWED, Answer, Request, denied
from koordinator.manager.webhooks.pods.handlers import View
from koordinator.manager.webhooks.pods.profiles import Surroundings, apply_to_reservation, draw_percent, matching_labels

JsonObject = dict[str, Any]


class ReservationWebhook:
    """``mutate`` answers."""

    def __init__(self, view: View, draw: Callable[[], int] = draw_percent) -> None:
        self._view, self._draw = view, draw

    async def mutate(self, request: Request) -> Answer:
        if not request.concerns("reservations", RESERVATIONS.group) or request.operation != "CREATE":
            return ALLOWED
        try:
            before, reservation = (msgspec.json.decode(request.object, type=JsonObject) for _ in range(2))
        except msgspec.DecodeError as err:
            return denied(400, f"reservation {request.name} cannot be read: {err}")
        found = matching_labels(self._view.profiles(), (reservation.get("metadata") or {}).get("labels") or {})
        try:
            classes = await self._classes({profile.spec.priority_class_name for profile in found} - {""})
            apply_to_reservation(reservation, found, Surroundings(classes.get, self._draw))
        except ValueError as err:
            return denied(500, str(err))
        return Answer(patch=json_diff(before, reservation))

    async def _classes(self, names: set[str]) -> Mapping[str, PriorityClass | None]:
        return {name: await self._view.priority_class(name) for name in names}
