"""The whole agent on a machine made of files, a second at a time: counters in, NodeMetric and cgroup values out."""

import asyncio

import msgspec
import pytest

from koordinator.api.registry import NODE_METRICS, NODE_SLOS, NODES
from koordinator.koordlet import assembly
from koordinator.koordlet.enforce.decision import Skip
from koordinator.koordlet.options import KoordletOptions
from koordlet.fakes import FakeStore
from koordlet.trees import CONTAINER, GIB, KernelLike, batch_pod, node, pod

POD, INNER, TIER = "kubepods/besteffort/podu1", f"kubepods/besteffort/podu1/{CONTAINER}", "kubepods/besteffort"
WEB = "kubepods/burstable/podweb"
SUPPRESS = {"enable": True, "cpuSuppressPolicy": "cfsQuota", "cpuSuppressThresholdPercent": 65}


class Machine:
    """The agent, its API server and kubelet, and the tree below."""

    def __init__(self, tree, clock):
        self.tree, self.clock, self.store = tree, clock, FakeStore()
        options = KoordletOptions(
            node_name="n1", cgroup_root=tree.roots.cgroup, proc_root=tree.roots.proc, sys_root=tree.roots.sys
        )
        self.koordlet = assembly.build(options, self.store, clock)
        self.agent, self.parts = self.koordlet.agent, self.koordlet.parts
        self.store.put(NODES, msgspec.to_builtins(node()))
        self.store.put(NODE_METRICS, {"metadata": {"name": "n1"}})
        self.seconds = 0
        self.usage = {}

    def slo(self, **strategy):
        self.store.put(NODE_SLOS, {"metadata": {"name": "n1"}, "spec": {"resourceUsedThresholdWithBE": strategy}})

    def pods(self, *pods):
        self.parts.pods.take([msgspec.Raw(msgspec.json.encode(one)) for one in pods])

    async def second(self, node_cores, **cores):
        """One second in which the node and the cgroups use so many cores."""
        self.seconds += 1
        self.clock.advance(1)
        self.tree.node(busy_ticks=self.usage.setdefault("node", 0) + round(node_cores * 100), used_bytes=2 * GIB)
        self.usage["node"] += round(node_cores * 100)
        for name, used in cores.items():
            group = {"pod": POD, "inner": INNER, "web": WEB, "tier": TIER}[name]
            self.usage[group] = self.usage.get(group, 0) + int(used * 1e9)
            self.tree.use(group, self.usage[group], GIB)
        await asyncio.sleep(0.001)
        self.agent.round()

    def quota(self, group=TIER):
        return self.tree.cgroups.cpu_quota(group)


@pytest.fixture
async def machine(tree, clock, monkeypatch):
    monkeypatch.setattr(assembly, "Cgroups", KernelLike)
    for group in (POD, INNER, WEB):
        tree.group(group)
    made = Machine(tree, clock)
    following = asyncio.create_task(made.parts.cluster.run())
    await made.parts.cluster.synced()
    made.pods(batch_pod(cpu="2000"), web_pod())
    yield made
    following.cancel()
    made.parts.host.hot.close()


def web_pod():
    web = pod(name="web", uid="web", labels={"koordinator.sh/qosClass": "LS"}, container_id="")
    web.status.qos_class = "Burstable"
    return web


async def test_a_report_follows_from_the_counters(machine):
    for _ in range(4):
        await machine.second(2.0, pod=1.0, inner=1.0, web=0.5, tier=1.0)
    assert await machine.koordlet.reporter.report(machine.agent.source())
    status = machine.store.objects["nodemetrics", "n1"]["status"]
    assert status["nodeMetric"]["nodeUsage"]["resources"] == {"cpu": "2", "memory": "2Gi"}
    assert status["nodeMetric"]["systemUsage"]["resources"] == {"cpu": "500m", "memory": "0"}
    numa = {"numaNodeID": 0, "nodeUsage": {"resources": {"cpu": "2", "memory": "2Gi"}}, "systemUsage": {}}
    assert status["nodeMetric"]["numaUsages"] == [numa]
    assert [
        (one["name"], one["qos"], one["priority"], one["podUsage"]["resources"]["cpu"]) for one in status["podsMetric"]
    ] == [
        ("batch", "BE", "koord-batch", "1"),
        ("web", "LS", "koord-prod", "500m"),
    ]
    assert status["updateTime"] == "2026-01-01T00:00:04Z"


async def test_there_is_nothing_to_report_before_two_rounds(machine):
    assert machine.agent.source() is None
    await machine.second(1.0, pod=0.5)
    assert machine.agent.source() is None
    await machine.second(1.0, pod=0.5)
    assert machine.agent.source() is not None


async def test_batch_pods_get_their_values_when_they_come_without_waiting_for_a_round(machine):
    assert machine.agent.rounds == 0
    shares = 2048 if machine.tree.version == 1 else machine.tree.values(POD)[0]
    assert machine.tree.values(POD) == machine.tree.values(INNER) == (shares, 200_000, GIB)


