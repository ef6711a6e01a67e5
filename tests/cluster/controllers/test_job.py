import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.controllers.workloads import NOW, job, of, pod
from koordinator.api.core import ContainerState, ContainerStateTerminated, ContainerStatus
from koordinator.api.meta import format_time
from koordinator.cluster.controllers import indexed
from koordinator.cluster.controllers.changes import Create, Delete, Patch
from koordinator.cluster.controllers.job import BURST, Ledger, Tally, reconcile
from koordinator.cluster.controllers.objects import JobStatus


def of_job(owner, name, phase="Running", **fields):
    return pod(name, owner, "Job", phase=phase, labels={"job": owner.name}, **fields)


def failed(owner, name, ended):
    made = of_job(owner, name, "Failed")
    state = ContainerState(terminated=ContainerStateTerminated(exit_code=1, finished_at=format_time(ended)))
    made.status.container_statuses = [ContainerStatus(name="main", state=state)]
    return made


def status(outcome):
    return next((c.body["status"] for c in of(Patch, outcome.changes) if c.subresource == "status"), None)


def end(outcome):
    written = status(outcome) or {}
    return [(c["type"], c.get("reason")) for c in written.get("conditions") or [] if c["type"] in ("Complete", "Failed")]


def look(owner, *pods, past=None, now=NOW):
    return reconcile(owner, pods, past or Tally(), now)


def test_as_many_run_as_may_and_are_still_needed():
    assert len(of(Create, look(job(completions=5, parallelism=2)).changes)) == 2
    owner = job(completions=5, parallelism=4)
    done = [of_job(owner, f"d{i}", "Succeeded") for i in range(3)]
    assert len(of(Create, look(owner, *done).changes)) == 2
    assert len(of(Create, look(job()).changes)) == 1


def test_new_pods_carry_the_jobs_labels_and_owner():
    owner = job()
    metadata = of(Create, look(owner).changes)[0].body["metadata"]
    assert metadata["labels"]["batch.kubernetes.io/job-name"] == "batch"
    assert metadata["ownerReferences"][0]["kind"] == "Job"


def test_surplus_pods_go_when_parallelism_shrinks():
    owner = job(completions=5, parallelism=1)
    assert len(of(Delete, look(owner, of_job(owner, "a"), of_job(owner, "b")).changes)) == 1


def test_it_completes_with_the_last_success():
    owner = job(completions=2)
    outcome = look(owner, of_job(owner, "a", "Succeeded"), of_job(owner, "b", "Succeeded"))
    assert end(outcome) == [("Complete", None)]
    assert status(outcome)["succeeded"] == 2
    assert status(outcome)["completionTime"] == format_time(NOW)


def test_without_a_number_of_completions_the_first_success_lets_the_rest_end():
    owner = job(parallelism=3)
    pods = [of_job(owner, "a", "Succeeded"), of_job(owner, "b")]
    assert not of(Create, look(owner, *pods).changes)
    assert end(look(owner, *pods)) == []
    assert end(look(owner, pods[0])) == [("Complete", None)]


def test_failures_are_retried_later_and_later_then_not_at_all():
    owner = job(backoff_limit=2)
    one = look(owner, failed(owner, "a", NOW - 4))
    assert not of(Create, one.changes)
    assert one.again_after == 6
    assert len(of(Create, look(owner, failed(owner, "a", NOW - 11)).changes)) == 1
    two = look(owner, failed(owner, "a", NOW - 30), failed(owner, "b", NOW - 4))
    assert two.again_after == 16
    three = [failed(owner, name, NOW - 400) for name in "abc"]
    outcome = look(owner, *three, of_job(owner, "d"))
    assert end(outcome) == [("Failed", "BackoffLimitExceeded")]
    assert [change.name for change in of(Delete, outcome.changes)] == ["d"]


def test_restarts_in_place_count_as_failures():
    owner = job(backoff_limit=2)
    owner.spec.template["spec"]["restartPolicy"] = "OnFailure"
    assert end(look(owner, of_job(owner, "a", restarts=2))) == []
    assert end(look(owner, of_job(owner, "a", restarts=3))) == [("Failed", "BackoffLimitExceeded")]


def test_a_pod_that_failed_because_it_was_deleted_has_not_failed():
    owner = job(backoff_limit=0)
    assert end(look(owner, of_job(owner, "a", "Failed", deleting=True))) == []


