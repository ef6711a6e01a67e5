import asyncio
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.clock import SystemClock
from koordinator.cluster.nodes.process import shim
from koordinator.cluster.nodes.process.logs import LogRequest, read, show
from waiting import until

LINES = [f"2026-01-01T00:00:0{n}.000000000Z stdout F line {n}\n".encode() for n in range(5)]


async def collect(path, request=None) -> bytes:
    return b"".join([piece async for piece in read(path, request or LogRequest(), lambda: True, SystemClock())])


@pytest.fixture
def path(tmp_path):
    (tmp_path / "log").write_bytes(b"".join(LINES))
    return tmp_path / "log"


async def test_plain_and_with_timestamps(path):
    assert await collect(path) == b"".join(f"line {n}\n".encode() for n in range(5))
    assert (await collect(path, LogRequest(timestamps=True))).startswith(b"2026-01-01T00:00:00.000000000Z line 0\n")


@pytest.mark.parametrize(("tail", "first"), [(2, b"line 3"), (0, b""), (100, b"line 0")])
async def test_tail(path, tail, first):
    assert (await collect(path, LogRequest(tail=tail))).startswith(first)


async def test_since_and_limit(path):
    assert await collect(path, LogRequest(since=1_767_225_603.0)) == b"line 3\nline 4\n"
    assert await collect(path, LogRequest(limit_bytes=9)) == b"line 0\nli"


async def test_the_part_before_the_last_rotation_comes_first(path):
    path.with_name("log.1").write_bytes(b"2025-12-31T23:59:59.000000000Z stdout F older\n")
    assert (await collect(path, LogRequest(tail=6))).startswith(b"older\nline 0\n")


async def test_no_log_is_an_empty_log(tmp_path):
    assert await collect(tmp_path / "log") == b""


async def test_following_through_a_rotation_until_the_end(tmp_path):
    writer, done = shim.Log(str(tmp_path / "log"), cap=400), False
    seen = []

    async def follow():
        async for piece in read(tmp_path / "log", LogRequest(follow=True), lambda: done, SystemClock()):
            seen.append(piece)  # noqa: PERF401 — watched while it grows

    task = asyncio.create_task(follow())
    for number in range(20):
        writer.write(b"2026-01-01T00:00:00.000000000Z stdout F %d\n" % number)
        await until(lambda n=number: b"".join(seen).endswith(b"%d\n" % n))
    done = True
    await asyncio.wait_for(task, 5)
    os.close(writer.fd)
    assert b"".join(seen) == b"".join(b"%d\n" % number for number in range(20))
    assert (tmp_path / "log.1").exists()


@given(st.binary(min_size=1, max_size=60_000), st.integers(1, 70_000))
def test_what_a_container_writes_is_what_is_read(data, step):
    kept: list[bytes] = []

    class Sink:
        write = kept.append

    out_read, out_write = os.pipe()
    stream = shim.Stream(out_read, "stdout", Sink())
    try:
        for start in range(0, len(data), min(step, 60_000)):
            os.write(out_write, data[start : start + min(step, 60_000)])
            stream.pump()
        os.close(out_write)
        while stream.pump():
            pass
    finally:
        os.close(out_read)
    shown = show(b"".join(kept).splitlines(keepends=True) if b"\r" not in data else _lines(b"".join(kept)), timestamps=False)
    assert shown == data + (b"" if data.endswith(b"\n") else b"\n")


def _lines(data: bytes) -> list[bytes]:
    return [line + b"\n" for line in data.split(b"\n")[:-1]]
