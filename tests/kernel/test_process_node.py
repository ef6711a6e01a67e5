"""A whole process node on this machine's real cgroups, against the real API server."""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import aiohttp
import msgspec
import pytest

from koordinator.api.registry import EVENTS, LEASES, NODES, PODS
from koordinator.clock import SystemClock
from koordinator.cluster.apiserver.app import ApiServerOptions, RunningServer, serve
from koordinator.cluster.nodes.process import ProcessOptions, run, usable
from koordinator.cluster.nodes.process.cgroups import detect
from koordinator.cluster.nodes.process.podspec import RAW_PODS, RawPod
from koordinator.cluster.nodes.process.runtime import start_ticks
from koordinator.kube import config
from koordinator.kube.client import Client
from koordinator.kube.errors import NotFound
from waiting import until

PARENT = f"koord-test-{os.getpid()}"
PROBLEM = usable(ProcessOptions(data_dir=Path("/tmp"), cgroup_parent=PARENT))
pytestmark = [
    pytest.mark.kernel,
    pytest.mark.slow,
    pytest.mark.skipif(PROBLEM is not None, reason=f"no process node here: {PROBLEM}"),
]

ROOT = Path("/sys/fs/cgroup")
V1 = not (ROOT / "cgroup.controllers").exists()
CPU_WEIGHT = "cpu.shares" if V1 else "cpu.weight"
MI = 1024 * 1024


def cgroup_file(controller: str, directory: str, name: str) -> str:
    base = ROOT / controller if V1 else ROOT
    return (base / directory / name).read_text().strip()


def proc(pid: str, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text()


def pod_cgroups(parent: str, uid: str) -> list[Path]:
    return [path for base in ROOT.iterdir() for path in (base / parent).glob(f"**/pod{uid}")]


def cgroups_left(parent: str) -> list[str]:
    return [str(path) for pattern in (parent, f"*/{parent}") for path in ROOT.glob(pattern)]


class Cluster(msgspec.Struct):
    """An API server, a client, and (while ``node`` is entered) this machine as a node."""

    server: RunningServer
    client: Client
    options: ProcessOptions

    @contextlib.asynccontextmanager
    async def node(self, **more) -> AsyncIterator[asyncio.Task[None]]:
        ready = asyncio.Event()
        options = msgspec.structs.replace(self.options, **more)
        task = asyncio.create_task(run(options, self.client, SystemClock(), ready.set))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED, timeout=20)
        waiting.cancel()
        try:
            if task.done():
                task.result()
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def create(self, name: str, *containers: dict, labels: dict | None = None, **spec) -> None:
        named = [{"name": f"c{n}", "image": "host", **one} for n, one in enumerate(containers)]
        spec = {"nodeName": self.options.name, "containers": named, "terminationGracePeriodSeconds": 2, **spec}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels or {}}, "spec": spec}
        await self.client.create(PODS, body, "default")

    async def pod(self, name: str):
        return await self.client.get(PODS, name, "default")

    async def until_phase(self, name: str, phase: str):
        async def reached():
            return (await self.pod(name)).status.phase == phase

        await until(reached, 15, f"pod {name} {phase}")
        return await self.pod(name)

    async def until_gone(self, name: str) -> None:
        async def gone():
            try:
                await self.pod(name)
            except NotFound:
                return True
            return False

        await until(gone, 15, f"pod {name} gone")

    @contextlib.asynccontextmanager
    async def kubelet(self) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
        """A session with the node's token, trusting the cluster's authority."""
        node = await self.client.get(NODES, self.options.name)
        port = node.status.daemon_endpoints.kubelet_endpoint.port
        token = (self.server.data / "kubelet-token").read_text().strip()
        trust = ssl.create_default_context(cafile=str(self.server.data / "pki" / "ca.crt"))
        connector = aiohttp.TCPConnector(ssl=trust)
        async with aiohttp.ClientSession(connector=connector, headers={"Authorization": f"Bearer {token}"}) as session:
            yield session, f"https://127.0.0.1:{port}"


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    data = Path(tempfile.mkdtemp(prefix="koord-test-"))
    parent = f"koord-test-{secrets.token_hex(4)}"
    options = ProcessOptions(data_dir=data, cgroup_parent=parent, node_name="this")
    try:
        async with (
            serve(ApiServerOptions(data=data), SystemClock()) as server,
            Client(config.load(str(server.component_kubeconfig))) as client,
        ):
            yield Cluster(server, client, options)
        assert cgroups_left(parent) == []
    finally:
        _clean(parent)
        shutil.rmtree(data)


