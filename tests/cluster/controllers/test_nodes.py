import msgspec
import pytest

from cluster.controllers.workloads import NOW, of, pod
from koordinator.api.core import Node, NodeSpec, NodeStatus, Taint, Toleration
from koordinator.api.meta import Condition, ObjectMeta, format_time
from koordinator.cluster.controllers import nodelifecycle
from koordinator.cluster.controllers.changes import Delete, Patch
from koordinator.cluster.controllers.nodelifecycle import (
    NOT_READY,
    TOLERATION_SECONDS,
    UNREACHABLE,
    Heard,
    evictions,
    patience,
)
from koordinator.cluster.controllers.podgc import collect


def node(ready="True", taints=None, **spec):
    conditions = [Condition(type="Ready", status=ready, last_heartbeat_time=format_time(NOW))]
    return Node(
        metadata=ObjectMeta(name="n1", uid="uid-n1", resource_version="7"),
        spec=NodeSpec(taints=taints, **spec),
        status=NodeStatus(conditions=conditions),
    )


def reconcile(asked, silence, grace, now, turn_in=0.0):
    return nodelifecycle.reconcile(asked, Heard(silence, grace), turn_in, now)


def taints_after(outcome):
    patches = [change for change in of(Patch, outcome.changes) if "spec" in change.body]
    return {(t["key"], t["effect"]) for t in patches[0].body["spec"]["taints"] or []} if patches else None


def no_execute(key=UNREACHABLE, since=NOW):
    return Taint(key=key, effect="NoExecute", time_added=format_time(since))


def test_a_node_within_its_grace_is_left_alone_and_looked_at_again():
    outcome = reconcile(node(), silence=10, grace=40, now=NOW)
    assert outcome.changes == []
    assert outcome.again_after == pytest.approx(30.1)


def test_a_silent_node_becomes_unknown_and_tainted():
    outcome = reconcile(node(), silence=41, grace=40, now=NOW)
    status = next(c.body["status"] for c in of(Patch, outcome.changes) if c.subresource == "status")
    assert {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]} == {
        "Ready": ("Unknown", "NodeStatusUnknown"),
        "MemoryPressure": ("Unknown", "NodeStatusNeverUpdated"),
        "DiskPressure": ("Unknown", "NodeStatusNeverUpdated"),
        "PIDPressure": ("Unknown", "NodeStatusNeverUpdated"),
    }
    assert taints_after(outcome) == {(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")}


def test_a_node_that_waits_for_its_turn_takes_no_pods_and_keeps_its_own():
    outcome = reconcile(node(), 41, 40, NOW, turn_in=7.0)
    assert taints_after(outcome) == {(UNREACHABLE, "NoSchedule")}
    assert outcome.again_after == 7
    evicted = reconcile(node(taints=[no_execute()]), 41, 40, NOW, turn_in=7.0)
    assert taints_after(evicted) == {(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")}, "what was begun goes on"


def test_once_unknown_it_is_not_written_again():
    silent = node()
    first = reconcile(silent, 41, 40, NOW)
    silent.status.conditions = msgspec.convert(of(Patch, first.changes)[0].body["status"]["conditions"], list[Condition])
    silent.spec.taints = msgspec.convert(
        next(c.body["spec"]["taints"] for c in of(Patch, first.changes) if "spec" in c.body), list[Taint]
    )
    assert reconcile(silent, 100, 40, NOW + 60).changes == []


def test_foreign_taints_stay_and_ours_go_when_the_node_is_back():
    back = node(taints=[no_execute(), Taint(key="dedicated", effect="NoSchedule", value="db")])
    assert taints_after(reconcile(back, 0, 40, NOW)) == {("dedicated", "NoSchedule")}
    assert taints_after(reconcile(node(taints=[no_execute()]), 0, 40, NOW)) == set()


def test_a_node_that_says_nothing_of_its_readiness_is_left_as_it_was_written():
    written_by_hand = node()
    written_by_hand.status.conditions = None
    assert reconcile(written_by_hand, 0, 40, NOW).changes == []


def test_not_ready_and_cordoned_are_taints_too():
    assert taints_after(reconcile(node("False"), 0, 40, NOW)) == {(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")}
    assert taints_after(reconcile(node(unschedulable=True), 0, 40, NOW)) == {("node.kubernetes.io/unschedulable", "NoSchedule")}


def test_pods_leave_when_their_patience_is_over():
    tainted = node(taints=[no_execute(since=NOW - 100)])
    short = Toleration(key=UNREACHABLE, operator="Exists", effect="NoExecute", toleration_seconds=60)
    longer = Toleration(key=UNREACHABLE, operator="Exists", effect="NoExecute", toleration_seconds=150)
    pods = [
        pod("short", tolerations=[short]),
        pod("longer", tolerations=[longer]),
        pod("silent"),
        pod("stays", tolerations=[Toleration(operator="Exists")]),
        pod("ending", deleting=True),
        pod("done", phase="Succeeded"),
    ]
    outcome = evictions(tainted, pods, NOW)
    assert [change.name for change in of(Delete, outcome.changes)] == ["short"]
    assert outcome.again_after == 50


def test_pods_that_say_nothing_stay_five_minutes_but_not_under_other_taints():
    assert patience(pod("p"), [no_execute()], NOW) == TOLERATION_SECONDS
    assert patience(pod("p"), [no_execute("maintenance")], NOW) == 0


def test_pods_of_lost_nodes_fail_and_go_and_early_deletions_complete():
    changes = collect(
        [pod("lost", node="gone"), pod("early", node="", deleting=True), pod("fine"), pod("done", node="gone", phase="Failed")],
        {"gone"},
    )
    assert [(type(change), change.name) for change in changes] == [
        (Patch, "lost"),
        (Delete, "lost"),
        (Delete, "early"),
        (Delete, "done"),
    ]


def test_finished_pods_beyond_the_limit_go_oldest_first():
    pods = [pod(f"p{i}", phase="Succeeded", created=format_time(NOW + i)) for i in (3, 1, 2)]
    assert [change.name for change in collect(pods, set(), terminated_limit=1)] == ["p1", "p2"]
    assert collect(pods, set(), terminated_limit=0) == []
