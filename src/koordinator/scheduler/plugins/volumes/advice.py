"""What would help a pod whose volumes are in the way, in words."""

from koordinator.api.storage import (
    NO_PROVISIONER,
    WAIT_FOR_FIRST_CONSUMER,
    PersistentVolume,
    PersistentVolumeClaim,
)
from koordinator.scheduler.engine.pod import PodInfo
from koordinator.scheduler.engine.remedy import Remedy
from koordinator.scheduler.plugins.volumes.known import ClaimRef, Volumes


def _other(text: str, have: str = "") -> Remedy:
    return Remedy("other", text, 2.0, have)


def _size(claim: PersistentVolumeClaim) -> str:
    """In the claim's own words."""
    return str((claim.spec.resources.requests or {}).get("storage", 0))


# --- before any node is looked at ------------------------------------------------------------------------------------------


def missing(ref: ClaimRef, pod: PodInfo) -> Remedy:
    name = f"{pod.namespace}/{ref.name}"
    if ref.ephemeral:
        return _other(f"have the ephemeral volume controller (of kube-controller-manager) create PersistentVolumeClaim {name}")
    return _other(f"create PersistentVolumeClaim {name}")


def unusable(claim: PersistentVolumeClaim, pod: PodInfo, known: Volumes, *, foreign: bool) -> Remedy:
    """A claim that exists and keeps the pod from every node. ``foreign``: it should have been made for this pod but was not."""
    if foreign:
        return _other(f"delete PersistentVolumeClaim {claim.key}, so that one is created for pod {pod.key}")
    if claim.metadata.deletion_timestamp is not None:
        return _other(f"use another claim than {claim.key}, or create it again once it is gone")
    if claim.status.phase == "Lost":
        return _other(f"use another claim than {claim.key}: its volume {claim.spec.volume_name} is gone")
    return _unbound(claim, known)


def _unbound(claim: PersistentVolumeClaim, known: Volumes) -> Remedy:
    """Not bound, and not waiting for a pod to be."""
    name, class_ = claim.class_name, known.class_of(claim)
    if claim.spec.volume_name:
        return _other(
            f"have claim {claim.key} bound to volume {claim.spec.volume_name}, which it names (is it there, and free?)"
        )
    if not name:
        return _other(f"have a volume without a class bound to claim {claim.key}, which names none")
    if class_ is None:
        return _other(f"create StorageClass {name}, which claim {claim.key} names")
    who = "" if class_.provisioner in ("", NO_PROVISIONER) else f" (is {class_.provisioner} running?)"
    return _other(
        f"have a volume of class {name} bound to claim {claim.key}{who}",
        f"class {name} binds at once, not with volumeBindingMode {WAIT_FOR_FIRST_CONSUMER}",
    )


# --- on one node -----------------------------------------------------------------------------------------------------------


def gone(claim: PersistentVolumeClaim) -> Remedy:
    name = claim.spec.volume_name
    return _other(f"restore PersistentVolume {name}, which claim {claim.key} is bound to", f"there is no volume {name}")


def elsewhere(claim: PersistentVolumeClaim, volume: PersistentVolume) -> Remedy:
    """The volume can be used on other nodes only."""
    affinity = volume.spec.node_affinity
    required = affinity.required if affinity is not None else None
    alternatives = [
        " and ".join(
            f"{one.key} {one.operator}" + (f" [{' '.join(one.values)}]" if one.values else "")
            for one in (*(term.match_expressions or ()), *(term.match_fields or ()))
        )
        for term in (required.node_selector_terms if required is not None else None) or ()
    ]
    have = f"claim {claim.key} is bound to volume {volume.name}, which needs {' or '.join(alternatives) or 'other nodes'}"
    return _other(f"use another claim than {claim.key}, or a copy of its volume {volume.name} that this node reaches", have)


def no_volume(claim: PersistentVolumeClaim, known: Volumes, node: str) -> Remedy:
    """Nothing to bind to here, and nothing that could be made."""
    selected = known.selected_node(claim)
    class_ = known.class_of(claim)
    made = class_ is not None and class_.provisioner not in ("", NO_PROVISIONER)
    if selected:
        have = f"claim {claim.key} has been given a volume to be made for node {selected}"
        if made and class_ is not None:
            return _other(f"wait for the volume that {class_.provisioner} makes, or use another claim than {claim.key}", have)
        return _other(f"use another claim than {claim.key}, whose class {claim.class_name} makes no volumes", have)
    size = _size(claim)
    text = f"add a PersistentVolume of class {claim.class_name} with {size} or more on {node} for claim {claim.key}"
    if made:
        return _other(
            f"{text}, or let the class make volumes for {node}", f"allowedTopologies of class {claim.class_name} leave it out"
        )
    return _other(text, f"class {claim.class_name} makes no volumes, and no free one is right")


def no_room(claim: PersistentVolumeClaim, known: Volumes, node: str) -> Remedy:
    class_ = known.class_of(claim)
    driver = class_.provisioner if class_ is not None else ""
    size = _size(claim)
    return _other(f"free {size} of storage of class {claim.class_name} for {node} (claim {claim.key}), or ask for less",
                  f"no CSIStorageCapacity of {driver} has that much there")  # fmt: skip
