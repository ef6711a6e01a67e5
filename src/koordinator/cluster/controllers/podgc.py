"""Pod garbage: pods of nodes that are gone, pods that were deleted before they had a node, and finished pods beyond a limit."""

from collections.abc import Collection, Iterable

from koordinator.api.core import Pod
from koordinator.api.registry import PODS
from koordinator.cluster.controllers.changes import Change, delete, status

TERMINATED_LIMIT = 12_500


def collect(pods: Iterable[Pod], missing_nodes: Collection[str], terminated_limit: int = TERMINATED_LIMIT) -> list[Change]:
    """``missing_nodes``: nodes that have been away for longer than a hiccup."""
    changes: list[Change] = []
    finished: list[Pod] = []
    for pod in pods:
        if pod.spec.node_name in missing_nodes:
            changes += _orphan(pod)
        elif pod.metadata.deletion_timestamp and not pod.spec.node_name:
            changes.append(delete(PODS, pod, grace_seconds=0))
        elif pod.terminated and not pod.metadata.deletion_timestamp:
            finished.append(pod)
    surplus = len(finished) - terminated_limit
    if terminated_limit > 0 and surplus > 0:
        finished.sort(key=lambda pod: (pod.metadata.creation_timestamp or "", pod.key))
        changes += [delete(PODS, pod, grace_seconds=0) for pod in finished[:surplus]]
    return changes


def _orphan(pod: Pod) -> list[Change]:
    """Nobody is left to end it: say that it failed, so that its controller counts right, and remove it."""
    removal = delete(PODS, pod, grace_seconds=0)
    if pod.terminated:
        return [removal]
    body = {"phase": "Failed", "reason": "NodeLost", "message": f"node {pod.spec.node_name} does not exist"}
    return [status(PODS, pod, body), removal]
