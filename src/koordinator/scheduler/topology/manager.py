"""Keeps the tree of the network current: from the ClusterNetworkTopology ``default`` and the labels of the nodes.

Every replica keeps the tree, so that a new leader has it at once; only the leader writes it into the object's status. The tree
is made anew only when the layers or the labels of a node have changed.

Guarantee: whoever reads ``tree`` sees one whole state, and None where the cluster describes no network.
"""

import asyncio
import logging
from collections.abc import Callable

import msgspec

from koordinator.api.core import Node
from koordinator.api.networktopology import DEFAULT_NAME, ClusterNetworkTopology, NetworkTopologyLayer
from koordinator.api.registry import CLUSTER_NETWORK_TOPOLOGIES
from koordinator.clock import Clock
from koordinator.kube.errors import ApiError, NotFound, Unreadable
from koordinator.kube.events import Recorder
from koordinator.kube.store import Store
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.columns import Change
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.topology.tree import Built, InvalidTopology, Tree, build, details

log = logging.getLogger(__name__)

PERIOD = 10.0
INVALID, INCOMPLETE = "InvalidNetworkTopology", "IncompleteNetworkTopology"
_NAMED = 5


class NetworkTopology:
    """A ``ClusterListener``. ``changed`` is called when there is another tree: pods that a plugin refused may fit now."""

    dry_runs = False

    def __init__(self, store: Store, cluster: Cluster, clock: Clock, recorder: Recorder) -> None:
        self._store, self._cluster, self._clock, self._recorder = store, cluster, clock, recorder
        self.tree: Tree | None = None
        self.changed: Callable[[], None] = lambda: None
        self._spec: list[NetworkTopologyLayer] | None = None
        self._stale = True
        self._wrong = self._told = ("", "")
        cluster.listeners.append(self)

    async def run(self, leading: Callable[[], bool]) -> None:
        """Look every ten seconds until cancelled."""
        while True:
            try:
                await self.round(leading=leading())
            except ApiError as err:
                log.info("network topology: %s", err)
            except Exception:  # the next look may go better
                log.exception("network topology")
            await self._clock.sleep(PERIOD)

    async def round(self, *, leading: bool) -> None:
        """Bring the tree up to date; the leader its status, too. Raises ApiError."""
        try:
            found = await self._store.get(CLUSTER_NETWORK_TOPOLOGIES, DEFAULT_NAME)
        except NotFound:
            self._spec = None
            self._publish(None)
            return
        except Unreadable as err:
            log.warning("ClusterNetworkTopology %s keeps its last good state: %s", DEFAULT_NAME, err)
            return
        await self._rebuild(found.spec.network_topology_spec)
        if leading:
            self._tell(found)
            if self._spec is not None:
                await self._show(found)

    async def _rebuild(self, spec: list[NetworkTopologyLayer]) -> None:
        if not self._stale and spec == self._spec:
            return
        self._stale = False
        nodes = [(name, node.labels) for name, node in self._cluster.nodes.items()]
        try:
            built = await asyncio.to_thread(build, spec, nodes)  # takes 0.3 s for 50,000 nodes: cycles go on meanwhile
        except InvalidTopology as err:
            self._spec, self._stale = None, True
            self._wrong = (INVALID, f"spec.networkTopologySpec: {err}; the tree that was there stays in force")
            return
        self._spec = spec
        problems = _problems(built)
        self._wrong = (INCOMPLETE, problems) if problems else ("", "")
        self._publish(built.tree)

    def _publish(self, tree: Tree | None) -> None:
        if tree != self.tree:
            self.tree = tree
            self.changed()

    async def _show(self, found: ClusterNetworkTopology) -> None:
        if self.tree is None:
            return
        wanted = details(self.tree)
        if found.status.detail_status != wanted:
            body = {"status": {"detailStatus": msgspec.to_builtins(wanted)}}
            await self._store.patch(CLUSTER_NETWORK_TOPOLOGIES, DEFAULT_NAME, body, subresource="status")

    def _tell(self, found: ClusterNetworkTopology) -> None:
        """What is wrong, once, until something else is."""
        if self._wrong == self._told:
            return
        self._told = reason, message = self._wrong
        if message:
            log.warning("ClusterNetworkTopology %s: %s", DEFAULT_NAME, message)
            self._recorder.event(found, "Warning", reason, message)

    # -- what the cluster tells ----------------------------------------------------------------------------------------

    def node_set(self, row: int, node: Node, changes: int) -> None:
        if changes & (Change.NODE | Change.LABELS):
            self._stale = True

    def node_removed(self, name: str) -> None:
        self._stale = True

    def pod_placed(self, info: PodInfo, node: str) -> None: ...

    def pod_updated(self, info: PodInfo, node: str) -> None: ...

    def pod_removed(self, info: PodInfo, node: str) -> None: ...


def _problems(built: Built) -> str:
    """What of the cluster is not in the tree as somebody may have meant it; empty when all is."""
    texts = []
    if built.skipped:
        texts.append(f"{len(built.skipped)} nodes lack the label of a layer and are left out: {_some(built.skipped)}")
    if built.disputed:
        names = [f"{layer}/{name}" for layer, name in built.disputed]
        texts.append(f"domains with nodes under different parents, the first counts: {_some(names)}")
    return "; ".join(texts)


def _some(names: list[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
