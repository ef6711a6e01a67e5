"""The embedded API server under load from another process: durable creates, bindings, watchers, lists, start.

The server runs in a process of its own; clients share the machine's cores with it.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
import msgspec

from benchmarks.figures import report

PODS = 6_000
LISTED = 20_000
CONNECTIONS = 32
WATCHERS = 10
_SERVER = """
import asyncio, sys, uvloop
from pathlib import Path
from koordinator.clock import SystemClock
from koordinator.cluster.apiserver.app import ApiServerOptions, run
uvloop.run(run(ApiServerOptions(data=Path(sys.argv[1])), SystemClock(), lambda: print("ready", flush=True)))
"""


def pod(name: str) -> bytes:
    resources = {"cpu": "500m", "memory": "512Mi"}
    container = {
        "name": "main",
        "image": "registry.k8s.io/pause:3.10",
        "resources": {"requests": resources, "limits": resources},
        "env": [{"name": "SHARD", "value": "1"}],
    }
    labels = {"app": "bench", "koordinator.sh/qosClass": "LS", "pod-template-hash": "5d4f8c7b9"}
    return msgspec.json.encode(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": labels, "annotations": {"team": "bench"}},
            "spec": {"schedulerName": "koord-scheduler", "containers": [container]},
        }
    )


class Load:
    """A client with many requests in flight."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url, self.session = url, session

    async def send(self, requests: list[tuple[str, bytes]]) -> float:
        """POST everything; the rate."""
        queue = iter(requests)

        async def worker() -> None:
            for path, body in queue:
                async with self.session.post(self.url + path, data=body) as response:
                    text = await response.read()
                    if response.status >= 300:
                        raise RuntimeError(f"{path}: {text[:300]!r}")

        start = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(CONNECTIONS)))
        return len(requests) / (time.perf_counter() - start)

    async def count_lines(self, path: str, wanted: int) -> None:
        async with self.session.get(self.url + path) as response:
            seen = 0
            async for chunk in response.content.iter_any():
                seen += chunk.count(b"\n")
                if seen >= wanted:
                    return


async def measure(url: str, token: str) -> bool:
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        load = Load(url, session)
        collection = "/api/v1/namespaces/default/pods"
        names = [f"p-{index}" for index in range(PODS)]
        creates = [(collection, pod(name)) for name in names]
        bindings = [(f"{collection}/{name}/binding", b'{"target":{"kind":"Node","name":"n1"}}') for name in names]
        results = [report("apiserver: durable pod creates", await load.send(creates), "1/s", ">= 2000")]
        results.append(report("apiserver: durable bindings", await load.send(bindings), "1/s", ">= 2500"))

        more = [(collection, pod(f"w-{index}")) for index in range(2_000)]
        watch = "/api/v1/pods?watch=1&allowWatchBookmarks=true&resourceVersion=" + await _version(load, collection)
        watchers = [asyncio.create_task(load.count_lines(watch, len(more))) for _ in range(WATCHERS)]
        rate = await load.send(more)
        await asyncio.wait_for(asyncio.gather(*watchers), 30)
        results.append(report(f"apiserver: creates with {WATCHERS} watchers, each sees all", rate, "1/s", ">= 1000"))

        await load.send([(collection, pod(f"l-{index}")) for index in range(LISTED - PODS - len(more))])
        start = time.perf_counter()
        async with session.get(url + collection) as response:
            size = len(await response.read())
        results.append(report("apiserver: list 20,000 pods", time.perf_counter() - start, "s", "<= 1"))
        report("apiserver: size of that list", size / 1e6, "MB")
    return all(results)


async def _version(load: Load, collection: str) -> str:
    async with load.session.get(f"{load.url}{collection}?limit=1") as response:
        return str(msgspec.json.decode(await response.read())["metadata"]["resourceVersion"])


def main() -> bool:
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "data"
        results = [_start_and_stop(data, first=True), _start_and_stop(data, first=False)]
        process = _start(data)
        try:
            config = (data / "component.kubeconfig").read_text()
            url = next(line.split("server:")[1].strip() for line in config.splitlines() if "server:" in line)
            results.append(asyncio.run(measure(url, (data / "token").read_text())))
            report("apiserver: resident memory with 20,000 pods", _resident_mb(process.pid), "MB")
        finally:
            process.kill()
            process.wait()
        start = time.perf_counter()
        process = _start(data)
        results.append(report("apiserver: ready again after kill -9, 20,000 pods", time.perf_counter() - start, "s", "<= 4"))
        process.kill()
        process.wait()
    return all(results)


def _start(data: Path) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen([sys.executable, "-c", _SERVER, str(data)], stdout=subprocess.PIPE)
    if process.stdout is None or process.stdout.readline() != b"ready\n":
        raise RuntimeError("the server did not start")
    return process


def _start_and_stop(data: Path, *, first: bool) -> bool:
    start = time.perf_counter()
    process = _start(data)
    took = time.perf_counter() - start
    process.kill()
    process.wait()
    what = "first start, interpreter and certificates included" if first else "later start, interpreter included"
    return report(f"apiserver: {what}", took, "s", "<= 1")


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
