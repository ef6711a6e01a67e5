"""Which pods belong together because a Service, ReplicaSet, ReplicationController or StatefulSet selects them."""

from koordinator.api.core import ReplicaSet, ReplicationController, Service, StatefulSet
from koordinator.api.meta import LabelSelector, OwnerReference
from koordinator.api.registry import REPLICA_SETS, REPLICATION_CONTROLLERS, SERVICES, STATEFUL_SETS
from koordinator.api.selectors import Selector, compile_
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.objects import Objects
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.engine.selections import Lookup, Selection

_OWNERS = ("ReplicaSet", "StatefulSet", "ReplicationController")


class Owners:
    """Selectors of services and of pods' owners."""

    def __init__(self, cluster: Cluster) -> None:
        self._services: dict[str, dict[str, tuple[Selection, Selector]]] = {}
        self._lookups: dict[str, Lookup[Selector]] = {}
        self._owners: dict[tuple[str, str, str], Selector] = {}
        objects = cluster.shared(Objects)
        objects.of(SERVICES).hearing.append(self._service)
        objects.of(REPLICATION_CONTROLLERS).hearing.append(self._controller)
        objects.of(REPLICA_SETS).hearing.append(self._workload)
        objects.of(STATEFUL_SETS).hearing.append(self._workload)

    def _service(self, service: Service, there: bool) -> None:
        self.set_service(service.metadata.namespace, service.name, service.spec.selector if there else None)

    def _controller(self, one: ReplicationController, there: bool) -> None:
        wanted = LabelSelector(match_labels=one.spec.selector) if there and one.spec.selector else None
        self.set_owner("ReplicationController", one.metadata.namespace, one.name, wanted)

    def _workload(self, one: ReplicaSet | StatefulSet, there: bool) -> None:
        kind = "ReplicaSet" if isinstance(one, ReplicaSet) else "StatefulSet"
        self.set_owner(kind, one.metadata.namespace, one.name, one.spec.selector if there else None)

    def set_service(self, namespace: str, name: str, wanted: dict[str, str] | None) -> None:
        """A service's selector; None when the service is gone or has none."""
        of_namespace = self._services.setdefault(namespace, {})
        lookup = self._lookups.setdefault(namespace, Lookup())
        if (known := of_namespace.pop(name, None)) is not None:
            lookup.remove(*known)
        if wanted:
            selector = compile_(LabelSelector(match_labels=wanted))
            of_namespace[name] = entry = Selection(frozenset((namespace,)), selector), selector
            lookup.add(*entry)
        if not of_namespace:
            del self._services[namespace], self._lookups[namespace]

    def set_owner(self, kind: str, namespace: str, name: str, wanted: LabelSelector | None) -> None:
        """The selector of a workload; None when it is gone. Raises ValueError when it cannot be read."""
        if wanted is None:
            self._owners.pop((kind, namespace, name), None)
        else:
            self._owners[kind, namespace, name] = compile_(wanted)

    def selector(self, pod: PodInfo) -> Selector | None:
        """Whom default constraints count along with a pod; None when nobody selects it."""
        meta = pod.pod.metadata
        if not meta.owner_references and pod.namespace not in self._lookups:
            return None
        found = {one for one in self._of_services(pod) if one.matches(meta.labels)}
        if (owner := self._of_owner(pod.namespace, meta.owner_references)) is not None:
            found.add(owner)
        requirements = {requirement for one in found for requirement in one.requirements}
        if not requirements:
            return None
        return Selector(tuple(sorted(requirements, key=lambda one: (one.key, one.operator, sorted(one.values)))))

    def _of_services(self, pod: PodInfo) -> list[Selector]:
        lookup = self._lookups.get(pod.namespace)
        return list(lookup.candidates(pod.pod.metadata.labels)) if lookup is not None else []

    def _of_owner(self, namespace: str, references: list[OwnerReference] | None) -> Selector | None:
        for one in references or ():
            if one.controller and one.kind in _OWNERS:
                return self._owners.get((one.kind, namespace, one.name))
        return None
