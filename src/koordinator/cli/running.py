"""One component as this process: until SIGTERM or Ctrl-C, its log on stderr."""

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Awaitable, Callable


def run_component(work: Callable[[], Awaitable[None]], verbosity: int = 0) -> None:
    """Run to the end. Raises what ``work`` raises."""
    import uvloop

    _log_to_stderr(verbosity)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(work())
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    uvloop.run(main())


def _log_to_stderr(verbosity: int) -> None:
    level = logging.DEBUG if verbosity >= 4 else logging.INFO
    logging.basicConfig(level=level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
