"""etcd next to us: how many durable small writes a second it takes on the same disk, from the same client.

Both are driven by `embedded.Wire` over HTTP: the same connections, the same bodies, one write a request, answered when it is on
disk. etcd is asked through its own JSON gateway, which costs it a hop inside its process that gRPC clients do not pay; we pay
for checks, defaults and watch events that etcd does not know. Rounds alternate, so that both meet the same neighbours.
"""

import base64
import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from benchmarks.embedded import Wire

UNPACKED = Path(sys.prefix) / "share/etcd-server/usr/bin/etcd"
ROUNDS, WRITES, CONNECTIONS = 5, 4_000, 64


def binary() -> str | None:
    """Where etcd is; None when this machine has none (`scripts/install-bench-deps` fetches it)."""
    return str(UNPACKED) if os.access(UNPACKED, os.X_OK) else shutil.which("etcd")


class EtcdWire(Wire):
    """etcd's JSON gateway."""

    def __init__(self, port: int) -> None:  # not a kubeconfig
        self.host, self.port = "127.0.0.1", port
        self.head = f"Host: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"

    def put(self, key: str, value: bytes) -> bytes:
        encoded = {"key": base64.b64encode(key.encode()).decode(), "value": base64.b64encode(value).decode()}
        return self.post("/v3/kv/put", encoded)


@contextlib.contextmanager
def etcd(folder: Path) -> Iterator[EtcdWire | None]:
    """A single etcd with its defaults (every write is synced), its data under ``folder``; None when there is no etcd."""
    if (found := binary()) is None:
        yield None
        return
    client, peer = _free_port(), _free_port()
    command = [found, "--data-dir", str(folder / "etcd"), "--log-level", "error", "--name", "bench"]
    command += [f"--listen-client-urls=http://127.0.0.1:{client}", f"--advertise-client-urls=http://127.0.0.1:{client}"]
    command += [f"--listen-peer-urls=http://127.0.0.1:{peer}", f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}"]
    command += [f"--initial-cluster=bench=http://127.0.0.1:{peer}"]
    with (folder / "etcd.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _wait(client, process)
        yield EtcdWire(client)
    finally:
        process.terminate()
        process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def _wait(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError("etcd did not start")


def small(name: str) -> bytes:
    """What is written: a ConfigMap of some 300 bytes."""
    data = {"replicas": "3", "owner": "team-a", "note": "x" * 150}
    return msgspec.json.encode(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"app": "bench"}}, "data": data}
    )


async def side_by_side(ours: Wire, theirs: EtcdWire) -> tuple[float, float, float]:
    """Writes a second: ours, etcd's, and the median of the rounds' ratios."""
    rates: list[tuple[float, float]] = []
    for turn in range(ROUNDS):
        names = [f"small-{turn}-{number}" for number in range(WRITES)]
        pair = [
            (ours, [ours.request("POST", "/api/v1/namespaces/default/configmaps", small(name)) for name in names]),
            (theirs, [theirs.put(f"/registry/configmaps/default/{name}", small(name)) for name in names]),
        ]
        taken = {wire: await _rate(wire, requests) for wire, requests in (pair if turn % 2 else reversed(pair))}
        rates.append((taken[ours], taken[theirs]))
    median: Callable[[list[float]], float] = statistics.median
    return median([a for a, _ in rates]), median([b for _, b in rates]), median([a / b for a, b in rates])


async def _rate(wire: Wire, requests: list[bytes]) -> float:
    began = time.perf_counter()
    await wire.send(requests, CONNECTIONS)
    return len(requests) / (time.perf_counter() - began)
