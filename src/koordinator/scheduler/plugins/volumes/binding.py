"""VolumeBinding: a pod goes where its volumes are, or where they can be had; claims that waited for it are bound there."""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np

from koordinator.api.core import Pod
from koordinator.api.registry import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from koordinator.api.storage import BOUND_BY_CONTROLLER, SELECTED_NODE, PersistentVolume, PersistentVolumeClaim
from koordinator.clock import Clock, first_of
from koordinator.kube.store import JsonObject, Store
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.columns import Change, Columns, Rows
from koordinator.scheduler.engine.events import ClusterEvent, Happening, Hint
from koordinator.scheduler.engine.framework import (
    SKIP,
    UNRESOLVABLE,
    Code,
    CycleState,
    FilterPlugin,
    PatientPreBindPlugin,
    PreFilterPlugin,
    PreFilterResult,
    ReservePlugin,
    Status,
    Verdict,
)
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.engine.remedy import Remedy
from koordinator.scheduler.plugins.volumes import advice, matching
from koordinator.scheduler.plugins.volumes.known import ClaimRef, Volumes, claims_of, requested

_CONFLICT, _UNMATCHED, _NO_ROOM, _GONE = 1, 2, 4, 8
_REASONS = {
    _CONFLICT: "node(s) had volume node affinity conflict",
    _UNMATCHED: "node(s) didn't find available persistent volumes to bind",
    _NO_ROOM: "node(s) did not have enough free storage",
    _GONE: "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)",
}
_DECIDED = "VolumeBinding/decided"


class _Claims(NamedTuple):
    """A pod's claims. ``problem`` says why the pod fits nowhere."""

    bound: list[PersistentVolumeClaim]
    waiting: list[PersistentVolumeClaim]
    problem: str = ""


class _Decided(NamedTuple):
    """What is to be written: volumes for claims, and claims whose volume is to be made for the node."""

    bindings: list[tuple[PersistentVolumeClaim, PersistentVolume]]
    provisions: list[PersistentVolumeClaim]


