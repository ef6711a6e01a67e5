"""Nodes at work: whose heartbeat was seen when, by our own clock, and which pods must leave or have nobody left.

Heartbeats are Leases. When one was *seen to change* counts, not what it says: other machines' clocks may differ. When the
API server was away nobody could renew, so all get their grace anew. Those that fall silent together lose their pods one after
the other (see ``zones``).
"""

import logging

from koordinator.api.core import Lease, Node, Pod
from koordinator.api.registry import LEASES, NODES
from koordinator.clock import Clock
from koordinator.cluster.controllers import nodelifecycle, podgc
from koordinator.cluster.controllers.base import NODE, pod_view
from koordinator.cluster.controllers.changes import Change, Outcome
from koordinator.cluster.controllers.driver import SETTLE_SECONDS
from koordinator.cluster.controllers.hub import Hub
from koordinator.cluster.controllers.nodelifecycle import Heard
from koordinator.cluster.controllers.objects import NAMESPACES
from koordinator.cluster.controllers.zones import LOOK_AGAIN_SECONDS, Pace, Zones, zone_of
from koordinator.kube.errors import ApiError, ServerUnavailable
from koordinator.kube.workqueue import WorkQueue

log = logging.getLogger(__name__)

LEASE_NAMESPACE = "kube-node-lease"
PROBE_SECONDS = 5.0
MISSING_SECONDS = 40.0
ROUND_SECONDS = 20.0
PROBE = "/probe"


class NodeLifecycleController:
    """Keys are nodes, and one key for asking whether the API server is there at all."""

    name = "node-lifecycle"

    def __init__(self, hub: Hub, clock: Clock, grace_seconds: float, pace: Pace) -> None:
        self._hub, self._clock, self._grace = hub, clock, grace_seconds
        self._zones = Zones(pace)
        self._nodes, self._leases, self._pods = hub.view(NODES), hub.view(LEASES), pod_view(hub)
        self._seen: dict[str, float] = {}
        self._leased: set[str] = set()
        self._all_since = clock.monotonic()
        self._queue: WorkQueue[str] | None = None

    def wire(self, queue: WorkQueue[str]) -> None:
        self._queue = queue
        self._nodes.on(self._node_changed)
        self._leases.on(self._lease_changed)
        self._pods.on(self._pod_changed)
        queue.add_after(PROBE, PROBE_SECONDS)

    async def decide(self, key: str) -> Outcome:
        if key == PROBE:
            return await self._probe()
        node = self._nodes.get(key)
        if node is None:
            return Outcome()
        now = self._clock.now()
        heard = Heard(self._silence(key), self._grace_of(key))
        well = heard.enough and nodelifecycle.ready_status(node) not in ("False", "Unknown")
        self._zones.note(key, zone_of(node.labels), well=well)
        turn_in = 0.0 if well else self._zones.wait(key, self._clock.monotonic())
        health = nodelifecycle.reconcile(node, heard, turn_in, now)
        leaving = self._leaving(node, well=well)
        waits = [wait for wait in (health.again_after, leaving.again_after) if wait is not None]
        return Outcome([*health.changes, *leaving.changes], min(waits, default=None))

    def _leaving(self, node: Node, *, well: bool) -> Outcome:
        """While no node anywhere is well nobody leaves: there is nowhere to go, and it may be us who hear nothing."""
        if not well and self._zones.everything_down:
            return Outcome(again_after=LOOK_AGAIN_SECONDS)
        return nodelifecycle.evictions(node, self._pods.by_index(NODE, node.name), self._clock.now())

    def refused(self, key: str, change: Change, error: ApiError) -> list[Change]:
        return []

    def _silence(self, node: str) -> float:
        """Seconds since the last sign of life. Where no Lease ever was, nobody can be silent: the node was written by hand."""
        if node not in self._leased:
            return 0.0
        return self._clock.monotonic() - max(self._seen.get(node, 0.0), self._all_since)

    def _grace_of(self, node: str) -> float:
        """A node that announces longer pauses between its heartbeats is given them."""
        lease = self._leases.get(f"{LEASE_NAMESPACE}/{node}")
        announced = lease.spec.lease_duration_seconds if lease is not None else None
        return max(self._grace, float(announced or 0))

    async def _probe(self) -> Outcome:
        try:
            await self._hub.store.get(NAMESPACES, LEASE_NAMESPACE)
        except ServerUnavailable:
            self._all_since = self._clock.monotonic()
        except ApiError as err:
            log.debug("asking for namespace %s: %s", LEASE_NAMESPACE, err)
        return Outcome(again_after=PROBE_SECONDS)

    def _node_changed(self, old: Node | None, new: Node | None) -> None:
        if new is None:
            if old is not None:
                self._seen.pop(old.name, None)
                self._leased.discard(old.name)
                self._zones.forget(old.name)
            return
        if old is None or _heartbeat(new) not in (None, _heartbeat(old)):
            self._seen[new.name] = self._clock.monotonic()
        self._add(new.name)

    def _lease_changed(self, old: Lease | None, new: Lease | None) -> None:
        """A renewal moves the time and nothing else, unless the node had been given up."""
        if new is None or new.namespace != LEASE_NAMESPACE:
            return
        if old is None or old.spec.renew_time != new.spec.renew_time:
            self._seen[new.name] = self._clock.monotonic()
        if new.name not in self._leased:
            self._leased.add(new.name)
            self._add(new.name)

    def _pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        """A pod that comes to a node that is being emptied has its own time to leave."""
        if new is None or not new.spec.node_name or (old is not None and old.spec.node_name):
            return
        node = self._nodes.get(new.spec.node_name)
        if node is not None and any(taint.effect == "NoExecute" for taint in node.spec.taints or ()):
            self._add(node.name)

    def _add(self, key: str) -> None:
        if self._queue is not None:
            self._queue.add_after(key, SETTLE_SECONDS)


def _heartbeat(node: Node) -> str | None:
    """When the node last said how it is; None when what stands there was written by us."""
    ready = next((c for c in node.status.conditions or [] if c.type == "Ready"), None)
    return ready.last_heartbeat_time if ready is not None and ready.status != "Unknown" else None


class PodGarbageController:
    """One key: all pods, looked over in rounds."""

    name = "pod-garbage"

    def __init__(self, hub: Hub, clock: Clock, terminated_limit: int) -> None:
        self._clock, self._limit = clock, terminated_limit
        self._nodes, self._pods = hub.view(NODES), pod_view(hub)
        self._missing: dict[str, float] = {}

    def wire(self, queue: WorkQueue[str]) -> None:
        queue.add_after("pods", ROUND_SECONDS)

    async def decide(self, key: str) -> Outcome:
        pods = self._pods.items()
        now = self._clock.monotonic()
        missing = {pod.spec.node_name for pod in pods if pod.spec.node_name and self._nodes.get(pod.spec.node_name) is None}
        self._missing = {node: self._missing.get(node, now) for node in missing}
        given_up = {node for node, since in self._missing.items() if now - since >= MISSING_SECONDS}
        return Outcome(podgc.collect(pods, given_up, self._limit), ROUND_SECONDS)

    def refused(self, key: str, change: Change, error: ApiError) -> list[Change]:
        return []
