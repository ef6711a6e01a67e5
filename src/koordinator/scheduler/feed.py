"""From informers into the engine: which cluster event means what for cluster and queue.

Objects enter as ``api.transform`` shows them: resources under the names of today, nodes without what they keep for themselves.
Guarantee: an object that cannot be read is reported and skipped; the last good state of it stays in force.
"""

import contextlib
import logging
from collections.abc import Callable

from koordinator.api import transform
from koordinator.api.core import Node, Pod
from koordinator.api.meta import Object, ObjectMeta
from koordinator.kube.store import Undecodable
from koordinator.scheduler.engine.cycle import Scheduler
from koordinator.scheduler.engine.events import ClusterEvent, Happening, node_happening
from koordinator.scheduler.engine.framework import WatchPlugin
from koordinator.scheduler.engine.hooks import PodPlugin
from koordinator.scheduler.engine.pod import PodReader, scheduler_name
from koordinator.scheduler.garbage import Garbage
from koordinator.scheduler.report import Reporter

log = logging.getLogger(__name__)

LAST_GOOD = "the last good state stays in force"


class Feed:
    """Handlers for the informers of pods, nodes and what plugins watch."""

    def __init__(self, scheduler: Scheduler, reporter: Reporter) -> None:
        self.scheduler, self.reporter = scheduler, reporter
        self.cluster, self.queue = scheduler.cluster, scheduler.queue
        self.reader = PodReader()
        self.garbage = Garbage(scheduler.profiles.values(), reporter)
        self._pod_transforms = transform.pod_transforms(scheduler.gates)
        profiles = dict.fromkeys(scheduler.profiles.values())
        self._pod_plugins = [plugin for profile in profiles for plugin in profile.pod_plugins]
        self._minds_others = "CrossSchedulerNomination" in scheduler.gates

    # -- pods ----------------------------------------------------------------------------------------------------------

    def pod_added(self, pod: Pod) -> None:
        try:
            pod = self._transformed(pod)
        except ValueError as err:
            self._pod_cannot_be_read(pod, err)
            return
        self.garbage.annotations(pod)
        for plugin in self._pod_plugins:
            self._hear(plugin, plugin.pod_known, pod)
        if pod.spec.node_name:
            self._pod_placed(pod)
        else:
            self._pod_waits(pod)

    def pod_updated(self, old: Pod, new: Pod) -> None:
        if old.metadata.uid != new.metadata.uid:
            self.pod_deleted(old)
        self.pod_added(new)

    def pod_deleted(self, pod: Pod) -> None:
        self._gone(pod, deleted=True)
        self.garbage.forget(pod)
        with contextlib.suppress(ValueError):
            pod = self._transformed(pod)
        for plugin in self._pod_plugins:
            self._hear(plugin, plugin.pod_gone, pod)
        self._pod_left(pod)

    @staticmethod
    def _hear(plugin: PodPlugin, hook: Callable[[Pod], None], pod: Pod) -> None:
        try:
            hook(pod)
        except Exception:  # others must hear of the pod all the same
            log.exception("telling plugin %s of pod %s", plugin.name, pod.key)

    def _transformed(self, pod: Pod) -> Pod:
        for change in self._pod_transforms:
            pod = change(pod)
        return pod

    def _pod_cannot_be_read(self, pod: Pod, err: ValueError) -> None:
        if pod.spec.node_name:
            self.garbage.state(pod, f"the pod is not counted on node {pod.spec.node_name} as it is now: {err}")
            return
        self.scheduler.gone(pod.metadata.uid)
        self.reporter.unreadable(pod, str(err))

    def pod_unreadable(self, bad: Undecodable) -> None:
        self.scheduler.gone(bad.uid)
        meta = ObjectMeta(namespace=bad.namespace, name=bad.name, uid=bad.uid)
        self.reporter.unreadable(Pod(api_version="v1", kind="Pod", metadata=meta), bad.reason)

    def _pod_placed(self, pod: Pod) -> None:
        """A pod is on a node, by whomever."""
        uid, node = pod.metadata.uid, pod.spec.node_name
        if uid in self.queue or self.cluster.nominator.elsewhere(uid):
            self._gone(pod)
        if pod.terminated:
            self._pod_left(pod)
            return
        known = self.cluster.pods.get(uid)
        confirmed = known is not None and known.assumed
        try:
            news = self.cluster.place(self.reader.read(pod), node)
        except ValueError as err:
            self._pod_cannot_be_read(pod, err)
            return
        if news or confirmed:
            kind = Happening.POD_ADD if known is None or confirmed else Happening.POD_UPDATE
            self.scheduler.tell(ClusterEvent(kind, node, new=pod))

    def _pod_left(self, pod: Pod) -> None:
        placed = self.cluster.remove(pod.metadata.uid)
        if placed is not None:
            self.scheduler.tell(ClusterEvent(Happening.POD_DELETE, placed.node, old=pod))

    def _pod_waits(self, pod: Pod) -> None:
        name = scheduler_name(pod)
        ended = pod.terminated or pod.metadata.deletion_timestamp is not None
        if not self.scheduler.wants(name) or ended:
            self._gone(pod, deleted=ended)
            if not ended and self._minds_others and pod.status.nominated_node_name:
                self._pod_elsewhere(pod, pod.status.nominated_node_name)
            return
        if self.cluster.nominator.elsewhere(pod.metadata.uid):
            self._gone(pod)
        try:
            info = self.reader.read(pod)
        except ValueError as err:
            self._pod_cannot_be_read(pod, err)
            return
        self.scheduler.add_pending(info, name)

    def _pod_elsewhere(self, pod: Pod, promised: str) -> None:
        """A pod waits for another scheduler: what that has promised it is not free for lesser pods of ours."""
        try:
            info = self.reader.read(pod)
        except ValueError as err:
            log.warning("pod %s of another scheduler, promised node %s, is not counted there: %s", pod.key, promised, err)
            return
        self.cluster.nominator.nominated_elsewhere(info, promised)

    def _gone(self, pod: Pod, *, deleted: bool = False) -> None:
        """The pod waits for nothing any more. What another scheduler had promised it is room for others."""
        uid = pod.metadata.uid
        left = self.cluster.nominator.elsewhere(uid)
        self.scheduler.gone(uid)
        stays = pod.spec.node_name or ("" if deleted else pod.status.nominated_node_name)
        if left and left != stays:
            self.scheduler.tell(ClusterEvent(Happening.POD_DELETE, left, old=pod))

    # -- nodes ---------------------------------------------------------------------------------------------------------

    def node_set(self, node: Node) -> None:
        before = self.cluster.node(node.name)
        self.garbage.annotations(node)
        try:
            node = transform.node(node)
            changes = self.cluster.set_node(node)
        except ValueError as err:
            self.garbage.state(node, f"{LAST_GOOD}: status.allocatable: {err}")
            return
        self.garbage.state(node)
        happening = node_happening(changes)
        if before is not None and before.metadata.annotations != node.metadata.annotations:
            happening |= Happening.NODE_ANNOTATION
        if happening:
            self.scheduler.tell(ClusterEvent(happening, node.name, new=node))

    def node_deleted(self, node: Node) -> None:
        self.cluster.remove_node(node.name)
        self.garbage.forget(node)
        self._call_back(node.name)
        self.scheduler.tell(ClusterEvent(Happening.NODE_DELETE, node.name, old=node))

    def _call_back(self, node: str) -> None:
        """Pods that wait at Permit for a node that is gone are tried elsewhere: bound there, they would be orphans."""
        waiting = self.scheduler.waiting
        for one in [one for one in waiting if one.binding.node == node]:
            if waiting.reject(one.uid, "", f"node {node} is gone"):
                self.queue.activate(one.uid)

    def unreadable(self, bad: Undecodable) -> None:
        meta = ObjectMeta(namespace=bad.namespace, name=bad.name, uid=bad.uid)
        obj = Object(kind=bad.kind, metadata=meta)
        self.garbage.state(obj, f"{LAST_GOOD}: {bad.reason}")

    # -- what plugins watch --------------------------------------------------------------------------------------------

    def object_set(self, plugin: WatchPlugin, obj: Object) -> None:
        try:
            obj = transform.other(obj)
            plugin.object_set(obj)
        except ValueError as err:
            self.garbage.state(obj, f"{LAST_GOOD} in {plugin.name}: {err}", plugin.name)
            return
        except Exception:  # the plugin's bug; whoever waits for this object is tried again nonetheless
            log.exception("plugin %s did not take note of %s %s", plugin.name, obj.kind, obj.key)
        else:
            self.garbage.state(obj, by=plugin.name)
        self.scheduler.tell(ClusterEvent(plugin.happening, obj.name, new=obj))

    def object_deleted(self, plugin: WatchPlugin, obj: Object) -> None:
        try:
            plugin.object_deleted(obj)
        except Exception:  # as above
            log.exception("plugin %s did not take note that %s %s is gone", plugin.name, obj.kind, obj.key)
        self.garbage.forget(obj, plugin.name)
        self.scheduler.tell(ClusterEvent(plugin.happening, obj.name, old=obj))
