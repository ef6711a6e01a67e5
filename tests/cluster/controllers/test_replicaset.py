import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.controllers.workloads import NOW, of, pod, replica_set
from koordinator.api.meta import LabelSelector
from koordinator.cluster.controllers.changes import Create, Delete, Patch, Tell
from koordinator.cluster.controllers.objects import ReplicaSetStatus
from koordinator.cluster.controllers.replicaset import BURST, reconcile, refused


def deleted(outcome):
    return [change.name for change in of(Delete, outcome.changes)]


def status_of(outcome):
    return next((change.body["status"] for change in of(Patch, outcome.changes) if change.subresource == "status"), None)


def test_missing_pods_are_made_with_names_of_their_own_and_an_owner():
    rs = replica_set(replicas=3)
    outcome = reconcile(rs, [], NOW)
    made = [change.body for change in of(Create, outcome.changes)]
    assert len({body["metadata"]["name"] for body in made}) == 3
    assert made[0]["metadata"]["ownerReferences"][0]["uid"] == rs.metadata.uid
    assert made[0]["metadata"]["labels"] == {"app": "web"}


def test_surplus_pods_go_in_the_order_in_which_they_are_missed_least():
    rs = replica_set(replicas=1)
    pods = [
        pod("running", rs),
        pod("unassigned", rs, node="", phase="Pending"),
        pod("pending", rs, phase="Pending"),
        pod("unready", rs, ready=False),
        pod("cheap", rs, annotations={"controller.kubernetes.io/pod-deletion-cost": "-5"}),
    ]
    assert deleted(reconcile(rs, pods, NOW)) == ["unassigned", "pending", "unready", "cheap"]


def test_pods_that_are_ending_or_finished_do_not_count():
    rs = replica_set(replicas=1)
    pods = [pod("ending", rs, deleting=True), pod("failed", rs, phase="Failed"), pod("good", rs)]
    outcome = reconcile(rs, pods, NOW)
    assert not of(Create, outcome.changes)
    assert not of(Delete, outcome.changes)


def test_status_counts_and_is_written_once():
    rs = replica_set(replicas=2)
    pods = [pod("a", rs), pod("b", rs, ready=False)]
    status = status_of(reconcile(rs, pods, NOW))
    assert (status["replicas"], status["readyReplicas"], status["availableReplicas"]) == (2, 1, 1)
    rs.status = msgspec.convert(status, ReplicaSetStatus)
    assert reconcile(rs, pods, NOW).changes == []


def test_availability_waits_for_min_ready_seconds():
    rs = replica_set(replicas=1)
    rs.spec.min_ready_seconds = 30
    outcome = reconcile(rs, [pod("a", rs, ready_since=NOW - 10)], NOW)
    assert status_of(outcome)["availableReplicas"] == 0
    assert outcome.again_after == 20


def test_orphans_are_adopted_and_strangers_released():
    rs = replica_set(replicas=1)
    outcome = reconcile(rs, [pod("orphan"), pod("stranger", rs, labels={"app": "other"})], NOW)
    adopt, release = outcome.changes  # and nothing else before these are done
    assert adopt.body["metadata"]["ownerReferences"][0]["uid"] == rs.metadata.uid
    assert adopt.body["metadata"]["resourceVersion"]
    assert release.body["metadata"]["ownerReferences"] == []


def test_pods_of_another_owner_are_left_alone():
    assert reconcile(replica_set("web", replicas=0), [pod("theirs", replica_set("other"))], NOW).changes == []


def test_a_set_that_is_being_deleted_makes_no_pods():
    assert not of(Create, reconcile(replica_set(deleting=True), [], NOW).changes)


@pytest.mark.parametrize(
    ("selector", "says"),
    [
        pytest.param(None, "spec.selector is empty", id="absent"),
        pytest.param(LabelSelector(), "spec.selector is empty", id="empty"),
        pytest.param(LabelSelector(match_labels={"app": "x"}), "does not match the labels of spec.template", id="mismatch"),
    ],
)
def test_a_set_that_cannot_work_says_why_and_makes_nothing(selector, says):
    rs = replica_set()
    rs.spec.selector = selector
    outcome = reconcile(rs, [pod("innocent")], NOW)
    assert says in of(Tell, outcome.changes)[0].message
    assert status_of(outcome)["conditions"][0]["reason"] == "InvalidSelector"
    assert not of(Create, outcome.changes)


def test_a_refused_create_stands_in_the_status_until_the_pods_are_there():
    rs = replica_set(replicas=1)
    tell, patch = refused(rs, "pods is forbidden: exceeded quota", NOW)
    assert tell.reason == "FailedCreate"
    rs.status = msgspec.convert(patch.body["status"], ReplicaSetStatus)
    assert [change.reason for change in refused(rs, "pods is forbidden: exceeded quota", NOW)] == ["FailedCreate"]
    assert "ReplicaFailure" in str(status_of(reconcile(rs, [], NOW)))
    assert status_of(reconcile(rs, [pod("a", rs)], NOW))["conditions"] is None


@given(replicas=st.integers(0, 2 * BURST), active=st.integers(0, 40), ending=st.integers(0, 5))
def test_one_look_never_overshoots(replicas, active, ending):
    rs = replica_set(replicas=replicas)
    pods = [pod(f"p{i}", rs) for i in range(active)] + [pod(f"e{i}", rs, deleting=True) for i in range(ending)]
    outcome = reconcile(rs, pods, NOW)
    after = active + len(of(Create, outcome.changes)) - len(of(Delete, outcome.changes))
    assert after == replicas or (active < after < replicas and after - active == BURST)
    assert len(set(deleted(outcome))) == len(deleted(outcome))
