"""Amplified nodes on a real API server."""

from koordinator.api.registry import NODES
from koordinator.manager.webhooks.registration import MUTATING
from waiting import until

RATIO = "node.koordinator.sh/resource-amplification-ratio"


async def test_a_kubelets_report_is_amplified_and_the_real_amount_remembered(cluster, run_manager):
    await cluster.configure(
        colocation_config='{"enable": true}',
        resource_amplification_config='{"enable": true, "resourceAmplificationRatio": {"cpu": 1.5}}',
    )
    await cluster.node()
    async with run_manager(cluster.client, gates="NodeMutatingWebhook=true"):
        entries = (await cluster.client.get(MUTATING, "koordinator-mutating-webhook-configuration")).webhooks
        assert "mnode-status.koordinator.sh" in {entry["name"] for entry in entries}

        async def chosen():
            return (await cluster.client.get(NODES, "n1")).annotations.get(RATIO) == '{"cpu":1.50}'

        await until(chosen)
        report = {"status": {"allocatable": {"cpu": "8", "memory": "32Gi"}}}
        node = await cluster.client.patch(NODES, "n1", report, subresource="status")
    assert node.status.allocatable["cpu"] == "12"
    assert node.status.allocatable["memory"] == "32Gi"
    assert node.status.capacity["cpu"] == "16"
    assert node.annotations["node.koordinator.sh/raw-allocatable"] == '{"cpu":"8","memory":"32Gi"}'
