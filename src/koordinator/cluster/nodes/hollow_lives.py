"""The life of a pod on a hollow node, as pure decisions: start it, end it, restart it, let it go.

Everything is read from the pod itself (its status says when it started), so a restarted process goes on where the last one was.
"""

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec

from koordinator.api import durations
from koordinator.api.annotations import Malformed, Text
from koordinator.api.core import ContainerStatus, Pod
from koordinator.api.meta import format_time, parse_time

PREFIX = "hollow.koordinator.sh/"
DEFAULT_GRACE = 30


class Span(msgspec.Struct, frozen=True):
    """A time between two bounds; which one is the pod's own lot, the same at every look."""

    low: float
    high: float

    def of(self, pod: Pod, purpose: str) -> float:
        if self.low == self.high:
            return self.low
        digest = hashlib.blake2b(f"{pod.metadata.uid}/{purpose}".encode(), digest_size=8).digest()
        return self.low + (self.high - self.low) * int.from_bytes(digest) / 2**64


def _span(text: str) -> Span:
    """``30s``, or ``10s..1m`` for something in between."""
    low, dots, high = text.partition("..")
    span = Span(durations.seconds(low), durations.seconds(high if dots else low))
    if span.low < 0:
        raise ValueError("must not be negative")
    if span.high < span.low:
        raise ValueError("must name the shorter time first")
    return span


START = Text(f"{PREFIX}start-duration", _span)
"""How long they take to be running and ready; at once when absent."""
DURATION = Text(f"{PREFIX}duration", _span)
"""How long the containers run before they end by themselves."""
EXIT_CODE = Text(f"{PREFIX}exit-code", int)
"""What they end with; 0 when absent."""
STOP = Text(f"{PREFIX}stop-duration", _span)
"""How long they take to end when asked to; at most the grace period."""


class Habits(msgspec.Struct, frozen=True):
    """What pods do that say nothing: how long a job's pod runs, how long stopping takes."""

    job_seconds: float = 10.0
    stop_seconds: float = 0.5


class Place(msgspec.Struct, frozen=True):
    """Addresses that a pod gets when it starts."""

    host_ip: str
    pod_ip: str


class Write(msgspec.Struct, frozen=True):
    """Patch the pod's status with this."""

    status: dict[str, Any]


class Remove(msgspec.Struct, frozen=True):
    """The containers have ended: delete the pod for good."""


class Wait(msgspec.Struct, frozen=True):
    """Nothing before so many seconds have passed."""

    seconds: float


Step = Write | Remove | Wait | None


def step(pod: Pod, place: Callable[[Pod], Place], habits: Habits, now: float) -> Step:
    """What happens to this pod now."""
    if pod.metadata.deletion_timestamp:
        left = _stop_at(pod, habits) - now
        return Wait(left) if left > 0 else Remove()
    match pod.status.phase:
        case "" | "Pending":
            if (left := _start_at(pod) - now) > 0:
                return Wait(left)
            return Write(running(pod, place(pod), now))
        case "Running":
            return _run_on(pod, habits, now)
    return None


def malformed(pod: Pod) -> list[Malformed]:
    """Annotations of ours that cannot be read; each counts as absent."""
    if not pod.metadata.annotations:
        return []
    found = (annotation.read(pod.annotations) for annotation in (START, DURATION, EXIT_CODE, STOP))
    return [value for value in found if isinstance(value, Malformed)]


def _read(annotation: Text[Any], pod: Pod) -> Any:
    value = annotation.read(pod.metadata.annotations)
    return None if isinstance(value, Malformed) else value


def run_seconds(pod: Pod, habits: Habits) -> float | None:
    """How long a run takes; None: for ever."""
    span: Span | None = _read(DURATION, pod)
    if span is not None:
        return span.of(pod, "run")
    return habits.job_seconds if pod.owner is not None and pod.owner.kind == "Job" else None


def _start_at(pod: Pod) -> float:
    """When the containers run, counted from when the pod got its node."""
    span: Span | None = _read(START, pod)
    if span is None:
        return 0.0
    bound = next((c.last_transition_time for c in pod.status.conditions or [] if c.type == "PodScheduled"), None)
    return (parse_time(bound) or parse_time(pod.metadata.creation_timestamp) or 0.0) + span.of(pod, "start")


def _stop_at(pod: Pod, habits: Habits) -> float:
    """When the containers have ended after a deletion. The time stamp is the end of the grace period, in whole seconds."""
    grace = pod.metadata.deletion_grace_period_seconds
    grace = DEFAULT_GRACE if grace is None else grace
    asked = (parse_time(pod.metadata.deletion_timestamp) or 0.0) - grace
    wanted: Span | None = _read(STOP, pod)
    return asked + min(float(grace), habits.stop_seconds if wanted is None else wanted.of(pod, "stop"))


