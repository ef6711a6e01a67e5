"""Waiting for a condition with a deadline: what tests do instead of sleeping for luck."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any


def eventually(condition: Callable[[], object], seconds: float = 30, what: str = "") -> None:
    """Poll until the condition holds; AssertionError at the deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or condition}"
        time.sleep(0.01)


async def until(condition: Callable[[], object | Awaitable[object]], seconds: float = 30, what: str = "") -> None:
    """Poll until the (possibly asynchronous) condition holds; AssertionError at the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if isinstance(result, Awaitable):
            result = await result
        if result:
            return
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or condition}"
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def background(coroutine: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Run it beside the test, and stop it at the end."""
    task = asyncio.create_task(coroutine)
    try:
        yield task
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def component(run: Callable[[Callable[[], None]], Coroutine[Any, Any, None]]) -> AsyncIterator[asyncio.Task[None]]:
    """A component's ``run(on_ready)`` beside the test: ready when the block begins, or its error is raised there."""
    ready = asyncio.Event()
    async with background(run(ready.set)) as task:
        await until(lambda: ready.is_set() or task.done())
        if task.done():
            task.result()
        yield task
