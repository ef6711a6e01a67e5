"""The workload controllers at work: which events concern which key, and what each decision needs to see."""

from koordinator.api.core import Pod
from koordinator.api.meta import Object
from koordinator.api.registry import PODS
from koordinator.clock import Clock
from koordinator.cluster.controllers import deployment as deployments
from koordinator.cluster.controllers import disruption, job, replicaset, revisions, tracking
from koordinator.cluster.controllers import pods as pods_
from koordinator.cluster.controllers.changes import Change, Create, Outcome, Tell, status
from koordinator.cluster.controllers.driver import SETTLE_SECONDS
from koordinator.cluster.controllers.hub import Hub
from koordinator.cluster.controllers.objects import (
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    JOBS,
    REPLICA_SETS,
    Deployment,
    ReplicaSet,
)
from koordinator.cluster.controllers.view import View, namespace_of, orphans, owner_uid, ownerless_in
from koordinator.kube.errors import AlreadyExists, ApiError
from koordinator.kube.workqueue import WorkQueue

POD_OWNER, POD_ORPHAN, POD_NAMESPACE, POD_NODE, POD_TRACKED = "owner", "orphan", "namespace", "node", "tracked"


def pod_view(hub: Hub) -> View[Pod]:
    """All pods, findable by owner, by namespace and by node."""
    view = hub.view(PODS)
    view.add_index(POD_OWNER, owner_uid)
    view.add_index(POD_ORPHAN, ownerless_in)
    view.add_index(POD_NAMESPACE, namespace_of)
    view.add_index(POD_NODE, lambda pod: [pod.spec.node_name] if pod.spec.node_name else [])
    return view


def set_view(hub: Hub) -> View[ReplicaSet]:
    view = hub.view(REPLICA_SETS)
    view.add_index(POD_OWNER, owner_uid)
    view.add_index(POD_ORPHAN, ownerless_in)
    return view


def owner_key(obj: Object, kind: str) -> str | None:
    owner = obj.owner
    return f"{obj.namespace}/{owner.name}" if owner is not None and owner.kind == kind else None


class Base:
    """What these controllers have in common: a queue that they fill from views."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._queue: WorkQueue[str] | None = None

    def _add(self, key: str | None) -> None:
        if key is not None and self._queue is not None:
            self._queue.add_after(key, SETTLE_SECONDS)

    def _follow(self, view: View[Object]) -> None:
        """Add the key of every object of a view that appears or changes."""
        view.on(lambda _, new: self._add(new.key) if new is not None else None)

    def refused(self, key: str, change: Change, error: ApiError) -> list[Change]:
        return []


class ReplicaSetController(Base):
    """Keys are replica sets."""

    name = "replicaset"

    def __init__(self, hub: Hub, clock: Clock) -> None:
        super().__init__(clock)
        self._sets, self._pods = set_view(hub), pod_view(hub)

    def wire(self, queue: WorkQueue[str]) -> None:
        self._queue = queue
        self._sets.on(lambda _, new: self._add(new.key) if new is not None else None)
        self._pods.on(self._pod_changed)

    async def decide(self, key: str) -> Outcome:
        rs = self._sets.get(key)
        if rs is None:
            return Outcome()
        mine = self._pods.by_index(POD_OWNER, rs.metadata.uid)
        free = orphans(self._pods, POD_ORPHAN, rs.namespace, rs.spec.selector)
        return replicaset.reconcile(rs, [*mine, *free], self._clock.now())

    def refused(self, key: str, change: Change, error: ApiError) -> list[Change]:
        rs = self._sets.get(key)
        return replicaset.refused(rs, str(error), self._clock.now()) if rs is not None and isinstance(change, Create) else []

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        for pod in (old, new):
            if pod is None:
                continue
            if pod.owner is not None:
                self._add(owner_key(pod, "ReplicaSet"))
        if new is not None and new.owner is None:
            self._adopters(new)

    def _adopters(self, pod: Pod) -> None:
        for rs in self._sets.items():
            if rs.namespace == pod.namespace and not replicaset.invalid(rs) and pods_.is_active(pod):
                labels = (rs.spec.selector.match_labels or {}) if rs.spec.selector else {}
                if labels.items() <= pod.labels.items():
                    self._add(rs.key)


class DeploymentController(Base):
    """Keys are deployments."""

    name = "deployment"

    def __init__(self, hub: Hub, clock: Clock) -> None:
        super().__init__(clock)
        self._deployments, self._sets, self._pods = hub.view(DEPLOYMENTS), set_view(hub), pod_view(hub)

    def wire(self, queue: WorkQueue[str]) -> None:
        self._queue = queue
        self._deployments.on(lambda _, new: self._add(new.key) if new is not None else None)
        self._sets.on(self._set_changed)
        self._pods.on(self._pod_changed)

    async def decide(self, key: str) -> Outcome:
        deployment = self._deployments.get(key)
        if deployment is None:
            return Outcome()
        candidates = [
            *self._sets.by_index(POD_OWNER, deployment.metadata.uid),
            *orphans(self._sets, POD_ORPHAN, deployment.namespace, deployment.spec.selector),
        ]
        counts = {rs.metadata.uid: self._count(rs) for rs in candidates}
        return deployments.reconcile(deployment, candidates, counts, self._clock.now())

    def refused(self, key: str, change: Change, error: ApiError) -> list[Change]:
        """Another's set has the name: count the collision, which changes the name."""
        deployment = self._deployments.get(key)
        if deployment is None or not isinstance(change, Create):
            return []
        if not isinstance(error, AlreadyExists):
            return [Tell(deployment, "ReplicaSetCreateError", f"Failed to create new replica set: {error}", "Warning")]
        if self._is_mine(deployment, change):
            return []
        collisions = (deployment.status.collision_count or 0) + 1
        return [status(DEPLOYMENTS, deployment, {"collisionCount": collisions})]

    def _is_mine(self, deployment: Deployment, change: Create) -> bool:
        held = self._sets.get(f"{change.namespace}/{change.body['metadata']['name']}")
        return held is not None and held.owner is not None and held.owner.uid == deployment.metadata.uid

    def _count(self, rs: ReplicaSet) -> deployments.Count:
        pods = [pod for pod in self._pods.by_index(POD_OWNER, rs.metadata.uid) if not pod.terminated]
        return deployments.Count(sum(pods_.is_active(pod) for pod in pods), len(pods))

    def _set_changed(self, old: ReplicaSet | None, new: ReplicaSet | None) -> None:
        for rs in (old, new):
            if rs is not None and rs.owner is not None:
                self._add(owner_key(rs, "Deployment"))
        if new is not None and new.owner is None:
            for deployment in self._deployments.items():
                if deployment.namespace == new.namespace:
                    self._add(deployment.key)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        """Only a pod that left for good matters: a rollout may be waiting for its place."""
        if old is None or (new is not None and pods_.is_active(new) == pods_.is_active(old)):
            return
        if (key := owner_key(old, "ReplicaSet")) is not None and (rs := self._sets.get(key)) is not None:
            self._add(owner_key(rs, "Deployment"))


