"""The workload controllers at work: which events concern which key, and what each decision needs to see."""

from collections.abc import Collection

from koordinator.api.core import Node, Pod
from koordinator.api.meta import Object
from koordinator.api.registry import NODES
from koordinator.clock import Clock
from koordinator.cluster.controllers import daemonset, disruption, job, replicaset, revisions, statefulset, tracking
from koordinator.cluster.controllers import deployment as deployments
from koordinator.cluster.controllers import pods as pods_
from koordinator.cluster.controllers.base import (
    NAMESPACE,
    OWNER,
    Base,
    adopters,
    candidates,
    name_taken,
    owned_view,
    owner_key,
    pod_view,
)
from koordinator.cluster.controllers.changes import Change, Create, Outcome, Tell
from koordinator.cluster.controllers.hub import Hub
from koordinator.cluster.controllers.objects import (
    CLAIMS,
    CONTROLLER_REVISIONS,
    DAEMON_SETS,
    DEPLOYMENTS,
    DISRUPTION_BUDGETS,
    JOBS,
    REPLICA_SETS,
    STATEFUL_SETS,
    ReplicaSet,
    StatefulSet,
)
from koordinator.cluster.controllers.ownership import unusable
from koordinator.cluster.controllers.view import namespace_of
from koordinator.kube.errors import AlreadyExists, ApiError
from koordinator.kube.owners import is_controlled_by
from koordinator.kube.workqueue import WorkQueue

TRACKED = "tracked"


class ReplicaSetController(Base):
    """Keys are replica sets."""

    name = "replicaset"

    def __init__(self, hub: Hub, clock: Clock) -> None:
        super().__init__(clock)
        self._sets, self._pods = owned_view(hub, REPLICA_SETS), pod_view(hub)

    def wire(self, queue: WorkQueue[str]) -> None:
        self._queue = queue
        self._follow(self._sets)
        self._follow_owners(self._pods, "ReplicaSet")
        self._pods.on(self._offer)

    async def decide(self, key: str) -> Outcome:
        rs = self._sets.get(key)
        if rs is None:
            return Outcome()
        return replicaset.reconcile(rs, candidates(self._pods, rs, rs.spec.selector), self._clock.now())

    def refused(self, key: str, change: Change, error: ApiError) -> list[Change]:
        rs = self._sets.get(key)
        return replicaset.refused(rs, str(error), self._clock.now()) if rs is not None and isinstance(change, Create) else []

    def _offer(self, _: Pod | None, pod: Pod | None) -> None:
        if pod is not None and pod.owner is None and pods_.is_active(pod):
            for rs in adopters(self._sets, pod):
                if not unusable(REPLICA_SETS, rs):
                    self._add(rs.key)


class DeploymentController(Base):
    """Keys are deployments."""

    name = "deployment"

    def __init__(self, hub: Hub, clock: Clock) -> None:
        super().__init__(clock)
        self._deployments, self._sets, self._pods = hub.view(DEPLOYMENTS), owned_view(hub, REPLICA_SETS), pod_view(hub)

    def wire(self, queue: WorkQueue[str]) -> None:
        self._queue = queue
        self._follow(self._deployments)
        self._follow_owners(self._sets, "Deployment")
        self._sets.on(self._offer)
        self._pods.on(self._pod_changed)

    async def decide(self, key: str) -> Outcome:
        deployment = self._deployments.get(key)
        if deployment is None:
            return Outcome()
        sets = candidates(self._sets, deployment, deployment.spec.selector)
        counts = {rs.metadata.uid: self._count(rs) for rs in sets}
        return deployments.reconcile(deployment, sets, counts, self._clock.now())

    def refused(self, key: str, change: Change, error: ApiError) -> list[Change]:
        deployment = self._deployments.get(key)
        if deployment is None or not isinstance(change, Create):
            return []
        if isinstance(error, AlreadyExists):
            return name_taken(DEPLOYMENTS, deployment, self._sets, change)
        return [Tell(deployment, "ReplicaSetCreateError", f"Failed to create new replica set: {error}", "Warning")]

    def _count(self, rs: ReplicaSet) -> deployments.Count:
        pods = [pod for pod in self._pods.by_index(OWNER, rs.metadata.uid) if not pod.terminated]
        return deployments.Count(sum(pods_.is_active(pod) for pod in pods), len(pods))

    def _offer(self, _: ReplicaSet | None, rs: ReplicaSet | None) -> None:
        if rs is not None and rs.owner is None:
            for deployment in self._deployments.items():
                if deployment.namespace == rs.namespace:
                    self._add(deployment.key)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        """Only a pod that left for good matters: a rollout may be waiting for its place."""
        if old is None or (new is not None and pods_.is_active(new) == pods_.is_active(old)):
            return
        if (key := owner_key(old, "ReplicaSet")) is not None and (rs := self._sets.get(key)) is not None:
            self._add(owner_key(rs, "Deployment"))


