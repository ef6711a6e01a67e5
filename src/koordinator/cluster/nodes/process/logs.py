"""Reading a container's log: the CRI lines that the shim wrote, as ``kubectl logs`` wants them.

A rotation while following is noticed by the file's identity; what was read up to then is not read twice.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import BinaryIO

import msgspec

from koordinator.api.meta import parse_time
from koordinator.clock import Clock

POLL_SECONDS = 0.2
BLOCK = 262_144


class LogRequest(msgspec.Struct, frozen=True):
    """What to show. ``since`` is in seconds since the Unix epoch."""

    follow: bool = False
    tail: int | None = None
    since: float | None = None
    limit_bytes: int | None = None
    timestamps: bool = False


async def read(path: Path, request: LogRequest, ended: Callable[[], bool], clock: Clock) -> AsyncIterator[bytes]:
    """The log in pieces; with ``follow`` until the container has ended and everything is said."""
    left = request.limit_bytes
    async for piece in _pieces(path, request, ended, clock):
        if left is not None:
            piece = piece[:left]  # noqa: PLW2901 — cut to what is left
            left -= len(piece)
        if piece:
            yield piece
        if left == 0:
            return


async def _pieces(path: Path, request: LogRequest, ended: Callable[[], bool], clock: Clock) -> AsyncIterator[bytes]:
    file = await asyncio.to_thread(_open, path)
    if file is None:
        return
    try:
        old = await asyncio.to_thread(_before_rotation, path)
        lines = _wanted([*old, *_complete_lines(file)], request)
        yield show(lines, timestamps=request.timestamps)
        while request.follow:
            last = ended()
            block = b"".join(_complete_lines(file))
            if block:
                yield show(block.splitlines(keepends=True), timestamps=request.timestamps)
            elif (newer := _open_if_rotated(path, file)) is not None:
                file.close()
                file = newer
            elif last:
                return
            else:
                await clock.sleep(POLL_SECONDS)
    finally:
        file.close()


def show(lines: Iterable[bytes], *, timestamps: bool) -> bytes:
    """CRI lines as the container wrote them; a part of a longer line (tag P) goes without its line end."""
    shown = []
    for line in lines:
        time, _, tag, text = _split(line)
        shown.append((time + b" " if timestamps else b"") + (text.rstrip(b"\n") if tag == b"P" else text))
    return b"".join(shown)


def _wanted(lines: list[bytes], request: LogRequest) -> list[bytes]:
    if request.since is not None:
        since = request.since
        lines = [line for line in lines if (_seconds(line) or since) >= since]
    if request.tail is not None:
        lines = lines[-request.tail :] if request.tail > 0 else []
    return lines


def _split(line: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    parts = line.split(b" ", 3)
    return (parts[0], parts[1], parts[2], parts[3]) if len(parts) == 4 else (b"", b"", b"F", line)


def _seconds(line: bytes) -> float | None:
    text = line.partition(b" ")[0].decode(errors="replace")
    return parse_time(text[:26] + "Z")  # microseconds: the parser knows no nanoseconds


def _open(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb", buffering=0)
    except FileNotFoundError:
        return None


def _before_rotation(path: Path) -> list[bytes]:
    try:
        return path.with_name(path.name + ".1").read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []


def _complete_lines(file: BinaryIO) -> list[bytes]:
    """What was written since the last call, up to the last line end."""
    data = b""
    while block := file.read(BLOCK):
        data += block
    whole, newline, rest = data.rpartition(b"\n")
    file.seek(-len(rest), os.SEEK_CUR)
    return (whole + newline).splitlines(keepends=True)


def _open_if_rotated(path: Path, file: BinaryIO) -> BinaryIO | None:
    newer = _open(path)
    if newer is not None and os.path.sameopenfile(newer.fileno(), file.fileno()):
        newer.close()
        return None
    return newer
