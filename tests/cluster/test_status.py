from koordinator.api.core import Node, NodeSpec, NodeStatus, Pod, PodSpec, PodStatus
from koordinator.api.meta import Condition, ObjectMeta
from koordinator.cluster.status import Status, row


def node(**allocatable: str) -> Node:
    conditions = [Condition(type="Ready", status="True")]
    return Node(metadata=ObjectMeta(name="n1"), status=NodeStatus(allocatable=dict(allocatable), conditions=conditions))


def pod(phase: str, on: str = "n1") -> Pod:
    return Pod(spec=PodSpec(node_name=on), status=PodStatus(phase=phase))


def test_a_node_shows_what_it_sells_and_counts_its_live_pods():
    sold = {"kubernetes.io/batch-cpu": "1500", "kubernetes.io/batch-memory": "4Gi"}
    pods = [pod("Running"), pod("Succeeded"), pod("Pending"), pod("Running", on="n2")]
    assert row(node(cpu="2", memory="8Gi", **sold), pods) == ("n1", "Ready", "2", "8.0Gi", "1.5", "4.0Gi", "2")


def test_nothing_sold_is_not_the_same_as_selling_zero():
    assert row(node(cpu="2"), [])[4:6] == ("-", "-")
    assert row(node(**{"kubernetes.io/batch-cpu": "0"}), [])[4] == "0"


def test_an_unreadable_quantity_does_not_hide_the_node():
    assert row(node(cpu="two"), [])[:3] == ("n1", "Ready", "0")


def test_a_cordoned_node_that_is_not_ready_says_both():
    cordoned = Node(metadata=ObjectMeta(name="n1"), spec=NodeSpec(unschedulable=True))
    assert row(cordoned, [])[1] == "NotReady,SchedulingDisabled"


def test_many_nodes_are_cut_and_a_down_component_is_unhealthy():
    rows = [row(node(), []) for _ in range(12)]
    status = Status("https://127.0.0.1:1", {"scheduler": "down (pid 3 has ended)"}, rows)
    assert not status.healthy
    assert status.text().endswith("… and 2 more nodes")
