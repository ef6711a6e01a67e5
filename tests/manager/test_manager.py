"""The whole manager on a real API server: admission, registration, priority classes, leadership."""

import base64

import aiohttp
import pytest

from koordinator.api.features import MANAGER
from koordinator.api.registry import (
    CLUSTER_COLOCATION_PROFILES,
    LEASES,
    NAMESPACES,
    NODE_METRICS,
    PODS,
    PRIORITY_CLASSES,
    SECRETS,
)
from koordinator.errors import ConfigInvalid
from koordinator.kube.errors import ApiError
from koordinator.manager.options import Address, ManagerOptions, WebhookOptions
from koordinator.manager.webhooks.registration import MUTATING, VALIDATING
from waiting import until

MUTATING_NAME = "koordinator-mutating-webhook-configuration"
VALIDATING_NAME = "koordinator-validating-webhook-configuration"
TO_BATCH = {
    "metadata": {"name": "to-batch"},
    "spec": {
        "namespaceSelector": {"matchLabels": {"koordinator.sh/enable-colocation": "true"}},
        "selector": {"matchLabels": {"job": "etl"}},
        "qosClass": "BE",
        "priorityClassName": "koord-batch",
        "koordinatorPriority": 1000,
        "schedulerName": "koord-scheduler",
        "labels": {"koordinator.sh/mutated": "true"},
        "patch": {"spec": {"terminationGracePeriodSeconds": 33}},
    },
}


async def in_a_chosen_namespace(cluster):
    await cluster.client.patch(NAMESPACES, "default", {"metadata": {"labels": {"koordinator.sh/enable-colocation": "true"}}})
    await cluster.client.create(CLUSTER_COLOCATION_PROFILES, TO_BATCH)


async def test_a_profile_turns_a_plain_pod_into_a_batch_pod(cluster, manager):
    await in_a_chosen_namespace(cluster)

    async def mutated():
        return (await cluster.pod("", generateName="etl-", labels={"job": "etl"})).spec.priority == 5000

    await until(mutated)
    pod = await cluster.pod("etl", labels={"job": "etl"}, cpu="1", memory="3456Mi")
    batch = {"kubernetes.io/batch-cpu": "1k", "kubernetes.io/batch-memory": "3456Mi"}
    assert pod.labels == {
        "job": "etl",
        "koordinator.sh/qosClass": "BE",
        "koordinator.sh/priority": "1000",
        "koordinator.sh/mutated": "true",
    }
    assert (pod.spec.priority, pod.spec.priority_class_name, pod.spec.scheduler_name) == (
        5000,
        "koord-batch",
        "koord-scheduler",
    )
    assert pod.spec.termination_grace_period_seconds == 33
    assert (pod.spec.containers[0].resources.requests, pod.spec.containers[0].resources.limits) == (batch, batch)
    plain = await cluster.pod("plain")
    assert plain.spec.containers[0].resources.requests == {"cpu": "4", "memory": "8Gi"}


async def test_an_illegal_combination_is_refused_in_words(cluster, manager):
    with pytest.raises(ApiError) as caught:
        await cluster.pod("bad", labels={"koordinator.sh/qosClass": "BE"}, spec={"priorityClassName": "koord-prod"})
    assert caught.value.code == 400
    assert caught.value.message == (
        'admission webhook "vpod.koordinator.sh" denied the request: '
        "Pod: Forbidden: koordinator.sh/qosClass=BE and priorityClass=koord-prod cannot be used in combination"
    )
    await cluster.pod("good", labels={"koordinator.sh/qosClass": "LS"}, spec={"priorityClassName": "koord-prod"})
    with pytest.raises(ApiError, match="field is immutable"):
        await cluster.client.patch(PODS, "good", {"metadata": {"labels": {"koordinator.sh/qosClass": "BE"}}}, "default")
    text = manager.metrics.text().decode()
    assert 'plugin_name="ClusterColocationProfile",status="rejected",webhook_type="validate"' in text


async def test_the_managers_own_namespace_is_left_alone(cluster, manager):
    await cluster.client.patch(NAMESPACES, "koordinator-system", {"metadata": {"labels": {"control-plane": "koordinator"}}})
    spec = {"priorityClassName": "koord-prod", "containers": [{"name": "c", "image": "x"}]}
    body = {"metadata": {"name": "own", "labels": {"koordinator.sh/qosClass": "BE"}}, "spec": spec}

    async def accepted():
        try:
            await cluster.client.create(PODS, body, "koordinator-system")
        except ApiError:
            return False
        return True

    await until(accepted)


async def test_priority_classes_are_there_and_an_administrators_own_stays(cluster, run_manager):
    own = {"metadata": {"name": "koord-batch"}, "value": 5432}
    await cluster.client.create(PRIORITY_CLASSES, own)
    async with run_manager(cluster.client):
        found = {one.name: one.value for one in (await cluster.client.list(PRIORITY_CLASSES)).items}
    assert {name: found[name] for name in found if name.startswith("koord-")} == {
        "koord-prod": 9000,
        "koord-mid": 7000,
        "koord-batch": 5432,
        "koord-free": 3000,
    }


