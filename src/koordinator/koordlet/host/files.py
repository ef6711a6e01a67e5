"""Hot files stay open and are read again with ``pread``: a collector reads the same few hundred files every second.

Guarantees: a removed file is noticed (the kernel answers ENODEV for a removed cgroup's file) and its descriptor closed; the
number of open descriptors has a bound, the longest unused go first. Errors are ``OSError``, as ``open`` raises them.
"""

import errno
import os
from collections import OrderedDict
from pathlib import Path

_CHUNK = 16_384
_LIMIT = 4_096


class HotFiles:
    """Reads by path. Not safe for several threads."""

    def __init__(self, limit: int = _LIMIT) -> None:
        self._limit = limit
        self._open: OrderedDict[str, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def read(self, path: str) -> str:
        """The whole file as text. Raises OSError; FileNotFoundError when it is gone."""
        descriptor = self._open.get(path)
        if descriptor is None:
            descriptor = self._keep(path, os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        else:
            self._open.move_to_end(path)
        try:
            return _read_all(descriptor)
        except OSError as err:
            self.forget(path)
            if err.errno == errno.ENODEV:
                raise FileNotFoundError(errno.ENOENT, "removed", path) from err
            raise OSError(err.errno, err.strerror, path) from err

    def _keep(self, path: str, descriptor: int) -> int:
        self._open[path] = descriptor
        if len(self._open) > self._limit:
            _, oldest = self._open.popitem(last=False)
            os.close(oldest)
        return descriptor

    def forget(self, path: str) -> None:
        if (descriptor := self._open.pop(path, None)) is not None:
            os.close(descriptor)

    def close(self) -> None:
        for path in list(self._open):
            self.forget(path)


def _read_all(descriptor: int) -> str:
    data = os.pread(descriptor, _CHUNK, 0)
    if len(data) < _CHUNK:
        return data.decode(errors="replace")
    parts = [data]
    while more := os.pread(descriptor, _CHUNK, sum(map(len, parts))):
        parts.append(more)
    return b"".join(parts).decode(errors="replace")


def write(path: str, text: str) -> None:
    """Write a value in one system call, as cgroup files want it. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def directories(path: str) -> list[str]:
    """Names of the directories in a directory, sorted; none when it is not there."""
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return []


def changed_at(path: str) -> int:
    """When entries of a directory last changed, in nanoseconds; 0 when it is not there."""
    try:
        return Path(path).stat().st_mtime_ns
    except OSError:
        return 0


def read_once(path: str | Path) -> str:
    """A file that nobody reads often. Raises OSError."""
    return Path(path).read_text(errors="replace")
