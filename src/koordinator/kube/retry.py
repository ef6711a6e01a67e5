"""When to try again, and how long to wait: pure decisions, the client and the informer carry them out."""

import random
from collections.abc import Callable

import msgspec

from koordinator.clock import Clock
from koordinator.kube.errors import ApiError, ServerUnavailable, TooManyRequests

HOPELESS = ("BadCertificate", "NoCredentials")
"""Reasons, ours, for which the same request will fail in the same way."""


class Backoff(msgspec.Struct, frozen=True):
    """Exponential, with jitter over the upper half so that clients cut off together do not come back together."""

    base: float = 0.1
    factor: float = 2.0
    limit: float = 10.0

    def delay(self, attempt: int, rand: Callable[[], float] = random.random) -> float:
        """Seconds before attempt number ``attempt`` + 1 (the first failure has attempt 0)."""
        ceiling = min(self.base * self.factor ** min(attempt, 64), self.limit)
        return ceiling * (0.5 + 0.5 * rand())


def retry_delay(error: ApiError, *, reads: bool, attempt: int, backoff: Backoff) -> float | None:
    """Seconds to wait before sending the request again; None to give up.

    A read may always be repeated. A write only if the server said that it did not do it (429, or 503 with Retry-After) or
    cannot have seen it (no connection): never when the outcome is unknown.
    """
    if error.reason in HOPELESS:
        return None
    if isinstance(error, TooManyRequests):
        return max(error.retry_after or 0.0, backoff.delay(attempt))
    if isinstance(error, ServerUnavailable):
        unseen = error.code == 0 and not error.outcome_unknown
        if reads or unseen or (error.code == 503 and error.retry_after):
            return max(error.retry_after or 0.0, backoff.delay(attempt))
    if reads and error.code in (500, 502):
        return backoff.delay(attempt)
    return None


class TokenBucket:
    """At most ``qps`` requests a second on average, ``burst`` at once. Callers are let through in order."""

    def __init__(self, qps: float, burst: int, clock: Clock) -> None:
        self._interval, self._clock = 1.0 / qps, clock
        self._slack = max(burst - 1, 0) * self._interval
        self._next = clock.monotonic() - self._slack

    def reserve(self) -> float:
        """Take a token; seconds until it may be used."""
        now = self._clock.monotonic()
        self._next = max(self._next, now - self._slack)
        wait = self._next - now
        self._next += self._interval
        return max(wait, 0.0)
