"""Counted while working, read by Prometheus."""

import asyncio
import contextlib

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from koordinator.api.registry import CONFIG_MAPS
from koordinator.clock import ManualClock
from koordinator.errors import KoordError
from koordinator.kube.client import Client
from koordinator.kube.errors import NotFound
from koordinator.kube.metrics import Collector, Histogram
from koordinator.kube.workqueue import WorkQueue
from kube.fake_server import Reply, Scripted, config_map, event, refusal

PATH = "/api/v1/namespaces/default/configmaps"


def scraped(collector):
    registry = CollectorRegistry()
    registry.register(collector)
    lines = generate_latest(registry).decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


async def test_requests_are_counted_by_code_and_method():
    script = {
        f"GET {PATH}/a": [Reply(body=config_map("a", 1))],
        f"GET {PATH}/b": [refusal(404, "NotFound")],
        f"WATCH {PATH}": [Reply(chunks=[event("ADDED", config_map("a", 2))])],
    }
    async with Scripted(script) as server, Client(server.config) as client:
        for _ in range(3):
            await client.get(CONFIG_MAPS, "a", "default")
        with pytest.raises(NotFound):
            await client.get(CONFIG_MAPS, "b", "default")
        _ = [event async for event in client.watch(CONFIG_MAPS, "default", resource_version="1")]
        figures = scraped(Collector([client.metrics]))
        host = f"127.0.0.1:{server.port}"
    assert figures[f'rest_client_requests_total{{code="200",host="{host}",method="GET"}}'] == 4
    assert figures[f'rest_client_requests_total{{code="404",host="{host}",method="GET"}}'] == 1
    assert figures[f'rest_client_request_duration_seconds_count{{host="{host}",verb="GET"}}'] == 5
    assert figures[f'rest_client_request_duration_seconds_bucket{{host="{host}",le="60.0",verb="GET"}}'] == 5


async def test_no_answer_is_counted_too():
    async with Scripted({}) as server:
        config = server.config
    async with Client(config.__class__(server=config.server, retries=0)) as client:
        with pytest.raises(KoordError):
            await client.get(CONFIG_MAPS, "a", "default")
        assert client.metrics.requests == {("<error>", "GET"): 1}


async def test_a_queue_tells_its_life():
    clock, release = ManualClock(), asyncio.Event()
    queue = WorkQueue("pods", clock)

    async def reconcile(key):
        if key == "bad":
            raise KoordError("no")
        await release.wait()

    queue.add("slow")
    queue.add("slow")
    clock.advance(2)
    task = asyncio.create_task(queue.run(reconcile))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    queue.add("bad")
    clock.advance(3)
    figures = scraped(Collector(queues=lambda: [queue]))
    assert figures['workqueue_depth{name="pods"}'] == 1
    assert figures['workqueue_adds_total{name="pods"}'] == 2
    assert figures['workqueue_queue_duration_seconds_sum{name="pods"}'] == 2
    assert figures['workqueue_unfinished_work_seconds{name="pods"}'] == 3
    assert figures['workqueue_longest_running_processor_seconds{name="pods"}'] == 3
    release.set()
    for _ in range(10):
        await asyncio.sleep(0)
    figures = scraped(Collector(queues=lambda: [queue]))
    assert figures['workqueue_work_duration_seconds_count{name="pods"}'] == 2
    assert figures['workqueue_work_duration_seconds_sum{name="pods"}'] == 3
    assert figures['workqueue_retries_total{name="pods"}'] == 1
    assert figures['workqueue_depth{name="pods"}'] == 0
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def test_several_queues_share_a_family():
    queues = [WorkQueue(name, ManualClock()) for name in ("a", "b")]
    registry = CollectorRegistry()
    registry.register(Collector(queues=lambda: queues))
    assert generate_latest(registry).decode().count("# TYPE workqueue_depth") == 1


def test_a_value_on_a_bound_is_within_it():
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 2.0, 9.0):
        histogram.observe(("x",), value)
    assert list(histogram.rows()) == [(("x",), [("1.0", 2), ("2.0", 3), ("+Inf", 4)], 12.5)]
