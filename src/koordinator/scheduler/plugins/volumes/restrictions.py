"""VolumeRestrictions: no two writers of one disk on a node, and one pod only for a ReadWriteOncePod claim."""

from collections.abc import Hashable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from koordinator.api.core import Pod
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.columns import Change, Columns, Rows
from koordinator.scheduler.engine.events import ClusterEvent, Happening, Hint
from koordinator.scheduler.engine.framework import (
    SKIP,
    Code,
    CycleState,
    FilterPlugin,
    PreFilterPlugin,
    PreFilterResult,
    Status,
    Verdict,
)
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.engine.remedy import Remedy, pods_named
from koordinator.scheduler.engine.residents import Feature, Residents, TallyHandle
from koordinator.scheduler.plugins.in_the_way import pods_on_rows
from koordinator.scheduler.plugins.volumes import advice
from koordinator.scheduler.plugins.volumes.known import Volumes, claims_of

_KIND = "VolumeRestrictions"
_DISK, _CLAIM = 1, 2
_REASONS = {
    _DISK: "node(s) had no available disk",
    _CLAIM: "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode",
}
_ONCE_POD = "ReadWriteOncePod"


class Disk(NamedTuple):
    """A disk that a pod names itself. ``shared``: readers may share it with readers."""

    id: tuple[str, ...]
    shared: bool


def disks_of(pod: Pod) -> list[Disk]:
    found = []
    for volume in pod.spec.volumes or ():
        if (gce := volume.gce_persistent_disk) is not None:
            found.append(Disk(("gce", gce.pd_name or ""), bool(gce.read_only)))
        if (ebs := volume.aws_elastic_block_store) is not None:
            found.append(Disk(("ebs", ebs.volume_id or ""), shared=False))
        if (iscsi := volume.iscsi) is not None:
            found.append(Disk(("iscsi", iscsi.iqn or ""), bool(iscsi.read_only)))
        if (rbd := volume.rbd) is not None:
            pool, image = rbd.pool or "rbd", rbd.image or ""
            found += [Disk(("rbd", monitor, pool, image), bool(rbd.read_only)) for monitor in rbd.monitors or ()]
    return found


class _Ask(NamedTuple):
    disks: list[TallyHandle]
    claims: list[TallyHandle]