async def test_suppression_by_quota_follows_the_service(machine):
    machine.slo(**SUPPRESS)
    for _ in range(3):
        await machine.second(2.0, pod=1.0, web=0.5, tier=1.0)
    assert machine.quota() == 160_000  # 4 × 65 % − 0.5 service − 0.5 system
    assert machine.quota(POD) == machine.quota(INNER) == -1
    await machine.second(3.5, pod=1.0, web=2.0, tier=1.0)
    assert machine.quota() == 10_000  # shrinks at once
    await machine.second(1.0, pod=0.5, web=0.0, tier=0.5)
    assert machine.quota() == 50_000  # grows by a tenth of the machine


async def test_turning_suppression_off_lifts_it_and_gives_the_pods_their_quotas(machine):
    machine.slo(**SUPPRESS)
    for _ in range(3):
        await machine.second(2.0, pod=1.0, web=0.5)
    machine.slo(**SUPPRESS | {"enable": False})
    await machine.second(2.0, pod=1.0, web=0.5)
    assert (machine.quota(), machine.quota(POD), machine.quota(INNER)) == (-1, 200_000, 200_000)


async def test_without_nodeslo_suppression_leaves_everything_alone(machine):
    machine.tree.put(TIER, "cpu.cfs_quota_us", "30000" if machine.tree.version == 1 else "30000 100000")
    for _ in range(3):
        await machine.second(2.0, pod=1.0, web=0.5)
    assert machine.quota() == 30_000
    assert machine.agent.decisions["CPUSuppress"] == Skip("no NodeSLO yet")


async def test_lifting_puts_the_node_back(machine):
    machine.slo(**SUPPRESS)
    for _ in range(3):
        await machine.second(2.0, pod=1.0, web=0.5)
    assert machine.quota() == 160_000
    machine.agent.lift()
    assert [machine.tree.values(group) for group in (TIER, POD, INNER)] == [(2, -1, -1)] * 3


async def test_a_pod_that_vanishes_between_list_and_round_does_not_disturb_the_others(machine, caplog):
    await machine.second(1.0, pod=0.5, web=0.5)
    machine.tree.remove(POD)
    machine.parts.host.hot.close()
    await machine.second(1.0, web=0.5)
    await machine.second(1.0, web=0.5)
    assert machine.agent.source() is not None
    assert not caplog.records


async def test_an_unreadable_file_is_said_once_and_its_end_too(machine, caplog):
    caplog.set_level("INFO")
    await machine.second(1.0)
    for _ in range(2):
        machine.clock.advance(1)
        machine.tree.break_meminfo()
        machine.agent.round()
    await machine.second(1.0)
    said = [record.message for record in caplog.records if "node usage" in record.message]
    assert len(said) == 2
    assert said[0].startswith("node usage cannot be read: no line 'MemFree'")


async def test_a_counter_that_went_back_yields_no_sample(machine):
    for _ in range(3):
        await machine.second(1.0, pod=0.5)
    machine.usage[POD] = 0
    await machine.second(1.0, pod=0.25)
    assert machine.agent.view.pod_cpu["u1"] == pytest.approx(0.5)
    await machine.second(1.0, pod=0.25)
    assert machine.agent.view.pod_cpu["u1"] == pytest.approx(0.25)


async def test_throttling_and_the_tier_are_measured(machine):
    store, end = machine.parts.store, 10**15
    await machine.second(1.0, pod=0.5, tier=0.5)
    machine.tree.use(POD, 0, GIB, throttled=(10, 0))
    machine.clock.advance(1)
    machine.agent.round()
    machine.tree.use(POD, 0, GIB, throttled=(20, 5))
    machine.clock.advance(1)
    machine.agent.round()
    assert store.window("pod_cpu_throttled", "u1", 0, end).values[-1] == 0.5
    assert store.latest("node_be", "request", 0) == 2000
    assert store.latest("node_be", "real-limit", 0) == 4000


async def test_a_bug_in_one_strategy_stops_neither_the_loop_nor_the_others(machine, caplog, monkeypatch):
    machine.pods()
    monkeypatch.setattr(machine.parts.strategies[0], "round", lambda _view: 1 / 0)
    machine.tree.group("kubepods/besteffort/podu7")
    machine.pods(batch_pod(cpu="2000", name="late", uid="u7", container_id=""))
    for _ in range(3):
        await machine.second(1.0)
    assert machine.agent.rounds == 3
    assert machine.quota("kubepods/besteffort/podu7") == 200_000
    assert (
        len([record for record in caplog.records if "CPUSuppress failed" in record.message]) == 2
    )  # the traceback, the sentence


async def test_a_shorter_report_interval_counts_at_once(machine, clock):
    for _ in range(2):
        await machine.second(1.0, pod=0.5)
    reporting = asyncio.create_task(machine.koordlet.reporter.run(machine.agent.source))
    await clock.run(20)
    assert machine.koordlet.reporter.reports == 1
    policy = {"metricCollectPolicy": {"reportIntervalSeconds": 30}}
    machine.store.put(NODE_METRICS, {"metadata": {"name": "n1"}, "spec": policy})
    for _ in range(12):
        await machine.second(1.0, pod=0.5)
        await clock.run(0)
    assert machine.koordlet.reporter.reports == 2
    reporting.cancel()
