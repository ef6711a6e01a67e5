"""The embedded API server at the size of a large cluster: 50 watchers, 5,000 nodes, 50,000 pods; and etcd on the same disk.

The server runs in a process of its own, watchers in another: their clocks are the same machine's.
"""

import asyncio
import base64
import contextlib
import json
import multiprocessing
import re
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import aiohttp
import msgspec
import uvloop

from benchmarks.bench_apiserver import CONNECTIONS, Load, _resident_mb, _start, _version, pod
from benchmarks.figures import report

NODES, PODS = 5_000, 50_000
WATCHERS, RATE, SECONDS = 50, 1_000, 5
SMALL_WRITES = 3_000
ETCD = Path(".venv/share/etcd-server/usr/bin/etcd")
_SENT = re.compile(rb'"sent":"([0-9.]+)"')
MAPS = "/api/v1/namespaces/default/configmaps"
PODS_PATH = "/api/v1/namespaces/default/pods"


def node(name: str) -> bytes:
    """A node of about the size that a kubelet reports."""
    amounts = {"cpu": "64", "memory": "256Gi", "pods": "110", "ephemeral-storage": "500Gi", "nvidia.com/gpu": "8"}
    types = ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")
    conditions = [
        {"type": type_, "status": "True" if type_ == "Ready" else "False", "reason": "Kubelet", "message": "as reported"}
        for type_ in types
    ]
    labels = {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": "a", "node.kubernetes.io/instance-type": "large"}
    status = {"capacity": amounts, "allocatable": amounts, "conditions": conditions}
    return msgspec.json.encode({"kind": "Node", "metadata": {"name": name, "labels": labels}, "status": status})


def main() -> bool:
    with running() as (data, _):
        delivered = uvloop.run(delivery(data))
    return all([delivered, large(), against_etcd()])


@contextlib.contextmanager
def running() -> "Iterator[tuple[Path, subprocess.Popen[bytes]]]":
    with tempfile.TemporaryDirectory(prefix="koord-bench-") as name:
        data = Path(name) / "data"
        process = _start(data)
        try:
            yield data, process
        finally:
            process.kill()
            process.wait()


@contextlib.asynccontextmanager
async def session_of(data: Path) -> AsyncIterator[tuple[Load, str]]:
    headers = {"Authorization": f"Bearer {(data / 'token').read_text()}", "Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=headers) as session:
        yield Load(url_of(data), session), url_of(data)


def url_of(data: Path) -> str:
    config = (data / "component.kubeconfig").read_text()
    return next(line.split("server:")[1].strip() for line in config.splitlines() if "server:" in line)


async def delivery(data: Path) -> bool:
    """1,000 changes a second, each seen by 50 watchers; from before the request to after its line was read."""
    changes = RATE * SECONDS
    async with session_of(data) as (load, url):
        version = await _version(load, MAPS)
        here, there = multiprocessing.Pipe()
        arguments = (url, (data / "token").read_text(), version, changes, there)
        watching = multiprocessing.get_context("spawn").Process(target=_watch_all, args=arguments)
        watching.start()
        await asyncio.to_thread(here.recv)
        start, places = time.monotonic(), asyncio.Semaphore(2 * CONNECTIONS)
        await asyncio.gather(*(_change(load, places, number, start + number / RATE) for number in range(changes)))
        rate = changes / (time.monotonic() - start)
        delays = sorted(await asyncio.to_thread(here.recv))
        watching.join()
    title = f"apiserver: {WATCHERS} watchers × {RATE:,} changes/s"
    report(f"{title}: changes per second that the client managed", rate, "1/s")
    seen = report(f"{title}: changes that a watcher saw", len(delays) / WATCHERS, "changes", f">= {changes}")
    report(f"{title}: p50 delivery", delays[len(delays) // 2] * 1000, "ms")
    return report(f"{title}: p99 delivery", delays[int(len(delays) * 0.99)] * 1000, "ms", "<= 50") and seen


async def _change(load: Load, places: asyncio.Semaphore, number: int, when: float) -> None:
    await asyncio.sleep(when - time.monotonic())
    async with places:
        await _create(load, number)


async def _create(load: Load, number: int) -> None:
    body = msgspec.json.encode({"metadata": {"name": f"m{number}"}, "data": {"sent": repr(time.monotonic())}})
    async with load.session.post(load.url + MAPS, data=body) as response:
        await response.read()
        if response.status != 201:
            raise RuntimeError(await response.text())


def _watch_all(url: str, token: str, version: str, changes: int, answer: Connection) -> None:
    answer.send(uvloop.run(_delays(url, token, version, changes, answer)))


async def _delays(url: str, token: str, version: str, changes: int, answer: Connection) -> list[float]:
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), headers=headers) as session:
        path = f"{url}{MAPS}?watch=1&resourceVersion={version}"
        responses = await asyncio.gather(*(session.get(path) for _ in range(WATCHERS)))
        answer.send("watching")
        found = await asyncio.gather(*(_delays_of(response, changes) for response in responses))
    return [delay for delays in found for delay in delays]


async def _delays_of(response: aiohttp.ClientResponse, changes: int) -> list[float]:
    delays: list[float] = []
    rest = b""
    with contextlib.suppress(TimeoutError):
        while len(delays) < changes:
            chunk = rest + await asyncio.wait_for(response.content.readany(), 10)
            now, end = time.monotonic(), chunk.rfind(b"\n") + 1
            rest = chunk[end:]
            delays += [now - float(sent) for sent in _SENT.findall(chunk, 0, end)]
    response.close()
    return delays


def large() -> bool:
    """Fill, look at the memory, list, kill, start again."""
    with running() as (data, process):
        asyncio.run(_fill(data))
        size = f"{NODES:,} nodes and {PODS:,} pods, each bound"
        results = [report(f"apiserver: memory with {size}", _resident_mb(process.pid), "MB", "<= 1200")]
        results.append(report(f"apiserver: list of {PODS:,} pods, as JSON, received", asyncio.run(_list(data)), "s", "<= 3"))
        process.kill()
        process.wait()
        began = time.monotonic()
        again = _start(data)
        seconds = time.monotonic() - began
        again.kill()
        again.wait()
        results.append(report(f"apiserver: ready again after kill -9 with {size}", seconds, "s", "<= 10"))
    return all(results)


async def _fill(data: Path) -> None:
    async with session_of(data) as (load, _):
        await load.send([("/api/v1/nodes", node(f"n{number}")) for number in range(NODES)])
        await load.send([(PODS_PATH, pod(f"p{number}")) for number in range(PODS)])
        bindings = [
            (f"{PODS_PATH}/p{number}/binding", b'{"target":{"kind":"Node","name":"n%d"}}' % (number % NODES))
            for number in range(PODS)
        ]
        await load.send(bindings)


async def _list(data: Path) -> float:
    async with session_of(data) as (load, url):
        began = time.monotonic()
        async with load.session.get(url + PODS_PATH) as response:
            raw = await response.read()
        seconds = time.monotonic() - began
        if raw.count(b'"kind":"Pod",') != PODS:
            raise RuntimeError("the list is not whole")
        return seconds


def against_etcd() -> bool:
    """Small durable writes over HTTP, the same number of clients, the same disk. For information: a ratio, no goal."""
    if not ETCD.exists():
        return True
    with running() as (data, _):
        ours = asyncio.run(_small_writes(data))
    with tempfile.TemporaryDirectory(prefix="koord-bench-") as folder, _etcd(Path(folder)) as url:
        theirs = asyncio.run(_etcd_writes(url))
    report("etcd (Debian's): durable small writes over HTTP", theirs, "1/s")
    report("apiserver: durable small writes over HTTP", ours, "1/s")
    return report("apiserver: small writes against etcd's, same disk, same run", ours / theirs, "ratio")


async def _small_writes(data: Path) -> float:
    async with session_of(data) as (load, _):
        bodies = [msgspec.json.encode({"metadata": {"name": f"m{n}"}, "data": {"v": "x" * 64}}) for n in range(SMALL_WRITES)]
        return await load.send([(MAPS, body) for body in bodies])


@contextlib.contextmanager
def _etcd(folder: Path) -> Iterator[str]:
    client, peer = "http://127.0.0.1:23791", "http://127.0.0.1:23801"
    command = [str(ETCD), "--data-dir", str(folder / "etcd"), "--log-level", "error"]
    command += ["--listen-client-urls", client, "--advertise-client-urls", client, "--listen-peer-urls", peer]
    command += ["--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        _wait_healthy(client)
        yield client
    finally:
        process.kill()
        process.wait()


def _wait_healthy(url: str) -> None:
    deadline = time.monotonic() + 20
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=1) as answer:
            if json.load(answer).get("health") == "true":
                return
        if time.monotonic() > deadline:
            raise RuntimeError("etcd does not start")
        time.sleep(0.1)


async def _etcd_writes(url: str) -> float:
    value = base64.b64encode(b"x" * 256).decode()
    keys = (base64.b64encode(f"/registry/configmaps/default/m{number}".encode()).decode() for number in range(SMALL_WRITES))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS)) as session:
        return await Load(url, session).send(
            [("/v3/kv/put", msgspec.json.encode({"key": key, "value": value})) for key in keys]
        )


if __name__ == "__main__":
    main()