class VolumeRestrictions(PreFilterPlugin, FilterPlugin):
    name = "VolumeRestrictions"
    reads = Change.PODS
    far = True
    """Where a claim is used matters on every node; verdicts that are kept are only those of pods whose claims are free, or
    are told apart by ``individual``, so nothing has to be reached for."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.residents = cluster.shared(Residents)
        self.volumes = cluster.shared(Volumes)
        self.residents.describe(_KIND, self._features)

    def signature(self, pod: PodInfo) -> Hashable:
        return tuple(disks_of(pod.pod)) if pod.pod.spec.volumes else ()

    def tells_apart(self, pod: PodInfo) -> bool:
        return bool(pod.pod.spec.volumes)

    def individual(self, pod: PodInfo) -> Hashable:
        if not pod.pod.spec.volumes:
            return None
        missing = self._missing(pod)
        return missing.message if missing is not None else frozenset(self._in_use(pod))

    def _features(self, pod: PodInfo) -> Iterable[Feature]:
        if not pod.pod.spec.volumes:
            return
        for disk in set(disks_of(pod.pod)):
            yield self.residents.feature(_KIND, (disk.id, "any"))
            if not disk.shared:
                yield self.residents.feature(_KIND, (disk.id, "writer"))
        for ref in set(claims_of(pod.pod)):
            yield self._user_of(f"{pod.namespace}/{ref.name}")

    def _has(self, feature: Feature, pod: PodInfo) -> bool:
        return feature in self._features(pod)

    def _user_of(self, claim: str) -> Feature:
        return self.residents.feature(_KIND, ("claim", claim))

    def _missing(self, pod: PodInfo) -> Status | None:
        """Ephemeral claims are VolumeBinding's matter."""
        for ref in claims_of(pod.pod):
            if not ref.ephemeral and self.volumes.claim(pod.namespace, ref.name) is None:
                reason = f'persistentvolumeclaim "{ref.name}" not found'
                return Status(Code.UNSCHEDULABLE_AND_UNRESOLVABLE, (reason,))
        return None

    def _in_use(self, pod: PodInfo) -> list[str]:
        """The pod's claims that one pod may use, and another pod does."""
        own = [claim for claim in self.volumes.of(pod) if _ONCE_POD in (claim.spec.access_modes or ())]
        return [claim.key for claim in own if self.residents.having(self._user_of(claim.key)).tally.total > 0]

    def pre_filter(self, state: CycleState, pod: PodInfo, nodes: Columns) -> PreFilterResult | None:
        if not pod.pod.spec.volumes:
            return PreFilterResult(SKIP)
        if (missing := self._missing(pod)) is not None:
            return PreFilterResult(missing)
        having, feature = self.residents.having, self.residents.feature
        disks = [having(feature(_KIND, (disk.id, "writer" if disk.shared else "any"))) for disk in disks_of(pod.pod)]
        claims = [having(self._user_of(key)) for key in self._in_use(pod)]
        if not disks and not claims:
            return PreFilterResult(SKIP)
        state[self.name] = _Ask(disks, claims)
        return None

    def filter(self, state: CycleState, pod: PodInfo, nodes: Columns, rows: Rows) -> Verdict:
        ask: _Ask = state[self.name]
        taken = any(handle.tally.total > 0 for handle in ask.claims)
        codes = np.full(len(nodes.alive[rows]), _CLAIM if taken else 0, dtype=np.int64)
        for handle in ask.disks:
            codes[handle.tally.counts.values[rows] > 0] = _DISK
        return codes

    def explain(self, state: CycleState, code: int, nodes: Columns) -> list[str]:
        return [_REASONS[code]]

    def remedies(self, state: CycleState, pod: PodInfo, nodes: Columns, row: int) -> list[Remedy]:
        """Those who use a disk here, or a claim anywhere, would have to leave."""
        found, mine = [], disks_of(pod.pod)
        here = pods_on_rows(self._cluster, [row], lambda other: _clash(mine, disks_of(other.pod)))
        if here:
            text = f"move {pods_named(here)} away from {nodes.names[row]}, or share the disk for reading only"
            found.append(Remedy("other", text, 2.0 * len(here), pods=here))
        for key in self._in_use(pod):
            feature = self._user_of(key)
            users = np.flatnonzero(self.residents.having(feature).tally.counts.values[: nodes.size]).tolist()
            pods = pods_on_rows(self._cluster, users, partial(self._has, feature))
            text = f"end {pods_named(pods)}, or let claim {key} be used by more than one pod"
            found.append(Remedy("other", text, 2.0 * len(pods), f"claim {key} is {_ONCE_POD}", pods))
        return found

    def advice(self, pod: PodInfo) -> list[Remedy]:
        absent = (ref for ref in claims_of(pod.pod) if self.volumes.claim(pod.namespace, ref.name) is None)
        return [advice.missing(ref, pod) for ref in absent]

    def events(self) -> Sequence[tuple[int, Hint | None]]:
        return (Happening.POD_DELETE, self._let_go), (Happening.NODE_ADD | Happening.NODE_DELETE | Happening.CLAIM, None)

    def _let_go(self, pod: PodInfo, event: ClusterEvent) -> bool:
        """The pod that is gone used a disk or a claim of this one."""
        if not isinstance(event.old, Pod):
            return True
        mine, theirs = ({disk.id for disk in disks_of(one)} for one in (pod.pod, event.old))
        same_namespace = event.old.metadata.namespace == pod.namespace
        names = ({ref.name for ref in claims_of(one)} for one in (pod.pod, event.old))
        return bool(mine & theirs) or (same_namespace and bool(set.intersection(*names)))


def _clash(mine: Sequence[Disk], theirs: Sequence[Disk]) -> bool:
    return any(one.id == other.id and not (one.shared and other.shared) for one in mine for other in theirs)
