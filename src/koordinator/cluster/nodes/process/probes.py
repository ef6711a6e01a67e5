"""Readiness, liveness and startup probes: over HTTP, over TCP, or by a command inside the container's cgroup."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from koordinator.clock import Clock
from koordinator.cluster.nodes.process.podspec import ExecAction, HttpGet, Probe, ProcessContainer, TcpSocket
from koordinator.cluster.nodes.process.runtime import SHIM_FOLDER, Attempt

if TYPE_CHECKING:
    import aiohttp

JOIN_CODE = "import sys; sys.path.append(sys.argv[1]); import shim; shim.join(sys.argv[2], sys.argv[3:])"


class Result(msgspec.Struct, frozen=True):
    passed: bool
    message: str = ""


class Prober:
    """Checks one container. ``http`` is shared by all."""

    def __init__(self, container: ProcessContainer, attempt: Attempt, http: "aiohttp.ClientSession", clock: Clock) -> None:
        self.container, self.attempt, self.http, self.clock = container, attempt, http, clock

    async def watch(self, probe: Probe, report: Callable[[Result], bool]) -> None:
        """Probe again and again; ``report`` hears each verdict that passed its threshold and says whether to go on."""
        await self.clock.sleep(probe.initial_delay_seconds)
        passes = failures = 0
        while True:
            result = await self.check(probe)
            passes, failures = (passes + 1, 0) if result.passed else (0, failures + 1)
            due = passes >= probe.success_threshold if result.passed else failures >= probe.failure_threshold
            if due and not report(result):
                return
            await self.clock.sleep(probe.period_seconds)

    async def check(self, probe: Probe) -> Result:
        """One try, within the probe's time limit. Never raises for what the container does."""
        try:
            async with asyncio.timeout(probe.timeout_seconds):
                if probe.http_get is not None:
                    return await self._http(probe.http_get)
                if probe.tcp_socket is not None:
                    return await self._tcp(probe.tcp_socket)
                return await self._exec(probe.exec or ExecAction())
        except TimeoutError:
            return Result(passed=False, message=f"probe timed out after {probe.timeout_seconds}s")
        except (OSError, ValueError) as err:
            return Result(passed=False, message=str(err))

    async def _http(self, get: HttpGet) -> Result:
        import aiohttp

        url = f"{get.scheme.lower()}://{get.host or '127.0.0.1'}:{self._port(get.port)}/{get.path.lstrip('/')}"
        try:
            async with self.http.get(url, ssl=False, allow_redirects=False) as answer:
                passed = 200 <= answer.status < 400
                return Result(passed, "" if passed else f"HTTP probe failed with statuscode: {answer.status}")
        except aiohttp.ClientError as err:
            return Result(passed=False, message=f"Get {url}: {err}")

    async def _tcp(self, tcp: TcpSocket) -> Result:
        _, writer = await asyncio.open_connection(tcp.host or "127.0.0.1", self._port(tcp.port))
        writer.close()
        return Result(passed=True)

    async def _exec(self, action: ExecAction) -> Result:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-c", JOIN_CODE, SHIM_FOLDER, str(self.attempt.directory), *action.command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={},
            start_new_session=True,
        )
        try:
            output, _ = await child.communicate()
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            await child.wait()
            raise
        return Result(child.returncode == 0, output[:1024].decode(errors="replace").strip())

    def _port(self, port: int | str) -> int:
        if isinstance(port, int) or port.isdigit():
            return int(port)
        for named in self.container.ports or []:
            if named.name == port:
                return named.container_port
        raise ValueError(f"container {self.container.name} has no port named {port!r}")
