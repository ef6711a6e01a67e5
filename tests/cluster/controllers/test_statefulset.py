"""Stateful sets: names that stay, one at a time, in order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.controllers.workloads import LABELS, NOW, TEMPLATE, meta, of, owned_by, pod, stateful_set
from koordinator.cluster.controllers import history, statefulset
from koordinator.cluster.controllers.changes import Create, Delete, Patch, Tell
from koordinator.cluster.controllers.objects import ControllerRevision, Ordinals

OLD = {**TEMPLATE, "spec": {"containers": [{"name": "main", "image": "v0"}]}}


def revision(owner, template=TEMPLATE, number=2):
    digest = history.digest(stateful_set(owner.name, template=template))
    held = meta(
        f"{owner.name}-{digest}", labels={**LABELS, history.HASH: digest}, owner_references=owned_by(owner, "StatefulSet")
    )
    return ControllerRevision(metadata=held, revision=number, data={"spec": {"template": {**template, "$patch": "replace"}}})


def member(owner, number, template=TEMPLATE, **fields):
    labels = {**LABELS, history.HASH: revision(owner, template).name}
    return pod(f"{owner.name}-{number}", owner, "StatefulSet", labels=labels, **fields)


def decide(owner, pods=(), revisions=None, claims=()):
    revisions = [revision(owner, OLD, 1), revision(owner)] if revisions is None else revisions
    return statefulset.reconcile(owner, statefulset.Known(pods, revisions, claims), NOW).changes


def made(changes, kind="Pod"):
    return [change.body["metadata"]["name"] for change in of(Create, changes) if change.body["kind"] == kind]


def gone(changes):
    return [change.name for change in of(Delete, changes)]


def status_of(changes):
    return next((c.body["status"] for c in of(Patch, changes) if c.subresource == "status"), None)


def test_the_first_comes_first_and_the_next_when_it_works():
    owner = stateful_set()
    assert made(decide(owner)) == ["db-0"]
    assert made(decide(owner, [member(owner, 0, ready=False)])) == []
    assert made(decide(owner, [member(owner, 0)])) == ["db-1"]
    assert made(decide(stateful_set(pod_management_policy="Parallel"))) == ["db-0", "db-1", "db-2"]
    assert made(decide(stateful_set(ordinals=Ordinals(start=5)))) == ["db-5"]


def test_a_pod_knows_its_name_and_number():
    owner = stateful_set()
    (create,) = of(Create, decide(owner))
    assert (
        create.body["metadata"]["labels"].items()
        >= {
            "statefulset.kubernetes.io/pod-name": "db-0",
            "apps.kubernetes.io/pod-index": "0",
            history.HASH: revision(owner).name,
        }.items()
    )
    assert (create.body["spec"]["hostname"], create.body["spec"]["subdomain"]) == ("db-0", "db")


def test_volumes_are_asked_for_once_and_before_the_pod():
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    owner = stateful_set(volume_claim_templates=[claim])
    changes = decide(owner)
    assert [change.body["metadata"]["name"] for change in of(Create, changes)] == ["data-db-0", "db-0"]
    volumes = of(Create, changes)[1].body["spec"]["volumes"]
    assert volumes == [{"name": "data", "persistentVolumeClaim": {"claimName": "data-db-0"}}]
    assert made(decide(owner, claims={"data-db-0"}), "PersistentVolumeClaim") == []


def test_the_last_goes_first_and_the_next_when_it_is_gone():
    owner = stateful_set(replicas=1)
    assert gone(decide(owner, [member(owner, n) for n in (0, 1, 2)])) == ["db-2"]
    assert gone(decide(owner, [member(owner, 0), member(owner, 1), member(owner, 2, deleting=True)])) == []
    owner = stateful_set(replicas=1, pod_management_policy="Parallel")
    assert gone(decide(owner, [member(owner, n) for n in (0, 1, 2)])) == ["db-2", "db-1"]


def test_a_new_template_goes_from_the_last_to_the_first_down_to_the_partition():
    owner = stateful_set()
    old = [member(owner, n, OLD) for n in (0, 1, 2)]
    assert gone(decide(owner, old)) == ["db-2"]
    assert gone(decide(owner, [*old[:2], member(owner, 2, ready=False)])) == []
    assert gone(decide(owner, [*old[:2], member(owner, 2)])) == ["db-1"]
    owner = stateful_set(partition=2)
    assert gone(decide(owner, [*old[:2], member(owner, 2)])) == []
    assert gone(decide(stateful_set(strategy="OnDelete"), old)) == []


def test_below_the_partition_a_lost_pod_comes_back_as_it_was():
    owner = stateful_set(partition=1)
    owner.status.current_revision = revision(owner, OLD).name
    (create,) = of(Create, decide(owner, [member(owner, n) for n in (1, 2)]))
    assert create.body["spec"]["containers"][0]["image"] == "v0"
    assert create.body["metadata"]["labels"][history.HASH] == owner.status.current_revision


def test_a_broken_pod_of_an_old_template_does_not_hold_up_the_one_that_mends_it():
    owner = stateful_set()
    assert gone(decide(owner, [member(owner, 0, OLD, ready=False)])) == ["db-0"]


def test_the_update_revision_becomes_current_when_everybody_has_it():
    owner = stateful_set()
    before = revision(owner, OLD).name
    owner.status.current_revision = before
    half = status_of(decide(owner, [member(owner, 0, OLD), member(owner, 1), member(owner, 2)]))
    assert (half["currentRevision"], half["updatedReplicas"], half["currentReplicas"]) == (before, 2, 1)
    done = status_of(decide(owner, [member(owner, n) for n in (0, 1, 2)]))
    assert done["currentRevision"] == done["updateRevision"] == revision(owner).name
    assert done["availableReplicas"] == 3


def test_ended_pods_are_made_anew_and_strangers_names_are_not_ours():
    owner = stateful_set()
    assert gone(decide(owner, [member(owner, 0, phase="Failed")])) == ["db-0"]
    strangers = [pod(name, labels=LABELS) for name in ("db-x", "db-01", "other-0", "db")]
    assert made(decide(owner, strangers)) == ["db-0"]
    assert not [c for c in of(Patch, decide(owner, strangers)) if c.subresource == ""]


def test_what_cannot_work_is_said():
    (tell,) = of(Tell, decide(stateful_set(template={"metadata": {"labels": {"app": "other"}}})))
    assert tell.reason == "InvalidSelector"


@pytest.mark.parametrize("policy", ["OrderedReady", "Parallel"])
@given(
    shape=st.lists(st.sampled_from(["", "old", "new", "broken", "ending", "failed"]), max_size=7),
    replicas=st.integers(0, 6),
    partition=st.integers(0, 6),
)
def test_in_order_never_more_than_one_at_a_time(policy, shape, replicas, partition):
    owner = stateful_set(replicas=replicas, partition=partition, pod_management_policy=policy)
    fields = {
        "old": {"template": OLD},
        "broken": {"ready": False},
        "ending": {"deleting": True},
        "failed": {"phase": "Failed"},
        "new": {},
    }
    pods = [member(owner, number, **fields[kind]) for number, kind in enumerate(shape) if kind]
    changes = decide(owner, pods)
    touched = made(changes) + gone(changes)
    assert len(set(touched)) == len(touched)
    assert not set(made(changes)) & {one.name for one in pods}, "never a second pod of a name"
    working = {one.name for one in pods if one.status.phase == "Running"} - {
        f"db-{number}" for number, kind in enumerate(shape) if kind in ("broken", "ending")
    }
    lost = [name for name in gone(changes) if name in working and int(name[3:]) < replicas]
    assert len(lost) <= 1
    if policy == "OrderedReady":
        assert len(touched) <= 1
