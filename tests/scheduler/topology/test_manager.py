"""The tree is kept current, shown by the leader, and read by plugins."""

import msgspec
import pytest

from koordinator.api.networktopology import NODE_LAYER
from koordinator.api.registry import CLUSTER_NETWORK_TOPOLOGIES, EVENTS
from koordinator.clock import ManualClock, SystemClock
from koordinator.kube.events import Recorder
from koordinator.kube.memory import MemoryStore
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.cycle import Scheduler
from koordinator.scheduler.engine.events import ClusterEvent, Happening
from koordinator.scheduler.engine.framework import Code, PreFilterPlugin, PreFilterResult, Status
from koordinator.scheduler.engine.handle import Handle
from koordinator.scheduler.engine.profile import Profile
from koordinator.scheduler.engine.queue import SchedulingQueue
from koordinator.scheduler.plugins.node_unschedulable import NodeUnschedulable
from koordinator.scheduler.plugins.priority_sort import PrioritySort
from koordinator.scheduler.topology.manager import NetworkTopology
from scheduler.builders import READER, node, pod
from scheduler.stories import Story

SPINE = {"topologyLayer": "Spine", "labelKey": ["spine"]}
NODES = {"topologyLayer": NODE_LAYER, "parentTopologyLayer": "Block"}
BLOCK = {"topologyLayer": "Block", "parentTopologyLayer": "Spine", "labelKey": ["block"]}


class World:
    def __init__(self):
        clock = SystemClock()
        self.store, self.cluster = MemoryStore(clock), Cluster()
        self.recorder = Recorder(self.store, "koord-scheduler", clock)
        self.manager = NetworkTopology(self.store, self.cluster, clock, self.recorder)
        self.changes = 0
        self.manager.changed = self._changed

    def _changed(self):
        self.changes += 1

    async def layers(self, *layers):
        body = {"metadata": {"name": "default"}, "spec": {"networkTopologySpec": list(layers)}}
        await self.store.create(CLUSTER_NETWORK_TOPOLOGIES, body)

    async def change_layers(self, *layers):
        await self.store.patch(CLUSTER_NETWORK_TOPOLOGIES, "default", {"spec": {"networkTopologySpec": list(layers)}})

    def node(self, name, **labels):
        self.cluster.set_node(node(name, labels=labels))

    async def shown(self):
        status = (await self.store.get(CLUSTER_NETWORK_TOPOLOGIES, "default")).status
        return [(one.topology_info.topology_name, one.node_num) for one in status.detail_status or []]

    async def events(self):
        await self.recorder.flush()
        return [(one.reason, one.message) for one in (await self.store.list(EVENTS, "default")).items]


@pytest.fixture
def world():
    return World()


async def test_the_leader_shows_the_tree_and_writes_only_when_it_has_changed(world):
    world.node("n1", spine="s", block="b")
    await world.layers(SPINE, BLOCK, NODES)
    await world.manager.round(leading=True)
    assert await world.shown() == [("", 1), ("s", 1), ("b", 1)]
    before = (await world.store.get(CLUSTER_NETWORK_TOPOLOGIES, "default")).metadata.resource_version
    tree = world.manager.tree
    world.node("n1", spine="s", block="b", other="x")
    await world.manager.round(leading=True)
    assert (await world.store.get(CLUSTER_NETWORK_TOPOLOGIES, "default")).metadata.resource_version == before
    assert (world.manager.tree, world.changes) == (tree, 1)
    world.node("n2", spine="s", block="b2")
    world.cluster.remove_node("n1")
    await world.manager.round(leading=True)
    assert await world.shown() == [("", 1), ("s", 1), ("b2", 1)]
    assert world.changes == 2
    assert tree.get("Block", "b").nodes == 1, "who holds an old tree keeps it as it was"


async def test_a_standby_has_the_tree_but_does_not_write(world):
    world.node("n1", spine="s", block="b")
    await world.layers(SPINE, BLOCK, NODES)
    await world.manager.round(leading=False)
    assert world.manager.tree.get("Block", "b").nodes == 1
    assert await world.shown() == []
    await world.manager.round(leading=True)
    assert await world.shown() == [("", 1), ("s", 1), ("b", 1)]


