"""The scheduler end to end: pods are created over HTTP in an API server that keeps them on disk, and count once bound there.

API server, scheduler and this client are three processes on the machine's cores. Besides pods a second the processor time per
pod is told: on a busy machine the latter is what can be compared.
"""

import asyncio
import re
import time
from typing import Any

import msgspec

from benchmarks.cluster import environment
from benchmarks.embedded import Embedded, Process, Wire, embedded
from benchmarks.figures import report
from koordinator.cluster.demo.measure import percentile

NODES = 5_000
PODS = "/api/v1/namespaces/default/pods"
_BOUND = re.compile(r"^scheduler_pod_scheduling_attempts_count (\S+)", re.MULTILINE)


def node(index: int) -> dict[str, Any]:
    has = {"cpu": "32", "memory": "256Gi", "pods": "110"}
    name = f"node-{index}"
    labels = {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": f"zone-{index % 3}"}
    status = {"allocatable": has, "capacity": has, "conditions": [{"type": "Ready", "status": "True"}]}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "status": status}


def pod(index: int, templates: int = 1, **spec: Any) -> dict[str, Any]:
    requests = {"cpu": f"{100 + index % templates}m", "memory": "500Mi"}
    container = {"name": "main", "image": "registry.k8s.io/pause:3.10", "resources": {"requests": requests}}
    body = {"schedulerName": "koord-scheduler", "containers": [container], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"pod-{index}", "labels": {"app": "bench"}}, "spec": body}


async def with_nodes(pair: Embedded, wire: Wire, nodes: int) -> tuple[Process, Wire]:
    """The scheduler, started on a cluster of so many nodes, and a client for its metrics."""
    await wire.send([wire.post("/api/v1/nodes", node(index)) for index in range(nodes)])
    metrics = Wire(pair.kubeconfig)
    metrics.port = _free_port()
    return pair.schedule(http_port=metrics.port), metrics


async def bound(metrics: Wire) -> int:
    """How many pods the scheduler has bound."""
    found = _BOUND.search((await metrics.get("/metrics")).decode())
    return int(float(found[1])) if found else 0


async def basic(pods: int, templates: int = 1) -> bool:
    """All pods at once."""
    async with embedded() as (pair, wire):
        scheduler, metrics = await with_nodes(pair, wire, NODES)
        requests = [wire.post(PODS, pod(index, templates)) for index in range(pods)]
        before = pair.server.seconds(), scheduler.seconds()
        began = time.monotonic()
        await wire.send(requests)
        while await bound(metrics) < pods:
            await asyncio.sleep(0.05)
        took = time.monotonic() - began
        server, engine = pair.server.seconds() - before[0], scheduler.seconds() - before[1]
        name = f"end to end, SchedulingBasic, {NODES:,} nodes, {pods:,} pods" + (
            f", {templates} templates" if templates > 1 else ""
        )
        fine = report(name, pods / took, "pods/s", ">= 1000")
        report(f"{name}: API server's processor time", 1e6 * server / pods, "us/pod")
        report(f"{name}: scheduler's processor time", 1e6 * engine / pods, "us/pod")
        report(f"{name}: scheduler's memory", scheduler.megabytes(), "MB", "<= 500")
        return fine


class _Meta(msgspec.Struct):
    name: str


class _Spec(msgspec.Struct, rename="camel"):
    node_name: str = ""


class _Pod(msgspec.Struct):
    metadata: _Meta
    spec: _Spec = msgspec.field(default_factory=_Spec)


class _Event(msgspec.Struct):
    object: _Pod


async def latency(rate: float = 500, seconds: float = 20, warm: int = 1000) -> bool:
    """From the moment a create goes out until a watch shows the pod bound, at a steady rate."""
    async with embedded() as (pair, wire):
        await with_nodes(pair, wire, NODES)
        total = warm + int(rate * seconds)
        sent, seen = [0.0] * total, [0.0] * total
        watch = asyncio.create_task(_see(wire, seen))
        requests = [wire.post(PODS, pod(index)) for index in range(total)]
        await wire.paced(requests, rate, lambda number: sent.__setitem__(number, time.monotonic()))
        while not all(seen):
            await asyncio.sleep(0.05)
        watch.cancel()
        waits = sorted(1000 * (after - before) for before, after in zip(sent[warm:], seen[warm:], strict=True))
        report(f"end to end, create to bound at {rate:g} pods/s: median", percentile(waits, 50), "ms")
        return report(f"end to end, create to bound at {rate:g} pods/s: 99th percentile", percentile(waits, 99), "ms", "<= 100")


async def _see(wire: Wire, seen: list[float]) -> None:
    decode = msgspec.json.Decoder(_Event).decode
    async for line in wire.lines("/api/v1/pods?watch=1&resourceVersion=0&timeoutSeconds=600"):
        found = decode(line).object
        if found.spec.node_name:
            number = int(found.metadata.name.removeprefix("pod-"))
            seen[number] = seen[number] or time.monotonic()


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _all() -> bool:
    return all([await basic(10_000), await basic(10_000, templates=200), await latency()])


def main() -> bool:
    print(f"# {environment()}")
    return asyncio.run(_all())


if __name__ == "__main__":
    main()
