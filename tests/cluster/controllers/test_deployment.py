import msgspec
import pytest

from cluster.controllers.workloads import NOW, TEMPLATE, deployment, of, replica_set
from koordinator.api.meta import LabelSelector, format_time
from koordinator.cluster.controllers import revisions
from koordinator.cluster.controllers.changes import Create, Delete, Patch, Tell
from koordinator.cluster.controllers.deployment import Count, reconcile
from koordinator.cluster.controllers.objects import (
    DeploymentStatus,
    DeploymentStrategy,
    ReplicaSetStatus,
    RollingUpdate,
)

V2 = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": "v2"}]}}


def running(count, **fields):
    return ReplicaSetStatus(
        replicas=count,
        ready_replicas=count,
        available_replicas=count,
        fully_labeled_replicas=count,
        observed_generation=1,
        **fields,
    )


def counts(*sets):
    return {rs.metadata.uid: Count(rs.status.replicas, rs.status.replicas) for rs in sets}


def told(outcome):
    return {
        change.name: change.body["spec"]["replicas"]
        for change in of(Patch, outcome.changes)
        if "replicas" in change.body.get("spec", {})
    }


def written_status(outcome):
    return next(change.body["status"] for change in of(Patch, outcome.changes) if change.subresource == "status")


def conditions(outcome):
    return {c["type"]: (c["status"], c["reason"]) for c in written_status(outcome)["conditions"]}


def test_the_first_set_carries_the_template_a_hash_and_revision_one():
    outcome = reconcile(deployment(), [], {}, NOW)
    (create,) = of(Create, outcome.changes)
    digest = create.body["metadata"]["labels"]["pod-template-hash"]
    assert create.body["metadata"]["name"] == f"web-{digest}"
    assert create.body["spec"]["selector"]["matchLabels"] == {"app": "web", "pod-template-hash": digest}
    assert create.body["spec"]["template"]["metadata"]["labels"]["pod-template-hash"] == digest
    assert create.body["spec"]["replicas"] == 3
    assert create.body["metadata"]["annotations"][revisions.REVISION] == "1"
    assert conditions(outcome)["Progressing"] == ("True", "NewReplicaSetCreated")
    assert conditions(outcome)["Available"] == ("False", "MinimumReplicasUnavailable")


def test_a_new_template_makes_a_new_set_next_to_the_old_one():
    owner = deployment(template=V2)
    old = replica_set("web-old", 3, owner, status=running(3), annotations={revisions.REVISION: "4"})
    outcome = reconcile(owner, [old], counts(old), NOW)
    (create,) = of(Create, outcome.changes)
    assert create.body["spec"]["replicas"] == 1
    assert create.body["metadata"]["annotations"][revisions.REVISION] == "5"
    assert told(outcome) == {}


def test_the_hash_label_does_not_make_a_template_another_one():
    owner = deployment()
    labelled = msgspec.json.decode(msgspec.json.encode(TEMPLATE))
    labelled["metadata"]["labels"]["pod-template-hash"] = "x"
    mine = replica_set("web-x", 3, owner, template=labelled, status=running(3))
    assert not of(Create, reconcile(owner, [mine], counts(mine), NOW).changes)


def test_going_back_numbers_the_old_set_anew_and_remembers():
    owner = deployment()
    first = replica_set("web-1", 0, owner, status=running(0), annotations={revisions.REVISION: "1"})
    second = replica_set("web-2", 3, owner, template=V2, status=running(3), annotations={revisions.REVISION: "2"})
    outcome = reconcile(owner, [first, second], counts(first, second), NOW)
    notes = next(
        c.body["metadata"]["annotations"] for c in of(Patch, outcome.changes) if c.name == "web-1" and "spec" not in c.body
    )
    assert (notes[revisions.REVISION], notes[revisions.REVISION_HISTORY]) == ("3", "1")
    assert told(outcome)["web-1"] == 1


