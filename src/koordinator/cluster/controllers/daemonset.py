"""DaemonSet: one pod on every node that it fits, replaced node by node when the template changes."""

from collections.abc import Iterable
from typing import Any

import msgspec

from koordinator.api.core import Node, Pod
from koordinator.api.registry import PODS
from koordinator.cluster.controllers import history, rollout
from koordinator.cluster.controllers import pods as pods_
from koordinator.cluster.controllers.changes import Change, Create, Outcome, Tell, delete, status
from koordinator.cluster.controllers.daemon_placement import Belongs, Placement, node_of, tied, tolerations
from koordinator.cluster.controllers.objects import CONTROLLER_REVISIONS, DAEMON_SETS, ControllerRevision, DaemonSet
from koordinator.cluster.controllers.ownership import LOOK_AGAIN_SECONDS, claim, unusable
from koordinator.kube.owners import controller_reference

BURST = 250
"""At most so many pods are made at once; the rest follows when these have been."""
RETRY_SECONDS = 5.0
"""A pod that has ended is replaced after this long: one that fails at once must not keep the cluster busy."""


class Spot(msgspec.Struct, frozen=True):
    """One node with the set's pods on it, the oldest first; ``old`` and ``new`` by template, the ending ones in neither."""

    node: str
    belongs: Belongs
    pods: list[Pod]
    old: list[Pod]
    new: list[Pod]

    @property
    def ending(self) -> bool:
        return len(self.pods) > len(self.old) + len(self.new)


class Daemons(msgspec.Struct, frozen=True):
    """A daemon set with everything that its next step depends on. ``stray`` pods have a node that does not exist."""

    daemon_set: DaemonSet
    digest: str
    spots: list[Spot]
    stray: list[Pod]
    limits: rollout.Bounds
    now: float

    def available(self, pod: Pod) -> bool:
        return pods_.available_in(pod, self.daemon_set.spec.min_ready_seconds, self.now) == 0


class Known(msgspec.Struct, frozen=True):
    """What the decision is made from: the set's and unowned objects of its namespace, and all nodes."""

    pods: Iterable[Pod]
    revisions: Iterable[ControllerRevision]
    nodes: Iterable[Node]


def reconcile(daemon_set: DaemonSet, known: Known, now: float) -> Outcome:
    """What to do now: first the pods and revisions that are the set's own, then the template's record, then pod by pod."""
    if fault := unusable(DAEMON_SETS, daemon_set):
        return Outcome([Tell(daemon_set, "InvalidSelector", fault, "Warning")])
    if daemon_set.metadata.deletion_timestamp:
        return Outcome()
    pods = claim(daemon_set, daemon_set.spec.selector, known.pods, (DAEMON_SETS, PODS))
    past = claim(daemon_set, daemon_set.spec.selector, known.revisions, (DAEMON_SETS, CONTROLLER_REVISIONS))
    if changes := [*pods.changes, *past.changes]:
        return Outcome(changes, LOOK_AGAIN_SECONDS)
    try:
        state = _look(daemon_set, pods.mine, known.nodes, now)
    except ValueError as err:
        return Outcome([Tell(daemon_set, "InvalidTemplate", str(err), "Warning")])
    recorded = history.record(daemon_set, DAEMON_SETS, state.digest, past.mine)
    losers, waits = _losers(state)
    changes = [*recorded, *_status(state), *_deletions(state, losers), *_creations(state)]
    if not recorded:
        changes += history.forget(
            daemon_set, past.mine, [state.digest, *(pod.labels.get(history.HASH, "") for pod in pods.mine)]
        )
    return Outcome(changes, min([*waits, *_until_available(state)], default=None))


def _look(daemon_set: DaemonSet, mine: list[Pod], nodes: Iterable[Node], now: float) -> Daemons:
    """Raises: ValueError."""
    placement, digest = Placement(daemon_set), history.digest(daemon_set)
    by_node: dict[str, list[Pod]] = {}
    for pod in sorted(mine, key=lambda pod: (pod.metadata.creation_timestamp or "", pod.name)):
        by_node.setdefault(node_of(pod), []).append(pod)
    spots = [_spot(node, placement.on(node), by_node.pop(node.name, []), digest) for node in nodes]
    stray = [pod for node, pods in by_node.items() for pod in pods if node and not pod.spec.node_name]
    return Daemons(daemon_set, digest, spots, stray, _bounds(daemon_set, sum(spot.belongs.start for spot in spots)), now)


def _spot(node: Node, belongs: Belongs, pods: list[Pod], digest: str) -> Spot:
    alive = [pod for pod in pods if not pod.metadata.deletion_timestamp]
    new = [pod for pod in alive if pod.labels.get(history.HASH) == digest]
    return Spot(node.name, belongs, pods, [pod for pod in alive if pod not in new], new)


def _bounds(daemon_set: DaemonSet, desired: int) -> rollout.Bounds:
    """Raises: ValueError. By default one node at a time goes without."""
    update = daemon_set.spec.update_strategy.rolling_update
    surge = 0 if update is None or update.max_surge is None else update.max_surge
    unavailable = 1 if update is None or update.max_unavailable is None else update.max_unavailable
    try:
        surge, unavailable = rollout.scaled(surge, desired, up=True), rollout.scaled(unavailable, desired, up=True)
    except ValueError as err:
        raise ValueError(f"DaemonSet {daemon_set.key}: spec.updateStrategy.rollingUpdate: {err}") from None
    return rollout.Bounds(desired, surge, unavailable if surge else max(unavailable, 1))


# --- who goes ----------------------------------------------------------------------------------------------------------------