class JobController(Base):
    """Keys are jobs."""

    name = "job"

    def __init__(self, hub: Hub, clock: Clock) -> None:
        super().__init__(clock)
        self._jobs, self._pods = hub.view(JOBS), pod_view(hub)
        self._pods.add_index(POD_TRACKED, lambda pod: [key] if (key := tracking.job_key(pod)) is not None else [])

    def wire(self, queue: WorkQueue[str]) -> None:
        self._queue = queue
        self._jobs.on(lambda old, new: self._add((new or old or Object()).key))
        self._pods.on(self._pod_changed)

    async def decide(self, key: str) -> Outcome:
        held = self._jobs.get(key)
        if held is None:
            return Outcome([tracking.release(pod) for pod in self._pods.by_index(POD_TRACKED, key)])
        mine = self._pods.by_index(POD_OWNER, held.metadata.uid)
        free = orphans(self._pods, POD_ORPHAN, held.namespace, held.spec.selector)
        outcome = job.reconcile(held, [*mine, *free], self._clock.now())
        left = [pod for pod in self._pods.by_index(POD_TRACKED, key) if pod.owner is None or pod.owner.uid != held.metadata.uid]
        return Outcome([*outcome.changes, *map(tracking.release, left)], outcome.again_after)

    def refused(self, key: str, change: Change, error: ApiError) -> list[Change]:
        held = self._jobs.get(key)
        if held is None or not isinstance(change, Create):
            return []
        return [Tell(held, "FailedCreate", f"Error creating: {error}", "Warning")]

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        for pod in (old, new):
            if pod is not None:
                self._add(owner_key(pod, "Job"))
                self._add(tracking.job_key(pod))


class DisruptionController(Base):
    """Keys are disruption budgets."""

    name = "disruption"

    def __init__(self, hub: Hub, clock: Clock) -> None:
        super().__init__(clock)
        self._budgets, self._pods = hub.view(DISRUPTION_BUDGETS), pod_view(hub)
        self._sets, self._deployments = set_view(hub), hub.view(DEPLOYMENTS)
        self._budgets.add_index(POD_NAMESPACE, namespace_of)

    def wire(self, queue: WorkQueue[str]) -> None:
        self._queue = queue
        self._budgets.on(lambda _, new: self._add(new.key) if new is not None else None)
        for view in (self._pods, self._sets, self._deployments):
            view.on(self._near)

    async def decide(self, key: str) -> Outcome:
        budget = self._budgets.get(key)
        if budget is None:
            return Outcome()
        pods = self._pods.by_index(POD_NAMESPACE, budget.namespace)
        return disruption.reconcile(budget, pods, self._scale_of, self._clock.now())

    def _near(self, old: Object | None, new: Object | None) -> None:
        """Something changed in a namespace: its budgets count again."""
        for budget in self._budgets.by_index(POD_NAMESPACE, (new or old or Object()).namespace):
            self._add(budget.key)

    def _scale_of(self, pod: Pod) -> tuple[str, int] | None:
        """The replicas of the pod's deployment, else of its replica set."""
        key = owner_key(pod, "ReplicaSet")
        rs = self._sets.get(key) if key else None
        if rs is None:
            return None
        parent = owner_key(rs, "Deployment")
        deployment = self._deployments.get(parent) if parent else None
        if deployment is not None:
            return deployment.metadata.uid, revisions.wanted_replicas(deployment)
        return rs.metadata.uid, replicaset.wanted(rs)
