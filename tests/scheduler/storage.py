"""Claims, volumes and classes of a few words, and a world with one of the plugins that look at them."""

import numpy as np

from koordinator.api.core import (
    ClaimSource,
    NodeSelector,
    ResourceRequirements,
    Volume,
)
from koordinator.api.meta import ObjectMeta
from koordinator.api.storage import (
    BIND_COMPLETED,
    SELECTED_NODE,
    CSISource,
    PersistentVolume,
    PersistentVolumeClaim,
    PersistentVolumeClaimSpec,
    PersistentVolumeSpec,
    StorageClass,
    VolumeNodeAffinity,
)
from koordinator.clock import ManualClock
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.evaluate import Evaluator
from koordinator.scheduler.engine.framework import Status
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.plugins.priority_sort import PrioritySort
from koordinator.scheduler.plugins.volumes.binding import VolumeBinding
from koordinator.scheduler.plugins.volumes.known import Volumes
from scheduler import builders
from scheduler.builders import READER

ZONE = "topology.kubernetes.io/zone"
CONFLICT = "node(s) had volume node affinity conflict"
UNMATCHED = "node(s) didn't find available persistent volumes to bind"
NO_ROOM = "node(s) did not have enough free storage"


class Recorded:
    """A store that only takes note of patches."""

    def __init__(self):
        self.patches = []

    async def patch(self, resource, name, patch, namespace=""):
        self.patches.append((resource.kind, namespace, name, patch))


class World:
    def __init__(self, make=None):
        self.cluster, self.store, self.clock = Cluster(), Recorded(), ManualClock()
        self.known = self.cluster.shared(Volumes)
        self.plugin = (make or self.binding)(self.cluster)
        self.evaluator = Evaluator(Profile(["x"], [PrioritySort(), self.plugin]), self.cluster.columns)
        for name, zone in (("n1", "a"), ("n2", "b"), ("n3", None)):
            self.cluster.set_node(builders.node(name, labels={ZONE: zone} if zone else {}))

    def binding(self, cluster):
        return VolumeBinding(cluster, self.store, self.clock, 30)

    def reasons(self, pod):
        """By node; one text when the pod fits nowhere."""
        answer = self.evaluator.evaluate(READER.read(pod))
        if isinstance(answer, Status):
            return answer.message
        columns, compiled = self.cluster.columns, answer.compiled
        found = {}
        for name, row in columns.row_of.items():
            refused = not answer.feasible[row]
            found[name] = compiled.diagnose(columns, np.array([row])).reasons if refused else {}
        return {name: sorted(reasons) for name, reasons in found.items()}


def storage_class(name="slow", mode="WaitForFirstConsumer", provisioner="csi.example", topologies=None):
    return StorageClass(
        metadata=ObjectMeta(name=name), provisioner=provisioner, volume_binding_mode=mode, allowed_topologies=topologies
    )


def claim(name="data", class_name="slow", size="10Gi", volume="", modes=("ReadWriteOnce",), selected=None, **more):
    annotations = {BIND_COMPLETED: "yes"} if volume else {}
    annotations |= {SELECTED_NODE: selected} if selected else {}
    return PersistentVolumeClaim(
        metadata=ObjectMeta(name=name, namespace="default", uid=f"claim-{name}", annotations=annotations),
        spec=PersistentVolumeClaimSpec(
            access_modes=list(modes),
            resources=ResourceRequirements(requests={"storage": size}),
            volume_name=volume,
            storage_class_name=class_name,
            **more,
        ),
    )


def volume(name="pv", zone=None, size="10Gi", *, labels=None, claim_ref=None, csi=None):
    expression = builders.term(builders.requirement(ZONE, "In", zone)) if zone else None
    affinity = VolumeNodeAffinity(required=NodeSelector(node_selector_terms=[expression])) if zone else None
    return PersistentVolume(
        metadata=ObjectMeta(name=name, labels=labels),
        spec=PersistentVolumeSpec(
            capacity={"storage": size},
            access_modes=["ReadWriteOnce"],
            storage_class_name="slow",
            node_affinity=affinity,
            claim_ref=claim_ref,
            csi=CSISource(driver="csi.example", volume_handle=csi) if csi else None,
        ),
    )


def using(*names, **more):
    volumes = [
        Volume(name=f"v{index}", persistent_volume_claim=ClaimSource(claim_name=name)) for index, name in enumerate(names)
    ]
    return builders.pod(volumes=volumes, **more)
