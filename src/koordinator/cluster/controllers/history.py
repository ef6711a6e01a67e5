"""The templates that daemon and stateful sets have had: what ``kubectl rollout history`` lists and ``undo`` returns to."""

from collections.abc import Iterable
from typing import Any

from koordinator.api.registry import Resource
from koordinator.cluster.controllers.changes import Change, Create, delete, patch
from koordinator.cluster.controllers.objects import CONTROLLER_REVISIONS, ControllerRevision, DaemonSet, StatefulSet, Template
from koordinator.cluster.controllers.revisions import template_hash
from koordinator.kube.owners import controller_reference

HASH = "controller-revision-hash"
HISTORY_LIMIT = 10


Owner = DaemonSet | StatefulSet


def digest(owner: Owner) -> str:
    """Stands for the present template, in revisions' names and pods' labels."""
    return template_hash(owner.spec.template, owner.status.collision_count or 0)


def record(owner: Owner, kind: Resource[Any], present: str, held: list[ControllerRevision]) -> list[Change]:
    """Have the present template as the highest revision: made, or an old one moved to the top again."""
    top = max((revision.revision for revision in held), default=0)
    found = next((revision for revision in held if revision.labels.get(HASH) == present), None)
    if found is None:
        return [Create(CONTROLLER_REVISIONS, owner.namespace, _body(owner, kind, present, top + 1))]
    if found.revision < top:
        return [patch(CONTROLLER_REVISIONS, found, {"revision": top + 1})]
    return []


def _body(owner: Owner, kind: Resource[Any], present: str, number: int) -> dict[str, Any]:
    template = owner.spec.template
    return {
        "apiVersion": CONTROLLER_REVISIONS.api_version,
        "kind": CONTROLLER_REVISIONS.kind,
        "metadata": {
            "name": f"{owner.name}-{present}",
            "namespace": owner.namespace,
            "labels": {**((template.get("metadata") or {}).get("labels") or {}), HASH: present},
            "annotations": dict(owner.annotations),
            "ownerReferences": [controller_reference(kind, owner)],
        },
        "data": {"spec": {"template": {**template, "$patch": "replace"}}},
        "revision": number,
    }


def forget(owner: Owner, held: list[ControllerRevision], used: Iterable[str]) -> list[Change]:
    """The oldest revisions beyond the limit go, but none of those that are still used."""
    limit, kept = owner.spec.revision_history_limit, set(used)
    spare = sorted((one for one in held if one.labels.get(HASH) not in kept), key=lambda one: (one.revision, one.name))
    keep = HISTORY_LIMIT if limit is None else max(limit, 0)
    return [delete(CONTROLLER_REVISIONS, one) for one in spare[: max(0, len(spare) - keep)]]


def template_of(revision: ControllerRevision) -> Template:
    """The template that a revision keeps."""
    kept: Template = dict(((revision.data or {}).get("spec") or {}).get("template") or {})
    kept.pop("$patch", None)
    return kept
