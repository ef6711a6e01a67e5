"""What the controllers of workloads share: views with the indices they ask, and a queue that they fill from these views."""

from collections.abc import Iterator
from typing import Any, TypeVar

from koordinator.api.core import Pod
from koordinator.api.meta import LabelSelector, Object
from koordinator.api.registry import PODS, Resource
from koordinator.clock import Clock
from koordinator.cluster.controllers.changes import Change, Create, status
from koordinator.cluster.controllers.driver import SETTLE_SECONDS
from koordinator.cluster.controllers.hub import Hub
from koordinator.cluster.controllers.objects import DaemonSet, Deployment, ReplicaSet, StatefulSet
from koordinator.cluster.controllers.view import View, namespace_of, orphans, owner_uid, ownerless_in
from koordinator.kube.errors import ApiError
from koordinator.kube.owners import is_controlled_by
from koordinator.kube.workqueue import WorkQueue

T = TypeVar("T", bound=Object)
Set = TypeVar("Set", ReplicaSet, DaemonSet)

OWNER, ORPHAN, NAMESPACE, NODE = "owner", "orphan", "namespace", "node"


def owned_view(hub: Hub, resource: Resource[T]) -> View[T]:
    """All objects of a resource, findable by owner; those without one by namespace and label."""
    view = hub.view(resource)
    view.add_index(OWNER, owner_uid)
    view.add_index(ORPHAN, ownerless_in)
    return view


def pod_view(hub: Hub) -> View[Pod]:
    """All pods, findable by owner, by namespace and by node."""
    view = owned_view(hub, PODS)
    view.add_index(NAMESPACE, namespace_of)
    view.add_index(NODE, lambda pod: [pod.spec.node_name] if pod.spec.node_name else [])
    return view


def candidates(view: View[T], owner: Object, selector: LabelSelector | None) -> list[T]:
    """What may belong to ``owner``: what it controls, and what nobody controls and ``selector`` may mean."""
    return [*view.by_index(OWNER, owner.metadata.uid), *orphans(view, ORPHAN, owner.namespace, selector)]


def adopters(sets: View[Set], pod: Pod) -> Iterator[Set]:
    """The sets that may take on a pod without an owner."""
    for held in sets.items():
        labels = (held.spec.selector.match_labels or {}) if held.spec.selector else {}
        if held.namespace == pod.namespace and labels.items() <= pod.labels.items():
            yield held


def name_taken(
    resource: Resource[Any], owner: Deployment | DaemonSet | StatefulSet, view: View[T], change: Create
) -> list[Change]:
    """What to do when the name is taken of what ``owner`` wanted to create: count the collision, which changes the name.

    Nothing when it is the owner's own, made a moment ago. ``resource`` is the owner's.
    """
    found = view.get(f"{change.namespace}/{change.body['metadata']['name']}")
    if found is not None and is_controlled_by(found, owner):
        return []
    return [status(resource, owner, {"collisionCount": (owner.status.collision_count or 0) + 1})]


def owner_key(obj: Object, kind: str) -> str | None:
    owner = obj.owner
    return f"{obj.namespace}/{owner.name}" if owner is not None and owner.kind == kind else None


class Base:
    """A controller whose keys are ``namespace/name``."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._queue: WorkQueue[str] | None = None

    def refused(self, key: str, change: Change, error: ApiError) -> list[Change]:
        return []

    def _add(self, key: str | None) -> None:
        if key is not None and self._queue is not None:
            self._queue.add_after(key, SETTLE_SECONDS)

    def _follow(self, view: View[T]) -> None:
        """Look at every object of a view that appears or changes."""
        view.on(lambda _, new: self._add(new.key) if new is not None else None)

    def _follow_owners(self, view: View[T], kind: str) -> None:
        """Look at the owner, if it is of ``kind``, of every object of a view that appears, changes, changes hands or goes."""

        def changed(old: T | None, new: T | None) -> None:
            for one in (old, new):
                if one is not None:
                    self._add(owner_key(one, kind))

        view.on(changed)
