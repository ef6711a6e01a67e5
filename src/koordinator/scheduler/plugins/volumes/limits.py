"""NodeVolumeLimits: no more volumes of a CSI driver on a node than its CSINode allows."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from koordinator.api.core import Node
from koordinator.api.storage import CSINode, PersistentVolume, PersistentVolumeClaim, VolumeAttachment
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.columns import Change, Column, Columns, Ints, Rows
from koordinator.scheduler.engine.events import Happening, Hint
from koordinator.scheduler.engine.framework import (
    SKIP,
    CycleState,
    FilterPlugin,
    PreFilterPlugin,
    PreFilterResult,
    Verdict,
)
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.engine.remedy import LISTED, Remedy, count, pods_named
from koordinator.scheduler.plugins.volumes.known import Volumes, claims_of

_NO_LIMIT = np.iinfo(np.int64).max
Attached = tuple[str, str]
"""A driver, and a volume in its words."""


class _Driver:
    """Columns of one CSI driver."""

    def __init__(self, columns: Columns) -> None:
        self.used: Column = columns.column(np.int64)
        self.limit: Column = columns.column(np.int64, fill=_NO_LIMIT)


class Attachments:
    """Which volumes of which drivers are on which nodes: each once, however many pods use it.

    A volume counts while a pod there uses it, and until its VolumeAttachment is gone: detaching takes its time.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster, self._columns = cluster, cluster.columns
        self.volumes = cluster.shared(Volumes)
        self.drivers: dict[str, _Driver] = {}
        self.rows: dict[Attached, Counter[int]] = {}
        self._of_pod: dict[str, tuple[int, tuple[Attached, ...]]] = {}
        """By the pod's uid, or by the name of a VolumeAttachment, marked as such: row and volumes."""
        self._by_volume: dict[str, dict[str, VolumeAttachment]] = {}
        self._by_node: dict[str, dict[str, VolumeAttachment]] = {}
        self._users: dict[str, set[str]] = {}
        self.volumes.claims.hearing.append(self._claim_moved)
        self.volumes.nodes.hearing.append(self._node_moved)
        self.volumes.attachments.hearing.append(self._attachment_moved)
        self.volumes.volumes.hearing.append(self._volume_moved)
        cluster.listeners.append(self)
        for placed in cluster.pods.values():
            self.pod_placed(placed.info, placed.node)

    def using(self, node: str, driver: str) -> dict[Attached, list[str]]:
        """The driver's volumes on a node, and the keys of the pods that use each."""
        found: dict[Attached, list[str]] = {}
        for placed in self._cluster.pods_on(node):
            for one in self._of_pod.get(placed.info.uid, (0, ()))[1]:
                if one[0] == driver:
                    found.setdefault(one, []).append(placed.info.key)
        return found

    def driver(self, name: str) -> _Driver:
        known = self.drivers.get(name)
        if known is None:
            known = self.drivers[name] = _Driver(self._columns)
        return known

    # -- what a claim stands for ---------------------------------------------------------------------------------------

    def attached(self, pod: PodInfo) -> tuple[Attached, ...]:
        if not pod.pod.spec.volumes:
            return ()
        found = (self._attached(claim) for claim in self.volumes.of(pod))
        return tuple(dict.fromkeys(one for one in found if one is not None))

    def _attached(self, claim: PersistentVolumeClaim) -> Attached | None:
        """A claim that is not bound yet counts as a volume of its own, of its class's driver."""
        volume: PersistentVolume | None = self.volumes.volume_of(claim)
        if volume is not None:
            csi = volume.spec.csi
            return (csi.driver, csi.volume_handle) if csi is not None else None
        known = self.volumes.class_of(claim)
        return (known.provisioner, f"{claim.class_name}-{claim.key}") if known is not None else None

    # -- pods and nodes (ClusterListener) --------------------------------------------------------------------------------

    def pod_placed(self, info: PodInfo, node: str) -> None:
        if info.pod.spec.volumes:
            for ref in claims_of(info.pod):
                self._users.setdefault(f"{info.namespace}/{ref.name}", set()).add(info.uid)
            if (row := self._columns.row_of.get(node)) is not None:
                self._put(info, row)

    def pod_updated(self, info: PodInfo, node: str) -> None: ...

    def pod_removed(self, info: PodInfo, node: str) -> None:
        self._take(info.uid)
        for ref in claims_of(info.pod) if info.pod.spec.volumes else ():
            users = self._users.get(key := f"{info.namespace}/{ref.name}", set())
            users.discard(info.uid)
            if not users:
                self._users.pop(key, None)

    def node_set(self, row: int, node: Node, changes: int) -> None:
        if changes & Change.NODE:
            if (known := self.volumes.nodes.get(node.name)) is not None:
                self._set_limits(row, known)
            for placed in self._cluster.pods_on(node.name):
                if placed.info.pod.spec.volumes:
                    self._put(placed.info, row)
            for one in self._by_node.get(node.name, {}).values():
                self._hold(one)

    def node_removed(self, name: str) -> None:
        for placed in self._cluster.pods_on(name):
            self._take(placed.info.uid)
        for one in self._by_node.get(name, {}):
            self._take(_mark(one))

    def _put(self, info: PodInfo, row: int) -> None:
        self._count(info.uid, row, self.attached(info))

    def _count(self, user: str, row: int, attached: tuple[Attached, ...]) -> None:
        self._of_pod[user] = row, attached
        for one in attached:
            rows = self.rows.setdefault(one, Counter())
            if not rows[row]:
                self.driver(one[0]).used.values[row] += 1
            rows[row] += 1

    def _take(self, uid: str) -> None:
        row, attached = self._of_pod.pop(uid, (0, ()))
        for one in attached:
            rows = self.rows[one]
            rows[row] -= 1
            if not rows[row]:
                del rows[row]
                self.driver(one[0]).used.values[row] -= 1
            if not rows:
                del self.rows[one]

    # -- storage objects -----------------------------------------------------------------------------------------------

    def _claim_moved(self, claim: PersistentVolumeClaim, there: bool) -> None:
        """Bound now, perhaps: pods that use it have another volume attached."""
        for uid in list(self._users.get(claim.key, ())):
            place = self._of_pod.get(uid)
            if place is not None and place[1] != self.attached(self._cluster.pods[uid].info):
                self._take(uid)
                self._put(self._cluster.pods[uid].info, place[0])
                self._columns.touch(place[0], Change.PODS)

    def _node_moved(self, node: CSINode, there: bool) -> None:
        row = self._columns.row_of.get(node.name)
        if row is not None:
            self._set_limits(row, node if there else CSINode(metadata=node.metadata))
            self._columns.touch(row, Change.PODS)

    def _attachment_moved(self, one: VolumeAttachment, there: bool) -> None:
        volume, node = one.spec.source.persistent_volume_name, one.spec.node_name
        if volume is None:
            return
        for shelf, key in ((self._by_volume, volume), (self._by_node, node)):
            if there:
                shelf.setdefault(key, {})[one.name] = one
            elif key in shelf:
                shelf[key].pop(one.name, None)
                if not shelf[key]:
                    del shelf[key]
        self._take(_mark(one.name))
        if there:
            self._hold(one)
        if (row := self._columns.row_of.get(node)) is not None:
            self._columns.touch(row, Change.PODS)

    def _volume_moved(self, volume: PersistentVolume, there: bool) -> None:
        """An attachment may come before its volume is known."""
        for one in self._by_volume.get(volume.name, {}).values() if there else ():
            if _mark(one.name) not in self._of_pod:
                self._hold(one)
                if (row := self._columns.row_of.get(one.spec.node_name)) is not None:
                    self._columns.touch(row, Change.PODS)

    def _hold(self, one: VolumeAttachment) -> None:
        volume = self.volumes.volumes.get(one.spec.source.persistent_volume_name or "")
        row = self._columns.row_of.get(one.spec.node_name)
        if row is not None and volume is not None and volume.spec.csi is not None:
            csi = volume.spec.csi
            self._count(_mark(one.name), row, ((csi.driver, csi.volume_handle),))

    def _set_limits(self, row: int, node: CSINode) -> None:
        counts = {one.name: one.allocatable.count for one in node.spec.drivers if one.allocatable is not None}
        for name in counts:
            self.driver(name)
        for name, driver in self.drivers.items():
            count = counts.get(name)
            driver.limit.values[row] = _NO_LIMIT if count is None else count


