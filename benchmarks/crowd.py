"""Many watchers in a process of their own, cheap enough not to be what is measured.

They read whole chunks from plain sockets and only look for the names of objects in them; the time is taken before that.
"""

import multiprocessing
import re
import selectors
import socket
import time
from array import array
from multiprocessing.connection import Connection

from benchmarks.embedded import Wire

NAME = re.compile(rb'"name":"e-(\d+)"')
"""Once in every event: a literal start lets the search run at the speed of memory."""
PATIENCE = 10.0


class Crowd:
    """Start it, do what they are to see, then ask for ``delays``."""

    seconds: float = 0.0
    """Processor time of the watching, when it is over."""

    def __init__(self, wire: Wire, path: str, watchers: int) -> None:
        self._here, there = multiprocessing.Pipe()
        request = wire.request("GET", path)
        arguments = (wire.host, wire.port, request, watchers, there)
        self._process = multiprocessing.get_context("spawn").Process(target=_watch, args=arguments, daemon=True)
        self._process.start()
        there.close()
        self._here.recv()

    def delays(self, sent: list[float]) -> list[list[float]]:
        """For each watcher, seconds from the sending of each request to its event; short if events are missing."""
        self._here.send(len(sent))
        found, self.seconds = self._here.recv()
        self._process.join()
        return [[at - sent[index] for index, at in enumerate(array("d", times)) if at] for times in found]


def _watch(host: str, port: int, request: bytes, watchers: int, answer: Connection) -> None:
    selector = selectors.DefaultSelector()
    for number in range(watchers):
        connection = socket.create_connection((host, port))
        connection.sendall(request)
        while b"\r\n\r\n" not in connection.recv(65536):
            pass
        selector.register(connection, selectors.EVENT_READ, number)
    selector.register(answer.fileno(), selectors.EVENT_READ, -1)
    answer.send(b"watching")
    used = time.process_time()
    seen = [array("d", bytes(8 * 200_000)) for _ in range(watchers)]
    counts, rests = [0] * watchers, [b""] * watchers
    wanted, quiet_since = -1, time.monotonic()
    while wanted < 0 or (min(counts) < wanted and time.monotonic() - quiet_since < PATIENCE):
        for key, _ in selector.select(0.2):
            if key.data < 0:
                wanted = answer.recv()
                selector.unregister(answer.fileno())
                continue
            at = quiet_since = time.monotonic()
            chunk = rests[key.data] + key.fileobj.recv(1 << 20)  # type: ignore[union-attr]
            end = 0
            for match in NAME.finditer(chunk):
                seen[key.data][int(match[1])] = at
                counts[key.data] += 1
                end = match.end()
            rests[key.data] = chunk[max(end, len(chunk) - 64) :]
    answer.send(([times[:wanted].tobytes() for times in seen], time.process_time() - used))
