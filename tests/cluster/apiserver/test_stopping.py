"""A server that stops: nobody goes on talking to what it was."""

import asyncio
import contextlib
from urllib.parse import urlsplit

from koordinator.clock import SystemClock
from koordinator.cluster.apiserver.app import ApiServerOptions, serve


async def asks_on_and_on(port, token):
    """Ask for the version until the connection ends."""
    request = f"GET /version HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            while True:
                writer.write(request)
                await reader.readuntil(b"\r\n\r\n")
        finally:
            writer.close()


async def test_connections_made_while_it_stops_do_not_outlive_it(tmp_path):
    asking = []

    async def more_and_more(port, token):
        while True:
            asking.append(asyncio.create_task(asks_on_and_on(port, token)))
            await asyncio.sleep(0)

    async with serve(ApiServerOptions(data=tmp_path / "cluster"), SystemClock()) as server:
        growing = asyncio.create_task(more_and_more(urlsplit(server.url).port, server.token))
        while len(asking) < 20:
            await asyncio.sleep(0.01)
    growing.cancel()
    _, pending = await asyncio.wait(asking, timeout=10)
    for task in pending:
        task.cancel()
    assert not pending, f"{len(pending)} of {len(asking)} connections are still answered"
