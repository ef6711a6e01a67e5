"""An API server and a scheduler, each a process of its own, and a client that costs next to nothing.

The client sends prepared bytes over a few keep-alive connections, so that on a small machine the measured processes get the
processor. Processor times are read from /proc, so a busy machine can be told from a slow program.
"""

import asyncio
import contextlib
import ctypes
import os
import select
import signal
import tempfile
import time
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

import msgspec

from koordinator.clock import SystemClock
from koordinator.kube import config

_PR_SET_PDEATHSIG = 1
_START_SECONDS = 120.0
_TICKS = os.sysconf("SC_CLK_TCK")


class Process:
    """A forked component."""

    def __init__(self, run: Callable[[Callable[[], None]], Coroutine[Any, Any, None]], log: Path) -> None:
        ready, tell = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(ready)
            _child(run, tell, log)
        os.close(tell)
        with os.fdopen(ready, "rb") as answer:
            told, _, _ = select.select([answer], [], [], _START_SECONDS)
            if not told or answer.read(1) != b"1":
                self.kill()
                raise RuntimeError(f"the component did not start: {log.read_text()[-2000:]}")

    def seconds(self) -> float:
        """Processor time used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def megabytes(self) -> float:
        """Resident memory."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def kill(self) -> None:
        """As a power cut would."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def stop(self) -> None:
        os.kill(self.pid, signal.SIGTERM)
        for _ in range(100):
            if os.waitpid(self.pid, os.WNOHANG)[0]:
                return
            time.sleep(0.05)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def _child(run: Callable[[Callable[[], None]], Coroutine[Any, Any, None]], tell: int, log: Path) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # a benchmark that is killed leaves nothing behind
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)

    def ready() -> None:
        os.write(tell, b"1")
        os.close(tell)

    import uvloop  # as `koord up` runs its components

    async def main() -> None:
        task = asyncio.ensure_future(run(ready))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    try:
        uvloop.run(main())
    except BaseException:  # noqa: BLE001 — the process ends here, whatever it was
        traceback.print_exc()
    finally:
        os._exit(0)


class Embedded:
    """The pair under load. ``scheduler`` is started by ``schedule``, after whatever it is to find has been created."""

    def __init__(self, folder: Path) -> None:
        from koordinator.cluster.apiserver import app

        self.folder = folder
        options = app.ApiServerOptions(data=folder / "data")
        clock = SystemClock()
        self.server = Process(lambda ready: app.run(options, clock, ready), folder / "apiserver.log")
        self.kubeconfig = str(folder / "data" / "component.kubeconfig")
        self.scheduler: Process | None = None

    def schedule(self, **options: Any) -> Process:
        from koordinator.scheduler import app

        chosen = app.SchedulerOptions(kubeconfig=self.kubeconfig, seed=1, **options)
        clock = SystemClock()
        self.scheduler = Process(lambda ready: app.run(chosen, clock, ready), self.folder / "scheduler.log")
        return self.scheduler

    def stop(self) -> None:
        if self.scheduler is not None:
            self.scheduler.stop()
        self.server.stop()

    def kill(self) -> None:
        """At once: nothing of it is needed any more."""
        if self.scheduler is not None:
            self.scheduler.kill()
        self.server.kill()


@contextlib.asynccontextmanager
async def embedded() -> AsyncIterator[tuple[Embedded, "Wire"]]:
    """A fresh pair and a client; both end with the block."""
    with tempfile.TemporaryDirectory(prefix="koord-bench-") as folder:
        pair = Embedded(Path(folder))
        try:
            yield pair, Wire(pair.kubeconfig)
        finally:
            pair.kill()


class Wire:
    """HTTP/1.1 by hand."""

    def __init__(self, kubeconfig: str) -> None:
        found = config.load(kubeconfig)
        address = found.server.removeprefix("http://")
        self.host, _, port = address.partition(":")
        self.port = int(port)
        self.head = f"Host: {address}\r\nAuthorization: Bearer {found.token}\r\n"

    def request(self, method: str, path: str, body: bytes = b"", content: str = "application/json") -> bytes:
        head = f"{method} {path} HTTP/1.1\r\n{self.head}Content-Type: {content}\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    def post(self, path: str, obj: object) -> bytes:
        return self.request("POST", path, msgspec.json.encode(obj))

    async def send(self, requests: Iterable[bytes], connections: int = 16) -> None:
        """All of them, as fast as the server takes them. Raises RuntimeError on an answer that is no success."""
        waiting = iter(requests)
        await asyncio.gather(*(self._work(waiting) for _ in range(connections)))

    async def paced(self, requests: list[bytes], rate: float, sent: Callable[[int], None], connections: int = 16) -> None:
        """At a steady rate; ``sent`` is told the number of each request as it goes out."""
        began = time.monotonic()

        async def waiting(first: int) -> None:
            reader, writer = await asyncio.open_connection(self.host, self.port)
            for number in range(first, len(requests), connections):
                await asyncio.sleep(max(began + number / rate - time.monotonic(), 0))
                sent(number)
                writer.write(requests[number])
                await _answer(reader)
            writer.close()

        await asyncio.gather(*(waiting(first) for first in range(connections)))

    async def _work(self, waiting: Iterable[bytes]) -> None:
        reader, writer = await asyncio.open_connection(self.host, self.port)
        for request in waiting:
            writer.write(request)
            await _answer(reader)
        writer.close()

    async def get(self, path: str) -> bytes:
        reader, writer = await asyncio.open_connection(self.host, self.port)
        writer.write(self.request("GET", path))
        body = await _answer(reader)
        writer.close()
        return body

    async def lines(self, path: str) -> AsyncIterator[bytes]:
        """A watch."""
        reader, writer = await asyncio.open_connection(self.host, self.port, limit=2**24)
        writer.write(self.request("GET", path))
        await reader.readuntil(b"\r\n\r\n")
        try:
            async for line in reader:
                if line.startswith(b"{"):
                    yield line
        finally:
            writer.close()


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    lower = head.lower()
    if b"content-length: " in lower:
        length = int(lower.split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
        body = await reader.readexactly(length) if length else b""
    else:
        body = await _chunks(reader)
    if not head.startswith(b"HTTP/1.1 2"):
        raise RuntimeError((head + body)[:600].decode(errors="replace"))
    return body


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return body