async def test_registration_is_put_right_when_somebody_spoils_it(cluster, manager):
    async def bundle():
        found = await cluster.client.get(MUTATING, MUTATING_NAME)
        return (found.webhooks or [{}])[0].get("clientConfig", {}).get("caBundle")

    right = await bundle()
    found = await cluster.client.get(MUTATING, MUTATING_NAME)
    spoilt = [
        {**one, "clientConfig": {**one["clientConfig"], "caBundle": base64.b64encode(b"no").decode()}} for one in found.webhooks
    ]
    await cluster.client.patch(MUTATING, MUTATING_NAME, {"webhooks": spoilt})

    async def repaired():
        return await bundle() == right

    await until(repaired)


async def test_a_lost_certificate_is_made_again_and_the_webhooks_go_on(cluster, manager):
    before = (await cluster.client.get(SECRETS, "koordinator-webhook-certs", "koordinator-system")).data["ca-cert.pem"]
    await cluster.client.delete(SECRETS, "koordinator-webhook-certs", "koordinator-system")

    async def trusted():
        found = await cluster.client.get(VALIDATING, VALIDATING_NAME)
        return found.webhooks[0]["clientConfig"]["caBundle"] != before

    await until(trusted)
    await cluster.pod("after")


async def test_a_restart_keeps_the_certificate_and_moves_the_url(cluster, run_manager):
    async with run_manager(cluster.client):
        first = (await cluster.client.get(VALIDATING, VALIDATING_NAME)).webhooks[0]["clientConfig"]
    async with run_manager(cluster.client):
        second = (await cluster.client.get(VALIDATING, VALIDATING_NAME)).webhooks[0]["clientConfig"]
        await cluster.pod("after")
    assert first["caBundle"] == second["caBundle"]
    assert first["url"] != second["url"]


async def test_a_charts_own_entries_are_the_template(cluster, run_manager):
    service = {"namespace": "x", "name": "y", "path": "/validate-pod"}
    entry = {
        "name": "vpod.koordinator.sh",
        "clientConfig": {"service": service, "caBundle": "Cg=="},
        "failurePolicy": "Ignore",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
    }
    other = {
        **entry,
        "name": "vnode.koordinator.sh",
        "clientConfig": {"service": {"namespace": "x", "name": "y", "path": "/no"}},
    }
    await cluster.client.create(VALIDATING, {"metadata": {"name": VALIDATING_NAME}, "webhooks": [entry, other]})
    options = ManagerOptions(webhook=WebhookOptions(host=""))
    async with run_manager(cluster.client, options):
        found = await cluster.client.get(VALIDATING, VALIDATING_NAME)
    (live,) = found.webhooks
    assert live["failurePolicy"] == "Ignore"
    assert live["clientConfig"]["service"]["name"] == "koordinator-webhook-service"
    assert live["clientConfig"]["caBundle"] != "Cg=="
    assert '"/no"' in found.annotations["template"]


async def test_gates_decide_what_is_served(cluster, run_manager):
    async with run_manager(cluster.client, gates="PodValidatingWebhook=false,ElasticValidatingWebhook=false"):
        assert not (await cluster.client.get(VALIDATING, VALIDATING_NAME)).webhooks
        await cluster.pod("bad", labels={"koordinator.sh/qosClass": "BE"}, spec={"priorityClassName": "koord-prod"})


def test_an_unknown_gate_is_one_sentence():
    with pytest.raises(ConfigInvalid, match="unrecognized feature gate: NoSuchGate"):
        MANAGER.parse("NoSuchGate=true")


async def test_only_the_leader_writes_and_the_other_takes_over(cluster, run_manager):
    options = ManagerOptions(leader_elect=True)
    async with run_manager(cluster.client, options):
        await cluster.node("n1")

        async def written(name="n1"):
            return name in {one.name for one in (await cluster.client.list(NODE_METRICS)).items}

        await until(written)
        lease = await cluster.client.get(LEASES, "koordinator-manager", "koordinator-system")
        assert lease.spec.holder_identity
    async with run_manager(cluster.client, options):
        await cluster.node("n2")
        await until(lambda: written("n2"), seconds=20)


async def test_metrics_and_readiness_over_http(cluster, run_manager):
    async with run_manager(cluster.client, ManagerOptions(metrics=Address())) as manager, aiohttp.ClientSession() as session:
        for path, text in (("healthz", "ok"), ("readyz", "ok"), ("metrics", "# HELP koord_manager_webhook")):
            async with session.get(f"http://127.0.0.1:{manager.ports.metrics}/{path}") as answer:
                assert answer.status == 200
                assert text in await answer.text()
