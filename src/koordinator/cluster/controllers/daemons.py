"""The daemon set controller at work: which events concern which set. Nodes matter only where they decide who belongs there."""

from koordinator.api.core import Node, Pod
from koordinator.api.registry import NODES
from koordinator.clock import Clock
from koordinator.cluster.controllers import daemonset
from koordinator.cluster.controllers.changes import Change, Create, Outcome, Tell, status
from koordinator.cluster.controllers.hub import Hub
from koordinator.cluster.controllers.objects import CONTROLLER_REVISIONS, DAEMON_SETS, DaemonSet
from koordinator.cluster.controllers.view import orphans, owner_uid, ownerless_in
from koordinator.cluster.controllers.workloads import POD_ORPHAN, POD_OWNER, Base, owner_key, pod_view
from koordinator.kube.errors import AlreadyExists, ApiError
from koordinator.kube.workqueue import WorkQueue


class DaemonSetController(Base):
    """Keys are daemon sets."""

    name = "daemonset"

    def __init__(self, hub: Hub, clock: Clock) -> None:
        super().__init__(clock)
        self._sets, self._pods, self._nodes = hub.view(DAEMON_SETS), pod_view(hub), hub.view(NODES)
        self._revisions = hub.view(CONTROLLER_REVISIONS)
        self._revisions.add_index(POD_OWNER, owner_uid)
        self._revisions.add_index(POD_ORPHAN, ownerless_in)

    def wire(self, queue: WorkQueue[str]) -> None:
        self._queue = queue
        self._sets.on(lambda _, new: self._add(new.key) if new is not None else None)
        self._pods.on(self._pod_changed)
        self._nodes.on(self._node_changed)

    async def decide(self, key: str) -> Outcome:
        held = self._sets.get(key)
        if held is None:
            return Outcome()
        pods = self._pods.by_index(POD_OWNER, held.metadata.uid)
        free = orphans(self._pods, POD_ORPHAN, held.namespace, held.spec.selector)
        revisions = self._revisions.by_index(POD_OWNER, held.metadata.uid)
        unowned = orphans(self._revisions, POD_ORPHAN, held.namespace, held.spec.selector)
        known = daemonset.Known([*pods, *free], [*revisions, *unowned], self._nodes.items())
        return daemonset.reconcile(held, known, self._clock.now())

    def refused(self, key: str, change: Change, error: ApiError) -> list[Change]:
        """Another's revision has the name: count the collision, which changes the name. Else say why a pod was refused."""
        held = self._sets.get(key)
        if held is None or not isinstance(change, Create):
            return []
        if change.resource is not CONTROLLER_REVISIONS or not isinstance(error, AlreadyExists):
            return [Tell(held, "FailedCreate", f"Error creating: {error}", "Warning")]
        if self._is_mine(held, change):
            return []
        return [status(DAEMON_SETS, held, {"collisionCount": (held.status.collision_count or 0) + 1})]

    def _is_mine(self, held: DaemonSet, change: Create) -> bool:
        found = self._revisions.get(f"{change.namespace}/{change.body['metadata']['name']}")
        return found is not None and found.owner is not None and found.owner.uid == held.metadata.uid

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        for pod in (old, new):
            if pod is not None:
                self._add(owner_key(pod, "DaemonSet"))
        if new is not None and new.owner is None:
            for held in self._sets.items():
                labels = (held.spec.selector.match_labels or {}) if held.spec.selector else {}
                if held.namespace == new.namespace and labels.items() <= new.labels.items():
                    self._add(held.key)

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if old is not None and new is not None and old.labels == new.labels and old.spec == new.spec:
            return
        for held in self._sets.items():
            self._add(held.key)
