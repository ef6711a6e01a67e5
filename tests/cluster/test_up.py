from pathlib import Path

import pytest

from koordinator.cluster.up import Plan, UpOptions, plan_nodes
from koordinator.errors import Unavailable

WHY = "cgroup controller memory is not mounted"


def options(**chosen) -> UpOptions:
    return UpOptions(data=Path("/nowhere"), node_name="here", **chosen)


@pytest.mark.parametrize(
    ("chosen", "obstacle", "plan"),
    [
        pytest.param({}, None, Plan(process=True, hollow=0, node_name="here"), id="this machine when it can"),
        pytest.param(
            {}, WHY, Plan(process=False, hollow=3, node_name="", why_hollow=WHY), id="hollow ones when it cannot, and why"
        ),
        pytest.param(
            {"nodes": 5}, None, Plan(process=False, hollow=5, node_name=""), id="only hollow ones when asked for them"
        ),
        pytest.param({"nodes": 5, "this_machine": True}, None, Plan(process=True, hollow=5, node_name="here"), id="both"),
        pytest.param({"this_machine": False}, None, Plan(process=False, hollow=0, node_name=""), id="no node at all"),
    ],
)
def test_which_nodes_a_cluster_gets(chosen, obstacle, plan):
    assert plan_nodes(options(**chosen), obstacle) == plan


def test_a_required_process_node_that_cannot_be_is_refused_with_the_reason():
    with pytest.raises(Unavailable, match=WHY):
        plan_nodes(options(this_machine=True), WHY)
