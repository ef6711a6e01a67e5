"""What a pod's containers should do next: a pure function of the spec, what has happened, and the time.

Source of the rules: the kubelet. Init containers one after another; sidecars (init containers with restartPolicy Always) stay;
then the main ones together. Restarts wait 10 s, doubling to 5 min, forgotten after 10 quiet minutes; the first is immediate.
"""

import msgspec

from koordinator.cluster.nodes.process.podspec import ProcessContainer, ProcessPod, is_sidecar
from koordinator.cluster.nodes.process.runtime import Attempt, Exit

FIRST_BACKOFF, LONGEST_BACKOFF = 10.0, 300.0
FORGET_AFTER = 2 * LONGEST_BACKOFF


class Waiting(msgspec.Struct, frozen=True):
    reason: str
    message: str = ""


class Outcome(msgspec.Struct, frozen=True):
    """How a pod ended: Succeeded or Failed."""

    phase: str
    reason: str = ""
    message: str = ""


class Record(msgspec.Struct):
    """What has happened to one container of the pod."""

    spec: ProcessContainer
    attempt: Attempt | None = None
    previous: Attempt | None = None
    failure: Waiting | None = None  # why the last attempt could not even be made
    backoff: float = 0.0
    backoff_since: float = 0.0
    retry_at: float = 0.0
    started: bool = False  # its startup probe, if any, has passed
    ready: bool = False

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def exit(self) -> Exit | None:
        return self.attempt.exit if self.attempt else None

    @property
    def running(self) -> bool:
        return self.attempt is not None and self.attempt.exit is None

    @property
    def restarts(self) -> int:
        return self.attempt.number if self.attempt else 0

    def due(self) -> float:
        """When the next attempt may start; 0 for at once."""
        if self.failure is not None:
            return self.retry_at
        if self.exit is None or not self.backoff or self.exit.finished - self.backoff_since > FORGET_AFTER:
            return 0.0
        return self.exit.finished + self.backoff

    def count_restart(self, now: float) -> None:
        """Lengthen the wait before the attempt after the one that starts now."""
        forgotten = self.exit is not None and self.exit.finished - self.backoff_since > FORGET_AFTER
        self.backoff = FIRST_BACKOFF if not self.backoff or forgotten else min(2 * self.backoff, LONGEST_BACKOFF)
        self.backoff_since = now

    def refuse(self, failure: Waiting, now: float) -> None:
        """Remember that an attempt could not be made; it is tried again later, because what it misses may appear."""
        self.failure = failure
        self.count_restart(now)
        self.retry_at = now + self.backoff


class Plan(msgspec.Struct):
    """What to start now, what each held-back container waits for, when to look again, or how the pod ended."""

    start: list[str] = []
    waiting: dict[str, Waiting] = {}
    wake: float | None = None
    outcome: Outcome | None = None


class Board(msgspec.Struct):
    """All containers of a pod, in the order of the spec."""

    init: list[Record]
    main: list[Record]
    started: float  # when the node took the pod

    @property
    def all(self) -> list[Record]:
        return [*self.init, *self.main]

    def record(self, name: str) -> Record:
        return next(record for record in self.all if record.name == name)


def plan(pod: ProcessPod, board: Board, now: float) -> Plan:
    """The next steps."""
    result = Plan()
    deadline = pod.spec.active_deadline_seconds
    if deadline is not None:
        if now >= board.started + deadline:
            message = "Pod was active on the node longer than the specified deadline"
            return Plan(outcome=Outcome("Failed", "DeadlineExceeded", message))
        result.wake = board.started + deadline
    if _init_done(pod, board, result, now) and result.outcome is None:
        _plan_main(pod, board, result, now)
    return result


def _init_done(pod: ProcessPod, board: Board, result: Plan, now: float) -> bool:
    """Plan the init containers; whether the main ones may run."""
    mains_began = any(record.attempt for record in board.main)
    for record in board.init:
        if is_sidecar(record.spec):
            if not record.running:
                _request(pod, record, result, now)
            if not (record.running and record.started) and not mains_began:
                return False
        elif not mains_began and not _step_done(pod, record, result, now):
            return False
    return True


def _step_done(pod: ProcessPod, record: Record, result: Plan, now: float) -> bool:
    if record.exit is not None and record.exit.code == 0:
        return True
    if record.exit is not None and pod.restarts == "Never":
        result.outcome = Outcome("Failed")
    elif not record.running:
        _request(pod, record, result, now)
    return False


def _plan_main(pod: ProcessPod, board: Board, result: Plan, now: float) -> None:
    for record in board.main:
        if not record.running and (record.exit is None or should_restart(pod, record.exit)):
            _request(pod, record, result, now)
    exits = [record.exit for record in board.main]
    if all(end is not None and not should_restart(pod, end) for end in exits):
        failed = any(end is not None and end.code != 0 for end in exits)
        result.outcome = Outcome("Failed" if failed else "Succeeded")


def should_restart(pod: ProcessPod, end: Exit) -> bool:
    return pod.restarts == "Always" or (pod.restarts == "OnFailure" and end.code != 0)


def _request(pod: ProcessPod, record: Record, result: Plan, now: float) -> None:
    due = record.due()
    if now >= due:
        result.start.append(record.name)
        return
    result.wake = due if result.wake is None else min(result.wake, due)
    result.waiting[record.name] = record.failure or Waiting("CrashLoopBackOff", _back_off_message(pod, record))


def _back_off_message(pod: ProcessPod, record: Record) -> str:
    seconds = int(record.backoff)
    length = f"{seconds}s" if seconds < 60 else f"{seconds // 60}m{seconds % 60}s"
    where = f"{pod.name}_{pod.namespace}({pod.metadata.uid})"
    return f"back-off {length} restarting failed container={record.name} pod={where}"
