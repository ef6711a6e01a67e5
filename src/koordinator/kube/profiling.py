"""Where the time goes and what waits, over HTTP: for people with a slow component.

``/debug/pprof/profile?seconds=5`` runs the interpreter's profiler on the event loop for a while and prints the costliest
functions; ``/debug/pprof/tasks`` prints the stack of every task.
"""

import asyncio
import io
from collections.abc import Awaitable, Callable

from aiohttp import web

MOST_SECONDS = 60.0
_INDEX = "/debug/pprof/profile?seconds=5  costliest functions\n/debug/pprof/tasks  what every task waits for\n"

Page = Callable[[web.Request], Awaitable[web.Response]]


async def _index(_: web.Request) -> web.Response:
    return web.Response(text=_INDEX)


def _profile(busy: asyncio.Lock) -> Page:
    async def profile(request: web.Request) -> web.Response:
        try:
            seconds = min(max(float(request.query.get("seconds", "5")), 0.1), MOST_SECONDS)
        except ValueError:
            return web.Response(status=400, text=f"seconds is {request.query['seconds']!r}, must be a number\n")
        if busy.locked():
            return web.Response(status=409, text="a profile is being taken\n")
        async with busy:
            return web.Response(text=await _taken(seconds))

    return profile


async def _taken(seconds: float) -> str:
    import cProfile
    import pstats

    profiler = cProfile.Profile()
    profiler.enable()
    try:
        await asyncio.sleep(seconds)
    finally:
        profiler.disable()
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).sort_stats("cumulative").print_stats(60)
    return text.getvalue()


async def _tasks(_: web.Request) -> web.Response:
    text = io.StringIO()
    for task in sorted(asyncio.all_tasks(), key=asyncio.Task.get_name):
        task.print_stack(limit=8, file=text)
    return web.Response(text=text.getvalue())


def pages() -> dict[str, Page]:
    """One profile at a time."""
    return {"/debug/pprof/": _index, "/debug/pprof/profile": _profile(asyncio.Lock()), "/debug/pprof/tasks": _tasks}
