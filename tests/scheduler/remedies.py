"""A small world in which a plugin is asked what would help; the change is made in a new one, and the plugin asked again."""

from collections.abc import Callable
from typing import NamedTuple

import hypothesis.strategies as st
import msgspec

from koordinator.api.core import (
    Pod,
)
from koordinator.api.storage import (
    CSIDriver,
    CSINode,
    CSIStorageCapacity,
    PersistentVolume,
    PersistentVolumeClaim,
    StorageClass,
)
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.compile import Compiled
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.plugins.priority_sort import PrioritySort
from koordinator.scheduler.plugins.volumes.known import Volumes
from scheduler import builders
from scheduler.builders import READER

HOST, ZONE = "kubernetes.io/hostname", "topology.kubernetes.io/zone"
NODES = ("n0", "n1", "n2")


class World(NamedTuple):
    """All that a plugin is asked about, as plain objects."""

    make: Callable
    nodes: dict
    residents: list
    pod: Pod
    storage: tuple = ()

    def asked(self):
        cluster = Cluster()
        plugin = self.make(cluster)
        known = cluster.shared(Volumes)
        kept = (known.claims, known.volumes, known.classes, known.drivers, known.nodes, known.capacities)
        kinds = (PersistentVolumeClaim, PersistentVolume, StorageClass, CSIDriver, CSINode, CSIStorageCapacity)
        for one in self.storage:
            kept[kinds.index(type(one))].object_set(one)
        for name, labels in self.nodes.items():
            cluster.set_node(builders.node(name, labels=labels))
        for one in self.residents:
            cluster.place(READER.read(one), one.spec.node_name)
        compiled = Compiled(Profile(["x"], [PrioritySort(), plugin]), READER.read(self.pod), cluster.columns)
        assert compiled.status is None, compiled.status
        return cluster, plugin, compiled

    def refused(self):
        """By node the remedies of those that are refused."""
        cluster, plugin, compiled = self.asked()
        if not compiled.filters:
            return {}
        codes = plugin.filter(compiled.state, compiled.pod, cluster.columns, cluster.columns.rows)
        rows = {name: row for name, row in cluster.columns.row_of.items() if codes[row]}
        return {name: plugin.remedies(compiled.state, compiled.pod, cluster.columns, row) for name, row in rows.items()}

    def without(self, keys):
        return self._replace(residents=[one for one in self.residents if f"default/{one.metadata.name}" not in keys])


def every_remedy_helps(world, apply):
    for name, remedies in world.refused().items():
        assert remedies, name
        changed = world
        for one in remedies:
            changed = apply(changed, name, one)
        assert name not in changed.refused(), remedies


def leaving(world, name, remedy):
    assert remedy.pods
    for key in remedy.pods[:3]:
        assert key in remedy.text
    return world.without(remedy.pods)


def on(one, name):
    one.spec.node_name = name
    return one


def placed(pods, most=6):
    return st.lists(st.builds(on, pods, st.sampled_from(NODES)), max_size=most)


zones = st.fixed_dictionaries({}, optional={ZONE: st.sampled_from("ab"), "rack": st.sampled_from("12")})


@st.composite
def labelled(draw):
    return {name: {HOST: name} | draw(zones) for name in NODES}


def changed(pod, **spec):
    return msgspec.structs.replace(pod, spec=msgspec.structs.replace(pod.spec, **spec))
