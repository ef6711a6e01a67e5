"""Plans: the numbers that the controller would write, before anybody applies a configuration."""

import time

import msgspec
import pytest

from koordinator.api.core import Node, Pod
from koordinator.api.meta import format_time
from koordinator.api.slo import NodeMetric
from koordinator.errors import KoordError
from koordinator.kube.errors import NotFound
from koordinator.manager import planning, plantext
from koordinator.manager.overcommit import batch
from waiting import until

NOW = 1_767_225_600.0
GIB = 1 << 30
BATCH_CPU, BATCH_MEMORY = "kubernetes.io/batch-cpu", "kubernetes.io/batch-memory"
ON = '{"enable": true, "cpuReclaimThresholdPercent": 75, "memoryReclaimThresholdPercent": 75}'
MORE = "colocation-config: {enable: true, cpuReclaimThresholdPercent: 90, batchMemoryThresholdPercent: 10}"
OLD = {"colocation-config": ON}


def node(name="n1", **annotations):
    amounts = {"cpu": "16", "memory": "64Gi"}
    status = {"capacity": amounts, "allocatable": {**amounts, "cpu": "15500m", BATCH_CPU: "8k"}}
    return msgspec.convert({"metadata": {"name": name, "annotations": annotations}, "status": status}, Node)


def snapshot(*nodes, age=0.0, data=OLD):
    requests = {"requests": {"cpu": "4", "memory": "8Gi"}}
    pod = msgspec.convert(
        {
            "metadata": {"namespace": "ns", "name": "web"},
            "spec": {"nodeName": "n1", "priority": 9000, "containers": [{"name": "c", "resources": requests}]},
            "status": {"phase": "Running"},
        },
        Pod,
    )
    used = {
        "namespace": "ns",
        "name": "web",
        "priority": "koord-prod",
        "podUsage": {"resources": {"cpu": "2", "memory": "6Gi"}},
    }
    status = {
        "updateTime": format_time(NOW - age),
        "nodeMetric": {"systemUsage": {"resources": {"cpu": "1", "memory": "4Gi"}}},
        "podsMetric": [used],
    }
    metric = msgspec.convert({"metadata": {"name": "n1"}, "status": status}, NodeMetric)
    return planning.Snapshot(list(nodes) or [node()], [pod], {"n1": metric}, {}, data)


def planned(seen, text=None):
    current = planning.usable_config(seen.data)
    proposed = current if text is None else planning.read_config(planning.proposed_data(text, "f", seen.data), "f")
    return planning.plan(seen, current, proposed, NOW)


def test_the_current_and_the_proposed_amounts_stand_side_by_side():
    (one,) = planned(snapshot(), MORE)
    assert (one.current.sold[BATCH_CPU], one.current.sold[BATCH_MEMORY]) == (9000, 38 * GIB)
    assert (one.proposed.sold[BATCH_CPU], one.proposed.sold[BATCH_MEMORY]) == (11400, 6871947673)
    assert one.offered == {BATCH_CPU: 8000}
    shown = plantext.whole([one], [one])
    assert "n1    9000 → 11400  38Gi → 6.4Gi" in shown
    explained = (
        "batch-cpu 9000 = 16000 capacity − 500 reserved − 500 system beyond that − 2000 high-priority (use) − 4000 margin"
    )
    assert explained in shown
    assert "(at most 10 % of the capacity)" in shown


def test_every_explanation_adds_up():
    for part in planned(snapshot(), MORE)[0].current.parts:
        assert part.capacity - part.margin - part.kept - part.high_priority == part.batch


def test_by_request_the_system_is_not_counted():
    text = "colocation-config: {enable: true, memoryCalculatePolicy: request}"
    shown = plantext.explanation(planned(snapshot(), text)[0])
    assert "64Gi capacity − 0Gi reserved − 8Gi high-priority (requests)" in shown


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (snapshot(age=3600), batch.DEGRADED),
        (snapshot(node("n2")), batch.DEGRADED),
        (snapshot(data=None), batch.DISABLED),
        (snapshot(data={"colocation-config": "{"}), "there is no usable configuration"),
    ],
    ids=["stale", "no report", "no ConfigMap", "broken ConfigMap"],
)
def test_a_node_that_sells_nothing_says_why(seen, why):
    (one,) = planned(seen)
    assert (one.current.sold, one.current.why_not) == ({}, why)
    assert f"sells nothing: {why}" in plantext.explanation(one)
    assert plantext.as_json([one])[0]["current"] == {"sold": {}, "whyNot": why}


def test_third_parties_and_normalization_are_part_of_the_story():
    taken = '{"allocations":[{"name":"yarn","priority":"koord-batch","resources":{"kubernetes.io/batch-cpu":"2000"}}]}'
    ratio = "node.koordinator.sh/cpu-normalization-ratio"
    one = node(**{"node.koordinator.sh/thirdPartyAllocations": taken, ratio: "1.20"})
    text = "cpu-normalization-config: {enable: true}"
    (found,) = planned(snapshot(one), text)
    assert found.current.sold[BATCH_CPU] == 7000
    assert found.proposed.sold[BATCH_CPU] == 9000 * 12 // 10 - 2000
    shown = plantext.explanation(found)
    assert "CPU normalization" in shown
    assert "third parties" in shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not readable YAML or JSON"),
        ("[]", "must be a ConfigMap or a mapping of its keys"),
        ("kind: ConfigMap", "holds none of the keys colocation-config"),
        ("colocation: {}", "holds none of the keys"),
        ("colocation-config: '{'", "failed to unmarshal colocation config, err: "),
        ("colocation-config: {degradeTimeMinutes: 0}", "degradeTimeMinutes is 0"),
    ],
)
def test_a_proposal_that_the_manager_would_not_take_is_one_sentence(text, message):
    with pytest.raises(KoordError) as caught:
        planned(snapshot(), text)
    assert message in str(caught.value)
    assert str(caught.value).startswith("f")
    assert str(caught.value).endswith("nothing was planned")


def test_a_whole_configmap_is_read_like_its_keys():
    whole = '{"kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"colocation-config": "{}", "other": "1"}}'
    assert planning.proposed_data(whole, "f", None) == {"colocation-config": "{}"}
    assert planning.proposed_data("colocation-config: {}", "f", {"system-config": "s"}) == {
        "colocation-config": "{}",
        "system-config": "s",
    }


def test_what_the_webhook_would_refuse_is_said():
    data = planning.proposed_data('colocation-config: {midCPUThresholdPercent: 50, nodeConfigs: [{name: "x"}]}', "f", OLD)
    assert "NodeSelector must not empty" in planning.warning(snapshot(), data)


async def test_the_plan_is_what_the_controller_then_writes(cluster, manager):
    await cluster.configure(colocation_config=ON)
    await cluster.node()

    async def reported():
        try:
            await cluster.report()
        except NotFound:
            return False
        return True

    await until(reported)

    async def sold():
        return await cluster.sold() == ("11k", "44Gi")

    await until(sold)
    seen = await planning.look(cluster.client, "koordinator-system/slo-controller-config", "n1")
    data = planning.proposed_data(MORE, "f", seen.data)
    (one,) = planning.plan(seen, planning.usable_config(seen.data), planning.read_config(data, "f"), time.time())
    await cluster.configure(colocation_config=data["colocation-config"])

    async def as_planned():
        found = await cluster.sold()
        return found == (f"{one.proposed.sold[BATCH_CPU]}", f"{one.proposed.sold[BATCH_MEMORY]}")

    await until(as_planned)
