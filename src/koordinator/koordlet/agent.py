"""The agent: one visible loop that collects, looks, decides and writes; everything it needs comes in from outside.

A round never awaits and never raises: it reads files, asks each strategy for its decision, and hands all writes to the executor
in one batch, so that parents and children change in the right order whichever feature wants it.
"""

import contextlib
import logging
from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from koordinator.api.strategies import HostApplication
from koordinator.clock import Clock
from koordinator.koordlet.enforce.decision import Decision, Skip, Write
from koordinator.koordlet.enforce.executor import Executor, Outcome
from koordinator.koordlet.enforce.suppress import CPUSuppress
from koordinator.koordlet.host import files, machine, paths
from koordinator.koordlet.host.machine import Processor
from koordinator.koordlet.observe import collect
from koordinator.koordlet.observe.cluster import ClusterView
from koordinator.koordlet.observe.collect import Host
from koordinator.koordlet.observe.kubelet import PodList
from koordinator.koordlet.observe.report import Source
from koordinator.koordlet.observe.series import NODE_CPU, SYS_CPU, MetricStore
from koordinator.koordlet.observe.strategy import thresholds
from koordinator.koordlet.options import KoordletOptions
from koordinator.koordlet.view import Tier, View

log = logging.getLogger(__name__)


class Strategy(Protocol):
    """One feature: a view in, writes or the reason for none out. No I/O.

    ``prompt``: what it does for a pod should not wait for the next round; such a strategy may be asked at any time.
    """

    name: str
    prompt: bool

    def round(self, view: View) -> Decision: ...


class Parts(msgspec.Struct, frozen=True):
    """What the agent is put together from."""

    host: Host
    cluster: ClusterView
    pods: PodList
    store: MetricStore
    executor: Executor
    strategies: Sequence[Strategy]
    clock: Clock


