"""The templates that a daemon set has had: what ``kubectl rollout history`` lists and ``undo`` returns to. Pure."""

from typing import Any

from koordinator.api.core import Pod
from koordinator.cluster.controllers.changes import Change, Create, delete, patch
from koordinator.cluster.controllers.objects import CONTROLLER_REVISIONS, DAEMON_SETS, ControllerRevision, DaemonSet
from koordinator.cluster.controllers.ownership import controller_reference
from koordinator.cluster.controllers.revisions import template_hash

HASH = "controller-revision-hash"
HISTORY_LIMIT = 10


def digest(daemon_set: DaemonSet) -> str:
    """Stands for the present template, in revisions' names and pods' labels."""
    return template_hash(daemon_set.spec.template, daemon_set.status.collision_count or 0)


def record(daemon_set: DaemonSet, present: str, held: list[ControllerRevision]) -> list[Change]:
    """Have the present template as the highest revision: made, or an old one moved to the top again."""
    top = max((revision.revision for revision in held), default=0)
    found = next((revision for revision in held if revision.labels.get(HASH) == present), None)
    if found is None:
        return [Create(CONTROLLER_REVISIONS, daemon_set.namespace, _body(daemon_set, present, top + 1))]
    if found.revision < top:
        return [patch(CONTROLLER_REVISIONS, found, {"revision": top + 1})]
    return []


def _body(daemon_set: DaemonSet, present: str, number: int) -> dict[str, Any]:
    template = daemon_set.spec.template
    return {
        "apiVersion": CONTROLLER_REVISIONS.api_version,
        "kind": CONTROLLER_REVISIONS.kind,
        "metadata": {
            "name": f"{daemon_set.name}-{present}",
            "namespace": daemon_set.namespace,
            "labels": {**((template.get("metadata") or {}).get("labels") or {}), HASH: present},
            "annotations": dict(daemon_set.annotations),
            "ownerReferences": [controller_reference(DAEMON_SETS, daemon_set)],
        },
        "data": {"spec": {"template": {**template, "$patch": "replace"}}},
        "revision": number,
    }


def forget(daemon_set: DaemonSet, held: list[ControllerRevision], pods: list[Pod], present: str) -> list[Change]:
    """The oldest revisions beyond the limit go, but none that a pod still has."""
    limit = daemon_set.spec.revision_history_limit
    used = {pod.labels.get(HASH) for pod in pods} | {present}
    spare = sorted((one for one in held if one.labels.get(HASH) not in used), key=lambda one: (one.revision, one.name))
    keep = HISTORY_LIMIT if limit is None else max(limit, 0)
    return [delete(CONTROLLER_REVISIONS, one) for one in spare[: max(0, len(spare) - keep)]]
