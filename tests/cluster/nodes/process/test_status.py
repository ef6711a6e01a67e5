from pathlib import Path

from koordinator.cluster.nodes.process.plan import Board, Outcome, Plan, Record, Waiting
from koordinator.cluster.nodes.process.runtime import Attempt, Exit, exit_of
from koordinator.cluster.nodes.process.status import Facts, conditions, merge_conditions, pod_status, with_status

NOW = 1_767_225_600.0
FACTS = Facts("127.0.0.1", NOW)


def board(raw, **attempts):
    spec = raw.typed().spec
    found = Board([Record(c) for c in spec.init_containers or []], [Record(c) for c in spec.containers], NOW)
    for record in found.all:
        record.attempt = attempts.get(record.name)
        record.started = record.ready = record.running
    return found


def attempt(number=0, end=None):
    return Attempt("c0", number, "f" * 64, Path(), "", created=NOW, started=NOW, exit=end)


def status(raw, found, plan=None):
    return pod_status(raw.typed(), found, plan or Plan(), FACTS)


def words(raw, found, outcome=None, seen=()):
    return {one["type"]: one["status"] for one in conditions(found, outcome, seen, NOW)}


def test_a_new_pod_waits_for_its_containers(pod):
    raw = pod({}, initContainers=[{"name": "i"}])
    got = status(raw, board(raw))
    assert got["phase"] == "Pending"
    assert got["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}
    assert words(raw, board(raw)) == {
        "Initialized": "False",
        "Ready": "False",
        "ContainersReady": "False",
        "PodScheduled": "True",
    }


def test_a_container_that_is_held_back_shows_its_last_end(pod):
    raw = pod({})
    found = board(raw, c0=attempt(2, Exit(1, "Error", NOW)))
    held = Plan(waiting={"c0": Waiting("CrashLoopBackOff", "back-off 20s")})
    one = status(raw, found, held)["containerStatuses"][0]
    assert one["state"] == {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 20s"}}
    assert (one["restartCount"], one["lastState"]["terminated"]["exitCode"]) == (2, 1)


def test_a_restarted_container_shows_the_end_before(pod):
    raw = pod({})
    found = board(raw, c0=attempt(1))
    found.main[0].previous = attempt(0, Exit(137, "OOMKilled", NOW, signal=9))
    one = status(raw, found)["containerStatuses"][0]
    assert "running" in one["state"]
    assert one["lastState"]["terminated"]["reason"] == "OOMKilled"


def test_the_outcome_is_the_phase(pod):
    raw = pod({})
    found = board(raw, c0=attempt(0, Exit(0, "Completed", NOW)))
    got = status(raw, found, Plan(outcome=Outcome("Failed", "DeadlineExceeded", "too long")))
    assert (got["phase"], got["reason"], got["message"]) == ("Failed", "DeadlineExceeded", "too long")
    assert words(raw, found, Outcome("Succeeded"))["Ready"] == "False"


def test_transition_times_move_only_with_the_status():
    seen = [{"type": "Ready", "status": "True", "lastTransitionTime": "2025-01-01T00:00:00Z"}]
    same, changed = (merge_conditions([{"type": "Ready", "status": word}], seen, NOW)[0] for word in ("True", "False"))
    assert same["lastTransitionTime"] == "2025-01-01T00:00:00Z"
    assert changed["lastTransitionTime"] == "2026-01-01T00:00:00Z"


def test_conditions_of_others_are_carried_over(pod):
    raw = pod({})
    other = {"type": "example.com/gate", "status": "True"}
    assert other in conditions(board(raw), None, [other], NOW)


def test_the_shown_pod_keeps_what_came_and_takes_the_nodes_status(pod):
    raw = pod({"unknown": 1}, meta={"annotations": {"a": "b"}})
    raw.status = {"qosClass": "Guaranteed", "reason": "old"}
    shown = with_status(raw, {"phase": "Running", "reason": None})
    assert shown["spec"]["containers"][0]["unknown"] == 1
    assert shown["metadata"]["annotations"] == {"a": "b"}
    assert shown["status"] == {"qosClass": "Guaranteed", "phase": "Running"}


def test_how_ends_are_called():
    end = {"code": 137, "signal": 9, "finished": 10**9, "oom_kills": 0}
    assert exit_of(end) == Exit(137, "Error", 1.0, signal=9)
    assert exit_of(end | {"oom_kills": 1}).reason == "OOMKilled"
    assert exit_of(end | {"code": 0, "signal": 0, "oom_kills": 1}).reason == "Completed"
    assert exit_of({"code": 128, "error": "exec 'x': nope", "finished": 10**9}).reason == "StartError"
