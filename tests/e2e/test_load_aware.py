"""S24 and S25: pods keep away from hot nodes, by thresholds of the cluster, of a node, of prod pods and of percentiles."""

import json
import re

import pytest

from e2e.stories import NAMESPACE, control_plane, stage
from waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

PLUGIN = "/apis/v1/plugins/LoadAwareScheduling/node"
THRESHOLDS = {"usageThresholds": {"cpu": 65, "memory": 95}}
DAEMON = {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": "d", "controller": True}


@pytest.fixture(scope="module")
def cluster_data(tmp_path_factory):
    with control_plane(tmp_path_factory.mktemp("load") / "data") as data:
        yield data


@pytest.fixture
async def world(cluster_data):
    """Three nodes: n1 hot, n2 warm, n3 cool."""
    async with stage(cluster_data) as made:
        for name, cpu in (("n1", "12"), ("n2", "4"), ("n3", "1")):
            await made.node(name)
            await made.annotate(name, usage_thresholds=json.dumps(THRESHOLDS))
            await report(made, name, cpu)
        yield made


async def report(world, node, cpu, **more):
    """Send a usage report and wait until the scheduler goes by it."""
    before = world.get(f"{PLUGIN}/{node}")[1]
    await world.usage(node, cpu, **more)
    await until(lambda: "nodeEstimated" in world.get(f"{PLUGIN}/{node}")[1], what=f"{before} to change")


async def only(world, node):
    """Leave one node open."""
    await world.cordon(*(name for name in ("n1", "n2", "n3") if name != node))


async def test_s24_pods_go_to_the_coolest_node_and_keep_off_hot_ones(world):
    await world.pod("p")
    assert await world.bound("p") == "n3"
    known = json.loads(world.get(f"{PLUGIN}/n1")[1])
    assert known["nodeDelta"] == {"cpu": "0", "memory": "0"}
    assert json.loads(world.get(f"{PLUGIN}/n3")[1])["nodeEstimated"]["cpu"] == "850m"
    await only(world, "n1")
    await world.pod("q")
    said = await world.refused("q", "unschedulable")
    assert re.search(r"0/3 nodes are available: 1 node\(s\) cpu usage exceed threshold, 2 node\(s\) were unschedulable", said)
    await world.pod("agent", owner=DAEMON)
    assert await world.bound("agent") == "n1"


async def test_s24_pods_made_at_once_spread_by_their_estimates(world):
    await world.usage("n2", "1")
    await report(world, "n1", "1")
    for index in range(6):
        await world.pod(f"p{index}")
    places = sorted([await world.bound(f"p{index}") for index in range(6)])
    assert places == ["n1", "n1", "n2", "n2", "n3", "n3"]


async def test_s24_the_threshold_itself_passes(world):
    await only(world, "n1")
    await world.usage("n1", "10400m")
    await world.pod("p")
    await world.refused("p", "cpu usage exceed threshold")
    await world.usage("n1", "9500m")
    assert await world.bound("p") == "n1"


async def test_s25_a_node_has_thresholds_of_its_own(world):
    await only(world, "n1")
    await world.pod("p")
    await world.refused("p", "cpu usage exceed threshold")
    await world.annotate("n1", usage_thresholds='{"usageThresholds":{"cpu":90}}')
    assert await world.bound("p") == "n1"


async def test_s25_prod_pods_go_by_what_prod_pods_use(world):
    await only(world, "n1")
    resident = {"koordinator.sh/qosClass": "LS"}
    await world.pod("resident", cpu="500m", labels=resident, priorityClassName="koord-prod", nodeName="n1")
    used = [{"namespace": NAMESPACE, "name": "resident", "priority": "koord-prod", "podUsage": {"resources": {"cpu": "9"}}}]
    await world.usage("n1", "9", podsMetric=used)
    both = {"usageThresholds": {"cpu": 90}, "prodUsageThresholds": {"cpu": 50}}
    await world.annotate("n1", usage_thresholds=json.dumps(both))
    await until(lambda: json.loads(world.get(f"{PLUGIN}/n1")[1]).get("prodUsage", {}).get("cpu") == "9")
    await world.pod("prod", priorityClassName="koord-prod")
    await world.refused("prod", "cpu usage exceed threshold")
    await world.pod("batch", priorityClassName="koord-mid")
    assert await world.bound("batch") == "n1"


async def test_s25_percentiles_over_a_period(world):
    await only(world, "n1")
    aggregated = {
        "aggregatedUsage": {
            "usageThresholds": {"cpu": 60},
            "usageAggregationType": "p95",
            "usageAggregatedDuration": "5m0s",
        }
    }
    await world.annotate("n1", usage_thresholds=json.dumps(aggregated))
    hot = {"duration": "5m0s", "usage": {"p95": {"resources": {"cpu": "12", "memory": "10Gi"}}}}
    await world.usage("n1", "1", node_metric={"aggregatedNodeUsages": [hot]})
    await world.pod("p")
    await world.refused("p", "cpu aggregated usage exceed threshold")
    await world.usage("n1", "12")
    assert await world.bound("p") == "n1"


async def test_s25_a_report_that_has_grown_old_no_longer_keeps_pods_away_from_the_score(world):
    """As shipped, old reports still filter and no longer score."""
    await only(world, "n2")
    await world.usage("n2", "1", age=400)
    await world.pod("p")
    assert await world.bound("p") == "n2"
    answer = json.loads(world.get(f"/apis/v1/explain/pods/{NAMESPACE}/p")[1])
    assert answer["decision"]["parts"]["LoadAwareScheduling"] == 0


async def test_s25b_thresholds_that_cannot_be_read_count_as_absent(world):
    await only(world, "n1")
    await world.annotate("n1", usage_thresholds="{")
    await world.pod("p")
    assert await world.bound("p") == "n1"