def _clean(parent: str) -> None:
    groups = detect(ROOT)
    while groups.kill(parent):
        pass
    for _ in range(100):
        if groups.remove(parent):
            return


def sh(script: str, **more) -> dict:
    return {"command": ["/bin/sh", "-c", script], **more}


async def test_the_machine_registers_as_a_node(cluster):
    async with cluster.node(reserved={"cpu": "500m", "memory": "1Gi"}):
        node = await cluster.client.get(NODES, "this")
        assert node.labels["kubernetes.io/hostname"] == "this"
        assert node.status.capacity["cpu"] == str(os.cpu_count())
        assert node.status.allocatable["cpu"] == f"{os.cpu_count() * 1000 - 500}m"
        assert {one.type: one.status for one in node.status.conditions} == {
            "Ready": "True", "MemoryPressure": "False", "DiskPressure": "False", "PIDPressure": "False",
        }  # fmt: skip
        lease = await cluster.client.get(LEASES, "this", "kube-node-lease")
        assert lease.spec.holder_identity == "this"


async def test_resources_that_others_publish_stay(cluster):
    async with cluster.node():
        batch = {"kubernetes.io/batch-cpu": "1500", "kubernetes.io/batch-memory": "1Gi"}
        await cluster.client.patch(NODES, "this", {"status": {"capacity": batch, "allocatable": batch}}, subresource="status")
    async with cluster.node():
        node = await cluster.client.get(NODES, "this")
        assert node.status.allocatable["kubernetes.io/batch-cpu"] == "1500"
        assert "cpu" in node.status.allocatable


async def test_cgroups_as_the_kubelet_makes_them(cluster):
    resources = {"requests": {"cpu": "250m", "memory": "32Mi"}, "limits": {"cpu": "500m", "memory": "64Mi"}}
    async with cluster.node():
        await cluster.create("burst", sh("exec sleep 100", resources=resources))
        await cluster.create("best", sh("exec sleep 100"))
        pod, best = await cluster.until_phase("burst", "Running"), await cluster.until_phase("best", "Running")
        root = f"{cluster.options.cgroup_parent}/kubepods"
        pod_dir = f"{root}/burstable/pod{pod.metadata.uid}"
        container = f"{pod_dir}/{pod.status.container_statuses[0].container_id.removeprefix('containerd://')}"
        best_dir = f"{root}/besteffort/pod{best.metadata.uid}"
        if V1:
            for directory in (pod_dir, container):
                assert cgroup_file("cpu", directory, "cpu.shares") == "256"
                assert cgroup_file("cpu", directory, "cpu.cfs_quota_us") == "50000"
                assert cgroup_file("memory", directory, "memory.limit_in_bytes") == str(64 * MI)
            assert cgroup_file("cpu", f"{root}/burstable", "cpu.shares") == "256"
            assert cgroup_file("cpu", root, "cpu.shares") == cgroup_file("cpu", str(Path(root).parent), "cpu.shares")
            assert cgroup_file("cpu", best_dir, "cpu.shares") == "2"
            assert cgroup_file("cpu", best_dir, "cpu.cfs_quota_us") == "-1"
        [pid] = cgroup_file("cpu", container, "cgroup.procs").split()
        joined = proc(pid, "cgroup")
        for controller in ("cpu", "cpuacct", "memory", "cpuset") if V1 else ("",):
            assert f":{controller}:/{container}\n" in joined
        assert proc(pid, "oom_score_adj") == "999\n"
        shim = proc(pid, "stat").rpartition(")")[2].split()[1]
        assert container not in proc(shim, "cgroup")


