from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.cluster.nodes.process.plan import Board, Outcome, Record, Waiting, plan
from koordinator.cluster.nodes.process.runtime import Attempt, Exit


def board_of(raw, began=0.0):
    spec = raw.typed().spec
    return Board([Record(c) for c in spec.init_containers or []], [Record(c) for c in spec.containers], began)


def run(record, number=0):
    record.attempt = Attempt(record.name, number, "id", Path(), "")
    record.started = True


def end(record, code=0, at=0.0):
    if record.attempt is None:
        run(record)
    record.attempt.exit = Exit(code, "Error" if code else "Completed", at)


A, B = {"command": ["a"]}, {"command": ["b"]}


def test_all_main_containers_start_together(pod):
    raw = pod(A, B)
    assert plan(raw.typed(), board_of(raw), 0).start == ["c0", "c1"]


def test_init_containers_go_one_by_one_and_before_the_rest(pod):
    raw = pod(A, initContainers=[{"name": "i0"}, {"name": "i1"}])
    board, typed = board_of(raw), raw.typed()
    assert plan(typed, board, 0).start == ["i0"]
    run(board.init[0])
    assert plan(typed, board, 0).start == []
    end(board.init[0])
    assert plan(typed, board, 0).start == ["i1"]
    end(board.init[1])
    assert plan(typed, board, 0).start == ["c0"]


def test_a_failed_init_container_fails_a_pod_that_never_restarts(pod):
    raw = pod(A, initContainers=[{"name": "i0"}], restartPolicy="Never")
    board = board_of(raw)
    end(board.init[0], 1)
    assert plan(raw.typed(), board, 0).outcome == Outcome("Failed")


def test_a_sidecar_lets_the_next_go_once_started_and_is_restarted_for_ever(pod):
    raw = pod(A, initContainers=[{"name": "s", "restartPolicy": "Always"}, {"name": "i"}], restartPolicy="Never")
    board, typed = board_of(raw), raw.typed()
    assert plan(typed, board, 0).start == ["s"]
    run(board.init[0])
    assert plan(typed, board, 0).start == ["i"]
    end(board.init[1])
    run(board.main[0])
    end(board.init[0], 1)
    assert plan(typed, board, 0).start == ["s"]
    end(board.main[0])
    assert plan(typed, board, 0).outcome == Outcome("Succeeded")


@pytest.mark.parametrize(
    ("policy", "code", "restarts"),
    [
        ("Always", 0, True),
        ("Always", 1, True),
        ("OnFailure", 0, False),
        ("OnFailure", 1, True),
        ("Never", 0, False),
        ("Never", 1, False),
    ],
)
def test_restart_policies(pod, policy, code, restarts):
    raw = pod(A, restartPolicy=policy)
    board = board_of(raw)
    end(board.main[0], code)
    result = plan(raw.typed(), board, 0)
    assert result.start == (["c0"] if restarts else [])
    assert result.outcome == (None if restarts else Outcome("Failed" if code else "Succeeded"))


def test_waits_between_restarts_double_to_five_minutes_and_the_first_is_immediate(pod):
    raw = pod(A)
    board, typed = board_of(raw), raw.typed()
    record, now, waits = board.main[0], 1000.0, []
    for number in range(8):
        run(record, number)
        end(record, 1, at=now)
        result = plan(typed, board, now)
        waits.append(0 if result.start else result.wake - now)
        now += waits[-1]
        assert plan(typed, board, now).start == ["c0"]
        record.count_restart(now)
    assert waits == [0, 10, 20, 40, 80, 160, 300, 300]


def test_a_held_back_container_says_how_long(pod):
    raw = pod(A)
    board = board_of(raw)
    record = board.main[0]
    record.backoff, record.backoff_since = 80.0, 100.0
    end(record, 1, at=110.0)
    message = "back-off 1m20s restarting failed container=c0 pod=web_default(uid-web)"
    assert plan(raw.typed(), board, 111.0).waiting == {"c0": Waiting("CrashLoopBackOff", message)}


def test_ten_quiet_minutes_forget_the_waits(pod):
    raw = pod(A)
    board = board_of(raw)
    record = board.main[0]
    record.backoff, record.backoff_since = 300.0, 100.0
    end(record, 1, at=701.0)
    assert plan(raw.typed(), board, 701.0).start == ["c0"]
    record.count_restart(701.0)
    assert record.backoff == 10.0


def test_a_container_that_cannot_be_made_is_tried_again_without_counting_as_restart(pod):
    raw = pod(A, restartPolicy="Never")
    board = board_of(raw)
    board.main[0].refuse(Waiting("CreateContainerError", "no command"), 0.0)
    held = plan(raw.typed(), board, 5.0)
    assert (held.start, held.wake, held.waiting["c0"].reason) == ([], 10.0, "CreateContainerError")
    assert plan(raw.typed(), board, 10.0).start == ["c0"]
    assert board.main[0].restarts == 0


def test_the_active_deadline_ends_the_pod(pod):
    raw = pod(A, activeDeadlineSeconds=30)
    board = board_of(raw, began=100.0)
    run(board.main[0])
    assert plan(raw.typed(), board, 129.0).wake == 130.0
    assert plan(raw.typed(), board, 130.0).outcome.reason == "DeadlineExceeded"


@given(codes=st.lists(st.integers(0, 3), min_size=1, max_size=5), policy=st.sampled_from(["Always", "OnFailure", "Never"]))
def test_a_pod_ends_exactly_when_nothing_may_run_again(codes, policy):
    import msgspec

    from koordinator.cluster.nodes.process.podspec import RawPod

    containers = [{"name": f"c{i}"} for i in range(len(codes))]
    raw = msgspec.convert({"spec": {"containers": containers, "restartPolicy": policy}}, RawPod)
    board = board_of(raw)
    for record, code in zip(board.main, codes, strict=True):
        end(record, code)
    result = plan(raw.typed(), board, 0)
    assert (result.outcome is None) == bool(result.start)
    if result.outcome:
        assert (result.outcome.phase == "Failed") == any(codes)