class Agent:
    """Rounds once an interval; ``source`` feeds the report."""

    def __init__(self, parts: Parts, options: KoordletOptions) -> None:
        self._parts, self._options = parts, options
        self._node = collect.NodeCollector(parts.host, machine.jiffy_ns())
        self._pods = collect.PodCollector(parts.host)
        self._apps = collect.HostAppCollector(parts.host)
        self._tier = collect.BestEffortCollector(parts.host)
        self._processors: list[Processor] = []
        self._processors_at = self._expired_at = float("-inf")
        host, layout = parts.host, parts.host.layout
        tiers = [layout.root, layout.qos_dir(paths.BURSTABLE), layout.best_effort]
        self._tiers = [host.cgroups.directory("cpu.shares", group) for group in tiers]
        self.rounds = 0
        self.view: View | None = None
        self.decisions: dict[str, Decision] = {}
        self.outcome = Outcome()
        parts.pods.on_gone = self._gone
        parts.pods.on_change = self.serve

    async def run(self) -> None:
        """Round after round for ever, at a steady pace: a slow round shortens the wait, it does not shift the next."""
        clock, interval = self._parts.clock, self._options.collect_interval
        due = clock.monotonic()
        while True:
            self.round()
            due = max(due + interval, clock.monotonic())
            await clock.sleep(due - clock.monotonic())

    def round(self) -> None:
        """Collect, look, decide, write."""
        try:
            self._machine()
            self._collect()
            self.view = self._look()
            if self._parts.pods.has_synced:
                self.outcome = self._parts.executor.apply(self._decide(self.view))
        except Exception:  # a bug in one round must not end the protection of the node
            log.exception("a round failed; the next one goes on")
        self.rounds += 1

    def serve(self) -> None:
        """A pod or a container has come: give it what is its own at once."""
        try:
            view = self._look()
            decisions = [self._ask(strategy, view) for strategy in self._parts.strategies if strategy.prompt]
            self._parts.executor.apply(_writes(decisions))
        except Exception:  # as in a round
            log.exception("a new pod could not be served; the next round tries again")

    def has_pods(self) -> bool:
        """Whether any pod has a cgroup, known or not."""
        layout = self._parts.host.layout
        return any(layout.is_pod(name) for path in self._tiers for name in files.directories(path))

    def pod_stamp(self) -> tuple[int, ...]:
        """Changes whenever a pod's cgroup comes or goes."""
        return tuple(files.changed_at(path) for path in self._tiers)

    def source(self) -> Source | None:
        """What to report; None until collectors have data of node, system and pods."""
        parts, now = self._parts, self._parts.clock.now()
        oldest = int((now - self._options.system_outdated) * 1000)
        if not parts.pods.has_synced or any(parts.store.latest(kind, "", oldest) is None for kind in (NODE_CPU, SYS_CPU)):
            return None
        policy = parts.cluster.report_policy
        parts.store.keep(max((policy.aggregate, *policy.durations)), policy.aggregate)
        slo = parts.cluster.slo
        apps = (slo.spec.host_applications or []) if slo else None
        return Source(parts.store, now, policy, parts.pods.views, apps, list(self._node.numa))

    def lift(self) -> None:
        """Put back what was there before us: for a clean stop."""
        executor = self._parts.executor
        for strategy in self._parts.strategies:
            if isinstance(strategy, CPUSuppress) and self.view is not None:
                executor.apply(strategy.lift(self._look()))
        for owner in executor.owners():
            executor.undo(owner)

    def _machine(self) -> None:
        now = self._parts.clock.monotonic()
        if now - self._processors_at < self._options.cpu_info_interval:
            return
        self._processors_at = now
        notices = self._parts.host.notices
        try:
            self._processors = machine.processors(self._parts.host.roots.sys)
            notices.over("cpu info")
        except (OSError, ValueError) as err:
            notices.say("cpu info", f"the machine's CPUs cannot be read: {err}; suppression by CPU set waits")

    def _collect(self) -> None:
        parts, now = self._parts, self._parts.clock.now()
        pods, apps = parts.pods.views, self._host_apps()
        samples = self._node.collect({processor.cpu: processor.node for processor in self._processors})
        samples += [*self._pods.collect(pods), *self._apps.collect(apps), *self._tier.collect(pods)]
        if parts.pods.has_synced:
            samples += collect.system_samples(self._node, self._pods, self._apps, now, self._options.system_outdated)
        parts.store.append(int(now * 1000), samples)
        if now - self._expired_at > 60:
            self._expired_at = now
            parts.store.expire(int(now * 1000))

    def _host_apps(self) -> list[HostApplication]:
        slo = self._parts.cluster.slo
        return (slo.spec.host_applications or []) if slo else []

    def _look(self) -> View:
        parts, now = self._parts, self._parts.clock.now()
        fresh = now - 2 * self._options.collect_interval
        return View(
            node=parts.cluster.node,
            thresholds=thresholds(parts.cluster.slo),
            qos_strategy=parts.cluster.slo.spec.resource_qos_strategy if parts.cluster.slo else None,
            pods=parts.pods.views,
            node_cpu=parts.store.latest(NODE_CPU, "", int(fresh * 1000)),
            pod_cpu=self._pods.recent_cpu(fresh),
            host_apps=self._host_apps(),
            host_app_cpu=self._apps.cpu,
            processors=self._processors,
            tier=self._look_at_tier(),
        )

    def _look_at_tier(self) -> Tier:
        cgroups, group = self._parts.host.cgroups, self._parts.host.layout.best_effort
        quota: int | None = None
        cpus: frozenset[int] | None = None
        with contextlib.suppress(OSError, ValueError):  # no tier yet: strategies skip with that reason
            quota = cgroups.cpu_quota(group)
        with contextlib.suppress(OSError, ValueError):
            cpus = cgroups.cpus(group)
        if cpus is None:
            return Tier(group, quota)
        pods = cgroups.children("cpuset.cpus", group)
        containers = [inner for pod in pods for inner in cgroups.children("cpuset.cpus", pod)]
        return Tier(group, quota, cpus, ((group,), tuple(pods), tuple(containers)))

    def _decide(self, view: View) -> list[Write]:
        self.decisions = {strategy.name: self._ask(strategy, view) for strategy in self._parts.strategies}
        return _writes(self.decisions.values())

    def _ask(self, strategy: Strategy, view: View) -> Decision:
        """A bug in one feature must not take the others along."""
        try:
            decision = strategy.round(view)
        except Exception as err:
            if f"strategy {strategy.name}" not in self._parts.host.notices:
                log.exception("%s failed", strategy.name)
            self._parts.host.notices.say(
                f"strategy {strategy.name}", f"{strategy.name} failed, the other features go on: {err!r}"
            )
            return Skip(f"failed: {err!r}")
        self._parts.host.notices.over(f"strategy {strategy.name}", f"{strategy.name} works again")
        return decision

    def _gone(self, group: str) -> None:
        self._parts.executor.forget(group)


def _writes(decisions: Iterable[Decision]) -> list[Write]:
    return [write for decision in decisions if not isinstance(decision, Skip) for write in decision]
