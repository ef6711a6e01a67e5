"""Engine only: no API server, no informers. How many pods a second the cycle places, and how that grows with the cluster.

From a pod's arrival in the queue to its being assumed on a node, all plugins of the default profile on, all nodes looked at.
"""

import gc
import statistics
import time
from typing import TYPE_CHECKING, cast

from benchmarks.figures import report
from koordinator.api.core import Container, Node, NodeStatus, Pod, PodSpec, ResourceRequirements
from koordinator.api.meta import ObjectMeta, format_time
from koordinator.api.slo import NodeMetric, NodeMetricInfo, NodeMetricStatus, ResourceMap
from koordinator.clock import SystemClock
from koordinator.kube.store import Store
from koordinator.scheduler.engine.binding import Binding
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.cycle import Scheduler
from koordinator.scheduler.engine.framework import Diagnosis
from koordinator.scheduler.engine.pod import PodReader
from koordinator.scheduler.engine.queue import QueuedPod, SchedulingQueue
from koordinator.scheduler.profiles import default_profile

if TYPE_CHECKING:
    from koordinator.scheduler.plugins.load_aware.plugin import LoadAwareScheduling

NAME = "koord-scheduler"


class Silent:
    """An outcome that only counts."""

    def __init__(self) -> None:
        self.placed = self.refused = 0

    def assumed(self, binding: Binding) -> None:
        self.placed += 1

    def unschedulable(self, pod: QueuedPod, diagnosis: Diagnosis) -> None:
        self.refused += 1

    def error(self, pod: QueuedPod, message: str) -> None:
        raise RuntimeError(message)

    def bound(self, binding: Binding) -> None: ...


def node(index: int) -> Node:
    return Node(
        metadata=ObjectMeta(name=f"node-{index}", labels={"kubernetes.io/hostname": f"node-{index}", "zone": f"z{index % 3}"}),
        status=NodeStatus(allocatable={"cpu": "32", "memory": "256Gi", "pods": "110"}),
    )


def pod(index: int, templates: int) -> Pod:
    cpu = f"{100 + index % templates}m"
    container = Container(
        name="main", image="registry/app:1", resources=ResourceRequirements(requests={"cpu": cpu, "memory": "500Mi"})
    )
    meta = ObjectMeta(name=f"pod-{index}", namespace="default", uid=f"uid-{index}", labels={"app": "web"})
    return Pod(metadata=meta, spec=PodSpec(containers=[container], scheduler_name=NAME))


def scheduler(nodes: int) -> tuple[Scheduler, Silent]:
    clock, cluster, outcome = SystemClock(), Cluster(), Silent()
    profile = default_profile((NAME,), cluster, cast("Store", None), clock)
    for index in range(nodes):
        cluster.set_node(node(index))
    return Scheduler(cluster, SchedulingQueue(clock.monotonic), [profile], outcome, seed=1), outcome


def rate(nodes: int, pods: int, templates: int = 1, resident: int = 0) -> float:
    """Pods a second of processor time."""
    engine, outcome = scheduler(nodes)
    reader = PodReader()
    for index in range(resident):
        engine.cluster.place(reader.read(pod(pods + index, 1)), f"node-{index % nodes}")
    waiting = [pod(index, templates) for index in range(pods)]

    def work() -> None:
        for one in waiting:
            engine.add_pending(reader.read(one), NAME)
        while engine.schedule_one():
            pass

    engine.submit = engine.bound
    gc.collect()
    begin = time.process_time()
    work()
    took = time.process_time() - begin
    if outcome.placed != pods:
        raise RuntimeError(f"{outcome.placed} of {pods} pods placed")
    return pods / took


def median(nodes: int, pods: int, templates: int = 1, resident: int = 0, repeats: int = 5) -> float:
    return statistics.median(rate(nodes, pods, templates, resident) for _ in range(repeats))


def full_profile(pods: int = 10_000, nodes: int = 5_000) -> float:
    """Pods a second of processor time: 200 templates, 50,000 resident pods, every node reporting its usage once a minute."""
    engine, outcome = scheduler(nodes)
    reader, load_aware = PodReader(), cast("LoadAwareScheduling", engine.profiles[NAME].plugins["LoadAwareScheduling"])
    for index in range(50_000):
        engine.cluster.place(reader.read(pod(pods + index, 200)), f"node-{index % nodes}")
    reports = [usage(index) for index in range(nodes)]
    for told in reports:
        load_aware.object_set(told)
    waiting = [pod(index, 200) for index in range(pods)]
    engine.submit = engine.bound
    gc.collect()
    begin = time.process_time()
    for number, one in enumerate(waiting):
        engine.add_pending(reader.read(one), NAME)
        engine.schedule_one()
        if number % REPORT_EVERY == 0:
            load_aware.object_set(reports[number // REPORT_EVERY * 7 % nodes])
    took = time.process_time() - begin
    if outcome.placed != pods:
        raise RuntimeError(f"{outcome.placed} of {pods} pods placed")
    return pods / took


REPORT_EVERY = 36
"""Pods between two usage reports: 5,000 nodes report once a minute while 3,000 pods a second are placed."""


def usage(index: int) -> NodeMetric:
    used = ResourceMap(resources={"cpu": str(1 + index % 8), "memory": f"{8 + index % 64}Gi"})
    status = NodeMetricStatus(update_time=format_time(time.time()), node_metric=NodeMetricInfo(node_usage=used))
    return NodeMetric(metadata=ObjectMeta(name=f"node-{index}"), status=status)


def main() -> bool:
    small = median(1000, 10_000)
    empty = median(5000, 10_000)
    large = median(50_000, 10_000, repeats=3)
    full = median(5000, 10_000, resident=50_000)
    results = [
        report("engine, 1,000 nodes, 10,000 pods, one template", small, "pods/s", ">= 15000"),
        report("engine, 5,000 nodes, 10,000 pods, one template", empty, "pods/s", ">= 15000"),
        report("engine, 20,000 nodes, 20,000 pods, one template", median(20_000, 20_000, repeats=3), "pods/s", ">= 10000"),
        report("engine, 5,000 nodes, 10,000 pods, 200 templates", median(5000, 10_000, templates=200), "pods/s", ">= 3000"),
        report(
            "engine, 5,000 nodes, 200 templates, 50,000 resident pods, usage reports changing",
            statistics.median(full_profile() for _ in range(3)),
            "pods/s",
            ">= 3000",
        ),
        report("engine, cost of a pod at 50,000 nodes against 1,000", small / large, "times", "<= 6"),
        report("engine, 50,000 resident pods against none, 5,000 nodes", full / empty, "times", ">= 0.95"),
    ]
    from benchmarks import bench_scheduler_e2e, growth, scheduler_perf

    results += [scheduler_perf.main(), growth.main(), bench_scheduler_e2e.main()]
    return all(results)


if __name__ == "__main__":
    main()