class DaemonSetController(Base):
    """Keys are daemon sets. Nodes matter only where they decide who belongs there."""

    name = "daemonset"

    def __init__(self, hub: Hub, clock: Clock) -> None:
        super().__init__(clock)
        self._sets, self._pods, self._nodes = hub.view(DAEMON_SETS), pod_view(hub), hub.view(NODES)
        self._revisions = owned_view(hub, CONTROLLER_REVISIONS)

    def wire(self, queue: WorkQueue[str]) -> None:
        self._queue = queue
        self._follow(self._sets)
        self._follow_owners(self._pods, "DaemonSet")
        self._pods.on(self._offer)
        self._nodes.on(self._node_changed)

    async def decide(self, key: str) -> Outcome:
        held = self._sets.get(key)
        if held is None:
            return Outcome()
        pods = candidates(self._pods, held, held.spec.selector)
        past = candidates(self._revisions, held, held.spec.selector)
        return daemonset.reconcile(held, daemonset.Known(pods, past, self._nodes.items()), self._clock.now())

    def refused(self, key: str, change: Change, error: ApiError) -> list[Change]:
        held = self._sets.get(key)
        if held is None or not isinstance(change, Create):
            return []
        if change.resource is CONTROLLER_REVISIONS and isinstance(error, AlreadyExists):
            return name_taken(DAEMON_SETS, held, self._revisions, change)
        return [Tell(held, "FailedCreate", f"Error creating: {error}", "Warning")]

    def _offer(self, _: Pod | None, pod: Pod | None) -> None:
        if pod is not None and pod.owner is None:
            for held in adopters(self._sets, pod):
                self._add(held.key)

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if old is not None and new is not None and old.labels == new.labels and old.spec == new.spec:
            return
        for held in self._sets.items():
            self._add(held.key)


class StatefulSetController(Base):
    """Keys are stateful sets."""

    name = "statefulset"

    def __init__(self, hub: Hub, clock: Clock) -> None:
        super().__init__(clock)
        self._sets, self._pods, self._claims = hub.view(STATEFUL_SETS), pod_view(hub), hub.view(CLAIMS)
        self._revisions = owned_view(hub, CONTROLLER_REVISIONS)
        self._claims.add_index(NAMESPACE, namespace_of)

    def wire(self, queue: WorkQueue[str]) -> None:
        self._queue = queue
        self._follow(self._sets)
        self._follow_owners(self._pods, "StatefulSet")
        self._pods.on(self._offer)

    async def decide(self, key: str) -> Outcome:
        held = self._sets.get(key)
        if held is None:
            return Outcome()
        pods = candidates(self._pods, held, held.spec.selector)
        past = candidates(self._revisions, held, held.spec.selector)
        return statefulset.reconcile(held, statefulset.Known(pods, past, self._claim_names(held)), self._clock.now())

    def refused(self, key: str, change: Change, error: ApiError) -> list[Change]:
        held = self._sets.get(key)
        if held is None or not isinstance(change, Create):
            return []
        if change.resource is CONTROLLER_REVISIONS and isinstance(error, AlreadyExists):
            return name_taken(STATEFUL_SETS, held, self._revisions, change)
        what = f"{change.resource.kind} {change.body['metadata']['name']}"
        return [Tell(held, "FailedCreate", f"create {what} failed: {error}", "Warning")]

    def _claim_names(self, held: StatefulSet) -> Collection[str]:
        if not held.spec.volume_claim_templates:
            return ()
        return {one.name for one in self._claims.by_index(NAMESPACE, held.namespace)}

    def _offer(self, _: Pod | None, pod: Pod | None) -> None:
        if pod is not None and pod.owner is None:
            key = f"{pod.namespace}/{pod.name.rpartition('-')[0]}"
            self._add(key if self._sets.get(key) is not None else None)


class JobController(Base):
    """Keys are jobs."""

    name = "job"

    def __init__(self, hub: Hub, clock: Clock) -> None:
        super().__init__(clock)
        self._jobs, self._pods = hub.view(JOBS), pod_view(hub)
        self._pods.add_index(TRACKED, lambda pod: [key] if (key := tracking.job_key(pod)) is not None else [])

    def wire(self, queue: WorkQueue[str]) -> None:
        self._queue = queue
        self._jobs.on(lambda old, new: self._add((new or old or Object()).key))
        self._follow_owners(self._pods, "Job")
        self._pods.on(self._tracked_changed)

    async def decide(self, key: str) -> Outcome:
        held = self._jobs.get(key)
        if held is None:
            return Outcome([tracking.release(pod) for pod in self._pods.by_index(TRACKED, key)])
        outcome = job.reconcile(held, candidates(self._pods, held, held.spec.selector), self._clock.now())
        left = [pod for pod in self._pods.by_index(TRACKED, key) if not is_controlled_by(pod, held)]
        return Outcome([*outcome.changes, *map(tracking.release, left)], outcome.again_after)

    def refused(self, key: str, change: Change, error: ApiError) -> list[Change]:
        held = self._jobs.get(key)
        if held is None or not isinstance(change, Create):
            return []
        return [Tell(held, "FailedCreate", f"Error creating: {error}", "Warning")]

    def _tracked_changed(self, old: Pod | None, new: Pod | None) -> None:
        for pod in (old, new):
            if pod is not None:
                self._add(tracking.job_key(pod))


class DisruptionController(Base):
    """Keys are disruption budgets."""

    name = "disruption"

    def __init__(self, hub: Hub, clock: Clock) -> None:
        super().__init__(clock)
        self._budgets, self._pods = hub.view(DISRUPTION_BUDGETS), pod_view(hub)
        self._sets, self._deployments = owned_view(hub, REPLICA_SETS), hub.view(DEPLOYMENTS)
        self._budgets.add_index(NAMESPACE, namespace_of)

    def wire(self, queue: WorkQueue[str]) -> None:
        self._queue = queue
        self._follow(self._budgets)
        for view in (self._pods, self._sets, self._deployments):
            view.on(self._near)

    async def decide(self, key: str) -> Outcome:
        budget = self._budgets.get(key)
        if budget is None:
            return Outcome()
        pods = self._pods.by_index(NAMESPACE, budget.namespace)
        return disruption.reconcile(budget, pods, self._scale_of, self._clock.now())

    def _near(self, old: Object | None, new: Object | None) -> None:
        """Something changed in a namespace: its budgets count again."""
        for budget in self._budgets.by_index(NAMESPACE, (new or old or Object()).namespace):
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