async def test_what_koordlet_wrote_survives_the_next_agent(cluster):
    async with cluster.node(stop_pods_on_exit=False):
        await cluster.create("kept", sh("exec sleep 1000"))
        pod = await cluster.until_phase("kept", "Running")
        [path] = [p for p in pod_cgroups(cluster.options.cgroup_parent, pod.metadata.uid) if (p / CPU_WEIGHT).exists()]
        (path / CPU_WEIGHT).write_text("55")
    async with cluster.node():
        await cluster.until_phase("kept", "Running")
        assert (path / CPU_WEIGHT).read_text() == "55\n"


async def test_a_quota_really_holds(cluster):
    burn = "import time\nend = time.monotonic() + 1.0\nwhile time.monotonic() < end: pass\nprint(time.process_time())"
    container = {"command": [sys.executable, "-c", burn], "resources": {"limits": {"cpu": "200m", "memory": "64Mi"}}}
    async with cluster.node():
        await cluster.create("burn", container, restartPolicy="Never")
        await cluster.until_phase("burn", "Succeeded")
        async with cluster.kubelet() as (session, url), session.get(f"{url}/containerLogs/default/burn/c0") as answer:
            assert float(await answer.text()) < 0.6


async def test_a_container_over_its_memory_limit_is_oom_killed(cluster):
    hog = {"command": [sys.executable, "-c", "x = bytearray(200 << 20)"], "resources": {"limits": {"memory": "32Mi"}}}
    async with cluster.node():
        await cluster.create("hog", hog, restartPolicy="Never")
        pod = await cluster.until_phase("hog", "Failed")
        end = pod.status.container_statuses[0].state.terminated
        assert (end.reason, end.exit_code) == ("OOMKilled", 137)


async def test_deletion_ends_every_process_and_gives_the_cgroup_back(cluster):
    async with cluster.node():
        await cluster.create("tree", sh("trap '' TERM; setsid sleep 1000 & sleep 1000 & wait; sleep 1000"))
        pod = await cluster.until_phase("tree", "Running")
        directory = f"{cluster.options.cgroup_parent}/kubepods/besteffort/pod{pod.metadata.uid}"
        container = f"{directory}/{pod.status.container_statuses[0].container_id.removeprefix('containerd://')}"
        await until(lambda: len(cgroup_file("memory", container, "cgroup.procs").split()) == 3)
        pids = [int(pid) for pid in cgroup_file("memory", container, "cgroup.procs").split()]
        await cluster.client.delete(PODS, "tree", "default", grace_seconds=1)
        await cluster.until_gone("tree")
        assert [start_ticks(pid) for pid in pids] == [None] * 3
        assert pod_cgroups(cluster.options.cgroup_parent, pod.metadata.uid) == []
        assert not (cluster.options.pods_dir / pod.metadata.uid).exists()


async def test_a_forced_deletion_ends_the_processes_too(cluster):
    async with cluster.node():
        await cluster.create("gone", sh("exec sleep 1000"))
        pod = await cluster.until_phase("gone", "Running")
        await cluster.client.delete(PODS, "gone", "default", grace_seconds=0)
        await until(lambda: not pod_cgroups(cluster.options.cgroup_parent, pod.metadata.uid))


async def test_logs_follow_through_the_api_server(cluster):
    async with cluster.node():
        await cluster.create("talk", sh("for i in 1 2 3; do echo line $i; sleep 0.2; done"), restartPolicy="Never")
        await cluster.until_phase("talk", "Running")
        got = b""
        async for line in cluster.client.lines("/api/v1/namespaces/default/pods/talk/log?follow=true"):
            got += line if line.endswith(b"\n") else line + b"\n"
        assert got == b"line 1\nline 2\nline 3\n"