def _losers(state: Daemons) -> tuple[list[Pod], list[float]]:
    """The pods to delete now, and the seconds after which more will be due."""
    losers, waits = list(state.stray), list[float]()
    for spot in state.spots:
        if not spot.belongs.stay:
            losers += [*spot.old, *spot.new]
            continue
        for pod in (pod for pod in [*spot.old, *spot.new] if pod.terminated):
            wait = (pods_.ended_at(pod) or 0.0) + RETRY_SECONDS - state.now
            losers += [pod] if wait <= 0 else []
            waits += [wait] if wait > 0 else []
        losers += [*_running(spot.old)[1:], *_running(spot.new)[1:]]
    return losers + _replaced(state, {pod.metadata.uid for pod in losers}), waits


def _running(pods: list[Pod]) -> list[Pod]:
    return [pod for pod in pods if not pod.terminated]


def _replaced(state: Daemons, going: set[str]) -> list[Pod]:
    """Old pods that make room for new ones: those that do not work at once, the others as far as may be missed."""
    if state.daemon_set.spec.update_strategy.type == "OnDelete":
        return []
    spots = [spot for spot in state.spots if spot.belongs.start]
    covered = [spot for spot in spots if spot.old and any(state.available(pod) for pod in spot.new)]
    losers = [pod for spot in covered for pod in _running(spot.old)]
    waiting = [spot for spot in spots if _running(spot.old) and spot not in covered]
    broken = [spot for spot in waiting if not any(state.available(pod) for pod in spot.old)]
    losers += [pod for spot in broken for pod in _running(spot.old)]
    if state.limits.surge == 0:
        working = sum(any(state.available(pod) for pod in [*spot.old, *spot.new]) for spot in spots)
        room = max(0, working - (len(spots) - state.limits.unavailable))
        losers += [pod for spot in waiting if spot not in broken for pod in _running(spot.old)[:1]][:room]
    return [pod for pod in losers if pod.metadata.uid not in going]


def _deletions(state: Daemons, losers: list[Pod]) -> list[Change]:
    if not losers:
        return []
    failed = [pod for pod in losers if pod.status.phase == "Failed"]
    tells: list[Change] = [
        Tell(state.daemon_set, "FailedDaemonPod", f"Found failed daemon pod {pod.key} on node {pod.spec.node_name}", "Warning")
        for pod in failed[:3]
    ]
    said = pods_.listed("Deleted", [pod.name for pod in losers])
    return [*tells, *(delete(PODS, pod) for pod in losers), Tell(state.daemon_set, "SuccessfulDelete", said)]


# --- who comes ---------------------------------------------------------------------------------------------------------------


def _creations(state: Daemons) -> list[Change]:
    bodies = [_pod(state, node) for node in (_bare(state) + _surging(state))[:BURST]]
    if not bodies:
        return []
    said = pods_.listed("Created", [body["metadata"]["name"] for body in bodies])
    namespace = state.daemon_set.namespace
    return [*(Create(PODS, namespace, body) for body in bodies), Tell(state.daemon_set, "SuccessfulCreate", said)]


def _bare(state: Daemons) -> list[str]:
    """Nodes without a pod; one whose pod is still ending waits for it: two daemons on a node may quarrel."""
    return [spot.node for spot in state.spots if spot.belongs.start and not spot.pods]


def _surging(state: Daemons) -> list[str]:
    """Nodes that get the new pod next to the old one, as many at a time as the surge allows."""
    if not state.limits.surge or state.daemon_set.spec.update_strategy.type == "OnDelete":
        return []
    spots = [spot for spot in state.spots if spot.belongs.start]
    under_way = sum(bool(spot.old) and (bool(spot.new) or spot.ending) for spot in spots)
    waiting = [spot.node for spot in spots if _running(spot.old) and not spot.new and not spot.ending]
    return waiting[: max(0, state.limits.surge - under_way)]


def _pod(state: Daemons, node: str) -> dict[str, Any]:
    daemon_set = state.daemon_set
    template = daemon_set.spec.template
    reference = controller_reference(DAEMON_SETS, daemon_set)
    body = pods_.from_template(template, daemon_set, reference, f"{daemon_set.metadata.uid}/{state.now}/{node}")
    body["metadata"]["labels"][history.HASH] = state.digest
    body["spec"] = tied({**body["spec"], "tolerations": tolerations(template)}, node)
    return body


# --- what it says of itself --------------------------------------------------------------------------------------------------


def _status(state: Daemons) -> list[Change]:
    wanted = [spot for spot in state.spots if spot.belongs.start]
    alive = [[*spot.old, *spot.new] for spot in wanted]
    available = sum(any(state.available(pod) for pod in pods) for pods in alive)
    body = {
        "observedGeneration": state.daemon_set.metadata.generation,
        "desiredNumberScheduled": len(wanted),
        "currentNumberScheduled": sum(bool(spot.pods) for spot in wanted),
        "numberMisscheduled": sum(bool(spot.pods) for spot in state.spots if not spot.belongs.start),
        "updatedNumberScheduled": sum(bool(spot.new) for spot in wanted),
        "numberReady": sum(any(pods_.is_ready(pod) for pod in pods) for pods in alive),
        "numberAvailable": available,
        "numberUnavailable": len(wanted) - available,
    }
    held = msgspec.to_builtins(state.daemon_set.status)
    same = all(held.get(key, 0) == value for key, value in body.items())
    return [] if same else [status(DAEMON_SETS, state.daemon_set, body)]


def _until_available(state: Daemons) -> list[float]:
    seconds = state.daemon_set.spec.min_ready_seconds
    if not seconds:
        return []
    waits = (pods_.available_in(pod, seconds, state.now) for spot in state.spots for pod in [*spot.old, *spot.new])
    return [wait for wait in waits if wait]
