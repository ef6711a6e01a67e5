"""Which volume a claim may have on which node: those that exist, then those that could be made."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from koordinator.api import quantity, selectors
from koordinator.api.core import NodeSelector, NodeSelectorRequirement
from koordinator.api.storage import (
    NO_PROVISIONER,
    CSIStorageCapacity,
    PersistentVolume,
    PersistentVolumeClaim,
    StorageClass,
    TopologyTerm,
)
from koordinator.scheduler.engine.columns import Bools, Columns, Ints, Rows
from koordinator.scheduler.plugins.selectors import Match, everything, requirement, terms
from koordinator.scheduler.plugins.volumes.known import Volumes, capacity, requested


class Outcome(NamedTuple):
    """Per row: the place in ``candidates`` of the volume for each claim (-1: none), and what is wrong."""

    candidates: list[list[PersistentVolume]]
    choices: list[Ints]
    unmatched: Bools
    no_room: Bools
    lacking: list[Bools]
    """Per claim, where it goes without."""
    made: list[Bools]
    """Per claim, where a volume could be made for it if there were room."""


def reachable(volume: PersistentVolume, nodes: Columns, rows: Rows) -> Bools:
    """The nodes that a volume can be used on."""
    return _match(volume, nodes)(nodes, rows)


def _match(volume: PersistentVolume, nodes: Columns) -> Match:
    affinity = volume.spec.node_affinity
    required: NodeSelector | None = affinity.required if affinity is not None else None
    return everything if required is None else terms(required.node_selector_terms, nodes)


def _reach(known: Volumes, volume: PersistentVolume, nodes: Columns) -> Match:
    """Worked out once for a volume that may be offered to many pods: local disks are as many as nodes."""
    kept = known.reach.get(volume.name)
    if kept is None or kept[0] is not volume:
        kept = known.reach[volume.name] = volume, _match(volume, nodes)
    return kept[1]


def suitable(known: Volumes, claim: PersistentVolumeClaim) -> list[PersistentVolume]:
    """Volumes that the claim could be bound to, smallest first. One that is reserved for it, or promised, stands alone."""
    wanted = requested(claim)
    for volume in known.reserved.get(claim.key, {}).values():
        if _is_for(volume, claim) and volume.spec.storage_class_name == claim.class_name and _usable(volume, claim, wanted):
            return [volume]
    found = []
    for volume in known.free.get(claim.class_name, {}).values():
        promised = known.promised.get(volume.name)
        if promised == claim.key:
            return [volume]
        if not promised and _usable(volume, claim, wanted) and _fits(volume, claim):
            found.append((capacity(volume), volume.name, volume))
    return [one[-1] for one in sorted(found, key=lambda one: one[:2])]


def _is_for(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    ref = volume.spec.claim_ref
    return ref is not None and (not ref.uid or ref.uid == claim.metadata.uid)


def _usable(volume: PersistentVolume, claim: PersistentVolumeClaim, wanted: int) -> bool:
    mode = (claim.spec.volume_mode or "Filesystem") == (volume.spec.volume_mode or "Filesystem")
    return mode and volume.metadata.deletion_timestamp is None and capacity(volume) >= wanted


def _fits(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    if volume.status.phase not in ("", "Available"):
        return False
    if not set(claim.spec.access_modes or ()) <= set(volume.spec.access_modes or ()):
        return False
    return claim.spec.selector is None or selectors.matches(claim.spec.selector, volume.labels)


def outcome(known: Volumes, claims: Sequence[PersistentVolumeClaim], nodes: Columns, rows: Rows) -> Outcome:
    """For claims that wait for their first consumer."""
    count = len(nodes.alive[rows])
    unmatched, no_room = np.zeros(count, dtype=np.bool_), np.zeros(count, dtype=np.bool_)
    candidates, choices, lacking, makeable = [], [], [], []
    taken: dict[str, Bools] = {}
    for claim in claims:
        chosen = np.full(count, -1, dtype=np.int64)
        volumes = [] if known.selected_node(claim) else suitable(known, claim)
        for place, volume in enumerate(volumes):
            free = (chosen < 0) & _reach(known, volume, nodes)(nodes, rows)
            if (where := taken.get(volume.name)) is not None:
                free &= ~where
            if free.any():
                chosen[free] = place
                taken[volume.name] = free if where is None else free | where
        made, room = _provisionable(known, claim, nodes, rows)
        none = (chosen < 0) & ~(made & room)
        first = none & ~(unmatched | no_room)  # the first claim that goes without gives the reason
        unmatched |= first & ~made
        no_room |= first & made
        candidates.append(volumes)
        choices.append(chosen)
        lacking.append(none)
        makeable.append(made)
    return Outcome(candidates, choices, unmatched, no_room, lacking, makeable)


def _provisionable(known: Volumes, claim: PersistentVolumeClaim, nodes: Columns, rows: Rows) -> tuple[Bools, Bools]:
    """Where a volume may be made for the claim, and where there is room for it."""
    count = len(nodes.alive[rows])
    class_ = known.class_of(claim)
    if class_ is None or class_.provisioner in ("", NO_PROVISIONER):
        return np.zeros(count, dtype=np.bool_), np.ones(count, dtype=np.bool_)
    allowed = _allowed(class_.allowed_topologies or [], nodes, rows)
    if node := known.selected_node(claim):
        allowed &= nodes.node_names.values[rows] == nodes.node_names.id_of(node)
    return allowed, _room(known, class_, requested(claim), nodes, rows)


def _allowed(topologies: Sequence[TopologyTerm], nodes: Columns, rows: Rows) -> Bools:
    """Any of the terms, each with all its keys; no terms allow every node."""
    count = len(nodes.alive[rows])
    if not topologies:
        return np.ones(count, dtype=np.bool_)
    allowed = np.zeros(count, dtype=np.bool_)
    for one in topologies:
        fits = np.ones(count, dtype=np.bool_)
        for wanted in one.match_label_expressions or ():
            label = nodes.label(wanted.key)
            fits &= np.isin(label.values[rows], [label.id_of(value) for value in wanted.values])
        allowed |= fits
    return allowed


def _room(known: Volumes, class_: StorageClass, wanted: int, nodes: Columns, rows: Rows) -> Bools:
    """Where a driver that tells how much storage is left has enough."""
    count = len(nodes.alive[rows])
    driver = known.drivers.get(class_.provisioner)
    if driver is None or not driver.spec.storage_capacity:
        return np.ones(count, dtype=np.bool_)
    room = np.zeros(count, dtype=np.bool_)
    for one in known.capacities.items.values():
        if one.storage_class_name == class_.name and _holds(one, wanted):
            room |= _in_topology(one, nodes, rows)
    return room


def _holds(one: CSIStorageCapacity, wanted: int) -> bool:
    limit = one.maximum_volume_size if one.maximum_volume_size is not None else one.capacity
    try:
        return limit is not None and quantity.value(limit) >= wanted
    except ValueError:  # nobody knows how much that is
        return False


def _in_topology(one: CSIStorageCapacity, nodes: Columns, rows: Rows) -> Bools:
    """A capacity without topology can be reached from nowhere. By columns: drivers of local disks tell of every node."""
    selector = one.node_topology
    if selector is None:
        return np.zeros(len(nodes.alive[rows]), dtype=np.bool_)
    found: Bools = nodes.alive[rows].copy()
    for key, value in (selector.match_labels or {}).items():
        column = nodes.label(key)
        found &= column.values[rows] == column.id_of(value)
    for wanted in selector.match_expressions or ():
        asked = NodeSelectorRequirement(key=wanted.key, operator=wanted.operator, values=wanted.values)
        found &= requirement(asked, nodes.label(wanted.key))(nodes, rows)
    return found
