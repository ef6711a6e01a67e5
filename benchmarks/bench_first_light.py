"""First light: start-up, the embedded API server, scheduling 1,000 pods end to end, and the demo.

Every figure is taken over HTTP against processes started the way a user starts them; this process is the client.
"""

import asyncio
import json
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.cluster import cluster
from benchmarks.figures import report
from koordinator.api import registry
from koordinator.cluster.demo.measure import percentile
from koordinator.kube import config
from koordinator.kube.client import Client

NAMESPACE = "default"
CREATES = 5_000
LISTED = 20_000
WATCHERS = 10


def main() -> bool:
    return all([start_up(), *asyncio.run(api_server()), *asyncio.run(scheduling()), *demo()])


def start_up(runs: int = 5) -> bool:
    seconds = []
    for _ in range(runs):
        with cluster() as (_, took):
            seconds.append(took)
    return report("koord up to ready, this machine as a node", statistics.median(seconds), "s", "<= 2")


def pod(name: str, **spec: Any) -> dict[str, Any]:
    """An ordinary pod of about the size that users' pods have."""
    container = {
        "name": "main",
        "image": "registry.k8s.io/pause:3.10",
        "env": [{"name": "MODE", "value": "bench"}],
        "resources": {"requests": {"cpu": "100m", "memory": "200Mi"}, "limits": {"memory": "400Mi"}},
    }
    labels = {"app": "bench", "koordinator.sh/qosClass": "LS"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
        "spec": {"containers": [container], **spec},
    }


async def gather_limited(tasks: list[Any], limit: int = 64) -> None:
    """Await coroutines, at most ``limit`` at a time."""
    waiting = iter(tasks)

    async def worker() -> None:
        for task in waiting:
            await task

    await asyncio.gather(*(worker() for _ in range(limit)))


async def api_server() -> list[bool]:
    """The server alone: no scheduler touches these pods, because they name one that does not exist."""
    with cluster("--nodes", "1") as (data, _):
        kubeconfig = str(data / "component.kubeconfig")
        here, there = multiprocessing.Pipe()
        watchers = multiprocessing.get_context("spawn").Process(target=watch_in_process, args=(kubeconfig, 2 * CREATES, there))
        watchers.start()
        there.close()
        here.recv()
        async with Client(config.load(kubeconfig)) as client:
            creates = await timed(
                [client.create(registry.PODS, pod(f"p{n}", schedulerName="nobody"), NAMESPACE) for n in range(CREATES)]
            )
            binds = await timed([client.bind(NAMESPACE, f"p{n}", "hollow-0") for n in range(CREATES)])
            seen = here.recv()
            watchers.join()
            more = range(CREATES, LISTED)
            await timed([client.create(registry.PODS, pod(f"p{n}", schedulerName="nobody"), NAMESPACE) for n in more])
            began = time.monotonic()
            answer = await client.request("GET", f"/api/v1/namespaces/{NAMESPACE}/pods")
            listing = time.monotonic() - began
        assert len(answer["items"]) == LISTED
    return [
        report(f"pod creates over HTTP, durable, {WATCHERS} watchers", CREATES / creates, "1/s", ">= 1500"),
        report(f"pod bindings over HTTP, durable, {WATCHERS} watchers", CREATES / binds, "1/s", ">= 1500"),
        report("changes missed by the watcher that saw the fewest", 2 * CREATES - min(seen), "changes", "<= 0"),
        report(f"list {LISTED:,} pods as JSON, decoded", listing, "s", "<= 1"),
    ]


async def timed(tasks: list[Any]) -> float:
    began = time.monotonic()
    await gather_limited(tasks)
    return time.monotonic() - began


def watch_in_process(kubeconfig: str, changes: int, answer: Connection) -> None:
    answer.send(asyncio.run(watch_all(kubeconfig, changes, answer)))


