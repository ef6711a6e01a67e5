"""The pod status that a node reports: a pure function of the spec and what has happened.

Written as a merge patch of whole lists. Conditions that others own (``PodScheduled``, gates) are carried over from what the
node last saw.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from koordinator.api import qos
from koordinator.api.meta import format_time
from koordinator.cluster.nodes.process.plan import Board, Outcome, Plan, Record, Waiting
from koordinator.cluster.nodes.process.podspec import ProcessPod, RawPod, is_sidecar
from koordinator.cluster.nodes.process.runtime import Attempt

Conditions = list[dict[str, Any]]


class Facts(msgspec.Struct, frozen=True):
    """What the status says of the node."""

    address: str
    now: float


def pod_status(pod: ProcessPod, board: Board, plan: Plan, facts: Facts) -> dict[str, Any]:
    """Everything but the conditions."""
    outcome = plan.outcome or Outcome(phase(board))
    waiting_for = "ContainerCreating" if is_initialized(board) else "PodInitializing"
    return {
        "phase": outcome.phase,
        "reason": outcome.reason or None,
        "message": outcome.message or None,
        "startTime": format_time(board.started),
        "podIP": facts.address,
        "podIPs": [{"ip": facts.address}],
        "hostIP": facts.address,
        "hostIPs": [{"ip": facts.address}],
        "qosClass": qos.kube(pod),
        "initContainerStatuses": [_container_status(record, plan, "PodInitializing") for record in board.init] or None,
        "containerStatuses": [_container_status(record, plan, waiting_for) for record in board.main],
    }


def rejected(reason: str, message: str, now: float) -> dict[str, Any]:
    """The status of a pod that the node does not take."""
    return {"phase": "Failed", "reason": reason, "message": message, "startTime": format_time(now)}


def phase(board: Board) -> str:
    """Pending until every main container has started once; then Running until the plan says how it ended."""
    if all(record.attempt is not None for record in board.main):
        return "Running"
    return "Pending"


def is_initialized(board: Board) -> bool:
    """Whether the init containers have done their part."""
    if any(record.attempt for record in board.main):
        return True
    return all(_init_complete(record) for record in board.init)


def _init_complete(record: Record) -> bool:
    if is_sidecar(record.spec):
        return record.running and record.started
    return record.exit is not None and record.exit.code == 0


def conditions(board: Board, outcome: Outcome | None, seen: Iterable[Mapping[str, Any]], now: float) -> Conditions:
    """Own conditions computed, others' carried over, transition times kept where the status did not change."""
    initialized = is_initialized(board)
    unready = [record.name for record in board.all if _counts(record) and not record.ready]
    if outcome is not None:
        ready, why = False, {"reason": "PodCompleted"} if outcome.phase == "Succeeded" else {"reason": "PodFailed"}
    elif unready:
        ready, why = (
            False,
            {"reason": "ContainersNotReady", "message": f"containers with unready status: [{' '.join(unready)}]"},
        )
    else:
        ready, why = True, {}
    incomplete = [record.name for record in board.init if not _init_complete(record)]
    not_initialized = {
        "reason": "ContainersNotInitialized",
        "message": f"containers with incomplete status: [{' '.join(incomplete)}]",
    }
    wanted: Conditions = [
        {"type": "Initialized", "status": _word(initialized)} | ({} if initialized else not_initialized),
        {"type": "Ready", "status": _word(ready), **why},
        {"type": "ContainersReady", "status": _word(ready), **why},
    ]
    seen = list(seen)
    if all(condition["type"] != "PodScheduled" for condition in seen):
        wanted.append({"type": "PodScheduled", "status": "True"})
    return merge_conditions(wanted, seen, now)


def merge_conditions(wanted: Conditions, seen: Iterable[Mapping[str, Any]], now: float) -> Conditions:
    """Own conditions over those seen; a transition time moves only when the status does."""
    before = {condition["type"]: condition for condition in seen}
    merged = []
    for condition in wanted:
        old = before.pop(condition["type"], None)
        unchanged = old is not None and old.get("status") == condition["status"] and old.get("lastTransitionTime")
        merged.append({**condition, "lastTransitionTime": old["lastTransitionTime"] if old and unchanged else format_time(now)})
    return [*merged, *(dict(condition) for condition in before.values())]


def with_status(raw: RawPod, status: Mapping[str, Any]) -> dict[str, Any]:
    """The pod as JSON, as it was received, with this node's status over the server's."""
    body: dict[str, Any] = msgspec.to_builtins(raw)
    body.update(apiVersion="v1", kind="Pod")
    body["status"] = {name: value for name, value in {**raw.status, **status}.items() if value is not None}
    return body


def _counts(record: Record) -> bool:
    return record.spec.restart_policy is None or is_sidecar(record.spec)


def _container_status(record: Record, plan: Plan, waiting_for: str) -> dict[str, Any]:
    attempt = record.attempt
    return {
        "name": record.name,
        "image": record.spec.image or "",
        "imageID": "",
        "containerID": f"containerd://{attempt.id}" if attempt else "",
        "ready": record.ready,
        "started": record.running and record.started,
        "restartCount": record.restarts,
        "state": _state(record, plan, waiting_for),
        "lastState": _last_state(record, plan),
    }


def _state(record: Record, plan: Plan, waiting_for: str) -> dict[str, Any]:
    held = plan.waiting.get(record.name) if plan.outcome is None else None
    if held is not None:
        return {"waiting": _present(held)}
    if record.attempt is None:
        return {"waiting": _present(record.failure or Waiting(waiting_for))}
    if record.attempt.exit is None:
        return {"running": {"startedAt": format_time(record.attempt.started or record.attempt.created)}}
    return {"terminated": _terminated(record.attempt)}


def _last_state(record: Record, plan: Plan) -> dict[str, Any]:
    held = plan.outcome is None and record.name in plan.waiting
    last = record.attempt if held and record.exit is not None else record.previous
    return {"terminated": _terminated(last)} if last is not None and last.exit is not None else {}


def _terminated(attempt: Attempt) -> dict[str, Any]:
    end = attempt.exit
    assert end is not None  # noqa: S101 — callers have looked
    state = {
        "exitCode": end.code,
        "reason": end.reason,
        "startedAt": format_time(attempt.started or attempt.created),
        "finishedAt": format_time(end.finished),
        "containerID": f"containerd://{attempt.id}",
    }
    return state | ({"signal": end.signal} if end.signal else {}) | ({"message": end.message} if end.message else {})


def _present(waiting: Waiting) -> dict[str, str]:
    return {"reason": waiting.reason} | ({"message": waiting.message} if waiting.message else {})


def _word(value: bool) -> str:
    return "True" if value else "False"