def _run_on(pod: Pod, habits: Habits, now: float) -> Step:
    seconds = run_seconds(pod, habits)
    started = started_at(pod)
    if seconds is None or started is None:
        return None
    left = started + max(seconds, 0.0) - now
    if left > 0:
        return Wait(left)
    code = _read(EXIT_CODE, pod) or 0
    policy = pod.spec.restart_policy or "Always"
    if policy == "Always" or (policy == "OnFailure" and code != 0):
        # a container that ends at once is not started again at once
        return Write(_restarted(pod, code, now)) if now - started >= 1.0 else Wait(1.0 - (now - started))
    return Write(_finished(pod, code, now))


def started_at(pod: Pod) -> float | None:
    """When the present run of the containers began."""
    for status in pod.status.container_statuses or []:
        if status.state is not None and status.state.running is not None:
            return parse_time(status.state.running.started_at)
    return parse_time(pod.status.start_time)


def running(pod: Pod, place: Place, now: float) -> dict[str, Any]:
    """The status of a pod whose containers have just started."""
    stamp = format_time(now)
    body: dict[str, Any] = {
        "phase": "Running",
        "startTime": stamp,
        "hostIP": place.host_ip,
        "podIP": place.pod_ip,
        "podIPs": [{"ip": place.pod_ip}],
        "conditions": _conditions(pod, "True", stamp),
        "containerStatuses": [
            _container(pod, container.name, container.image, {"running": {"startedAt": stamp}}, ready=True)
            for container in pod.spec.containers
        ],
    }
    if pod.spec.init_containers:
        done = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": stamp, "finishedAt": stamp}}
        body["initContainerStatuses"] = [
            _container(pod, container.name, container.image, done, ready=True) for container in pod.spec.init_containers
        ]
    return body


def _finished(pod: Pod, code: int, now: float) -> dict[str, Any]:
    stamp = format_time(now)
    state = {"terminated": _ended(pod, code, stamp)}
    return {
        "phase": "Failed" if code else "Succeeded",
        "conditions": _conditions(pod, "False", stamp, "PodFailed" if code else "PodCompleted"),
        "containerStatuses": [_again(pod, status, state, ready=False) for status in pod.status.container_statuses or []],
    }


def _restarted(pod: Pod, code: int, now: float) -> dict[str, Any]:
    stamp = format_time(now)
    last = {"terminated": _ended(pod, code, stamp)}
    statuses = [
        _again(pod, status, {"running": {"startedAt": stamp}}, ready=True)
        | {"restartCount": status.restart_count + 1, "lastState": last}
        for status in pod.status.container_statuses or []
    ]
    return {"containerStatuses": statuses}


def _ended(pod: Pod, code: int, stamp: str) -> dict[str, Any]:
    began = started_at(pod)
    started = {"startedAt": format_time(began)} if began is not None else {}
    return {"exitCode": code, "reason": "Error" if code else "Completed", "finishedAt": stamp, **started}


def _container(pod: Pod, name: str, image: str | None, state: dict[str, Any], *, ready: bool) -> dict[str, Any]:
    return {
        "name": name,
        "image": image or "",
        "imageID": "",
        "containerID": f"containerd://{hashlib.sha256(f'{pod.metadata.uid}/{name}'.encode()).hexdigest()}",
        "ready": ready,
        "started": ready,
        "restartCount": 0,
        "state": state,
    }


def _again(pod: Pod, status: ContainerStatus, state: dict[str, Any], *, ready: bool) -> dict[str, Any]:
    return _container(pod, status.name, status.image, state, ready=ready) | {"restartCount": status.restart_count}


def _conditions(pod: Pod, ready: str, stamp: str, reason: str = "") -> list[dict[str, Any]]:
    """Ours renewed, everybody else's (PodScheduled above all) kept."""
    ours = {"Initialized": "True", "Ready": ready, "ContainersReady": ready}
    held = {condition.type: condition for condition in pod.status.conditions or []}
    kept = [msgspec.to_builtins(condition) for type_, condition in held.items() if type_ not in ours]
    return kept + [_condition(type_, state, held.get(type_), stamp, reason) for type_, state in ours.items()]


def _condition(type_: str, state: str, held: Any, stamp: str, reason: str) -> dict[str, Any]:
    since = held.last_transition_time if held is not None and held.status == state else stamp
    body = {"type": type_, "status": state, "lastProbeTime": None, "lastTransitionTime": since}
    return body | ({"reason": reason} if reason else {})
