"""The webhooks that guard the configuration, on a real API server."""

import pytest

from koordinator.api.registry import CONFIG_MAPS, NODES
from koordinator.kube.errors import ApiError
from waiting import until

GATES = "ConfigMapValidatingWebhook=true,NodeValidatingWebhook=true"
LABELS = {"koordinator.sh/configmap-type": "slo-controller-config"}
POOLS = """{"enable": true, "nodeConfigs": [
  {"name": "a", "nodeSelector": {"matchLabels": {"pool": "a"}}, "enable": true},
  {"name": "b", "nodeSelector": {"matchLabels": {"zone": "b"}}, "enable": true}]}"""


async def store(cluster, text):
    body = {"metadata": {"name": "slo-controller-config", "labels": LABELS}, "data": {"colocation-config": text}}
    await cluster.client.create(CONFIG_MAPS, body, "koordinator-system")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"enable":tru', '___{"reason":"ParseConfigFail","message":"Failed to parse colocation config in configmap'),
        ('{"degradeTimeMinutes":0}', "DegradeTimeMinutes must be 1 or greater"),
        ('{"nodeConfigs":[{"name":"x","enable":true}]}', "nodeConfigs NodeSelector must not empty error!"),
    ],
)
async def test_a_broken_configuration_is_refused_with_its_reason(cluster, run_manager, text, reason):
    async with run_manager(cluster.client, gates=GATES):
        with pytest.raises(ApiError) as caught:
            await store(cluster, text)
    assert caught.value.code == 400
    assert reason in caught.value.message


async def test_a_node_that_would_match_two_entries_is_refused(cluster, run_manager):
    async with run_manager(cluster.client, gates=GATES) as manager:
        await cluster.node()
        await store(cluster, POOLS)
        await until(lambda: manager.config.colocation is not None and manager.config.colocation.overrides)
        await cluster.client.patch(NODES, "n1", {"metadata": {"labels": {"pool": "a"}}})
        with pytest.raises(ApiError, match='"reason":"ExistNodeConfict"'):
            await cluster.client.patch(NODES, "n1", {"metadata": {"labels": {"zone": "b"}}})
