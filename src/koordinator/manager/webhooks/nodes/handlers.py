"""The node status webhook: decode, amplify, answer."""

from typing import Any

import msgspec

from koordinator.kube.patches import json_diff
from koordinator.manager.webhooks.admission import ALLOWED, Answer, Request, denied
from koordinator.manager.webhooks.nodes.status import amplify_status


async def mutate_status(request: Request) -> Answer:
    """Amplify the allocatable resources that the kubelet reports."""
    if not request.concerns("nodes", subresource="status") or request.operation != "UPDATE":
        return ALLOWED
    try:
        before, node, old = (_decode(raw) for raw in (request.object, request.object, request.old_object))
    except msgspec.DecodeError as err:
        return denied(400, f"node {request.name} cannot be read: {err}")
    try:
        amplify_status(node, old)
    except ValueError as err:
        return denied(500, f"node {request.name}: {err}")
    return Answer(patch=json_diff(before, node))


def _decode(raw: msgspec.Raw) -> dict[str, Any]:
    return msgspec.json.decode(raw, type=dict[str, Any])
