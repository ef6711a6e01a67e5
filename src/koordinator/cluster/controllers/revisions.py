"""Which replica set carries which revision of a deployment: template hashes, revision numbers, history."""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from koordinator.api.registry import Resource
from koordinator.cluster.controllers.objects import REPLICA_SETS, Deployment, ReplicaSet, Template
from koordinator.cluster.controllers.pods import SUFFIX_ALPHABET
from koordinator.kube.owners import controller_reference

REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"
TEMPLATE_HASH = "pod-template-hash"
NOT_COPIED = frozenset({"kubectl.kubernetes.io/last-applied-configuration", REVISION, REVISION_HISTORY, DESIRED, MAXIMUM})
"""Annotations of a deployment that its replica sets do not get: they are about the deployment itself."""


def template_hash(template: Template, collisions: int) -> str:
    """Ten letters that stand for a template. ``collisions`` counts how often another's set had the name already."""
    canonical = msgspec.json.encode(template, order="deterministic") + (b"" if not collisions else str(collisions).encode())
    number = int.from_bytes(hashlib.blake2b(canonical, digest_size=8).digest())
    letters = []
    for _ in range(10):
        number, index = divmod(number, len(SUFFIX_ALPHABET))
        letters.append(SUFFIX_ALPHABET[index])
    return "".join(letters)


def find_new(deployment: Deployment, sets: list[ReplicaSet]) -> ReplicaSet | None:
    """The oldest set that has the deployment's template, apart from the label that tells sets apart."""
    wanted = _comparable(deployment.spec.template)
    matching = [rs for rs in sets if _comparable(rs.spec.template) == wanted]
    return min(matching, key=age_order, default=None)


def _comparable(template: Template) -> Template:
    metadata = dict(template.get("metadata") or {})
    labels = {key: value for key, value in (metadata.pop("labels", None) or {}).items() if key != TEMPLATE_HASH}
    return {**template, "metadata": {**{k: v for k, v in metadata.items() if v is not None}, "labels": labels}}


def age_order(rs: ReplicaSet) -> tuple[str, str]:
    return rs.metadata.creation_timestamp or "", rs.name


def revision(rs: ReplicaSet) -> int:
    """The number in the annotation; 0 when there is none that can be read."""
    text = rs.annotations.get(REVISION, "")
    return int(text) if text.isascii() and text.isdigit() else 0


def next_revision(sets: list[ReplicaSet], new: ReplicaSet | None) -> int:
    """The new set's own number if it is the highest already, else one more than the highest."""
    others = max((revision(rs) for rs in sets if new is None or rs.metadata.uid != new.metadata.uid), default=0)
    return revision(new) if new is not None and revision(new) > others else others + 1


def annotations(deployment: Deployment, new: ReplicaSet | None, number: int, maximum: int) -> dict[str, str]:
    """What the new set's annotations should say."""
    wanted = {key: value for key, value in deployment.annotations.items() if key not in NOT_COPIED}
    wanted |= {REVISION: str(number), **sizes(deployment, maximum)}
    if new is not None and (before := revision(new)) and before != number:
        history = new.annotations.get(REVISION_HISTORY, "")
        wanted[REVISION_HISTORY] = f"{history},{before}" if history else str(before)
    return wanted


def sizes(deployment: Deployment, maximum: int) -> dict[str, str]:
    """Which replica count a set was sized for."""
    return {DESIRED: str(wanted_replicas(deployment)), MAXIMUM: str(maximum)}


def wanted_replicas(deployment: Deployment) -> int:
    return 1 if deployment.spec.replicas is None else max(deployment.spec.replicas, 0)


def new_set(parent: Resource[Deployment], deployment: Deployment, notes: Mapping[str, str], replicas: int) -> dict[str, Any]:
    """The body of a replica set for the deployment's present template."""
    digest = template_hash(deployment.spec.template, deployment.status.collision_count or 0)
    template = dict(deployment.spec.template)
    metadata = dict(template.get("metadata") or {})
    labels = {**(metadata.get("labels") or {}), TEMPLATE_HASH: digest}
    selector = deployment.spec.selector
    chosen: dict[str, Any] = msgspec.to_builtins(selector) if selector is not None else {}
    return {
        "apiVersion": REPLICA_SETS.api_version,
        "kind": REPLICA_SETS.kind,
        "metadata": {
            "name": f"{deployment.name}-{digest}",
            "namespace": deployment.namespace,
            "labels": labels,
            "annotations": dict(notes),
            "ownerReferences": [controller_reference(parent, deployment)],
        },
        "spec": {
            "replicas": replicas,
            "minReadySeconds": deployment.spec.min_ready_seconds,
            "selector": {**chosen, "matchLabels": {**(chosen.get("matchLabels") or {}), TEMPLATE_HASH: digest}},
            "template": {**template, "metadata": {**metadata, "labels": labels}},
        },
    }
