"""What all volume plugins look up: a pod's claims, their volumes and classes, and what is promised but not yet written."""

from collections.abc import Iterator
from typing import NamedTuple

from koordinator.api import quantity
from koordinator.api.core import Pod
from koordinator.api.registry import (
    CSI_DRIVERS,
    CSI_NODES,
    CSI_STORAGE_CAPACITIES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    STORAGE_CLASSES,
    VOLUME_ATTACHMENTS,
)
from koordinator.api.storage import (
    SELECTED_NODE,
    WAIT_FOR_FIRST_CONSUMER,
    PersistentVolume,
    PersistentVolumeClaim,
    StorageClass,
)
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.events import Happening
from koordinator.scheduler.engine.objects import Objects
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.plugins.selectors import Match


class ClaimRef(NamedTuple):
    """A claim that a pod names. ``ephemeral``: it must have been made for this very pod."""

    name: str
    ephemeral: bool = False


def claims_of(pod: Pod) -> list[ClaimRef]:
    found = []
    for volume in pod.spec.volumes or ():
        if volume.persistent_volume_claim is not None:
            found.append(ClaimRef(volume.persistent_volume_claim.claim_name))
        elif volume.ephemeral is not None:
            found.append(ClaimRef(f"{pod.metadata.name}-{volume.name}", ephemeral=True))
    return found


def capacity(volume: PersistentVolume) -> int:
    """Bytes. Raises ValueError when they cannot be read."""
    return _bytes("spec.capacity.storage", (volume.spec.capacity or {}).get("storage", 0))


def requested(claim: PersistentVolumeClaim) -> int:
    """Bytes. Raises ValueError when they cannot be read."""
    asked = (claim.spec.resources.requests or {}).get("storage", 0)
    return _bytes(f"spec.resources.requests.storage of claim {claim.key}", asked)


def _bytes(where: str, text: str | float) -> int:
    try:
        return quantity.value(text)
    except ValueError as err:
        raise ValueError(f"{where} is {text!r}: {err}") from None


class Promises:
    """What pods in flight have been promised; pods that share a claim share its promise, and the last one ends it."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[str, int]] = {}

    def __len__(self) -> int:
        return len(self._made)

    def get(self, key: str, default: str = "") -> str:
        return self._made[key][0] if key in self._made else default

    def items(self) -> Iterator[tuple[str, str]]:
        return ((key, value) for key, (value, _) in self._made.items())

    def make(self, key: str, value: str) -> None:
        self._made[key] = value, self._made.get(key, ("", 0))[1] + 1

    def end(self, key: str) -> None:
        value, number = self._made.get(key, ("", 0))
        if number > 1:
            self._made[key] = value, number - 1
        else:
            self._made.pop(key, None)

    def clear(self, key: str) -> None:
        self._made.pop(key, None)


class Volumes:
    """Claims, volumes and classes as the API server has them, and the promises of pods that are being bound."""

    def __init__(self, cluster: Cluster) -> None:
        objects = cluster.shared(Objects)
        self.claims = objects.of(PERSISTENT_VOLUME_CLAIMS, Happening.CLAIM)
        self.volumes = objects.of(PERSISTENT_VOLUMES, Happening.VOLUME)
        self.classes = objects.of(STORAGE_CLASSES, Happening.STORAGE)
        self.drivers = objects.of(CSI_DRIVERS, Happening.STORAGE)
        self.nodes = objects.of(CSI_NODES, Happening.STORAGE)
        self.capacities = objects.of(CSI_STORAGE_CAPACITIES, Happening.STORAGE)
        self.attachments = objects.of(VOLUME_ATTACHMENTS, Happening.STORAGE)
        self.promised = Promises()
        """Volume name → key of the claim that a pod in flight wants bound to it."""
        self.selected = Promises()
        """Key of a claim → the node that a pod in flight wants its volume made for."""
        self.free: dict[str, dict[str, PersistentVolume]] = {}
        """Volumes that nobody has claimed, by class: few, where volumes are made when they are needed."""
        self.reserved: dict[str, dict[str, PersistentVolume]] = {}
        """Volumes by the key of the claim that they name."""
        self.reach: dict[str, tuple[PersistentVolume, Match]] = {}
        """Which nodes a volume can be used on, as far as somebody asked."""
        self.volumes.hearing.append(self._sort_volume)
        self._sorted: dict[str, tuple[dict[str, dict[str, PersistentVolume]], str]] = {}

    def _sort_volume(self, volume: PersistentVolume, there: bool) -> None:
        if (before := self._sorted.pop(volume.name, None)) is not None:
            shelves, key = before
            del shelves[key][volume.name]
            if not shelves[key]:
                del shelves[key]
        self.reach.pop(volume.name, None)
        ref = volume.spec.claim_ref
        if ref is not None or not there:
            self.promised.clear(volume.name)  # the API server's word stands for the promise from now on
        if ref is not None:
            self.claims.tell(f"{ref.namespace}/{ref.name}")
        if there:
            capacity(volume)  # a volume of unreadable size is told of now, and offered to nobody
            place = (
                (self.free, volume.spec.storage_class_name) if ref is None else (self.reserved, f"{ref.namespace}/{ref.name}")
            )
            self._sorted[volume.name] = place
            place[0].setdefault(place[1], {})[volume.name] = volume

    def claim(self, namespace: str, name: str) -> PersistentVolumeClaim | None:
        return self.claims.get(f"{namespace}/{name}")

    def of(self, pod: PodInfo) -> list[PersistentVolumeClaim]:
        """The pod's claims that exist."""
        found = (self.claim(pod.namespace, ref.name) for ref in claims_of(pod.pod))
        return [claim for claim in found if claim is not None]

    def volume_of(self, claim: PersistentVolumeClaim) -> PersistentVolume | None:
        return self.volumes.get(claim.spec.volume_name) if claim.spec.volume_name else None

    def selected_node(self, claim: PersistentVolumeClaim) -> str:
        """The node that a volume is being made for, or is about to be."""
        return (claim.metadata.annotations or {}).get(SELECTED_NODE) or self.selected.get(claim.key)

    def class_of(self, claim: PersistentVolumeClaim) -> StorageClass | None:
        return self.classes.get(claim.class_name)

    def waits(self, claim: PersistentVolumeClaim) -> bool:
        """Whether the claim is bound only when a pod that uses it has a node."""
        known = self.class_of(claim)
        return known is not None and known.volume_binding_mode == WAIT_FOR_FIRST_CONSUMER
