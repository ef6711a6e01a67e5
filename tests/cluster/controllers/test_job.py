import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.controllers.workloads import NOW, job, of, pod
from koordinator.api.core import ContainerState, ContainerStateTerminated, ContainerStatus
from koordinator.api.meta import format_time
from koordinator.cluster.controllers import indexed, tracking
from koordinator.cluster.controllers.changes import Create, Delete, Patch
from koordinator.cluster.controllers.job import BURST, reconcile
from koordinator.cluster.controllers.objects import JobStatus, UncountedPods


def of_job(owner, name, phase="Running", *, held=True, **fields):
    made = pod(name, owner, "Job", phase=phase, labels={"job": owner.name}, **fields)
    made.metadata.finalizers = [tracking.FINALIZER] if held else None
    return made


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


def look(owner, *pods, now=NOW):
    return reconcile(owner, pods, now)


def released(outcome):
    return [c.name for c in of(Patch, outcome.changes) if c.body.get("metadata", {}).get("finalizers") == []]


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
    stopped, on_its_own = failed(owner, "a", NOW + 1), failed(owner, "b", NOW - 1)
    for dying in (stopped, on_its_own):
        dying.metadata.deletion_timestamp = format_time(NOW)
    outcome = look(owner, stopped)
    assert end(outcome) == []
    assert released(outcome) == ["a"]
    assert end(look(owner, on_its_own)) == [("Failed", "BackoffLimitExceeded")]


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


def test_a_finished_pod_is_listed_then_let_go_then_counted():
    owner = job(completions=3)
    done = of_job(owner, "a", "Succeeded")
    first = look(owner, done)
    assert status(first)["uncountedTerminatedPods"] == {"succeeded": ["uid-a"], "failed": None}
    assert status(first)["succeeded"] == 0
    assert released(first) == ["a"]
    order = [change.name for change in of(Patch, first.changes)]
    assert order.index("batch") < order.index("a"), "never let go before it is listed"
    owner.status = msgspec.convert(status(first), JobStatus)
    assert status(look(owner, done)) is None, "still held: nothing to count yet"
    after = status(look(owner))
    assert (after["succeeded"], after["uncountedTerminatedPods"]) == (1, None)


def test_adopted_pods_are_held_and_pods_that_left_unfinished_are_let_go():
    owner = job(parallelism=4, completions=9)
    adopted = of_job(owner, "new", held=False)
    hold = next(c for c in of(Patch, look(owner, adopted).changes) if c.name == "new")
    assert hold.body["metadata"]["finalizers"] == [tracking.FINALIZER]
    ending, gone = of_job(owner, "ending", deleting=True), of_job(owner, "gone", deleting=True)
    ending.metadata.deletion_grace_period_seconds, gone.metadata.deletion_grace_period_seconds = 30, 0
    assert released(look(owner, ending, gone)) == ["gone"]


def test_a_job_that_goes_lets_its_pods_go():
    owner = job()
    owner.metadata.deletion_timestamp = format_time(NOW)
    assert released(look(owner, of_job(owner, "a"), of_job(owner, "b", "Succeeded"))) == ["a", "b"]


def test_pods_of_an_ended_job_are_let_go():
    owner = job()
    done = of_job(owner, "a", "Succeeded")
    ended = look(owner, done)
    owner.status = msgspec.convert(status(ended), JobStatus)
    assert owner.status.succeeded == 1
    assert owner.status.uncounted_terminated_pods is None
    assert released(look(owner, done)) == ["a"]


class Shop:
    """A job and its pods on a server whose clients crash between any two writes."""

    def __init__(self, pods):
        self.job, self.pods = job(completions=10**6, parallelism=0, backoff_limit=10**6), {}
        for index in range(pods):
            name = f"p{index}"
            self.pods[name] = of_job(self.job, name)

    def act(self, what, number):
        name = f"p{number}"
        held = self.pods.get(name)
        if what == "decide":
            for change in of(Patch, look(self.job, *self.pods.values()).changes)[:number]:
                self.write(change)
        elif held is not None and what == "delete" and not held.metadata.finalizers:
            del self.pods[name]
        elif held is not None and what in ("Succeeded", "Failed") and not held.terminated:
            held.status.phase = what
            self.ended[what] += 1

    ended: dict[str, int]

    def write(self, change):
        if change.name == self.job.name:
            held = msgspec.to_builtins(self.job.status) | change.body["status"]
            self.job.status = msgspec.convert({key: value for key, value in held.items() if value is not None}, JobStatus)
        elif change.name in self.pods:
            self.pods[change.name].metadata.finalizers = change.body["metadata"]["finalizers"] or None


@given(st.lists(st.tuples(st.sampled_from(["decide", "delete", "Succeeded", "Failed"]), st.integers(0, 5)), max_size=60))
def test_every_pod_counts_once_whatever_is_deleted_and_wherever_it_crashes(steps):
    shop = Shop(5)
    shop.ended = {"Succeeded": 0, "Failed": 0}
    for what, number in steps:
        shop.act(what, number)
    for _ in range(3):
        shop.act("decide", 1000)
    assert (shop.job.status.succeeded, shop.job.status.failed) == (shop.ended["Succeeded"], shop.ended["Failed"])
    assert shop.job.status.uncounted_terminated_pods in (None, UncountedPods())


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
