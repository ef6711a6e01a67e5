"""The whole manager on a store that holds 5,000 nodes and 100,000 pods: what its caches cost. Run by ``bench_manager``."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.bench_manager import NODES, PODS, make_metric, make_node
from koordinator.api.features import MANAGER
from koordinator.clock import SystemClock
from koordinator.kube.errors import NotFound
from koordinator.kube.store import Page
from koordinator.manager.app import Manager, ManagerOptions

SETTLE_SECONDS = 6.0


def pod_line(i: int, j: int) -> bytes:
    """A pod of a Deployment as an API server sends it: 2.4 KB of JSON."""
    amounts = {"cpu": f"{500 + 10 * j}m", "memory": f"{1 + j}Gi"}
    owner = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": f"web-{i % 500}",
        "uid": f"{i:036d}",
        "controller": True,
    }
    metadata = {
        "name": f"web-{i}-7d9c{j:04x}-{i:05x}",
        "namespace": f"team-{i % 50}",
        "uid": f"0f8fad5b-d9cb-469f-a165-{i * 100 + j:012x}",
        "resourceVersion": str(10**6 + i * 20 + j),
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": {"app": f"web-{i % 500}", "pod-template-hash": "7d9c", "koordinator.sh/qosClass": "LS", "team": f"t{i % 50}"},
        "annotations": {"checksum/config": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},
        "ownerReferences": [owner],
    }
    resources = {"requests": amounts, "limits": amounts}
    environment = [{"name": f"E{k}", "value": "v" * 20} for k in range(10)]
    containers = [
        {"name": "main", "image": "registry/web:1", "env": environment, "resources": resources},
        {"name": "sidecar", "image": "registry/side:1", "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}},
    ]
    spec = {"nodeName": f"n{i}", "priority": 9000, "priorityClassName": "koord-prod", "containers": containers}
    conditions = [{"type": kind, "status": "True"} for kind in ("Ready", "Initialized", "PodScheduled", "ContainersReady")]
    states = [{"name": "main", "ready": True, "containerID": "containerd://" + "a" * 64}]
    status = {"phase": "Running", "qosClass": "Burstable", "conditions": conditions, "containerStatuses": states}
    return msgspec.json.encode({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status})


class Store:
    """Lists nodes, pods and reports; takes every write; nothing ever changes."""

    async def list(self, resource: Any, _: str = "", **__: Any) -> Page[Any]:
        decoder = msgspec.json.Decoder(resource.type)
        items: list[Any] = []
        match resource.plural:
            case "nodes":
                items = [make_node(i) for i in range(NODES)]
            case "pods":
                items = [decoder.decode(pod_line(i, j)) for i in range(NODES) for j in range(PODS)]
            case "nodemetrics":
                now = time.time()
                items = [decoder.decode(make_metric(i, now)) for i in range(NODES)]
        return Page(items=items, resource_version="1")

    async def watch(self, *_: Any, **__: Any) -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield

    async def get(self, resource: Any, name: str, _: str = "") -> Any:
        raise NotFound(404, "NotFound", f'{resource.plural} "{name}" not found')

    async def create(self, resource: Any, obj: Any, _: str = "") -> Any:
        return msgspec.convert(dict(obj), resource.type)

    async def patch(self, resource: Any, _: str, patch: Any, __: str = "", **___: Any) -> Any:
        return msgspec.convert(dict(patch), resource.type)


async def main() -> None:
    manager = Manager(Store(), SystemClock(), ManagerOptions(), MANAGER.parse(""))  # type: ignore[arg-type]
    ready = asyncio.Event()
    task = asyncio.create_task(manager.run(ready.set))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    await asyncio.sleep(SETTLE_SECONDS)
    task.cancel()


def peak() -> float:
    """MiB that this process ever had resident."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    asyncio.run(main())
    sys.stdout.write(str(peak()))
