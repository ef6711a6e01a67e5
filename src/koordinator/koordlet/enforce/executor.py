"""The one door to the node's files. Strategies say what they want; this writes what differs, in an order the kernel accepts.

Guarantees
- A value that is already there is not written again; what was written is remembered and trusted for ``force_seconds``.
- In one batch, values that widen (more CPU, more memory, more CPUs) go from parents to children, values that tighten go from
  children to parents: at no moment does a child have more than its parent.
- Every change is in the audit log. What was there before is remembered, and put back when the feature is turned off.
- A cgroup that has vanished is not an error; a file that the kernel does not have is said once; nothing raises.
"""

import errno
from collections.abc import Callable, Iterable, Sequence

import msgspec

from koordinator.clock import Clock
from koordinator.koordlet.enforce.audit import AuditLog
from koordinator.koordlet.enforce.decision import Write
from koordinator.koordlet.host import registry
from koordinator.koordlet.host.cgroup import Cgroups
from koordinator.koordlet.host.registry import File, Merge
from koordinator.koordlet.notices import Notices

_GONE = (errno.ENOENT, errno.ENODEV)
Key = tuple[str, str]
"""(file, cgroup)."""


class _Known(msgspec.Struct):
    value: str
    time: float


class _Before(msgspec.Struct):
    """What a feature found, to be put back when it is turned off."""

    write: Write
    text: str


class Outcome(msgspec.Struct):
    """What became of one batch."""

    written: int = 0
    failed: int = 0
    vanished: int = 0


Observer = Callable[[float, bool], None]
"""(milliseconds, succeeded) of one update: feeds the duration histogram."""


class Executor:
    """Not safe for several threads: one loop owns it."""

    def __init__(self, cgroups: Cgroups, clock: Clock, notices: Notices, audit: AuditLog, force_seconds: float = 60.0) -> None:
        self._cgroups, self._clock, self._notices, self._audit = cgroups, clock, notices, audit
        self._force_seconds = force_seconds
        self._known: dict[Key, _Known] = {}
        self._before: dict[str, dict[Key, _Before]] = {}
        self.observe: Observer = lambda _milliseconds, _succeeded: None

    def apply(self, writes: Iterable[Write]) -> Outcome:
        """Carry out a batch; levels follow from how deep the cgroups lie."""
        by_depth: dict[int, list[Write]] = {}
        for write in writes:
            by_depth.setdefault(write.group.count("/") if write.group else -1, []).append(write)
        return self.apply_levels([by_depth[depth] for depth in sorted(by_depth)])

    def apply_levels(self, levels: Sequence[Sequence[Write]]) -> Outcome:
        """Carry out a batch given level by level, parents first."""
        outcome = Outcome()
        tightening: list[list[Write]] = []
        for level in levels:
            wanted = [write for write in level if self._needed(write)]
            tightening.append([write for write in wanted if not self._attempt(write, outcome, self._widen)])
        for level in reversed(tightening):
            for write in level:
                self._attempt(write, outcome, self._put)
        return outcome

    def undo(self, owner: str) -> Outcome:
        """Put back what a feature found before its first writes."""
        found = self._before.pop(owner, {})
        back = [self._restoring(before) for before in found.values()]
        return self.apply(back)

    def owners(self) -> list[str]:
        """Features that have something to undo."""
        return list(self._before)

    def forget(self, group: str) -> None:
        """A cgroup is gone for good, and all below it."""
        inside = group + "/"
        tables: list[dict[Key, _Known] | dict[Key, _Before]] = [self._known, *self._before.values()]
        for table in tables:
            for key in [key for key in table if key[1] == group or key[1].startswith(inside)]:
                table.pop(key)
        self._cgroups.forget(group)

    def _restoring(self, before: _Before) -> Write:
        write = before.write
        raw = write.restore is None
        value = before.text if write.restore is None else write.restore
        return msgspec.structs.replace(write, value=value, raw=raw, owner="", cached=False)

    def _needed(self, write: Write) -> bool:
        known = self._known.get((write.file, write.group))
        if not write.cached or known is None or known.value != write.value:
            return True
        return self._clock.monotonic() - known.time > self._force_seconds

    def _attempt(self, write: Write, outcome: Outcome, action: Callable[[File, Write, Outcome], bool]) -> bool:
        """Whether nothing is left to do for this write, be it because it failed."""
        started = self._clock.monotonic()
        key = f"{write.file} {write.group}"
        try:
            file = registry.find(write.file, self._cgroups.version)
            if not self._cgroups.supports(file, write.group):
                self._unsupported(write)
                return True
            done = action(file, write, outcome)
        except (OSError, ValueError, LookupError) as err:
            self._failed(write, err, outcome)
            done = True
        else:
            self._notices.over(key)
            self.observe((self._clock.monotonic() - started) * 1000, True)
        return done

    def _unsupported(self, write: Write) -> None:
        if self._cgroups.exists(write.file, write.group):
            self._notices.say(write.file, f"this kernel has no {write.file}: {write.owner} goes without it")

    def _failed(self, write: Write, err: Exception, outcome: Outcome) -> None:
        self._known.pop((write.file, write.group), None)
        if isinstance(err, OSError) and err.errno in _GONE:
            outcome.vanished += 1
            return
        outcome.failed += 1
        self.observe(0.0, False)
        reason = err.strerror if isinstance(err, OSError) else err
        message = (
            f"{write.owner or 'undo'}: {write.group or '/'}/{write.file} = {write.value}: {reason}; tried again every round"
        )
        self._notices.say(f"{write.file} {write.group}", message)

    def _widen(self, file: File, write: Write, outcome: Outcome) -> bool:
        """Pass one, parents first: write what grows. False when the value tightens and has to wait for pass two."""
        if file.merge is Merge.NONE:
            return self._put(file, write, outcome)
        text = self._encode(file, write)
        content = self._cgroups.read_once(write.file, write.group)
        merged = file.widened(content, write.value)
        if merged is None or merged == write.value:
            return merged is not None and self._put(file, write, outcome)
        self._change(write, content, merged, outcome)
        return text == merged

    def _put(self, file: File, write: Write, outcome: Outcome) -> bool:
        """Write the value unless the file says so already, and remember it."""
        text = self._encode(file, write)
        content = self._cgroups.read_once(write.file, write.group)
        if not file.same(content, text):
            self._change(write, content, text, outcome)
        self._known[write.file, write.group] = _Known(write.value, self._clock.monotonic())
        return True

    def _encode(self, file: File, write: Write) -> str:
        return write.value if write.raw else file.encode(write.value, self._cgroups.version)

    def _change(self, write: Write, content: str, text: str, outcome: Outcome) -> None:
        self._cgroups.write(write.file, write.group, text)
        outcome.written += 1
        if write.owner:
            self._before.setdefault(write.owner, {}).setdefault((write.file, write.group), _Before(write, content))
        path = self._cgroups.path(write.file, write.group)
        try:
            self._audit.record(write.subject, "UpdateCgroups", f"update {path} to {text}")
            self._notices.over("audit")
        except OSError as err:
            self._notices.say("audit", f"audit log: {err.strerror}; changes go on without it")