async def test_the_endpoint_shows_pods_as_they_are_and_only_to_the_token(cluster):
    async with cluster.node():
        extra = {"annotations": {"a": "b"}}
        await cluster.create(
            "shown", sh("exec sleep 100", unknownField={"kept": True}), labels={"koordinator.sh/qosClass": "LS"}
        )
        await cluster.client.patch(PODS, "shown", {"metadata": extra}, "default")
        await cluster.until_phase("shown", "Running")
        async with cluster.kubelet() as (session, url):

            async def pods() -> list[dict]:
                async with session.get(f"{url}/pods/") as answer:
                    return (await answer.json())["items"]

            async def annotated() -> bool:
                return any(item["metadata"].get("annotations") == {"a": "b"} for item in await pods())

            await until(annotated)
            [item] = await pods()
            assert item["status"]["phase"] == "Running"
            assert item["metadata"]["labels"] == {"koordinator.sh/qosClass": "LS"}
            assert item["status"]["containerStatuses"][0]["containerID"].startswith("containerd://")
            async with session.get(f"{url}/configz") as answer:
                assert (await answer.json())["kubeletconfig"]["cgroupDriver"] == "cgroupfs"
            for path in ("/pods/", "/healthz", "/containerLogs/default/shown/c0"):
                async with session.get(url + path, headers={"Authorization": "Bearer wrong"}) as answer:
                    assert answer.status == 401
            async with session.get(f"{url}/containerLogs/default/none/c0") as answer:
                assert answer.status == 404


async def test_what_does_not_fit_is_refused(cluster):
    async with cluster.node():
        await cluster.create("big", sh("sleep 1", resources={"requests": {"cpu": "1000"}}))
        pod = await cluster.until_phase("big", "Failed")
        assert pod.status.reason == "OutOfcpu"
        await cluster.client.delete(PODS, "big", "default")
        await cluster.until_gone("big")


async def test_a_spec_that_cannot_be_read_fails_that_pod_only(cluster, monkeypatch):
    """The embedded server refuses such a pod; one of another version may know forms that this node does not."""
    readable = RawPod.typed

    def typed(raw: RawPod):
        return readable(RawPod(spec={"containers": "none"}) if raw.name == "bad" else raw)

    monkeypatch.setattr(RawPod, "typed", typed)
    async with cluster.node():
        await cluster.create("good", sh("exec sleep 100"))
        await cluster.create("bad", sh("exec sleep 100"))
        pod = await cluster.until_phase("bad", "Failed")
        assert pod.status.reason == "UnexpectedAdmissionError"
        assert "the pod's spec cannot be read: Expected `array`" in pod.status.message
        await cluster.until_phase("good", "Running")


async def test_a_crashing_container_backs_off_and_says_so(cluster):
    async with cluster.node():
        await cluster.create("crash", sh("exit 1"))

        async def backing_off() -> bool:
            [status] = (await cluster.pod("crash")).status.container_statuses or [None]
            return bool(status and status.state.waiting and status.state.waiting.reason == "CrashLoopBackOff")

        await until(backing_off)

        async def told() -> bool:
            return any(event.reason == "BackOff" for event in (await cluster.client.list(EVENTS, "default")).items)

        await until(told)


AGENT = """
import asyncio, sys
from pathlib import Path
from koordinator.clock import SystemClock
from koordinator.cluster.nodes.process import ProcessOptions, run
from koordinator.kube import config
from koordinator.kube.client import Client

async def main(data, parent):
    async with Client(config.load(f"{data}/component.kubeconfig")) as client:
        options = ProcessOptions(data_dir=Path(data), cgroup_parent=parent, node_name="this")
        await run(options, client, SystemClock(), lambda: print("ready", flush=True))

asyncio.run(main(*sys.argv[1:]))
"""


def start_agent(cluster: Cluster) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", AGENT, str(cluster.server.data), cluster.options.cgroup_parent]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