class VolumeBinding(PreFilterPlugin, FilterPlugin, ReservePlugin, PatientPreBindPlugin):
    name = "VolumeBinding"
    reads = Change.LABELS

    def __init__(self, cluster: Cluster, store: Store, clock: Clock, timeout_seconds: int = 600) -> None:
        self._columns, self._store, self._clock, self._timeout = cluster.columns, store, clock, timeout_seconds
        self.volumes = cluster.shared(Volumes)

    # -- who is alike --------------------------------------------------------------------------------------------------

    def tells_apart(self, pod: PodInfo) -> bool:
        return bool(pod.pod.spec.volumes)

    def individual(self, pod: PodInfo) -> Hashable:
        """Where the bound volumes are; of the others what matters, and the state of all storage they could come from."""
        if not pod.pod.spec.volumes:
            return None
        claims = self._claims(pod)
        if claims.problem:
            return claims.problem
        where = tuple(self._whereabouts(claim) for claim in claims.bound)
        return where, tuple(self._wish(claim) for claim in claims.waiting)

    def _whereabouts(self, claim: PersistentVolumeClaim) -> Hashable:
        volume = self.volumes.volume_of(claim)
        return None if volume is None else repr(volume.spec.node_affinity)

    def _wish(self, claim: PersistentVolumeClaim) -> Hashable:
        known = self.volumes
        spec, name = claim.spec, claim.class_name
        ours = (name, repr(spec.resources), repr(spec.access_modes), spec.volume_mode, repr(spec.selector))
        selected = known.selected_node(claim)
        choice = name in known.free or claim.key in known.reserved
        stock = (claim.key, known.volumes.version, tuple(known.promised.items())) if choice else None
        return ours, selected, stock, known.classes.version, known.drivers.version, known.capacities.version

    def _claims(self, pod: PodInfo) -> _Claims:
        bound: list[PersistentVolumeClaim] = []
        waiting: list[PersistentVolumeClaim] = []
        for ref in claims_of(pod.pod):
            claim = self.volumes.claim(pod.namespace, ref.name)
            if claim is None:
                return _Claims([], [], _missing(ref, pod))
            if problem := self._problem(ref, claim, pod):
                return _Claims([], [], problem)
            (bound if claim.bound else waiting).append(claim)
        waiting.sort(key=requested)
        return _Claims(bound, waiting)

    def _problem(self, ref: ClaimRef, claim: PersistentVolumeClaim, pod: PodInfo) -> str:
        if _foreign(ref, claim, pod):
            return f"PVC {claim.key} was not created for pod {pod.key} (pod is not owner)"
        if claim.metadata.deletion_timestamp is not None:
            return f'persistentvolumeclaim "{ref.name}" is being deleted'
        if claim.status.phase == "Lost":
            return f'persistentvolumeclaim "{ref.name}" bound to non-existent persistentvolume "{claim.spec.volume_name}"'
        if not claim.bound and (claim.spec.volume_name or not self.volumes.waits(claim)):
            return "pod has unbound immediate PersistentVolumeClaims"
        return ""

    # -- filter --------------------------------------------------------------------------------------------------------

    def pre_filter(self, state: CycleState, pod: PodInfo, nodes: Columns) -> PreFilterResult | None:
        if not pod.pod.spec.volumes or not claims_of(pod.pod):
            return PreFilterResult(SKIP)
        claims = state[self.name] = self._claims(pod)
        if claims.problem:
            return PreFilterResult(Status(Code.UNSCHEDULABLE_AND_UNRESOLVABLE, (claims.problem,)))
        return None

    def filter(self, state: CycleState, pod: PodInfo, nodes: Columns, rows: Rows) -> Verdict:
        claims: _Claims = state[self.name]
        codes = np.zeros(len(nodes.alive[rows]), dtype=np.int64)
        for claim in claims.bound:
            volume = self.volumes.volume_of(claim)
            if volume is None:
                codes |= _GONE
            else:
                codes[~matching.reachable(volume, nodes, rows)] |= _CONFLICT
        if claims.waiting:
            found = matching.outcome(self.volumes, claims.waiting, nodes, rows)
            codes[found.unmatched] |= _UNMATCHED
            codes[found.no_room] |= _NO_ROOM
        codes[codes != 0] |= UNRESOLVABLE
        return codes

    def explain(self, state: CycleState, code: int, nodes: Columns) -> list[str]:
        return [reason for bit, reason in _REASONS.items() if code & bit]

    def remedies(self, state: CycleState, pod: PodInfo, nodes: Columns, row: int) -> list[Remedy]:
        claims: _Claims = state[self.name]
        here, name, found = np.array([row]), nodes.names[row], []
        for claim in claims.bound:
            volume = self.volumes.volume_of(claim)
            if volume is None:
                found.append(advice.gone(claim))
            elif not matching.reachable(volume, nodes, here)[0]:
                found.append(advice.elsewhere(claim, volume))
        for place in range(len(claims.waiting)):  # one more at a time: what the claims before have taken is not to be had
            outcome = matching.outcome(self.volumes, claims.waiting[: place + 1], nodes, here)
            claim = claims.waiting[place]
            if outcome.lacking[place][0]:
                tell = advice.no_room if outcome.made[place][0] else advice.no_volume
                found.append(tell(claim, self.volumes, name))
        return found

    def advice(self, pod: PodInfo) -> list[Remedy]:
        found = []
        for ref in claims_of(pod.pod):
            claim = self.volumes.claim(pod.namespace, ref.name)
            if claim is None:
                found.append(advice.missing(ref, pod))
            elif self._problem(ref, claim, pod):
                found.append(advice.unusable(claim, pod, self.volumes, foreign=_foreign(ref, claim, pod)))
        return found

    def events(self) -> Sequence[tuple[int, Hint | None]]:
        kinds = Happening.CLAIM | Happening.VOLUME | Happening.STORAGE
        return (kinds | Happening.NODE_ADD | Happening.NODE_LABEL, None), (Happening.POD_DELETE, self._given_back)

    def _given_back(self, pod: PodInfo, event: ClusterEvent) -> bool:
        """A bind that failed gives back the volumes that it was promised, and nothing else tells of it."""
        return isinstance(event.old, Pod) and bool(event.old.spec.volumes)

    # -- reserve -------------------------------------------------------------------------------------------------------

    def reserve(self, state: CycleState, pod: PodInfo, node: str) -> Status | None:
        """Decide again for this pod and node: others may have been promised a volume since."""
        if not pod.pod.spec.volumes:
            return None
        claims = self._claims(pod)
        if claims.problem:
            return Status(Code.UNSCHEDULABLE, (claims.problem,))
        if not claims.waiting:
            return None
        row = self._columns.row_of[node]
        found = matching.outcome(self.volumes, claims.waiting, self._columns, slice(row, row + 1))
        if found.unmatched[0] or found.no_room[0]:
            return Status(Code.UNSCHEDULABLE, (_REASONS[_UNMATCHED if found.unmatched[0] else _NO_ROOM],))
        decided = state[_DECIDED] = _Decided([], [])
        for claim, volumes, choice in zip(claims.waiting, found.candidates, found.choices, strict=True):
            if choice[0] < 0:
                decided.provisions.append(claim)
                self.volumes.selected.make(claim.key, node)
            else:
                decided.bindings.append((claim, volumes[choice[0]]))
                self.volumes.promised.make(volumes[choice[0]].name, claim.key)
        return None

    def unreserve(self, state: CycleState, pod: PodInfo, node: str) -> None:
        self._settle(state.pop(_DECIDED, None))

    def _settle(self, decided: _Decided | None) -> None:
        for _, volume in decided.bindings if decided is not None else ():
            self.volumes.promised.end(volume.name)
        for claim in decided.provisions if decided is not None else ():
            self.volumes.selected.end(claim.key)

    # -- pre-bind ------------------------------------------------------------------------------------------------------

    async def pre_bind(self, state: CycleState, pod: PodInfo, node: str) -> Status | None:
        decided: _Decided | None = state.get(_DECIDED)
        if decided is None:
            return SKIP
        for claim, volume in decided.bindings:
            await self._write_binding(claim, volume)
        for claim in decided.provisions:
            meta = claim.metadata
            patch = {"metadata": {"annotations": {SELECTED_NODE: node}, "resourceVersion": meta.resource_version}}
            await self._store.patch(PERSISTENT_VOLUME_CLAIMS, meta.name, patch, meta.namespace)
        return None

    async def wait(self, state: CycleState, pod: PodInfo, node: str) -> Status | None:
        """Until a controller has bound all claims."""
        decided: _Decided = state[_DECIDED]
        claims = [claim for claim, _ in decided.bindings] + decided.provisions
        triggered = {claim.key for claim in decided.provisions}
        until = self._clock.monotonic() + self._timeout
        seen: set[str] = set()
        with self.volumes.claims.watching(claim.key for claim in claims) as changed:
            while (failure := self._failure(claims, triggered, seen, node)) is None:
                if all(self._is_bound(claim) for claim in claims):
                    self._keep(state.pop(_DECIDED))
                    return None
                left = until - self._clock.monotonic()
                if left <= 0:
                    return _failed(f"binding volumes: not bound after {self._timeout} seconds")
                await first_of(changed, self._clock, left)
                changed.clear()
        return failure

    async def _write_binding(self, claim: PersistentVolumeClaim, volume: PersistentVolume) -> None:
        meta = claim.metadata
        ref = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": meta.namespace, "name": meta.name}
        patch: JsonObject = {
            "metadata": {
                "annotations": {BOUND_BY_CONTROLLER: "yes"},
                "resourceVersion": volume.metadata.resource_version,
            },
            "spec": {"claimRef": {**ref, "uid": meta.uid, "resourceVersion": meta.resource_version}},
        }
        await self._store.patch(PERSISTENT_VOLUMES, volume.name, patch)

    def _keep(self, decided: _Decided) -> None:
        """All claims are bound. A volume's promise holds until the volume itself says whose it is, or it was not needed."""
        for claim in decided.provisions:
            self.volumes.selected.end(claim.key)
        for claim, volume in decided.bindings:
            current = self.volumes.claims.get(claim.key)
            if current is None or current.spec.volume_name != volume.name:
                self.volumes.promised.end(volume.name)

    def _is_bound(self, claim: PersistentVolumeClaim) -> bool:
        """Whether the claim has a volume, and we know that volume."""
        current = self.volumes.claims.get(claim.key)
        return current is not None and current.bound and self.volumes.volume_of(current) is not None

    def _failure(self, claims: list[PersistentVolumeClaim], triggered: set[str], seen: set[str], node: str) -> Status | None:
        """Why it comes to nothing. ``seen``: claims that did carry our node; a provisioner that gives up takes it away."""
        for claim in claims:
            current = self.volumes.claims.get(claim.key)
            if current is None:
                return _failed(f'error getting PVC "{claim.key}": it is gone')
            if current.metadata.uid != claim.metadata.uid:
                return _failed(f'PVC "{claim.key}" is another one now')
            volume = self.volumes.volume_of(current) if current.bound else None
            if volume is not None and not self._reaches(volume, node):
                return _failed(f'pv "{volume.name}" node affinity doesn\'t match node "{node}"')
            if (current.metadata.annotations or {}).get(SELECTED_NODE) == node:
                seen.add(claim.key)
            elif claim.key in triggered & seen and not current.bound:
                return _failed(f'provisioning failed for PVC "{claim.name}"')
        return None

    def _reaches(self, volume: PersistentVolume, node: str) -> bool:
        row = self._columns.row_of.get(node)
        return row is not None and bool(matching.reachable(volume, self._columns, slice(row, row + 1))[0])


def _foreign(ref: ClaimRef, claim: PersistentVolumeClaim, pod: PodInfo) -> bool:
    """Whether the claim should have been made for this pod, and was not."""
    owners = claim.metadata.owner_references or ()
    return ref.ephemeral and not any(one.controller and one.uid == pod.uid for one in owners)


def _missing(ref: ClaimRef, pod: PodInfo) -> str:
    if ref.ephemeral:
        return f'waiting for ephemeral volume controller to create the persistentvolumeclaim "{ref.name}"'
    return f'persistentvolumeclaim "{ref.name}" not found'


def _failed(reason: str) -> Status:
    return Status(Code.UNSCHEDULABLE, (reason,))
