"""NodeResourcesFitPlus, ScarceResourceAvoidance, SchedulingHint."""

import json

import numpy as np
import pytest

from koordinator.api import keys
from koordinator.errors import ConfigInvalid
from koordinator.scheduler.engine.cluster import Cluster
from koordinator.scheduler.engine.framework import Code
from koordinator.scheduler.engine.hooks import PLACEMENT_HINT
from koordinator.scheduler.plugins.resources_fit_plus import FitPlusArgs, NodeResourcesFitPlus, ResourceStrategy, checked
from koordinator.scheduler.plugins.scarce_resource_avoidance import ScarceArgs, ScarceResourceAvoidance
from koordinator.scheduler.plugins.scheduling_hint import SchedulingHint, SchedulingHintArgs
from scheduler.builders import compiled, info, node

GPU = "nvidia.com/gpu"


def cluster(*nodes):
    made = Cluster()
    for one in nodes:
        made.set_node(one)
    return made


def scores(plugin, made, pod):
    columns = made.columns
    found = compiled(plugin, columns, pod)
    return plugin.score(found.state, pod, columns, columns.rows).tolist()


def packing():
    strategies = {GPU: ResourceStrategy("MostAllocated", 2), "cpu": ResourceStrategy("LeastAllocated", 1)}
    return NodeResourcesFitPlus(FitPlusArgs(resources=strategies))


def test_gpus_are_packed_and_cpus_spread():
    made = cluster(node("used", "8", nvidia__x="0", **{GPU: 4}), node("empty", "8", **{GPU: 4}))
    made.place(info(cpu="2", requests={GPU: 2}), "used")
    used, empty = scores(packing(), made, info(cpu="2", requests={GPU: 2}))
    assert (used, empty) == ((100 * 2 + 50) // 3, (50 * 2 + 75) // 3)


def test_a_pod_that_asks_for_nothing_configured_finds_all_nodes_equal():
    assert scores(packing(), cluster(node("a"), node("b", **{GPU: 1})), info(memory="1Gi")) == [100, 100]


def test_a_node_without_the_resource_scores_nothing_for_it():
    assert scores(packing(), cluster(node("a", "8")), info(requests={GPU: 1})) == [0]


def test_a_negative_weight_and_an_unknown_strategy_are_refused():
    for strategy, field in ((ResourceStrategy("MostAllocated", -1), "weight"), (ResourceStrategy("Most", 1), "type")):
        with pytest.raises(ConfigInvalid, match=rf"resources\[cpu\]\.{field}"):
            checked(FitPlusArgs(resources={"cpu": strategy}))


def test_an_unknown_strategy_scores_nothing():
    plugin = NodeResourcesFitPlus(FitPlusArgs(resources={"cpu": ResourceStrategy("Most", 1)}))
    assert scores(plugin, cluster(node("a", "8")), info(cpu="1")) == [0]


def test_nodes_with_unwanted_scarce_resources_come_last():
    made = cluster(node("plain"), node("gpu", **{GPU: 1}), node("odd", **{GPU: 1, "example.com/odd": 1}))
    plugin = ScarceResourceAvoidance(ScarceArgs(resources=[GPU]))
    pod = info(cpu="1", memory="1Gi")
    assert scores(plugin, made, pod) == [100, 0, 50]
    assert scores(plugin, made, info(cpu="1", memory="1Gi", requests={GPU: 1})) == [100, 100, 100]


def test_resources_met_later_count_too():
    made = cluster(node("gpu", **{GPU: 1}))
    plugin, pod = ScarceResourceAvoidance(ScarceArgs(resources=[GPU])), info(cpu="1", memory="1Gi")
    found = compiled(plugin, made.columns, pod)
    made.set_node(node("late", **{f"example.com/r{index}": 1 for index in range(9)}, **{GPU: 1}))
    assert plugin.score(found.state, pod, made.columns, made.columns.rows).tolist() == [0, 90]


@pytest.mark.parametrize("name", ["pods", "gpu"])
def test_a_name_that_can_never_be_scarce_is_refused(name):
    with pytest.raises(ConfigInvalid, match=r"resources\[0\]"):
        ScarceResourceAvoidance(ScarceArgs(resources=[name]))


def hinted(**hint):
    return info(annotations={keys.SCHEDULING_HINT: json.dumps(hint)})


def test_required_nodes_are_the_only_ones():
    found = compiled(SchedulingHint(), cluster(node("a"), node("b")).columns, hinted(nodeNames=["b", "nowhere"]))
    assert found.only == {"b", "nowhere"}


@pytest.mark.parametrize(
    ("most", "allowed", "expected"),
    [(100, None, ["c", "a", "b"]), (2, None, ["c", "a"]), (2, frozenset("ab"), ["a"]), (100, frozenset(), [])],
)
def test_preferred_nodes_are_cut_first_and_then_restricted(most, allowed, expected):
    plugin = SchedulingHint(SchedulingHintArgs(max_hint_nodes=most))
    found = compiled(plugin, cluster(node("a")).columns, hinted(preferredNodeNames=["c", "a", "b"]))
    assert plugin.prefer_nodes(found.state, allowed) == expected


def test_no_hint_prefers_nothing():
    plugin = SchedulingHint()
    found = compiled(plugin, cluster(node("a")).columns, info())
    assert found.only is None
    assert plugin.prefer_nodes(found.state, None) == []


def test_a_hint_that_cannot_be_read_is_an_error_of_the_pod():
    pod = info(annotations={keys.SCHEDULING_HINT: "{"})
    status = compiled(SchedulingHint(), cluster(node("a")).columns, pod).status
    assert status.code is Code.ERROR
    assert keys.SCHEDULING_HINT in status.message


def test_no_hint_node_at_all_is_refused():
    with pytest.raises(ConfigInvalid, match="maxHintNodes"):
        SchedulingHint(SchedulingHintArgs(max_hint_nodes=0))


def test_rows_of_no_node_do_not_disturb():
    made = cluster(node("a"), node("b"))
    made.remove_node("a")
    assert np.array(scores(packing(), made, info(cpu="1"))).shape == (2,)


def test_what_a_hint_says_to_other_plugins_is_left_for_them():
    extensions = {"NodeNUMAResource": {}, "Reservation": {"skipRestoreNodeInfo": True}}
    annotation = {"nodeNames": ["a"], "extensions": extensions}
    found = compiled(
        SchedulingHint(),
        Cluster().columns,
        info(annotations={"internal.scheduling.koordinator.sh/scheduling-hint": json.dumps(annotation)}),
    )
    assert found.state[PLACEMENT_HINT] == (("a",), extensions)
