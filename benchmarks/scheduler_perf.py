"""scheduler_perf's cases on the engine alone: no API server, no informers, one core, all nodes looked at."""

import gc
import statistics
import sys
import time
from typing import cast

from benchmarks.bench_scheduler import Silent
from benchmarks.figures import report
from benchmarks.scheduler_cases import CASES, NAME, Case, MakePod, claim_and_volume, node, plain
from koordinator.clock import SystemClock
from koordinator.kube.store import Store
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.cycle import Scheduler
from koordinator.scheduler.engine.pod import PodReader
from koordinator.scheduler.engine.queue import SchedulingQueue
from koordinator.scheduler.engine.residents import Residents
from koordinator.scheduler.plugins.owners import Owners
from koordinator.scheduler.plugins.volumes.known import Volumes
from koordinator.scheduler.profiles import default_profile


class Run:
    """One scheduler with a case's nodes and namespaces."""

    def __init__(self, case: Case) -> None:
        clock, cluster, self.outcome = SystemClock(), Cluster(), Silent()
        profile = default_profile((NAME,), cluster, cast("Store", None), clock)
        self.engine = Scheduler(cluster, SchedulingQueue(clock.monotonic), [profile], self.outcome, seed=1)
        self.engine.submit = self.engine.bound
        self.reader = PodReader()
        for index in range(case.namespaces):
            cluster.shared(Residents).set_namespace(f"measure-ns-{index}", {"team": "devops"})
        if case.owner is not None:
            cluster.shared(Owners).set_owner("ReplicaSet", "default", "measured", case.owner)
        known = cluster.shared(Volumes)
        for index in range(case.resident + case.measured if case.claims else 0):
            claim, volume = claim_and_volume(index)
            known.claims.object_set(claim)
            known.volumes.object_set(volume)
        for index in range(case.nodes):
            cluster.set_node(node(index))

    def schedule(self, make: MakePod, first: int, count: int) -> float:
        """Seconds of processor time for a number of pods."""
        pods = [make(index) for index in range(first, first + count)]
        gc.collect()
        begin, before = time.process_time(), self.outcome.placed
        for one in pods:
            self.engine.add_pending(self.reader.read(one), NAME)
        while self.engine.schedule_one():
            pass
        took = time.process_time() - begin
        if self.outcome.placed - before != count:
            raise RuntimeError(f"{self.outcome.placed - before} of {count} pods placed")
        return took


def rate(case: Case, crowd: int = 0) -> float:
    """Measured pods a second. ``crowd``: further plain pods that are there before."""
    run = Run(case)
    for index in range(crowd):
        one = plain(10_000_000 + index)
        one.spec.containers[0].resources.requests = {"cpu": "1m", "memory": "1Mi"}
        run.engine.cluster.place(run.reader.read(one), f"node-{index % case.nodes}")
    run.schedule(case.resident_pod or case.pod, 0, case.resident)
    return case.measured / run.schedule(case.pod, case.resident, case.measured)


def main(wanted: str = "") -> bool:
    results = []
    for case in CASES:
        if wanted in case.name:
            median = statistics.median(rate(case) for _ in range(3))
            text = f"engine, {case.name}, {case.nodes:,} nodes, {case.resident:,} + {case.measured:,} pods"
            results.append(report(text, median, "pods/s", f">= {case.goal}"))
    results += [_crowded(case) for case in CASES if case.name in _CROWDED and wanted in case.name]
    return all(results)


_CROWDED = ("SchedulingPodAntiAffinity", "TopologySpreading")


def _crowded(case: Case) -> bool:
    """The same among 50,000 pods that are there before."""
    share = statistics.median(rate(case, 50_000) / rate(case) for _ in range(3))
    return report(f"engine, {case.name}, 50,000 resident pods against none", share, "times", ">= 0.95")


if __name__ == "__main__":
    main(*sys.argv[1:2])