async def watch_all(kubeconfig: str, changes: int, answer: Connection) -> list[int]:
    """How many distinct changes each watcher saw; ends when all saw everything, or nothing new came for ten seconds."""
    async with Client(config.load(kubeconfig)) as client:
        version = (await client.list(registry.PODS, NAMESPACE)).resource_version
        tasks = [asyncio.create_task(watch_one(client, version, changes)) for _ in range(WATCHERS)]
        answer.send("watching")
        return await asyncio.gather(*tasks)


async def watch_one(client: Client, version: str, changes: int) -> int:
    path = f"/api/v1/namespaces/{NAMESPACE}/pods?watch=true&resourceVersion={version}"
    seen = 0
    lines = client.lines(path)
    try:
        while seen < changes:
            line = await asyncio.wait_for(anext(lines), 10)
            seen += line.startswith((b'{"type":"ADDED"', b'{"type":"MODIFIED"'))
    except TimeoutError:
        pass
    await lines.aclose()
    return seen


async def scheduling(pods: int = 1_000, nodes: int = 100) -> list[bool]:
    """From the first create to the last binding, through the API; each pod's latency from its create call to its binding."""
    with cluster("--nodes", str(nodes)) as (data, _):
        async with Client(config.load(str(data / "component.kubeconfig"))) as client:
            await every_node(client, nodes)
            created: dict[str, float] = {}
            bound: dict[str, float] = {}
            version = (await client.list(registry.PODS, NAMESPACE)).resource_version
            watcher = asyncio.create_task(note_bound(client, version, bound, pods))
            await gather_limited([create(client, f"s{n}", created) for n in range(pods)])
            await asyncio.wait_for(watcher, 60)
    rate = pods / (max(bound.values()) - min(created.values()))
    latencies = sorted(bound[name] - created[name] for name in created)
    title = f"{pods:,} pods onto {nodes} hollow nodes, end to end"
    return [
        report(f"{title}: throughput (Go scheduler's published baseline 45.6)", rate, "pods/s", ">= 500"),
        report(f"{title}: p50 create to bound (baseline 6 s)", percentile(latencies, 50), "s"),
        report(f"{title}: p99 create to bound (baseline 13 s)", percentile(latencies, 99), "s", "<= 2"),
    ]


async def every_node(client: Client, count: int) -> None:
    while len((await client.list(registry.NODES)).items) < count:
        await asyncio.sleep(0.1)


async def create(client: Client, name: str, created: dict[str, float]) -> None:
    created[name] = time.monotonic()
    await client.create(registry.PODS, pod(name), NAMESPACE)


async def note_bound(client: Client, version: str, bound: dict[str, float], pods: int) -> None:
    async for event in client.watch(registry.PODS, NAMESPACE, resource_version=version):
        obj = event.object
        if isinstance(obj, registry.PODS.type) and obj.spec.node_name:
            bound.setdefault(obj.name, time.monotonic())
        if len(bound) == pods:
            return


def demo() -> list[bool]:
    """The demo from a fresh clone, set-up included, and what its report says."""
    with tempfile.TemporaryDirectory(prefix="koord-bench-") as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", Path(__file__).parents[1], clone], check=True)
        began = time.monotonic()
        subprocess.run(["make", "demo"], cwd=clone, check=True, stdout=sys.stderr)
        took = time.monotonic() - began
        phases = {phase["name"]: phase for phase in json.loads((clone / "out/demo/report.json").read_text())["phases"]}
    times = phases["koordinator"]["cpu_utilization"] / phases["alone"]["cpu_utilization"]
    p99 = phases["koordinator"]["p99_ms"] / phases["unprotected"]["p99_ms"]
    return [
        report("make demo from a fresh clone, set-up included", took, "s", "<= 240"),
        report("demo: node CPU under Koordinator against the service alone", times, "times", ">= 2"),
        report("demo: p99 under Koordinator against unprotected", p99, "ratio", "<= 0.9"),
    ]
