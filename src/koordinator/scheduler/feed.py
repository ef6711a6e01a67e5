"""From informers into the engine: which cluster event means what for cluster and queue.

Guarantee: an object that cannot be read is reported and skipped; the last good state of it stays in force.
"""

import logging

from koordinator.api.core import Node, Pod
from koordinator.api.meta import Object, ObjectMeta
from koordinator.kube.store import Undecodable
from koordinator.scheduler.engine.cycle import Scheduler
from koordinator.scheduler.engine.events import ClusterEvent, Happening, node_happening
from koordinator.scheduler.engine.framework import WatchPlugin
from koordinator.scheduler.engine.pod import PodReader, scheduler_name
from koordinator.scheduler.report import Reporter

log = logging.getLogger(__name__)


class Feed:
    """Handlers for the informers of pods, nodes and what plugins watch."""

    def __init__(self, scheduler: Scheduler, reporter: Reporter) -> None:
        self.scheduler, self.reporter = scheduler, reporter
        self.cluster, self.queue = scheduler.cluster, scheduler.queue
        self.reader = PodReader()

    # -- pods ----------------------------------------------------------------------------------------------------------

    def pod_added(self, pod: Pod) -> None:
        if pod.spec.node_name:
            self._pod_placed(pod)
        else:
            self._pod_waits(pod)

    def pod_updated(self, old: Pod, new: Pod) -> None:
        if old.metadata.uid != new.metadata.uid:
            self.pod_deleted(old)
        self.pod_added(new)

    def pod_deleted(self, pod: Pod) -> None:
        self.scheduler.gone(pod.metadata.uid)
        self._pod_left(pod)

    def pod_unreadable(self, bad: Undecodable) -> None:
        self.scheduler.gone(bad.uid)
        meta = ObjectMeta(namespace=bad.namespace, name=bad.name, uid=bad.uid)
        self.reporter.unreadable(Pod(api_version="v1", kind="Pod", metadata=meta), bad.reason)

    def _pod_placed(self, pod: Pod) -> None:
        """A pod is on a node, by whomever."""
        uid, node = pod.metadata.uid, pod.spec.node_name
        if uid in self.queue:
            self.scheduler.gone(uid)
        if pod.terminated:
            self._pod_left(pod)
            return
        known = self.cluster.pods.get(uid)
        confirmed = known is not None and known.assumed
        try:
            news = self.cluster.place(self.reader.read(pod), node)
        except ValueError as err:
            log.warning("pod %s on node %s is not counted there: %s", pod.key, node, err)
            return
        if news or confirmed:
            kind = Happening.POD_ADD if known is None or confirmed else Happening.POD_UPDATE
            self.scheduler.tell(ClusterEvent(kind, node, new=pod))

    def _pod_left(self, pod: Pod) -> None:
        placed = self.cluster.remove(pod.metadata.uid)
        if placed is not None:
            self.scheduler.tell(ClusterEvent(Happening.POD_DELETE, placed.node, old=pod))

    def _pod_waits(self, pod: Pod) -> None:
        uid, name = pod.metadata.uid, scheduler_name(pod)
        if not self.scheduler.wants(name) or pod.terminated or pod.metadata.deletion_timestamp is not None:
            self.scheduler.gone(uid)
            return
        try:
            info = self.reader.read(pod)
        except ValueError as err:
            self.scheduler.gone(uid)
            self.reporter.unreadable(pod, str(err))
            return
        self.scheduler.add_pending(info, name)

    # -- nodes ---------------------------------------------------------------------------------------------------------

    def node_set(self, node: Node) -> None:
        before = self.cluster.node(node.name)
        try:
            changes = self.cluster.set_node(node)
        except ValueError as err:
            log.warning("node %s keeps its last good state: status.allocatable: %s", node.name, err)
            return
        happening = node_happening(changes)
        if before is not None and before.metadata.annotations != node.metadata.annotations:
            happening |= Happening.NODE_ANNOTATION
        if happening:
            self.scheduler.tell(ClusterEvent(happening, node.name, new=node))

    def node_deleted(self, node: Node) -> None:
        self.cluster.remove_node(node.name)
        self.scheduler.tell(ClusterEvent(Happening.NODE_DELETE, node.name, old=node))

    def unreadable(self, bad: Undecodable) -> None:
        log.warning("%s %s keeps its last good state: %s", bad.kind, bad.name, bad.reason)

    # -- what plugins watch --------------------------------------------------------------------------------------------

    def object_set(self, plugin: WatchPlugin, obj: Object) -> None:
        try:
            plugin.object_set(obj)
        except ValueError as err:
            log.warning("%s %s keeps its last good state in %s: %s", obj.kind, obj.key, plugin.name, err)
            return
        self.scheduler.tell(ClusterEvent(plugin.happening, obj.name, new=obj))

    def object_deleted(self, plugin: WatchPlugin, obj: Object) -> None:
        plugin.object_deleted(obj)
        self.scheduler.tell(ClusterEvent(plugin.happening, obj.name, old=obj))