def test_recreate_waits_for_the_last_ending_pod():
    owner = deployment(template=V2, strategy=DeploymentStrategy(type="Recreate"))
    old = replica_set("web-old", 3, owner, status=running(3))
    assert told(reconcile(owner, [old], counts(old), NOW)) == {"web-old": 0}
    empty = replica_set("web-old", 0, owner, status=running(0))
    ending = {empty.metadata.uid: Count(active=0, present=1)}
    (create,) = of(Create, reconcile(owner, [empty], ending, NOW).changes)
    assert create.body["spec"]["replicas"] == 0
    (create,) = of(Create, reconcile(owner, [empty], {}, NOW).changes)
    assert create.body["spec"]["replicas"] == 3


def test_a_paused_deployment_is_scaled_and_not_rolled_out():
    owner = deployment(replicas=5, template=V2, paused=True)
    old = replica_set("web-old", 3, owner, status=running(3))
    outcome = reconcile(owner, [old], counts(old), NOW)
    assert told(outcome) == {"web-old": 5}
    assert not of(Create, outcome.changes)
    assert conditions(outcome)["Progressing"] == ("Unknown", "DeploymentPaused")


def test_a_finished_rollout_says_so_and_then_rests():
    owner = deployment()
    digest = revisions.template_hash(owner.spec.template, 0)
    notes = revisions.annotations(owner, None, 1, 4)
    mine = replica_set(f"web-{digest}", 3, owner, status=running(3), annotations=notes)
    owner.metadata.annotations = {revisions.REVISION: "1"}
    outcome = reconcile(owner, [mine], counts(mine), NOW)
    assert conditions(outcome) == {
        "Available": ("True", "MinimumReplicasAvailable"),
        "Progressing": ("True", "NewReplicaSetAvailable"),
    }
    owner.status = msgspec.convert(written_status(outcome), DeploymentStatus)
    assert reconcile(owner, [mine], counts(mine), NOW + 1000).changes == []


def test_a_stuck_rollout_is_called_so_after_its_deadline():
    owner = deployment(progress_deadline_seconds=60)
    mine = replica_set("web-1", 3, owner, status=ReplicaSetStatus(replicas=3, observed_generation=1))
    outcome = reconcile(owner, [mine], counts(mine), NOW)
    owner.status = msgspec.convert(written_status(outcome), DeploymentStatus)
    assert reconcile(owner, [mine], counts(mine), NOW + 20).again_after == 40
    late = reconcile(owner, [mine], counts(mine), NOW + 61)
    assert conditions(late)["Progressing"] == ("False", "ProgressDeadlineExceeded")
    assert "ProgressDeadlineExceeded" in [tell.reason for tell in of(Tell, late.changes)]


def test_old_revisions_beyond_the_limit_are_forgotten_oldest_first():
    owner = deployment(revision_history_limit=1)
    old = [
        replica_set(f"web-{n}", 0, owner, template={"n": n}, status=running(0), annotations={revisions.REVISION: str(n)})
        for n in (3, 1, 2)
    ]
    outcome = reconcile(owner, old, {}, NOW)
    assert [change.name for change in of(Delete, outcome.changes)] == ["web-1", "web-2"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param({"selector": None}, "spec.selector is empty", id="no-selector"),
        pytest.param({"selector": LabelSelector(match_labels={"a": "b"})}, "does not match the labels", id="mismatch"),
        pytest.param(
            {"strategy": DeploymentStrategy(rolling_update=RollingUpdate(max_surge="lots"))},
            "spec.strategy.rollingUpdate.maxSurge: 'lots' is neither",
            id="surge",
        ),
    ],
)
def test_what_cannot_work_is_told_and_nothing_is_done(change, says):
    owner = deployment()
    owner.spec = msgspec.structs.replace(owner.spec, **change)
    (tell,) = reconcile(owner, [], {}, NOW).changes
    assert (tell.type, says in tell.message) == ("Warning", True)


def test_progress_moves_the_time_of_the_condition():
    owner = deployment()
    mine = replica_set("web-1", 3, owner, status=running(1))
    first = reconcile(owner, [mine], counts(mine), NOW)
    owner.status = msgspec.convert(written_status(first), DeploymentStatus)
    mine.status = running(2)
    later = reconcile(owner, [mine], counts(mine), NOW + 30)
    progressing = next(c for c in written_status(later)["conditions"] if c["type"] == "Progressing")
    assert progressing["lastUpdateTime"] == format_time(NOW + 30)
    assert progressing["lastTransitionTime"] == format_time(NOW)
