"""Everything running: informers, a kubelet that listens, rounds on the real clock, the report, HTTP."""

import asyncio
import contextlib
from pathlib import Path

import aiohttp
import msgspec
import pytest

from koordinator.api.features import KOORDLET
from koordinator.api.registry import NODE_METRICS, NODE_SLOS, NODES
from koordinator.clock import SystemClock
from koordinator.errors import ConfigInvalid, Unavailable
from koordinator.koordlet import app, assembly
from koordinator.koordlet.metrics import Gauges, Metrics
from koordinator.koordlet.options import KoordletOptions, check
from koordinator.koordlet.server import serve
from koordinator.kube.errors import ServerUnavailable
from koordlet.fakes import FakeStore, serve_kubelet
from koordlet.trees import CONTAINER, KernelLike, batch_pod, node
from waiting import until

POD = "kubepods/besteffort/podu1"


@pytest.fixture
async def running(tree, tmp_path, monkeypatch):
    """A koordlet at work; gives it, its API server and its kubelet."""
    monkeypatch.setattr(assembly, "Cgroups", KernelLike)
    (tmp_path / "token").write_text("secret")
    tree.group(POD)
    tree.group(f"{POD}/{CONTAINER}")
    store, clock = FakeStore(), SystemClock()
    async with serve_kubelet(tmp_path) as kubelet:
        kubelet.pods = [msgspec.to_builtins(batch_pod())]
        store.put(NODES, msgspec.to_builtins(node(port=kubelet.port)))
        options = KoordletOptions(
            node_name="n1",
            cgroup_root=tree.roots.cgroup,
            proc_root=tree.roots.proc,
            sys_root=tree.roots.sys,
            kubelet_token_file=str(tmp_path / "token"),
            kubelet_ca_file=str(tmp_path / "kubelet.crt"),
            kubelet_sync_interval=30.0,
            collect_interval=0.1,
        )
        koordlet = assembly.build(options, store, clock)
        ready = asyncio.Event()
        task = asyncio.create_task(app.run_parts(options, koordlet, clock, ready.set))
        await asyncio.wait_for(ready.wait(), 10)
        yield koordlet, store, kubelet
        assert not task.done()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await koordlet.kubelet.close()
        koordlet.parts.host.hot.close()


async def test_a_pod_is_served_and_reported_soon_after_the_start(running, tree):
    koordlet, store, _ = running
    await until(lambda: tree.cgroups.cpu_quota(POD) == 100_000, what="batch values in the pod's cgroup")
    store.put(NODE_METRICS, {"metadata": {"name": "n1"}})
    await until(lambda: store.patches, what="a report")
    assert koordlet.reporter.reports == 1
    assert store.patches[0]["status"]["podsMetric"][0]["name"] == "batch"


async def test_a_new_pods_directory_makes_it_ask_the_kubelet_at_once(running, tree):
    koordlet, _, kubelet = running
    await until(lambda: koordlet.parts.pods.has_synced, what="the first list")
    kubelet.pods.append(msgspec.to_builtins(batch_pod(name="second", uid="u2", container_id="")))
    tree.group("kubepods/besteffort/podu2")
    await until(lambda: len(koordlet.parts.pods.views) == 2, what="the second pod")


async def test_an_api_server_that_is_down_stops_neither_rounds_nor_reports_for_good(running, caplog):
    koordlet, store, _ = running
    store.put(NODE_METRICS, {"metadata": {"name": "n1"}})
    store.down = ServerUnavailable(0, "", "connection refused")
    await until(lambda: "NodeMetric n1 cannot be written" in caplog.text, what="the warning")
    rounds = koordlet.agent.rounds
    store.down = None
    await until(lambda: store.patches, what="a report after the server came back")
    assert koordlet.agent.rounds > rounds
    assert caplog.text.count("cannot be written") == 1


async def test_a_strategy_arrives_and_is_taken_up(running, tree):
    _, store, _ = running
    spec = {"resourceUsedThresholdWithBE": {"enable": True, "cpuSuppressPolicy": "cfsQuota"}}
    store.put(NODE_SLOS, {"metadata": {"name": "n1"}, "spec": spec})
    await until(lambda: tree.cgroups.cpu_quota("kubepods/besteffort") == 260_000, what="the tier's quota")