async def test_what_others_wrote_into_the_status_is_put_right(world):
    world.node("n1", spine="s", block="b")
    await world.layers(SPINE, BLOCK, NODES)
    await world.manager.round(leading=True)
    body = {"status": {"detailStatus": []}}
    await world.store.patch(CLUSTER_NETWORK_TOPOLOGIES, "default", body, subresource="status")
    await world.manager.round(leading=True)
    assert len(await world.shown()) == 3


async def test_layers_that_form_no_chain_are_told_once_and_leave_the_old_tree(world):
    world.node("n1", spine="s", block="b")
    await world.layers(SPINE, BLOCK, NODES)
    await world.manager.round(leading=True)
    tree = world.manager.tree
    await world.change_layers(SPINE, NODES)
    for _ in range(3):
        await world.manager.round(leading=True)
    message = 'spec.networkTopologySpec: topology layer "Block" not found in spec; the tree that was there stays in force'
    assert await world.events() == [("InvalidNetworkTopology", message)]
    assert world.manager.tree is tree
    await world.change_layers(SPINE, BLOCK, NODES)
    world.node("n2", spine="s", block="b")
    await world.manager.round(leading=True)
    assert world.manager.tree.get("Block", "b").nodes == 2


async def test_nodes_that_are_left_out_are_named(world):
    world.node("n1", spine="s", block="b")
    world.node("n2", block="b")
    await world.layers(SPINE, BLOCK, NODES)
    await world.manager.round(leading=True)
    message = "1 nodes lack the label of a layer and are left out: n2"
    assert await world.events() == [("IncompleteNetworkTopology", message)]


async def test_without_the_object_there_is_no_tree(world):
    await world.manager.round(leading=True)
    assert (world.manager.tree, world.changes) == (None, 0)
    await world.layers(SPINE, BLOCK, NODES)
    await world.manager.round(leading=True)
    assert msgspec.to_builtins(world.manager.tree.domains[0])["nodes"] == 0
    await world.store.delete(CLUSTER_NETWORK_TOPOLOGIES, "default")
    await world.manager.round(leading=True)
    assert (world.manager.tree, world.changes) == (None, 2)


class Spine(PreFilterPlugin):
    """Keeps pods back until the network has the spine that they want."""

    name = "Spine"
    per_pod = True

    def __init__(self, handle):
        self.handle = handle

    def events(self):
        return ((Happening.NETWORK, None),)

    def pre_filter(self, state, pod, nodes):
        tree = self.handle.network.tree
        if tree is not None and tree.get("Spine", pod.pod.labels["spine"]) is not None:
            return None
        return PreFilterResult(status=Status(Code.UNSCHEDULABLE, ("no such spine",)))


async def test_a_plugin_reads_the_tree_and_its_pods_are_woken_by_another_one(world):
    clock = ManualClock()
    handle = Handle(world.cluster, world.store, clock)
    handle.network = world.manager
    profile = Profile(["koord-scheduler"], [PrioritySort(), NodeUnschedulable(), Spine(handle)])
    queue = SchedulingQueue(clock.monotonic)
    scheduler = Scheduler(world.cluster, queue, [profile], Story(), seed=1)
    world.manager.changed = lambda: scheduler.tell(ClusterEvent(Happening.NETWORK))
    bound = []
    scheduler.submit = lambda binding: bound.append((binding.pod.info.name, binding.node))
    world.node("n1", block="b")
    await world.layers(SPINE, BLOCK, NODES)
    await world.manager.round(leading=False)
    queue.add(READER.read(pod("p", labels={"spine": "s"})), profile)
    assert scheduler.schedule_one()
    clock.advance(60)
    world.node("n1", spine="s", block="b")
    queue.flush()
    assert not scheduler.schedule_one()
    await world.manager.round(leading=False)
    assert scheduler.schedule_one()
    assert bound == [("p", "n1")]
