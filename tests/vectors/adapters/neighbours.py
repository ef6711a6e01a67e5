"""Vectors of kube-scheduler's plugins that look at other pods, ports and images."""

import msgspec
import numpy as np

from koordinator.api.core import ContainerImage, Node, NodeStatus, Pod
from koordinator.api.meta import ObjectMeta
from koordinator.scheduler.config.args import InterPodAffinityArgs
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.compile import Compiled
from koordinator.scheduler.engine.framework import UNRESOLVABLE
from koordinator.scheduler.engine.pod import PodReader
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.engine.residents import Residents
from koordinator.scheduler.plugins.image_locality import ImageLocality
from koordinator.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from koordinator.scheduler.plugins.node_ports import NodePorts
from koordinator.scheduler.plugins.pod_topology_spread import PodTopologySpread
from koordinator.scheduler.plugins.priority_sort import PrioritySort

READER = PodReader()


def read(raw, number):
    pod = msgspec.convert(raw, Pod)
    pod.metadata.uid = f"{pod.key}-{number}"
    return READER.read(pod)


class World:
    """The case's nodes and bound pods, and one plugin."""

    def __init__(self, make, case):
        self.cluster = Cluster()
        self.plugin = make(self.cluster)
        for name, labels in (case.get("namespaces") or {}).items():
            self.cluster.shared(Residents).set_namespace(name, labels)
        for raw in case.get("nodes") or [{"metadata": {"name": "n"}}]:
            self.cluster.set_node(msgspec.convert(raw, Node))
        for number, raw in enumerate(case.get("pods") or ()):
            self.cluster.place(read(raw, number), raw["spec"]["nodeName"])
        for number, raw in enumerate(case.get("podsOnNode") or ()):
            self.cluster.place(read(raw, number), "n")
        self.columns = self.cluster.columns
        self.asked = Compiled(Profile(["x"], [PrioritySort(), self.plugin]), read(case["pod"], "new"), self.columns)

    def codes(self):
        """By node, the kind of answer and the reason."""
        asked, columns, plugin = self.asked, self.columns, self.plugin
        codes = plugin.filter(asked.state, asked.pod, columns, columns.rows).tolist() if asked.filters else [0] * len(columns)
        for name, code in zip(columns.names, codes, strict=True):
            kind = "UnschedulableAndUnresolvable" if code & UNRESOLVABLE else "Unschedulable" if code else "Success"
            yield name, kind, plugin.explain(asked.state, code & ~UNRESOLVABLE, columns)[0] if code else ""

    def scores(self, feasible=None):
        asked, columns, plugin = self.asked, self.columns, self.plugin
        mask = np.array([feasible is None or name in feasible for name in columns.names])
        plugin.survey(asked.state, asked.pod, columns, mask)
        raw = plugin.score(asked.state, asked.pod, columns, columns.rows)
        normalized = plugin.normalize(raw, plugin.bounds(raw, mask))
        named = [(name, row) for row, name in enumerate(columns.names) if mask[row]]
        return {
            "raw": {name: int(raw[row]) for name, row in named},
            "normalized": {name: int(normalized[row]) for name, row in named},
        }


def spread_filter(case):
    short = {"UnschedulableAndUnresolvable": "UnschedulableAndUnresolvable: missing required label"}
    return {"nodes": {name: short.get(kind, kind) for name, kind, _ in World(PodTopologySpread, case).codes()}}


def affinity(case):
    args = msgspec.convert(case.get("args") or {}, InterPodAffinityArgs)
    return World(lambda cluster: InterPodAffinity(cluster, args), case)


def affinity_filter(case):
    return {"nodes": {name: f"{kind}: {reason}" if reason else kind for name, kind, reason in affinity(case).codes()}}


def ports(case):
    return {"code": next(kind for _, kind, _ in World(NodePorts, case).codes())}


def image(case):
    """As many nodes as the case says, as many of which have the image."""
    cluster, states = Cluster(), case["imageStates"]
    plugin = ImageLocality(cluster)
    for index in range(case["totalNodes"]):
        images = [
            ContainerImage(names=[name], size_bytes=state["sizeBytes"])
            for name, state in states.items()
            if index < state["numNodes"]
        ]
        cluster.set_node(Node(metadata=ObjectMeta(name=f"n{index}"), status=NodeStatus(images=images)))
    columns = cluster.columns
    asked = Compiled(Profile(["x"], [PrioritySort(), plugin]), read(case["pod"], "new"), columns)
    plugin.survey(asked.state, asked.pod, columns, columns.alive[columns.rows])
    return {"score": int(plugin.score(asked.state, asked.pod, columns, columns.rows)[0])}


NEIGHBOUR_OPERATIONS = {
    "podTopologySpreadFilter": spread_filter,
    "podTopologySpreadScore": lambda case: World(PodTopologySpread, case).scores(case.get("feasible")),
    "interPodAffinityFilter": affinity_filter,
    "interPodAffinityScore": lambda case: affinity(case).scores(),
    "nodePortsFilter": ports,
    "imageLocalityScore": image,
}
