"""The embedded cluster at size: 5,000 nodes and 50,000 pods written, held, listed and recovered; watchers; heartbeats; etcd.

The API server runs in a process of its own; the client sends prepared bytes (`embedded.Wire`); watchers are a third process.
Where neighbours keep the processor busy, the processor time of one write says more than writes a second.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import uvloop

from benchmarks import etcd
from benchmarks.bench_apiserver import pod
from benchmarks.bench_hollow_nodes import idle_cost
from benchmarks.cluster import cluster
from benchmarks.crowd import Crowd
from benchmarks.embedded import Embedded, Wire
from benchmarks.figures import report
from koordinator.cluster.nodes import hollow_shape
from koordinator.cluster.nodes.hollow_fleet import Fleet, node_body

NODES, PODS, CONNECTIONS = 5_000, 50_000, 64
WATCHERS, EVENTS_PER_SECOND, EVENTS = 50, 1_000, 10_000
COLLECTION = "/api/v1/namespaces/default/pods"


def main() -> bool:
    with tempfile.TemporaryDirectory(prefix="koord-bench-") as folder:
        held = uvloop.run(big(Path(folder)))
    with tempfile.TemporaryDirectory(prefix="koord-bench-") as folder:
        watched = uvloop.run(watchers(Path(folder)))
    with tempfile.TemporaryDirectory(prefix="koord-bench-") as folder:
        uvloop.run(beside_etcd(Path(folder)))
    with cluster("--nodes", str(NODES)) as (data, _):
        beats = idle_cost(data)
    return all([*held, *watched, *beats])


async def big(folder: Path) -> list[bool]:
    """Fill a server, weigh it, list it, kill it, start it again."""
    pair = Embedded(folder)
    try:
        wire = Wire(pair.kubeconfig)
        fleet = Fleet("hollow", NODES, hollow_shape.parse("cpu=64,memory=256Gi,gpu=8:A100,numa=2,zone=a|b|c"), seed=0)
        bodies = [node_body(member, fleet.shape, time.time()) for member in fleet]
        await rate(wire, [wire.post("/api/v1/nodes", body) for body in bodies])
        creates = [wire.request("POST", COLLECTION, pod(f"p-{number}")) for number in range(PODS)]
        results = await writes(pair, "pod creates", creates, ">= 2000")
        del creates
        bindings = [wire.post(f"{COLLECTION}/p-{number}/binding", _target(number % NODES)) for number in range(PODS)]
        results += await writes(pair, "bindings", bindings, ">= 2500")
        del bindings
        results.append(report("cluster: resident with 5,000 nodes and 50,000 pods", pair.server.megabytes(), "MB", "<= 1200"))
        seconds, size = await listing(wire)
        results.append(report("cluster: list 50,000 pods as JSON", seconds, "s", "<= 3"))
        report("cluster: size of that list", size / 1e6, "MB")
        report("cluster: resident after that list", pair.server.megabytes(), "MB")
    finally:
        pair.server.kill()
    began = time.perf_counter()
    again = Embedded(folder)
    recovered = time.perf_counter() - began
    try:
        count = (await Wire(again.kubeconfig).get(f"{COLLECTION}?limit=1")).decode()
        remaining = msgspec.json.decode(count)["metadata"].get("remainingItemCount", 0)
    finally:
        again.stop()
    results.append(report("cluster: ready again after kill -9", recovered, "s", "<= 10"))
    return [*results, report("cluster: pods lost by that", PODS - 1 - remaining, "pods", "<= 0")]


async def writes(pair: Embedded, what: str, requests: Sequence[bytes], goal: str) -> list[bool]:
    before = pair.server.seconds()
    found = await rate(Wire(pair.kubeconfig), requests)
    each = (pair.server.seconds() - before) / len(requests)
    report(f"cluster: durable {what}, the server's processor time of one", 1e6 * each, "µs")
    return [report(f"cluster: durable {what}, {len(requests):,}", found, "1/s", goal)]


def _target(node: int) -> dict[str, object]:
    return {"target": {"kind": "Node", "name": f"hollow-{node}"}}


async def rate(wire: Wire, requests: Sequence[bytes]) -> float:
    began = time.perf_counter()
    await wire.send(requests, CONNECTIONS)
    return len(requests) / (time.perf_counter() - began)


async def listing(wire: Wire, times: int = 3) -> tuple[float, int]:
    """Median seconds until the last byte, and how many bytes."""
    seconds = []
    for _ in range(times):
        began = time.perf_counter()
        body = await wire.get(COLLECTION)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds), len(body)


async def watchers(folder: Path) -> list[bool]:
    """Creates at a steady rate; each counts from the sending of the request to the arrival of the event at each watcher."""
    pair = Embedded(folder)
    try:
        wire = Wire(pair.kubeconfig)
        crowd = Crowd(wire, f"{COLLECTION}?watch=1&allowWatchBookmarks=true", WATCHERS)
        requests = [wire.request("POST", COLLECTION, pod(f"e-{number}")) for number in range(EVENTS)]
        sent = [0.0] * EVENTS

        def note(number: int) -> None:
            sent[number] = time.monotonic()

        before, began = pair.server.seconds(), time.perf_counter()
        await wire.paced(requests, EVENTS_PER_SECOND, note, CONNECTIONS)
        took = time.perf_counter() - began
        used = pair.server.seconds() - before
        found = await asyncio.to_thread(crowd.delays, sent)
    finally:
        pair.stop()
    delays = sorted(delay for each in found for delay in each)
    title = f"cluster: {WATCHERS} watchers at {EVENTS_PER_SECOND:,} events/s"
    report(f"{title}, events/s achieved", EVENTS / took, "1/s")
    report(f"{title}, the server's processor", 100 * used / took, "% of a core")
    report(f"{title}, the watchers' processor", 100 * crowd.seconds / took, "% of a core")
    report(f"{title}, p50 from request to event", 1000 * delays[len(delays) // 2], "ms")
    return [
        report(f"{title}, p99 from request to event", 1000 * delays[int(len(delays) * 0.99)], "ms", "<= 50"),
        report(f"{title}, events that the worst watcher missed", EVENTS - min(map(len, found)), "events", "<= 0"),
    ]


async def beside_etcd(folder: Path) -> None:
    """For information: a ratio of two machines' worth of noise is no goal."""
    pair = Embedded(folder)
    try:
        with etcd.etcd(folder) as theirs:
            if theirs is None:
                report("cluster: etcd is not installed (scripts/install-bench-deps), so there is no comparison", 0, "")
                return
            ours, other, ratio = await etcd.side_by_side(Wire(pair.kubeconfig), theirs)
    finally:
        pair.stop()
    report("cluster: durable small writes, ours", ours, "1/s")
    report("cluster: durable small writes, etcd over its JSON gateway, same disk, same client", other, "1/s")
    report("cluster: durable small writes, ours to etcd's, median of alternating rounds", ratio, "ratio")