def _mark(attachment: str) -> str:
    """What stands for a VolumeAttachment among the uids of pods."""
    return f"volumeattachment/{attachment}"


class _Wanted(NamedTuple):
    """What a pod adds to one driver: volumes that are nowhere yet, and those that some nodes have already."""

    driver: str
    fresh: int
    there: frozenset[Attached]


class NodeVolumeLimits(PreFilterPlugin, FilterPlugin):
    name = "NodeVolumeLimits"
    reads = Change.PODS

    def __init__(self, cluster: Cluster) -> None:
        self.attachments = cluster.shared(Attachments)

    def tells_apart(self, pod: PodInfo) -> bool:
        return bool(pod.pod.spec.volumes)

    def individual(self, pod: PodInfo) -> Hashable:
        return tuple(self._wanted(pod)) if pod.pod.spec.volumes else None

    def _wanted(self, pod: PodInfo) -> Iterable[_Wanted]:
        by_driver: dict[str, list[Attached]] = {}
        for one in self.attachments.attached(pod):
            by_driver.setdefault(one[0], []).append(one)
        for driver, wanted in sorted(by_driver.items()):
            there = frozenset(one for one in wanted if one in self.attachments.rows)
            yield _Wanted(driver, len(wanted) - len(there), there)

    def pre_filter(self, state: CycleState, pod: PodInfo, nodes: Columns) -> PreFilterResult | None:
        wanted = list(self._wanted(pod)) if pod.pod.spec.volumes else []
        if not wanted:
            return PreFilterResult(SKIP)
        state[self.name] = wanted
        return None

    def filter(self, state: CycleState, pod: PodInfo, nodes: Columns, rows: Rows) -> Verdict:
        over = np.zeros(len(nodes.alive[rows]), dtype=np.bool_)
        wanted: list[_Wanted] = state[self.name]
        for name, fresh, there in wanted:
            driver = self.attachments.driver(name)
            adding = self._adding(fresh, there, nodes)[rows]
            over |= (adding > 0) & (driver.used.values[rows] + adding > driver.limit.values[rows])
        return over.astype(np.int64)

    def _adding(self, fresh: int, there: frozenset[Attached], nodes: Columns) -> Ints:
        """Per row how many volumes the pod would bring."""
        more: Ints = np.full(nodes.size, fresh + len(there), dtype=np.int64)
        for one in there:
            more[list(self.attachments.rows.get(one, ()))] -= 1
        return more

    def remedies(self, state: CycleState, pod: PodInfo, nodes: Columns, row: int) -> list[Remedy]:
        """Per driver so many volumes fewer, those first that the fewest pods use."""
        found, wanted = [], set(self.attachments.attached(pod))
        for name, fresh, there in state[self.name]:
            driver = self.attachments.driver(name)
            used, limit = driver.used.values.item(row), driver.limit.values.item(row)
            adding = self._adding(fresh, there, nodes).item(row)
            excess = used + adding - limit
            if adding <= 0 or excess <= 0:
                continue
            using = self.attachments.using(nodes.names[row], name)
            unused = min(excess, used - len(using))
            excess -= unused
            others = sorted((users for one, users in using.items() if one not in wanted), key=len)[:excess]
            pods = tuple(dict.fromkeys(key for users in others for key in users))
            changes = [f"wait until {count(unused, 'volume')} that no pod uses any more can be detached"] if unused else []
            if len(others) < excess:  # the pod alone brings more than the node takes
                changes.append(f"use {count(excess - len(others), 'volume')} of {name} fewer")
            if others:
                named = f"those of {pods_named(pods)}, say"
                changes.append(f"detach {count(len(others), 'volume')} of {name} from {nodes.names[row]} ({named})")
            have = f"{name}: {count(adding, 'volume')} more, {used} of {limit} attached"
            found.append(Remedy("other", ", and ".join(changes), 2.0 * (excess + unused), have, pods[:LISTED]))
        return found

    def explain(self, state: CycleState, code: int, nodes: Columns) -> list[str]:
        return ["node(s) exceed max volume count"]

    def events(self) -> Sequence[tuple[int, Hint | None]]:
        kinds = Happening.POD_DELETE | Happening.STORAGE | Happening.CLAIM | Happening.VOLUME | Happening.NODE_ADD
        return ((kinds, None),)
