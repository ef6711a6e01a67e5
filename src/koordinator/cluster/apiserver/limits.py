"""How many requests are worked on at a time. Beyond that a client is asked to come back, instead of everybody waiting.

Watches, logs and Leases are never counted: what keeps a cluster alive must not wait behind a user's loop.
"""

import contextlib
from collections.abc import Iterator

import msgspec

from koordinator.cluster.apiserver.calls import Call
from koordinator.cluster.apiserver.refusals import Refused

_EXEMPT = frozenset({"leases.coordination.k8s.io"})
READ, WRITE = "readOnly", "mutating"


class Limits(msgspec.Struct, frozen=True):
    """The most requests at a time, reading and writing."""

    reads: int = 400
    writes: int = 1000


class InFlight:
    """Requests being worked on."""

    def __init__(self, limits: Limits) -> None:
        self._limits = {READ: limits.reads, WRITE: limits.writes}
        self.now = {READ: 0, WRITE: 0}
        self.refused = {READ: 0, WRITE: 0}

    @contextlib.contextmanager
    def slot(self, call: Call) -> Iterator[None]:
        """Hold a place. Raises: Refused (429)."""
        if call.kind.key in _EXEMPT or call.target.subresource == "log" or (call.method == "GET" and call.flag("watch")):
            yield
            return
        sort = READ if call.method == "GET" else WRITE
        if self.now[sort] >= self._limits[sort]:
            self.refused[sort] += 1
            raise _too_many()
        self.now[sort] += 1
        try:
            yield
        finally:
            self.now[sort] -= 1


def _too_many() -> Refused:
    words = "the server has received too many requests and has asked us to try again later"
    return Refused(429, "TooManyRequests", words, {"retryAfterSeconds": 1})