async def test_probes_and_metrics_answer(running, unused_port):
    koordlet, store, _ = running
    store.put(NODE_SLOS, {"metadata": {"name": "n1"}, "spec": {}})
    gauges = Gauges("n1", koordlet.agent, koordlet.parts.store, koordlet.parts.strategies[0], 0.0)
    metrics = Metrics(gauges)
    koordlet.parts.executor.observe = metrics.update
    koordlet.kubelet.observe = metrics.kubelet_request
    await until(lambda: koordlet.agent.source() is not None, what="samples")
    async with serve("127.0.0.1", unused_port, metrics, lambda: "no samples yet"), aiohttp.ClientSession() as session:
        base = f"http://127.0.0.1:{unused_port}"
        async with session.get(f"{base}/healthz") as answer:
            assert (answer.status, await answer.text()) == (200, "ok\n")
        async with session.get(f"{base}/readyz") as answer:
            assert (answer.status, await answer.text()) == (503, "no samples yet\n")
        async with session.get(f"{base}/metrics") as answer:
            text = await answer.text()
    assert 'koordlet_node_used_cpu_cores{node="n1"}' in text
    assert 'koordlet_be_suppress_be_used_cpu_cores{node="n1"}' in text


async def test_an_occupied_address_is_named(running, unused_port):
    koordlet, _, _ = running
    metrics = Metrics(Gauges("n1", koordlet.agent, koordlet.parts.store, None, 0.0))
    async with serve("127.0.0.1", unused_port, metrics, str):
        with pytest.raises(Unavailable, match=f"address 127.0.0.1:{unused_port}: "):
            async with serve("127.0.0.1", unused_port, metrics, str):
                pass


@pytest.fixture
def unused_port():
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"node_name": ""}, "node name is ''"),
        ({"collect_interval": 0.0}, "collect-res-used-interval is 0.0, must be at least 0.1 s"),
        ({"kubelet_sync_interval": 0.0}, "kubelet-sync-interval is 0.0"),
        ({"cgroup_driver": "docker"}, "cgroup-driver is 'docker', must be systemd or cgroupfs"),
    ],
)
def test_options_that_cannot_work_are_refused_at_the_start(changes, said):
    with pytest.raises(ConfigInvalid, match=said):
        check(KoordletOptions(**{"node_name": "n1"} | changes))


def test_a_machine_without_cgroups_is_refused_with_a_sentence(tmp_path, clock):
    with pytest.raises(Unavailable, match=r"cgroups at .*: no cpu and no cpuacct and no cpuset and no memory controller"):
        assembly.build(KoordletOptions(node_name="n1", cgroup_root=str(tmp_path)), FakeStore(), clock)


def test_a_missing_controller_is_said_once(tree, clock, caplog):
    if tree.version == 2:
        (Path(tree.roots.cgroup) / "cgroup.controllers").write_text("cpu memory\n")
    else:
        (Path(tree.roots.cgroup) / "cpuset").rename(Path(tree.roots.cgroup) / "elsewhere")
    made = assembly.build(KoordletOptions(node_name="n1", cgroup_root=tree.roots.cgroup), FakeStore(), clock)
    for _ in range(3):
        made.agent.round()
    assert [record.message.split(" at ")[0] for record in caplog.records] == ["no cgroup controller cpuset"]


def test_an_audit_directory_that_cannot_be_made_is_named(tree, clock):
    audited = KoordletOptions(
        node_name="n1",
        cgroup_root=tree.roots.cgroup,
        audit_log_dir="/proc/nothing",
        features=KOORDLET.parse("AuditEvents=true"),
    )
    with pytest.raises(Unavailable, match="audit log directory /proc/nothing"):
        assembly.build(audited, FakeStore(), clock)


def test_features_are_on_by_their_gates():
    assert not KoordletOptions(node_name="n1").enabled("AuditEvents")
    options = KoordletOptions(node_name="n1", features=KOORDLET.parse("BECPUSuppress=false,AuditEvents=true"))
    assert (options.enabled("AuditEvents"), options.enabled("BECPUSuppress"), options.enabled("BatchResource")) == (
        True,
        False,
        True,
    )
