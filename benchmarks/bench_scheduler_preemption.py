"""Preemption and pods that fit nowhere, engine only: kube-scheduler's PreemptionAsync and Unschedulable cases, 5,000 nodes.

PreemptionAsync: every node is full of four pods of low priority; 5,000 pods of high priority each need two of them to go. A
victim is off its node as soon as it is evicted. Counted until the last pod is on its node.
Unschedulable: 200 pods that fit nowhere wait in the queue while 10,000 others are placed; their refusals count as work.
"""

import gc
import time
from collections import deque
from typing import cast

from benchmarks.figures import report
from koordinator.api.core import Container, Node, NodeStatus, Pod, PodSpec, ResourceRequirements
from koordinator.api.meta import ObjectMeta
from koordinator.clock import SystemClock
from koordinator.kube.store import Store
from koordinator.scheduler.engine.binding import Binding
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.cycle import Scheduler
from koordinator.scheduler.engine.events import ClusterEvent, Happening
from koordinator.scheduler.engine.framework import Diagnosis
from koordinator.scheduler.engine.pod import PodReader
from koordinator.scheduler.engine.queue import QueuedPod, SchedulingQueue
from koordinator.scheduler.plugins.default_preemption.plugin import DefaultPreemption, Preemption
from koordinator.scheduler.profiles import default_profile

NAME = "koord-scheduler"


class Counting:
    """An outcome that counts."""

    def __init__(self) -> None:
        self.placed = self.refused = 0

    def assumed(self, binding: Binding) -> None:
        self.placed += 1

    def unschedulable(self, pod: QueuedPod, diagnosis: Diagnosis) -> None:
        self.refused += 1

    def error(self, pod: QueuedPod, message: str) -> None:
        raise RuntimeError(message)

    def bound(self, binding: Binding) -> None: ...


def pod(name: str, cpu: str, memory: str = "100Mi", priority: int = 0, node: str = "") -> Pod:
    container = Container(name="main", resources=ResourceRequirements(requests={"cpu": cpu, "memory": memory}))
    spec = PodSpec(containers=[container], scheduler_name=NAME, priority=priority, node_name=node)
    return Pod(metadata=ObjectMeta(name=name, namespace="default", uid=name), spec=spec)


class World:
    """An engine whose binds and evictions succeed at once."""

    def __init__(self, nodes: int) -> None:
        self.cluster, self.outcome, clock = Cluster(), Counting(), SystemClock()
        profile = default_profile((NAME,), self.cluster, cast("Store", None), clock)
        self.queue, self.reader = SchedulingQueue(clock.monotonic), PodReader()
        self.engine = Scheduler(self.cluster, self.queue, [profile], self.outcome, seed=1)
        self.engine.submit = self.engine.bound
        self.leaving: deque[str] = deque()
        self.victims = 0
        preemption = cast("DefaultPreemption", profile.plugins["DefaultPreemption"])
        preemption.evict = self._evict
        for index in range(nodes):
            status = NodeStatus(allocatable={"cpu": "4", "memory": "32Gi", "pods": "110"})
            self.cluster.set_node(Node(metadata=ObjectMeta(name=f"n{index}"), status=status))

    def _evict(self, preemption: Preemption) -> None:
        self.leaving.extend(victim.uid for victim in preemption.victims.pods)

    def add(self, one: Pod) -> None:
        self.engine.add_pending(self.reader.read(one), NAME)

    def step(self) -> bool:
        """One attempt, then the victims of it go."""
        worked = self.engine.schedule_one()
        while self.leaving:
            uid = self.leaving.popleft()
            placed = self.cluster.remove(uid)
            if placed is not None:
                self.victims += 1
                self.engine.tell(ClusterEvent(Happening.POD_DELETE, placed.node, old=placed.info.pod))
        return worked


def preemption(nodes: int, pods: int) -> float:
    """Pods a second of processor time, from their arrival to their being placed."""
    world = World(nodes)
    for index in range(nodes * 4):
        resident = pod(f"low-{index}", "900m", "500Mi", node=f"n{index % nodes}")
        world.cluster.place(world.reader.read(resident), f"n{index % nodes}")
    waiting = [pod(f"high-{index}", "3000m", priority=10) for index in range(pods)]
    gc.collect()
    begin = time.process_time()
    for one in waiting:
        world.add(one)
    while world.outcome.placed < pods:
        if not world.step():
            raise RuntimeError(f"{world.outcome.placed} of {pods} placed, {world.victims} evicted, nobody is ready")
    return pods / (time.process_time() - begin)


def unschedulable(nodes: int, pods: int, hopeless: int) -> float:
    """The same for pods that fit, with others in the queue that do not."""
    world = World(nodes)
    for index in range(hopeless):
        world.add(pod(f"hopeless-{index}", "9"))
    while world.step():
        pass
    waiting = [pod(f"p{index}", "100m") for index in range(pods)]
    gc.collect()
    begin = time.process_time()
    for one in waiting:
        world.add(one)
        world.step()
    while world.outcome.placed < pods:
        world.step()
    return pods / (time.process_time() - begin)


def main() -> bool:
    results = [
        report("engine, PreemptionAsync, 5,000 nodes, 5,000 pods", preemption(5000, 5000), "pods/s", ">= 1000"),
        report(
            "engine, Unschedulable, 5,000 nodes, 200 waiting, 10,000 pods",
            unschedulable(5000, 10_000, 200),
            "pods/s",
            ">= 1000",
        ),
        report("engine, the same with 10,000 waiting", unschedulable(5000, 10_000, 10_000), "pods/s", ">= 1000"),
    ]
    return all(results)


if __name__ == "__main__":
    main()
