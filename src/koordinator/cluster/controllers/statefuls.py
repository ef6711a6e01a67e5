"""The stateful set controller at work: which events concern which set."""

from koordinator.api.core import Pod
from koordinator.clock import Clock
from koordinator.cluster.controllers import statefulset
from koordinator.cluster.controllers.changes import Change, Create, Outcome, Tell, status
from koordinator.cluster.controllers.hub import Hub
from koordinator.cluster.controllers.objects import CLAIMS, CONTROLLER_REVISIONS, STATEFUL_SETS, StatefulSet
from koordinator.cluster.controllers.view import namespace_of, orphans, owner_uid, ownerless_in
from koordinator.cluster.controllers.workloads import POD_NAMESPACE, POD_ORPHAN, POD_OWNER, Base, owner_key, pod_view
from koordinator.kube.errors import AlreadyExists, ApiError
from koordinator.kube.workqueue import WorkQueue


class StatefulSetController(Base):
    """Keys are stateful sets."""

    name = "statefulset"

    def __init__(self, hub: Hub, clock: Clock) -> None:
        super().__init__(clock)
        self._sets, self._pods, self._claims = hub.view(STATEFUL_SETS), pod_view(hub), hub.view(CLAIMS)
        self._revisions = hub.view(CONTROLLER_REVISIONS)
        self._revisions.add_index(POD_OWNER, owner_uid)
        self._revisions.add_index(POD_ORPHAN, ownerless_in)
        self._claims.add_index(POD_NAMESPACE, namespace_of)

    def wire(self, queue: WorkQueue[str]) -> None:
        self._queue = queue
        self._sets.on(lambda _, new: self._add(new.key) if new is not None else None)
        self._pods.on(self._pod_changed)

    async def decide(self, key: str) -> Outcome:
        held = self._sets.get(key)
        if held is None:
            return Outcome()
        pods = self._pods.by_index(POD_OWNER, held.metadata.uid)
        free = orphans(self._pods, POD_ORPHAN, held.namespace, held.spec.selector)
        revisions = self._revisions.by_index(POD_OWNER, held.metadata.uid)
        unowned = orphans(self._revisions, POD_ORPHAN, held.namespace, held.spec.selector)
        wants_claims = bool(held.spec.volume_claim_templates)
        claims = {one.name for one in self._claims.by_index(POD_NAMESPACE, held.namespace)} if wants_claims else set()
        known = statefulset.Known([*pods, *free], [*revisions, *unowned], claims)
        return statefulset.reconcile(held, known, self._clock.now())

    def refused(self, key: str, change: Change, error: ApiError) -> list[Change]:
        """Another's revision has the name: count the collision, which changes the name. Else say what was refused."""
        held = self._sets.get(key)
        if held is None or not isinstance(change, Create):
            return []
        name = change.body["metadata"]["name"]
        if change.resource is CONTROLLER_REVISIONS and isinstance(error, AlreadyExists):
            return [] if self._is_mine(held, change) else [_collided(held)]
        return [Tell(held, "FailedCreate", f"create {change.resource.kind} {name} failed: {error}", "Warning")]

    def _is_mine(self, held: StatefulSet, change: Create) -> bool:
        found = self._revisions.get(f"{change.namespace}/{change.body['metadata']['name']}")
        return found is not None and found.owner is not None and found.owner.uid == held.metadata.uid

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        for pod in (old, new):
            if pod is not None:
                self._add(owner_key(pod, "StatefulSet"))
        if new is not None and new.owner is None:
            self._add_if_known(f"{new.namespace}/{new.name.rpartition('-')[0]}")

    def _add_if_known(self, key: str) -> None:
        if self._sets.get(key) is not None:
            self._add(key)


def _collided(held: StatefulSet) -> Change:
    return status(STATEFUL_SETS, held, {"collisionCount": (held.status.collision_count or 0) + 1})
