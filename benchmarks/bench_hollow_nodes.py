"""Hollow nodes and controllers: what 5,000 idle nodes cost, and how fast a deployment of 1,000 pods comes up and goes.

Cost is processor time, so that neighbours on the machine do not count; speed is wall time from the request to the last pod.
"""

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.cluster import cluster
from benchmarks.figures import report
from koordinator.api.registry import NODE_RESOURCE_TOPOLOGIES, PODS
from koordinator.cluster.controllers.objects import DEPLOYMENTS
from koordinator.kube.client import Client
from koordinator.kube.config import load

IDLE_NODES, IDLE_SECONDS = 5_000, 50.0
NODES, REPLICAS = 100, 1_000
DEADLINE_SECONDS = 60.0


def main() -> bool:
    with cluster("--nodes", str(IDLE_NODES)) as (data, seconds):
        results = [report("hollow nodes: 5,000 nodes, `koord up` to ready", seconds, "s")]
        results += idle_cost(data)
    with cluster("--nodes", str(NODES)) as (data, _):
        results += asyncio.run(one_deployment(data))
    return all(results)


def idle_cost(data: Path) -> list[bool]:
    """Heartbeats and reports of all nodes, with everybody who listens to them."""
    asyncio.run(hardware_reported(data))
    pids: dict[str, int] = msgspec.json.decode((data / "run.json").read_bytes())["components"]
    time.sleep(15)
    before, began = {name: processor_seconds(pid) for name, pid in pids.items()}, time.perf_counter()
    time.sleep(IDLE_SECONDS)
    elapsed = time.perf_counter() - began
    shares = {name: 100 * (processor_seconds(pid) - before[name]) / elapsed for name, pid in pids.items()}
    nodes, rest = shares.pop("nodes"), sum(shares.values())
    return [
        report("hollow nodes: 5,000 idle nodes, their own process", nodes, "% of a core", "<= 15"),
        report("hollow nodes: 5,000 idle nodes, all other components", rest, "% of a core"),
    ]


async def hardware_reported(data: Path, deadline: float = 120.0) -> None:
    """Wait until every node has written what it is made of: that happens once, after the start."""
    resource = NODE_RESOURCE_TOPOLOGIES
    async with asyncio.timeout(deadline), Client(load(str(data / "component.kubeconfig"), None)) as client:
        while (await client.request("GET", f"{resource.path()}?limit=1"))["metadata"].get(
            "remainingItemCount", 0
        ) < IDLE_NODES - 1:
            await asyncio.sleep(1)


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def one_deployment(data: Path) -> list[bool]:
    async with asyncio.timeout(DEADLINE_SECONDS), Client(load(str(data / "component.kubeconfig"), None)) as client:
        began = time.perf_counter()
        await client.create(DEPLOYMENTS, deployment(REPLICAS), "default")
        await wait_for(client, lambda found: found.status.available_replicas == REPLICAS)
        up = time.perf_counter() - began
        began = time.perf_counter()
        await client.delete(DEPLOYMENTS, "web", "default")
        while (await client.list(PODS, "default")).items:
            await asyncio.sleep(0.05)
        down = time.perf_counter() - began
    return [
        report("controllers: a deployment of 1,000 pods, create to available", REPLICAS / up, "pods/s"),
        report("controllers: its deletion, to the last pod gone", REPLICAS / down, "pods/s"),
    ]


async def wait_for(client: Client, holds: Any) -> None:
    while not holds(await client.get(DEPLOYMENTS, "web", "default")):
        await asyncio.sleep(0.05)


def deployment(replicas: int) -> dict[str, Any]:
    labels = {"app": "web"}
    container = {"name": "main", "image": "pause:1", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return {"metadata": {"name": "web"}, "spec": spec}
