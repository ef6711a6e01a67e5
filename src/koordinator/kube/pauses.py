"""Keep the garbage collector from stopping the world for a tenth of a second whenever a process holds many objects.

A full collection walks everything that is alive, 100 ms for some ten thousand pods, and Python starts one whenever a
quarter more has come alive. What a component caches lives long and is freed by reference counting; so full collections are
left to quiet moments, and what survives one is not walked again.
"""

import asyncio
import gc
import logging
from collections.abc import Callable

from koordinator.clock import Clock

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
QUIET_SECONDS, LATEST_SECONDS = 30.0, 600.0
"""A collection waits for a quiet moment for so long at least, and at most."""
_YOUNG, _MIDDLE, _NEVER = 1_000, 10, 1_000_000_000


def settle() -> None:
    """Call when the caches are filled: collect once, set aside all that is alive, and do without further full collections."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, _MIDDLE, _NEVER)


async def collect_when_quiet(clock: Clock, quiet: Callable[[], bool]) -> None:
    """Until cancelled: full collections between the work, and after ten minutes even amid it."""
    last = clock.monotonic()
    while True:
        await clock.sleep(LOOK_SECONDS)
        now = clock.monotonic()
        since = now - last
        if (since >= QUIET_SECONDS and quiet()) or since >= LATEST_SECONDS:
            gc.collect()
            gc.freeze()
            last = clock.monotonic()
            await asyncio.sleep(0)
