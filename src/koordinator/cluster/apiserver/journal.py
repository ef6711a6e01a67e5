"""The store's disk: one SQLite file in WAL mode, written by one thread, many writes to a transaction.

Rows are keyed by the resource version at which the object was created: new objects append to the end of the tree, updates
replace in place, no second index is needed. Objects are stored as the JSON that clients see.
"""

import asyncio
import fcntl
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from koordinator.errors import Unavailable

T = TypeVar("T")

SCHEMA_VERSION = 1
_CHUNKS = (256, 64, 16, 4, 1)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (id INTEGER PRIMARY KEY, resource TEXT NOT NULL, value BLOB NOT NULL);
"""


class Row(msgspec.Struct, frozen=True):
    """One object on disk. ``value`` is None when the object is gone."""

    id: int
    resource: str
    value: bytes | None


class Batch(msgspec.Struct):
    """Writes that become durable together, and whom to tell."""

    rows: list[Row]
    resource_version: int
    done: Callable[[BaseException | None], None]


class DataLock:
    """One server per data directory, held through a file lock that dies with its process."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "apiserver.lock"
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._file, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise Unavailable(
                f"data directory {directory}",
                f"another API server (pid {holder}) uses it",
                "stop that one with `koord down`, or choose another --data",
            ) from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        os.close(self._file)


class Journal:
    """Durable rows. ``load`` once, then ``write`` batches; ``done`` is called in the event loop, in order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._queue: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._connection = self._open()

    def load(self) -> tuple[int, Iterator[Row]]:
        """The resource version reached, and every object by ascending id. Raises: Unavailable when the file is damaged."""
        try:
            problems = self._connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if problems != "ok":
                raise self._damaged(problems)
            found = self._connection.execute("SELECT value FROM meta WHERE key = 'resourceVersion'").fetchone()
            rows = self._connection.execute("SELECT id, resource, value FROM objects ORDER BY id").fetchall()
        except sqlite3.DatabaseError as err:
            raise self._damaged(err) from err
        return (found[0] if found else 0), (Row(*row) for row in rows)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._thread = threading.Thread(target=self._work, args=(loop,), name="journal", daemon=True)
        self._thread.start()

    def write(self, batch: Batch) -> None:
        self._queue.put(batch)

    def close(self) -> None:
        """Finish what was handed over, then close the file."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
        self._connection.close()

    def _open(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, cached_statements=256)
            self.path.chmod(0o600)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA cache_size = -8192")
            connection.executescript(_SCHEMA)
            connection.execute("INSERT OR IGNORE INTO meta VALUES ('schema', ?)", (SCHEMA_VERSION,))
            version = connection.execute("SELECT value FROM meta WHERE key = 'schema'").fetchone()[0]
        except sqlite3.DatabaseError as err:
            raise self._damaged(err) from err
        if version != SCHEMA_VERSION:
            raise Unavailable(
                str(self.path), f"has schema {version}, this version reads {SCHEMA_VERSION}", "choose another --data"
            )
        return connection

    def _damaged(self, err: object) -> Unavailable:
        return Unavailable(
            f"cluster state {self.path}", f"cannot be read ({err})", "restore a copy, or move the file away to start empty"
        )

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        while (batch := self._queue.get()) is not None:
            try:
                self._commit(batch)
            except sqlite3.Error as err:
                loop.call_soon_threadsafe(batch.done, err)
            else:
                loop.call_soon_threadsafe(batch.done, None)

    def _commit(self, batch: Batch) -> None:
        """One transaction. Rows go in with few large statements: every statement hands the interpreter lock to and fro."""
        last = {row.id: row for row in batch.rows}
        kept = [row for row in last.values() if row.value is not None]
        gone = [row.id for row in last.values() if row.value is None]
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            for rows in _chunks(kept):
                marks = ",".join(["(?,?,?)"] * len(rows))
                values = [value for row in rows for value in (row.id, row.resource, row.value)]
                connection.execute(f"INSERT OR REPLACE INTO objects VALUES {marks}", values)  # noqa: S608 — only marks
            for ids in _chunks(gone):
                connection.execute(f"DELETE FROM objects WHERE id IN ({','.join('?' * len(ids))})", ids)  # noqa: S608
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('resourceVersion', ?)", (batch.resource_version,))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _chunks(items: list[T]) -> Iterator[list[T]]:
    """Split into few sizes only, so that SQLite's statement cache serves every size."""
    start = 0
    for size in _CHUNKS:
        while len(items) - start >= size:
            yield items[start : start + size]
            start += size
