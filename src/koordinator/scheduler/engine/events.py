"""What can happen in the cluster that may let a waiting pod in, and how plugins say which of it concerns pods they refused."""

from collections.abc import Callable

import msgspec

from koordinator.api.meta import Object
from koordinator.scheduler.engine.columns import Change
from koordinator.scheduler.engine.pod import PodInfo


class Happening:
    """Kinds of cluster events, as bits: a plugin registers for a union of them."""

    NODE_ADD = 1
    NODE_ALLOCATABLE = 2
    NODE_LABEL = 4
    NODE_TAINT = 8
    NODE_DELETE = 16
    POD_ADD = 32
    """A pod was bound (by us or by others)."""
    POD_UPDATE = 64
    """A bound pod changed what it asks for or its labels."""
    POD_DELETE = 128
    """A bound pod is gone, has ended, or its bind failed."""
    NODE_METRIC = 256
    NODE_ANNOTATION = 512
    NAMESPACE = 1 << 20
    """A namespace has come, or has other labels."""
    CLAIM = 1 << 21
    """A PersistentVolumeClaim has come, changed or gone."""
    VOLUME = 1 << 22
    """A PersistentVolume has."""
    STORAGE = 1 << 23
    """What is known of storage has: StorageClass, CSIDriver, CSINode, CSIStorageCapacity, VolumeAttachment."""
    RESOURCE_CLAIM = 1 << 24
    """A ResourceClaim has come, changed or gone."""
    DEVICES = 1 << 25
    """A ResourceSlice or a DeviceClass has."""
    NETWORK = 1 << 26
    """The tree of the network has changed."""
    ANYTHING = (1 << 31) - 1
    """Every kind: an event that concerns everybody, or a plugin that every event concerns."""

    NODE = NODE_ADD | NODE_ALLOCATABLE | NODE_LABEL | NODE_TAINT


class ClusterEvent(msgspec.Struct, frozen=True):
    """One event. ``node`` names the node concerned, where there is one.

    ``but`` is the uid of a pod that the event does not wake: what a pod's own failed attempt gave back is no news to it.
    """

    kind: int
    node: str = ""
    old: Object | None = None
    new: Object | None = None
    but: str = ""


Hint = Callable[[PodInfo, ClusterEvent], bool]
"""Whether an event may let this pod in. An exception counts as yes: better one attempt too many than a pod forgotten."""

_NODE_HAPPENINGS = (
    (Change.ALLOCATABLE, Happening.NODE_ALLOCATABLE),
    (Change.LABELS, Happening.NODE_LABEL),
    (Change.TAINTS, Happening.NODE_TAINT),
)


def node_happening(changes: int) -> int:
    """The event of a node whose row moved by ``changes``; 0 when nothing did that could let a pod in."""
    if changes & Change.NODE:
        return Happening.NODE_ADD
    return sum(happening for change, happening in _NODE_HAPPENINGS if changes & change)
