"""The cases on the engine alone: no API server, no informers, one core, all nodes looked at.

From a pod's arrival in the queue to its being on a node; binds and evictions succeed at once. Figures are of processor time.
"""

import contextlib
import gc
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from benchmarks.figures import Measurement, single
from benchmarks.scheduler_cases import CASES, Case, Churn
from benchmarks.scheduler_templates import MEASURED, NAME, MakePod, before, namespace, plain
from koordinator.api.core import Node, Pod
from koordinator.api.meta import Object
from koordinator.clock import SystemClock
from koordinator.kube.pauses import settle
from koordinator.kube.store import Store
from koordinator.scheduler.catalogue import built_in
from koordinator.scheduler.config.write import current
from koordinator.scheduler.engine.binding import Binding
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.cycle import Scheduler
from koordinator.scheduler.engine.framework import Diagnosis, WatchPlugin
from koordinator.scheduler.engine.handle import Handle
from koordinator.scheduler.engine.objects import Objects
from koordinator.scheduler.engine.queue import SchedulingQueue
from koordinator.scheduler.engine.queued import QueuedPod
from koordinator.scheduler.feed import Feed
from koordinator.scheduler.options import SchedulerOptions
from koordinator.scheduler.plugins.default_preemption.plugin import DefaultPreemption, Preemption
from koordinator.scheduler.profiles import make_profiles
from koordinator.scheduler.report import Reporter

if TYPE_CHECKING:
    from koordinator.scheduler.engine.profile import Profile


class Counting:
    """An outcome that knows which pods are still to be placed."""

    def __init__(self) -> None:
        self.wanted: set[str] = set()

    def assumed(self, binding: Binding) -> None:
        self.wanted.discard(binding.pod.info.uid)

    def unschedulable(self, pod: QueuedPod, diagnosis: Diagnosis) -> None: ...

    def error(self, pod: QueuedPod, message: str) -> None:
        raise RuntimeError(message)

    def handled(self, pod: QueuedPod) -> None: ...

    def bound(self, binding: Binding) -> None: ...


class Engine:
    """A scheduler without a process around it. ``feed`` is told what informers would tell."""

    def __init__(self, profile: str = "") -> None:
        clock, cluster, self.outcome = SystemClock(), Cluster(), Counting()
        reading = current(SchedulerOptions(config=profile, scheduler_names=(NAME,)), built_in())
        made = make_profiles(reading.configuration, built_in(), [Handle(cluster, cast("Store", None), clock, NAME)])
        self.profile: Profile = made[0]
        self.scheduler = Scheduler(cluster, SchedulingQueue(clock.monotonic), made, self.outcome, seed=1)
        self.scheduler.submit = self.scheduler.bound
        self.cluster, self.feed = cluster, Feed(self.scheduler, cast("Reporter", None))
        self._leaving: deque[Pod] = deque()
        for plugin in self.profile.plugins.values():
            if isinstance(plugin, DefaultPreemption):
                plugin.evict = self._evict
        kept = cluster.shared(Objects).kept.values()
        self.watchers: list[WatchPlugin] = [*kept, *self.profile.watchers]

    def _evict(self, preemption: Preemption) -> None:
        self._leaving.extend(victim.pod for victim in preemption.victims.pods)

    def step(self) -> bool:
        """One attempt; then the victims of it go."""
        worked = self.scheduler.schedule_one()
        while self._leaving:
            self.feed.pod_deleted(self._leaving.popleft())
        return worked

    def set(self, obj: Object) -> None:
        if isinstance(obj, Pod):
            self.feed.pod_added(obj)
        elif isinstance(obj, Node):
            self.feed.node_set(obj)
        else:
            self._to_watchers(self.feed.object_set, obj)

    def delete(self, obj: Object) -> None:
        if isinstance(obj, Pod):
            self.feed.pod_deleted(obj)
        elif isinstance(obj, Node):
            self.feed.node_deleted(obj)
        else:
            self._to_watchers(self.feed.object_deleted, obj)

    def _to_watchers(self, tell: Callable[[WatchPlugin, Any], None], obj: Object) -> None:
        for plugin in self.watchers:
            if isinstance(obj, plugin.resource.type):
                tell(plugin, obj)

    def schedule(self, make: MakePod, numbers: range, churn: Churn | None = None) -> float:
        """Seconds of processor time until these pods are placed. Raises RuntimeError when one of them is not."""
        pods = [make(index) for index in numbers]
        wanted = self.outcome.wanted = {one.metadata.uid for one in pods}
        with as_in_the_process():
            begin = time.process_time()
            self._arrive(pods, churn)
            while wanted and self.step():
                pass
            took = time.process_time() - begin
        if wanted:
            raise RuntimeError(f"{len(wanted)} of {len(pods)} pods not placed")
        return took

    def _arrive(self, pods: list[Pod], churn: Churn | None) -> None:
        """All at once; or, amid churn, one after the other."""
        passing: list[Object] = []
        for number, one in enumerate(pods):
            if churn is not None:
                if number % churn.pods == 0:
                    passing = self._churn(churn, number // churn.pods, passing)
                self.feed.pod_added(one)
                self.step()
            else:
                self.feed.pod_added(one)

    def _churn(self, churn: Churn, number: int, before: list[Object]) -> list[Object]:
        for obj in before if churn.recreate else ():
            self.delete(obj)
        made = churn.make(number)
        for obj in made:
            self.set(obj)
        return made


@contextlib.contextmanager
def as_in_the_process() -> Iterator[None]:
    """Full collections wait for a quiet moment, as they do in the scheduler's process."""
    thresholds = gc.get_threshold()
    settle()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)


def prepared(case: Case) -> Engine:
    """All that a case finds, its resident pods placed."""
    engine = Engine(case.profile)
    engine.set(namespace(MEASURED, case.team))
    for index in range(case.nodes):
        engine.set(case.node(index))
    for obj in case.there():
        engine.set(obj)
    while engine.step():
        pass
    engine.schedule(case.resident_pod or before(case.pod), range(case.resident))
    return engine


def rate(case: Case, crowd: int = 0) -> float:
    """Measured pods a second. ``crowd``: so many tiny pods that are there as well."""
    engine = prepared(case)
    for index in range(crowd):
        engine.set(tiny(index, case.nodes))
    return case.measured / engine.schedule(case.pod, range(case.resident, case.resident + case.measured), case.churn)


def tiny(index: int, nodes: int) -> Pod:
    """One of a crowd."""
    one = before(plain)(10_000_000 + index)
    one.spec.containers[0].resources.requests = {"cpu": "1m", "memory": "1Mi"}
    one.spec.node_name = f"node-{index % nodes}"
    return one


CROWD = 50_000
_AMONG_A_CROWD = ("SchedulingPodAntiAffinity", "TopologySpreading")


def measurements() -> Iterator[Measurement]:
    for case in CASES:
        yield single(f"engine, {case.title}", "pods/s", f">= {case.engine}" if case.engine else "", partial(rate, case))
    for case in CASES:
        if case.name in _AMONG_A_CROWD:
            name = f"engine, {case.name}, {CROWD:,} resident pods against none"
            yield single(name, "times", ">= 0.95", partial(share, case))


def share(case: Case) -> float:
    return rate(case, CROWD) / rate(case)
