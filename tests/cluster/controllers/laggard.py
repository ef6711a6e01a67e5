"""A server whose watch delivers when told to, with the decisions carried out on it. Nothing is random."""

import itertools

import msgspec

from koordinator.api.core import Pod
from koordinator.api.meta import Condition
from koordinator.api.registry import PODS
from koordinator.clock import ManualClock
from koordinator.cluster.controllers import deployment as deployments
from koordinator.cluster.controllers import pods as pods_
from koordinator.cluster.controllers import replicaset
from koordinator.cluster.controllers.changes import Create, Delete, Patch
from koordinator.cluster.controllers.objects import DEPLOYMENTS, REPLICA_SETS, Deployment, ReplicaSet, RollingUpdate
from koordinator.cluster.controllers.view import View, owner_uid, ownerless_in
from koordinator.kube.cache import Cache
from koordinator.kube.patches import merge


class Laggard:
    """The source of a view: shows what it is told to show."""

    def __init__(self):
        self.cache, self.handlers = Cache(), []

    def on(self, added=None, updated=None, deleted=None):
        self.handlers.append((added, updated, deleted))

    def show(self, obj):
        self._tell(self.cache.upsert(obj))

    def remove(self, obj):
        self._tell(self.cache.remove(obj.key, obj))

    def _tell(self, changes):
        for change in changes:
            for added, updated, deleted in self.handlers:
                if change.old is None:
                    added(change.new)
                elif change.new is None:
                    deleted(change.old)
                else:
                    updated(change.old, change.new)


TYPES = {"pods": Pod, "replicasets": ReplicaSet, "deployments": Deployment}


class Cluster:
    """Objects as JSON by plural and key, a log of what watches have yet to deliver, and the controllers' views."""

    def __init__(self, deployment, surge, unavailable, only=None):
        self.versions, self.objects, self.log = itertools.count(1000), {}, []
        self.clock = ManualClock()
        self.sources = {plural: Laggard() for plural in TYPES}
        self.views = {
            plural: View(resource, self.sources[plural], self.clock)
            for plural, resource in (("pods", PODS), ("replicasets", REPLICA_SETS), ("deployments", DEPLOYMENTS))
        }
        for view in self.views.values():
            view.add_index("owner", owner_uid)
            view.add_index("orphan", ownerless_in)
        if deployment is not None:
            deployment.spec.strategy.rolling_update = RollingUpdate(max_surge=surge, max_unavailable=unavailable)
            self._put("deployments", msgspec.to_builtins(deployment))
        if only is not None:
            self._put("replicasets", msgspec.to_builtins(only))

    def act(self, what, number):
        match what:
            case "deliver":
                self.deliver(number)
            case "deployments":
                self.reconcile_deployments()
            case "sets":
                self.reconcile_sets()
            case "ready" | "kill" | "end":
                self.touch_pod(what, number)
            case "image":
                self.change_image(number)
            case "grow":
                self.grow(number)

    def active(self):
        return sum(pods_.is_active(msgspec.convert(obj, Pod)) for obj in self.objects.get("pods", {}).values())

    def settle(self):
        for _ in range(60):
            self.deliver(10_000)
            self.reconcile_deployments()
            self.reconcile_sets()
            for index in range(60):
                self.touch_pod("ready", index)
                self.touch_pod("end", index)

    def deliver(self, count):
        for _ in range(min(count, len(self.log))):
            plural, raw, gone = self.log.pop(0)
            obj = msgspec.convert(raw, TYPES[plural])
            self.sources[plural].remove(obj) if gone else self.sources[plural].show(obj)

    def reconcile_deployments(self):
        for held in self.views["deployments"].items():
            sets = self.views["replicasets"].by_index("owner", held.metadata.uid)
            counts = {rs.metadata.uid: self._count(rs) for rs in sets}
            self._carry_out(deployments.reconcile(held, sets, counts, self.clock.now()).changes)

    def reconcile_sets(self):
        for rs in self.views["replicasets"].items():
            pods = self.views["pods"].by_index("owner", rs.metadata.uid)
            self.clock.advance(1)
            self._carry_out(replicaset.reconcile(rs, pods, self.clock.now()).changes)

    def _count(self, rs):
        pods = [pod for pod in self.views["pods"].by_index("owner", rs.metadata.uid) if not pod.terminated]
        return deployments.Count(sum(pods_.is_active(pod) for pod in pods), len(pods))

    def touch_pod(self, what, number):
        pods = list(self.objects.get("pods", {}).items())
        if not pods:
            return
        key, raw = pods[number % len(pods)]
        if what == "kill" or (what == "end" and raw["metadata"].get("deletionTimestamp")):
            self._drop("pods", key)
        elif what == "ready":
            ready = Condition(type="Ready", status="True", last_transition_time="2026-01-01T00:00:00Z")
            self._put("pods", merge(raw, {"status": {"phase": "Running", "conditions": [msgspec.to_builtins(ready)]}}))

    def change_image(self, number):
        for key, raw in list(self.objects.get("deployments", {}).items()):
            template = merge(raw["spec"]["template"], {"spec": {"containers": [{"name": "main", "image": f"v{number}"}]}})
            self._put("deployments", merge(self.objects["deployments"][key], {"spec": {"template": template}}))

    def grow(self, number):
        for raw in list(self.objects["deployments"].values()):
            self.replicas = raw["spec"]["replicas"] + number
            self._put("deployments", merge(raw, {"spec": {"replicas": self.replicas}}))

    def _carry_out(self, changes):
        for change in changes:
            match change:
                case Create():
                    self._create(change)
                case Patch():
                    if not self._patch(change):
                        return
                case Delete():
                    self._delete(change)

    def _create(self, change):
        plural = change.resource.plural
        raw = merge({"metadata": {"uid": f"uid-{next(self.versions)}", "generation": 1}}, change.body)
        assert self._key(raw) not in self.objects.get(plural, {})
        self.views[plural].wrote(self._put(plural, raw))

    def _patch(self, change):
        """False on a conflict: the rest of the decision is not carried out."""
        plural, key = change.resource.plural, f"{change.namespace}/{change.name}"
        held = self.objects.get(plural, {}).get(key)
        if held is None:
            return True
        wanted = (change.body.get("metadata") or {}).get("resourceVersion")
        if wanted and wanted != held["metadata"]["resourceVersion"]:
            return False
        after = merge(held, change.body)
        if after.get("spec") != held.get("spec"):
            after["metadata"]["generation"] = held["metadata"].get("generation", 1) + 1
        self.views[plural].wrote(self._put(plural, after))
        return True

    def _delete(self, change):
        plural, key = change.resource.plural, f"{change.namespace}/{change.name}"
        held = self.objects.get(plural, {}).get(key)
        if held is None or held["metadata"]["uid"] != change.uid:
            self.views[plural].lost(key, change.uid)
            return
        if plural == "pods":
            self._put(plural, merge(held, {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}))
        else:
            self._drop(plural, key)
        self.views[plural].doomed(key, change.uid)

    def _put(self, plural, raw):
        raw = merge(raw, {"metadata": {"resourceVersion": str(next(self.versions))}})
        self.objects.setdefault(plural, {})[self._key(raw)] = raw
        self.log.append((plural, raw, False))
        return msgspec.convert(raw, TYPES[plural])

    def _drop(self, plural, key):
        raw = self.objects[plural].pop(key)
        self.log.append((plural, merge(raw, {"metadata": {"resourceVersion": str(next(self.versions))}}), True))

    def _key(self, raw):
        return f"{raw['metadata']['namespace']}/{raw['metadata']['name']}"
