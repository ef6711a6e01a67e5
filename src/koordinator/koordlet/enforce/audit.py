"""The audit log: one JSON line per change that koordlet made to the node, in files that rotate and have a total size."""

import datetime as dt
from pathlib import Path

import msgspec

from koordinator.clock import Clock
from koordinator.errors import Unavailable
from koordinator.koordlet.enforce.decision import Subject

_FILE_BYTES = 2 << 20


class Entry(msgspec.Struct, omit_defaults=True, rename="camel"):
    created_at: str
    type: str
    namespace: str = ""
    name: str = ""
    container: str = ""
    reason: str = ""
    message: str = ""


class AuditLog:
    """Appends to ``<directory>/audit.log``. With no directory it is a no-op. Making it raises Unavailable."""

    def __init__(self, directory: str, clock: Clock, max_disk_mb: int = 16, verbose: int = 3) -> None:
        self._directory = Path(directory) if directory else None
        self._clock, self._verbose = clock, verbose
        self._kept = max(max_disk_mb * 2**20 // _FILE_BYTES - 1, 0)
        self._written = 0
        if self._directory:
            try:
                self._directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            except OSError as err:
                raise Unavailable(f"audit log directory {directory}", err.strerror or str(err)) from err

    def record(self, subject: Subject, reason: str, message: str, level: int = 3) -> None:
        """Raises OSError when the disk refuses."""
        if self._directory is None or 0 < self._verbose < level:
            return
        entry = Entry(self._time().isoformat(timespec="seconds"), subject.type, reason=reason, message=message)
        entry.namespace, entry.name, entry.container = subject.namespace, subject.name, subject.container
        line = msgspec.json.encode(entry) + b"\n"
        if self._written >= _FILE_BYTES:
            self._rotate(self._directory)
        with (self._directory / "audit.log").open("ab") as file:
            self._written += file.write(line)

    def _time(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self._clock.now(), tz=dt.UTC).astimezone()

    def _rotate(self, directory: Path) -> None:
        stamp = self._time().strftime("%Y-%m-%d-%H-%M-%S")
        free = (path for number in range(9) if not (path := directory / f"audit-{stamp}-{number}.log").exists())
        (directory / "audit.log").rename(next(free, directory / f"audit-{stamp}-8.log"))
        old = sorted(directory.glob("audit-*.log"))
        for path in old[: max(len(old) - self._kept, 0)]:
            path.unlink()
        self._written = 0