def test_the_deadline_ends_it():
    owner = job(active_deadline_seconds=60)
    owner.status.start_time = format_time(NOW - 50)
    assert look(owner, of_job(owner, "a")).again_after == 10
    outcome = look(owner, of_job(owner, "a"), now=NOW + 10)
    assert end(outcome) == [("Failed", "DeadlineExceeded")]
    assert len(of(Delete, outcome.changes)) == 1


def test_suspending_ends_the_pods_and_resuming_starts_the_clock_anew():
    owner = job(suspend=True)
    outcome = look(owner, of_job(owner, "a"))
    assert len(of(Delete, outcome.changes)) == 1
    assert status(outcome)["conditions"][0]["reason"] == "JobSuspended"
    owner.status = msgspec.convert(status(outcome), JobStatus)
    assert look(owner).changes == []
    owner.spec.suspend = False
    resumed = look(owner)
    assert status(resumed)["conditions"][0]["status"] == "False"
    assert status(resumed)["startTime"] == format_time(NOW)
    assert len(of(Create, resumed.changes)) == 1


def test_the_time_to_live_takes_the_finished_job_away():
    owner = job(ttl_seconds_after_finished=30)
    owner.status = msgspec.convert(status(look(owner, of_job(owner, "a", "Succeeded"))), JobStatus)
    assert look(owner, now=NOW + 10).again_after == 20
    assert [change.name for change in of(Delete, look(owner, now=NOW + 30).changes)] == ["batch"]


def test_a_settled_job_is_left_alone():
    owner = job(completions=1)
    running = of_job(owner, "a")
    owner.status = msgspec.convert(status(look(owner, running)), JobStatus)
    assert look(owner, running).changes == []
    owner.status = msgspec.convert(status(look(owner, of_job(owner, "a", "Succeeded"))), JobStatus)
    assert look(owner).changes == []


def test_deleted_pods_still_count():
    owner, ledger = job(completions=3), Ledger()
    first, second = of_job(owner, "a", "Succeeded"), of_job(owner, "b", "Succeeded")
    assert ledger.past(owner, [first, second]) == Tally(0, 0)
    assert ledger.past(owner, [second]) == Tally(1, 0)
    assert status(look(owner, second, past=Tally(1, 0)))["succeeded"] == 2
    owner.status.succeeded = 2
    assert Ledger().past(owner, [second]) == Tally(1, 0), "after a restart, the status tells"
    ledger.forget(owner.metadata.uid)


def test_indexed_jobs_give_every_number_once():
    owner = job(completions=4, parallelism=4, completion_mode="Indexed")
    owner.status.completed_indexes = "2"
    done = of_job(owner, "x", "Succeeded", annotations={indexed.INDEX: "0"})
    working = of_job(owner, "y", annotations={indexed.INDEX: "3"})
    outcome = look(owner, done, working)
    (create,) = of(Create, outcome.changes)
    assert create.body["metadata"]["annotations"][indexed.INDEX] == "1"
    assert create.body["metadata"]["name"].startswith("batch-1-")
    assert create.body["spec"]["containers"][0]["env"] == [{"name": "JOB_COMPLETION_INDEX", "value": "1"}]
    assert status(outcome)["completedIndexes"] == "0,2"


@given(st.sets(st.integers(0, 200)))
def test_index_lists_come_back_as_they_were(indexes):
    assert indexed.parse(indexed.text(indexes)) == indexes


@pytest.mark.parametrize("text", ["", ",", "a", "1-b", "3-"])
def test_unreadable_index_lists_do_no_harm(text):
    assert indexed.parse(text) <= {3}


@given(
    completions=st.one_of(st.none(), st.integers(0, 20)),
    parallelism=st.integers(0, 2 * BURST),
    active=st.integers(0, 20),
    succeeded=st.integers(0, 20),
)
def test_never_more_at_work_than_allowed_or_needed(completions, parallelism, active, succeeded):
    owner = job(completions=completions, parallelism=parallelism)
    pods = [of_job(owner, f"a{i}") for i in range(active)] + [of_job(owner, f"s{i}", "Succeeded") for i in range(succeeded)]
    outcome = look(owner, *pods)
    after = active + len(of(Create, outcome.changes)) - len(of(Delete, outcome.changes))
    assert 0 <= after <= parallelism or after == 0
    if completions is not None:
        assert after + succeeded <= max(completions, succeeded)
