"""Daemon sets: where pods belong, what a new template replaces, what the status counts."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.controllers.workloads import LABELS, NOW, TEMPLATE, daemon_set, meta, node, of, owned_by, pod
from koordinator.api.core import Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, Taint
from koordinator.cluster.controllers import daemonset
from koordinator.cluster.controllers import history as daemon_revisions
from koordinator.cluster.controllers.changes import Create, Delete, Patch, Tell
from koordinator.cluster.controllers.daemon_placement import Placement, node_of, tied
from koordinator.cluster.controllers.objects import ControllerRevision

NODES = [node("n1"), node("n2"), node("n3")]


def revision(owner, number=1, digest=None):
    digest = digest or daemon_revisions.digest(owner)
    labels = {**LABELS, daemon_revisions.HASH: digest}
    held = meta(f"{owner.name}-{digest}", labels=labels, owner_references=owned_by(owner, "DaemonSet"))
    return ControllerRevision(metadata=held, revision=number)


def daemon(name, on, owner, *, new=True, **fields):
    digest = daemon_revisions.digest(owner) if new else "before"
    return pod(name, owner, "DaemonSet", node=on, labels={**LABELS, daemon_revisions.HASH: digest}, **fields)


def decide(held, pods=(), nodes=NODES, revisions=None):
    revisions = [revision(held)] if revisions is None else revisions
    return daemonset.reconcile(held, daemonset.Known(pods, revisions, nodes), NOW)


def status_of(changes):
    return next(change.body["status"] for change in of(Patch, changes) if change.subresource == "status")


def targets(changes):
    made = [change.body for change in of(Create, changes) if change.body["kind"] == "Pod"]
    return sorted(node_of(msgspec.convert({"spec": body["spec"]}, Pod)) for body in made)


def gone(changes):
    return sorted(change.name for change in of(Delete, changes))


def test_every_node_gets_one_pod_and_the_template_its_revision():
    changes = decide(daemon_set(), revisions=[]).changes
    assert changes[0].body["kind"] == "ControllerRevision"
    assert changes[0].body["revision"] == 1
    assert targets(changes) == ["n1", "n2", "n3"]
    assert status_of(changes)["desiredNumberScheduled"] == 3
    assert len({change.body["metadata"]["name"] for change in of(Create, changes)}) == 4


def test_nothing_is_done_when_everything_is_there():
    held = daemon_set()
    pods = [daemon(f"p{i}", f"n{i}", held) for i in (1, 2, 3)]
    status = status_of(decide(held, pods).changes)
    assert status == {
        "observedGeneration": 1,
        "desiredNumberScheduled": 3,
        "currentNumberScheduled": 3,
        "numberMisscheduled": 0,
        "updatedNumberScheduled": 3,
        "numberReady": 3,
        "numberAvailable": 3,
        "numberUnavailable": 0,
    }
    held.status = msgspec.convert(status, type(held.status))
    assert decide(held, pods).changes == []


def test_a_tied_pod_keeps_what_else_it_wants_and_says_where_it_goes():
    spec = {"affinity": {"podAntiAffinity": {"a": 1}, "nodeAffinity": {"preferred": [2]}}}
    affinity = tied(spec, "n7")["affinity"]
    assert affinity["podAntiAffinity"] == {"a": 1}
    assert affinity["nodeAffinity"]["preferred"] == [2]
    assert node_of(msgspec.convert({"spec": tied({}, "n7")}, Pod)) == "n7"
    assert node_of(Pod()) == ""


@pytest.mark.parametrize(
    ("spec", "labels", "taints", "start", "stay"),
    [
        pytest.param({}, {}, [], True, True, id="plain"),
        pytest.param({"nodeSelector": {"disk": "ssd"}}, {}, [], False, False, id="selector misses"),
        pytest.param({"nodeSelector": {"disk": "ssd"}}, {"disk": "ssd"}, [], True, True, id="selector hits"),
        pytest.param({"nodeName": "other"}, {}, [], False, False, id="another node by name"),
        pytest.param({}, {}, [("mine", "NoSchedule")], False, True, id="no new ones"),
        pytest.param({}, {}, [("mine", "NoExecute")], False, False, id="nobody stays"),
        pytest.param({}, {}, [("mine", "PreferNoSchedule")], True, True, id="a wish only"),
        pytest.param({}, {}, [("node.kubernetes.io/unreachable", "NoExecute")], True, True, id="daemons stay on silent nodes"),
        pytest.param({}, {}, [("node.kubernetes.io/unschedulable", "NoSchedule")], True, True, id="cordoned"),
        pytest.param({}, {}, [("node.kubernetes.io/network-unavailable", "NoSchedule")], False, True, id="no network"),
        pytest.param(
            {"hostNetwork": True}, {}, [("node.kubernetes.io/network-unavailable", "NoSchedule")], True, True, id="host network"
        ),
        pytest.param({"tolerations": [{"operator": "Exists"}]}, {}, [("mine", "NoExecute")], True, True, id="tolerates all"),
    ],
)
def test_where_pods_belong(spec, labels, taints, start, stay):
    held = daemon_set(template={**TEMPLATE, "spec": {**TEMPLATE["spec"], **spec}})
    asked = node("n1", labels=labels, taints=[Taint(key=key, effect=effect) for key, effect in taints])
    belongs = Placement(held).on(asked)
    assert (belongs.start, belongs.stay) == (start, stay)


def test_pods_leave_nodes_that_no_longer_fit_and_twins_leave_too():
    held = daemon_set(template={**TEMPLATE, "spec": {**TEMPLATE["spec"], "nodeSelector": {"role": "db"}}})
    nodes = [node("n1", labels={"role": "db"}), node("n2")]
    pods = [daemon("a", "n1", held, created="2026-01-01T00:00:00Z"), daemon("b", "n1", held), daemon("c", "n2", held)]
    changes = decide(held, pods, nodes).changes
    assert gone(changes) == ["b", "c"] or gone(changes) == ["a", "c"]
    assert status_of(changes)["numberMisscheduled"] == 1


def test_a_pod_tied_to_a_node_that_is_gone_goes():
    held = daemon_set()
    lost = daemon("lost", "", held)
    term = NodeSelectorTerm(match_fields=[NodeSelectorRequirement(key="metadata.name", operator="In", values=["n9"])])
    wanted = NodeSelector(node_selector_terms=[term])
    lost.spec.affinity = Affinity(node_affinity=NodeAffinity(required_during_scheduling_ignored_during_execution=wanted))
    pods = [lost, *(daemon(f"p{i}", f"n{i}", held) for i in (1, 2, 3))]
    assert gone(decide(held, pods).changes) == ["lost"]


def test_a_failed_pod_is_replaced_after_a_pause():
    held = daemon_set()
    pods = [daemon("p1", "n1", held, phase="Failed"), daemon("p2", "n2", held), daemon("p3", "n3", held)]
    changes = decide(held, pods).changes
    assert gone(changes) == ["p1"]
    assert [tell.reason for tell in of(Tell, changes)] == ["FailedDaemonPod", "SuccessfulDelete"]
    assert targets(changes) == []


@pytest.mark.parametrize(("unavailable", "count"), [(1, 1), (2, 2), ("50%", 2), ("100%", 3)])
def test_a_new_template_takes_as_many_at_a_time_as_may_be_missed(unavailable, count):
    held = daemon_set(unavailable=unavailable)
    pods = [daemon(f"p{i}", f"n{i}", held, new=False) for i in (1, 2, 3)]
    changes = decide(held, pods).changes
    assert len(gone(changes)) == count
    assert targets(changes) == []


def test_pods_that_do_not_work_are_replaced_at_once_and_nobody_else_while_too_few_work():
    held = daemon_set()
    pods = [
        daemon("p1", "n1", held, new=False, ready=False),
        daemon("p2", "n2", held, new=False, ready=False),
        daemon("p3", "n3", held, new=False),
    ]
    assert gone(decide(held, pods).changes) == ["p1", "p2"]
    pods = [daemon("p1", "n1", held, ready=False), daemon("p2", "n2", held, new=False), daemon("p3", "n3", held, new=False)]
    assert gone(decide(held, pods).changes) == []


def test_on_delete_waits_for_somebody_to_delete():
    held = daemon_set(strategy="OnDelete")
    pods = [daemon("p1", "n1", held, new=False), daemon("p2", "n2", held, new=False)]
    changes = decide(held, pods).changes
    assert gone(changes) == []
    assert targets(changes) == ["n3"]


def test_a_surge_starts_the_new_pod_first_and_ends_the_old_when_it_works():
    held = daemon_set(surge=1, unavailable=0)
    old = [daemon(f"p{i}", f"n{i}", held, new=False) for i in (1, 2, 3)]
    changes = decide(held, old).changes
    assert gone(changes) == []
    assert targets(changes) == ["n1"]
    assert gone(decide(held, [*old, daemon("q1", "n1", held, ready=False)]).changes) == []
    changes = decide(held, [*old, daemon("q1", "n1", held)]).changes
    assert gone(changes) == ["p1"]


def test_going_back_moves_the_old_revision_to_the_top():
    held = daemon_set()
    changes = decide(held, revisions=[revision(held, 1), revision(held, 2, "other")]).changes
    assert next(c.body for c in of(Patch, changes) if c.resource.kind == "ControllerRevision") == {"revision": 3}


def test_revisions_beyond_the_limit_go_but_none_in_use():
    held = daemon_set(revision_history_limit=1)
    pods = [daemon(f"p{i}", f"n{i}", held) for i in (1, 2)] + [daemon("p3", "n3", held, new=False)]
    held_revisions = [revision(held, 9), *(revision(held, i, name) for i, name in enumerate(["before", "a", "b", "c"]))]
    names = [
        change.name for change in of(Delete, decide(held, pods, revisions=held_revisions).changes) if "agent" in change.name
    ]
    assert sorted(names) == ["agent-a", "agent-b"]


@pytest.mark.parametrize(
    ("held", "reason"),
    [
        (daemon_set(template={"metadata": {"labels": {"app": "other"}}}), "InvalidSelector"),
        (daemon_set(unavailable="a lot"), "InvalidTemplate"),
        (daemon_set(template={**TEMPLATE, "spec": {"nodeSelector": 5}}), "InvalidTemplate"),
    ],
)
def test_what_cannot_work_is_said_and_nothing_is_done(held, reason):
    (tell,) = decide(held).changes
    assert (tell.reason, tell.type) == (reason, "Warning")


@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=12),
    st.integers(1, 4),
)
def test_never_more_nodes_without_a_working_pod_than_allowed(shape, unavailable):
    held = daemon_set(unavailable=unavailable)
    nodes = [node(f"n{i}") for i in range(len(shape))]
    pods = [
        daemon(f"p{i}", f"n{i}", held, new=new, ready=ready, deleting=deleting)
        for i, (new, ready, deleting) in enumerate(shape)
    ]
    working = {f"p{i}" for i, (_, ready, deleting) in enumerate(shape) if ready and not deleting}
    left = working - set(gone(decide(held, pods, nodes).changes))
    assert len(nodes) - len(left) <= max(unavailable, len(nodes) - len(working))
