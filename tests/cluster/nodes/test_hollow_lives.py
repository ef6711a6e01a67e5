import msgspec
import pytest

from koordinator.api.core import Container, Pod, PodSpec, PodStatus
from koordinator.api.meta import Condition, ObjectMeta, OwnerReference, format_time
from koordinator.cluster.nodes.hollow_lives import Habits, Place, Remove, Wait, Write, malformed, run_seconds, step

NOW = 1_767_225_600.0
HABITS = Habits(job_seconds=10, stop_seconds=2)


def pod(policy="Always", owner=None, **annotations):
    references = [OwnerReference(kind=owner, name="o", uid="u", controller=True)] if owner else None
    notes = {f"hollow.koordinator.sh/{key.replace('_', '-')}": value for key, value in annotations.items()}
    scheduled = Condition(type="PodScheduled", status="True", last_transition_time=format_time(NOW - 5))
    return Pod(
        metadata=ObjectMeta(name="p", namespace="default", uid="uid-p", annotations=notes, owner_references=references),
        spec=PodSpec(restart_policy=policy, containers=[Container(name="main", image="i")]),
        status=PodStatus(phase="Pending", conditions=[scheduled]),
    )


def look(one, now=NOW):
    return step(one, lambda _: Place("10.0.0.1", "10.1.0.1"), HABITS, now)


def after(one, now=NOW):
    """The pod as it is once the step's status has been written."""
    status = look(one, now).status
    one.status = msgspec.convert(msgspec.to_builtins(one.status) | status, PodStatus)
    return one


def condition(one, type_):
    return next(c.status for c in one.status.conditions if c.type == type_)


def test_a_bound_pod_starts_at_once_and_keeps_others_conditions():
    running = after(pod())
    assert (running.status.phase, running.status.pod_ip, running.status.host_ip) == ("Running", "10.1.0.1", "10.0.0.1")
    assert {c.type for c in running.status.conditions} == {"PodScheduled", "Initialized", "Ready", "ContainersReady"}
    assert condition(running, "Ready") == "True"
    assert running.status.container_statuses[0].state.running.started_at == format_time(NOW)


def test_a_service_runs_for_ever():
    assert look(after(pod()), NOW + 1e6) is None


def test_a_pod_with_a_duration_ends_after_it():
    running = after(pod("Never", duration="30s"))
    assert look(running, NOW + 10) == Wait(20)
    done = after(running, NOW + 30)
    assert (done.status.phase, condition(done, "Ready")) == ("Succeeded", "False")
    assert done.status.container_statuses[0].state.terminated.exit_code == 0
    assert look(done, NOW + 60) is None


def test_a_jobs_pod_ends_by_itself():
    assert look(after(pod("Never", owner="Job")), NOW + 4) == Wait(6)
    assert look(after(pod("Never", owner="ReplicaSet")), NOW + 100) is None


def test_an_exit_code_makes_it_fail():
    failed = after(after(pod("Never", duration="1s", exit_code="3")), NOW + 1)
    assert failed.status.phase == "Failed"
    assert failed.status.container_statuses[0].state.terminated.exit_code == 3


@pytest.mark.parametrize(("policy", "code", "restarts"), [("Always", "0", 1), ("OnFailure", "1", 1), ("OnFailure", "0", 0)])
def test_restarting_follows_the_policy(policy, code, restarts):
    ended = after(after(pod(policy, duration="5s", exit_code=code)), NOW + 5)
    assert ended.status.container_statuses[0].restart_count == restarts
    assert ended.status.phase == ("Running" if restarts else "Succeeded")


def test_a_container_that_ends_at_once_does_not_spin():
    running = after(pod("Always", duration="0s"))
    assert look(running, NOW) == Wait(1.0)


def deleted(one, grace, asked=NOW):
    one.metadata.deletion_timestamp = format_time(asked + grace)
    one.metadata.deletion_grace_period_seconds = grace
    return one


def test_deletion_takes_as_long_as_stopping_does_within_the_grace():
    assert look(deleted(after(pod()), 30)) == Wait(2)
    assert look(deleted(after(pod()), 30), NOW + 2) == Remove()
    assert look(deleted(after(pod()), 1)) == Wait(1)
    assert look(deleted(after(pod(stop_duration="20s")), 30), NOW + 5) == Wait(15)
    assert look(deleted(after(pod(stop_duration="1h")), 30), NOW + 5) == Wait(25)


def test_unreadable_annotations_count_as_absent_and_are_named():
    odd = pod("Never", duration="soon", exit_code="x", stop_duration="-1s")
    assert [problem.key.rpartition("/")[2] for problem in malformed(odd)] == ["duration", "exit-code", "stop-duration"]
    assert look(after(odd), NOW + 100) is None
    assert isinstance(look(odd), Write | None)


def test_a_slow_start_counts_from_when_the_pod_got_its_node():
    slow = pod(start_duration="20s")
    assert look(slow) == Wait(15.0)
    assert isinstance(look(slow, now=NOW + 15), Write)


def test_a_duration_between_bounds_is_the_pods_own_and_stays():
    lots = set()
    for number in range(50):
        one = pod(duration="10s..1m")
        one.metadata.uid = f"uid-{number}"
        seconds = run_seconds(one, HABITS)
        assert 10 <= seconds <= 60
        assert seconds == run_seconds(one, HABITS)
        lots.add(seconds)
    assert len(lots) > 40


@pytest.mark.parametrize("text", ["-5s", "1m..10s", "..", "10s..", "soon"])
def test_durations_that_make_no_sense_are_named(text):
    assert [one.key for one in malformed(pod(duration=text))] == ["hollow.koordinator.sh/duration"]
