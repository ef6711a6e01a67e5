"""What the memory store costs: CPU per operation of one process, with the garbage collector as the simulator sets it.

The collector's default thresholds make it walk the growing heap over and over and double the price of a pod. Objects in a store
are trees, so a program that keeps a cluster in memory lets it run rarely (``gc.set_threshold``). Both are printed.
"""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable

from benchmarks.figures import report
from koordinator.api.registry import CONFIG_MAPS, PODS
from koordinator.clock import ManualClock
from koordinator.kube.memory import MemoryStore

COUNT, WATCHES = 30_000, 50
RARELY = (100_000, 50, 1_000)


def pod(index: int) -> dict[str, object]:
    resources = {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "1Gi"}}
    container = {"name": "main", "image": "registry/main:1", "resources": resources}
    return {"metadata": {"name": f"p{index}", "labels": {"app": "web"}}, "spec": {"containers": [container]}}


async def each(act: Callable[[int], Awaitable[object]], count: int = COUNT) -> float:
    """Operations per CPU second."""
    used = time.process_time()
    for index in range(count):
        await act(index)
    return count / (time.process_time() - used)


async def creates() -> float:
    store = MemoryStore(ManualClock())
    return await each(lambda index: store.create(PODS, pod(index), "default"))


async def measure() -> bool:
    gc.collect()
    report("memory-store-pod-creates-default-gc", await creates(), "per CPU s")
    gc.collect()
    gc.set_threshold(*RARELY)
    store = MemoryStore(ManualClock())
    config = {"data": {"key": "value"}}
    ok = [report("memory-store-pod-creates", await creates(), "per CPU s", ">= 50000")]
    rate = await each(lambda index: store.create(CONFIG_MAPS, {"metadata": {"name": f"c{index}"}, **config}, "default"))
    ok.append(report("memory-store-configmap-creates", rate, "per CPU s", ">= 50000"))
    await each(lambda index: store.create(PODS, pod(index), "default"))
    rate = await each(lambda index: store.bind("default", f"p{index}", f"n{index % 5_000}"))
    ok.append(report("memory-store-binds", rate, "per CPU s", ">= 50000"))
    running = {"status": {"phase": "Running"}}
    rate = await each(lambda index: store.patch(PODS, f"p{index}", running, "default", subresource="status"))
    ok.append(report("memory-store-status-patches", rate, "per CPU s", ">= 40000"))
    used = time.process_time()
    await store.list(PODS)
    ok.append(report("memory-store-list-30000-pods", time.process_time() - used, "CPU s", "<= 0.2"))
    return all([*ok, await deliveries(store)])


async def deliveries(store: MemoryStore) -> bool:
    """Events that watches have seen per CPU second while one writer writes."""
    start = str(store.rv)

    async def follow() -> None:
        events = store.watch(PODS, resource_version=start)
        for _ in range(2_000):
            await anext(events)

    watches = [asyncio.create_task(follow()) for _ in range(WATCHES)]
    await asyncio.sleep(0)
    used = time.process_time()
    for index in range(2_000):
        await store.patch(PODS, f"p{index}", {"metadata": {"labels": {"seen": "yes"}}}, "default")
        await asyncio.sleep(0)
    await asyncio.gather(*watches)
    rate = 2_000 * WATCHES / (time.process_time() - used)
    return report("memory-store-deliveries-to-50-watches", rate, "per CPU s", ">= 100000")


def main() -> bool:
    thresholds = gc.get_threshold()
    try:
        return asyncio.run(measure())
    finally:
        gc.set_threshold(*thresholds)