async def test_a_killed_agent_loses_nothing(cluster):
    """Containers run on; those that end meanwhile keep their exit code; the next agent restarts none that runs."""
    with start_agent(cluster) as first:
        assert await asyncio.to_thread(first.stdout.readline) == b"ready\n"
        await cluster.create("stays", sh("echo started; exec sleep 1000"))
        await cluster.create("ends", sh("sleep 1; echo late; exit 5"), restartPolicy="Never")
        await cluster.create("deleted", sh("exec sleep 1000"))
        stays = await cluster.until_phase("stays", "Running")
        await cluster.until_phase("ends", "Running")
        deleted = await cluster.until_phase("deleted", "Running")
        first.send_signal(signal.SIGKILL)
    await cluster.client.delete(PODS, "deleted", "default", grace_seconds=0)
    ends = cluster.options.pods_dir / (await cluster.pod("ends")).metadata.uid / "c0" / "0" / "exit.json"
    await until(ends.exists)
    assert json.loads(ends.read_text())["code"] == 5
    async with cluster.node():
        pod = await cluster.until_phase("ends", "Failed")
        assert pod.status.container_statuses[0].state.terminated.exit_code == 5
        again = await cluster.pod("stays")
        assert again.status.container_statuses[0].container_id == stays.status.container_statuses[0].container_id
        assert again.status.container_statuses[0].restart_count == 0
        await until(lambda: not pod_cgroups(cluster.options.cgroup_parent, deleted.metadata.uid))
        async with cluster.kubelet() as (session, url), session.get(f"{url}/containerLogs/default/ends/c0") as answer:
            assert await answer.text() == "late\n"


async def test_agents_killed_at_any_moment_leave_one_process_per_pod(cluster):
    """Services run exactly once in the end, jobs never twice at the same time, and nothing strays."""
    random = Random(7)
    for number in range(6):
        with start_agent(cluster) as agent:
            await cluster.create(f"service-{number}", sh("exec sleep 1000"))
            await cluster.create(f"job-{number}", sh("exec sleep 0.1"), restartPolicy="Never")
            await asyncio.sleep(random.uniform(0.3, 0.9))  # the moment of the kill is the test's subject
            agent.kill()
    async with cluster.node():
        for number in range(6):
            service = await cluster.until_phase(f"service-{number}", "Running")
            status = service.status.container_statuses[0]
            container = f"{service.metadata.uid}/{status.container_id.removeprefix('containerd://')}"
            pids = cgroup_file("memory", f"{cluster.options.cgroup_parent}/kubepods/besteffort/pod{container}", "cgroup.procs")
            assert len(pids.split()) == 1

            async def ended(name=f"job-{number}") -> bool:
                return (await cluster.pod(name)).status.phase in ("Succeeded", "Failed")

            await until(ended)
        groups = detect(ROOT)
        assert len(groups.pids(cluster.options.cgroup_parent)) == 6


async def test_leaving_pods_behind_on_request(cluster):
    async with cluster.node(stop_pods_on_exit=False):
        await cluster.create("stays", sh("exec sleep 1000"))
        pod = await cluster.until_phase("stays", "Running")
    assert cgroups_left(cluster.options.cgroup_parent)
    async with cluster.node():
        again = await cluster.pod("stays")
        assert again.status.container_statuses[0].container_id == pod.status.container_statuses[0].container_id


async def test_two_agents_on_one_directory_are_refused(cluster):
    from koordinator.errors import Unavailable

    async with cluster.node():
        with pytest.raises(Unavailable, match="another process node uses it"):
            async with cluster.node():
                pass


async def test_state_is_private(cluster):
    async with cluster.node():
        await cluster.create("secret", sh("exec sleep 100", env=[{"name": "PASSWORD", "value": "x"}]))
        await cluster.until_phase("secret", "Running")
        for path in [cluster.options.pods_dir, *cluster.options.pods_dir.rglob("*")]:
            assert path.stat().st_mode & 0o077 == 0, path


async def test_pods_are_patched_whole_lists_only(cluster):
    """The raw pod keeps fields that no type of ours knows."""
    async with cluster.node():
        await cluster.create("raw", sh("exec sleep 100"))
        await cluster.until_phase("raw", "Running")
        raw = await cluster.client.get(RAW_PODS, "raw", "default")
        assert raw.status["podIPs"] == [{"ip": "127.0.0.1"}]
        assert {one["type"] for one in raw.status["conditions"]} == {"Initialized", "Ready", "ContainersReady", "PodScheduled"}
