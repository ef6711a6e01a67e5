"""The webhook server over real TLS: every question gets an answer."""

import base64
import contextlib
import ssl

import aiohttp
import msgspec
import pytest

from koordinator.api.config import ClusterColocationProfile
from koordinator.api.core import PriorityClass
from koordinator.api.features import MANAGER
from koordinator.clock import SystemClock
from koordinator.errors import Unavailable
from koordinator.kube.patches import apply_json
from koordinator.manager.webhooks.certificates import good_bundle
from koordinator.manager.webhooks.pods.handlers import PodWebhooks
from koordinator.manager.webhooks.pods.profiles import compile_profile
from koordinator.manager.webhooks.server import WebhookServer

BATCH = msgspec.convert({"metadata": {"name": "koord-batch"}, "value": 5000}, PriorityClass)


class View:
    """A cluster with what a test puts into it."""

    def __init__(self, *profiles):
        self._profiles = [compile_profile(msgspec.convert(one, ClusterColocationProfile)) for one in profiles]

    def profiles(self):
        return self._profiles

    async def namespace_labels(self, name):
        return {"team": "data"} if name == "demo" else None

    async def priority_class(self, name):
        return BATCH if name == "koord-batch" else None

    def pod_rules(self):
        return ()

    def parent_quota(self, pod):
        return ""


TO_BATCH = {
    "metadata": {"name": "to-batch"},
    "spec": {
        "namespaceSelector": {"matchLabels": {"team": "data"}},
        "selector": {"matchLabels": {"job": "etl"}},
        "qosClass": "BE",
        "priorityClassName": "koord-batch",
    },
}


@pytest.fixture(scope="module")
def bundle():
    return good_bundle(None, "127.0.0.1", SystemClock().now())


@contextlib.asynccontextmanager
async def serving(bundle, *profiles):
    webhooks = PodWebhooks(View(*profiles), MANAGER.parse(""), SystemClock())

    async def broken(request):
        raise RuntimeError("bug")

    server = WebhookServer({"/mutate-pod": webhooks.mutate, "/validate-pod": webhooks.validate, "/broken": broken})
    server.use(bundle)
    await server.start("127.0.0.1", 0)
    context = ssl.create_default_context(cadata=bundle.ca_cert.decode())
    base = f"https://127.0.0.1:{server.port}"
    try:
        async with aiohttp.ClientSession(base, connector=aiohttp.TCPConnector(ssl=context)) as session:
            yield session, server
    finally:
        await server.stop()


def review(pod, operation="CREATE", old=None, **more):
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "u-1",
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": "demo",
            "operation": operation,
            "object": pod,
            "oldObject": old,
            **more,
        },
    }


async def ask(session, path, body):
    async with session.post(path, data=body if isinstance(body, bytes) else msgspec.json.encode(body)) as answer:
        assert answer.status == 200
        found = await answer.json()
    assert found["kind"] == "AdmissionReview"
    return found["response"]


def pod(labels=None, **resources):
    return {"metadata": {"name": "p", "labels": labels or {}}, "spec": {"containers": [{"name": "c", "resources": resources}]}}


async def test_a_matching_pod_is_patched_into_a_batch_pod(bundle):
    given = pod({"job": "etl"}, requests={"cpu": "1", "memory": "1Gi"})
    async with serving(bundle, TO_BATCH) as (session, _):
        response = await ask(session, "/mutate-pod", review(given))
    assert (response["uid"], response["allowed"], response["patchType"]) == ("u-1", True, "JSONPatch")
    patched = apply_json(given, msgspec.json.decode(base64.b64decode(response["patch"])))
    assert patched["spec"]["priority"] == 5000
    assert patched["spec"]["containers"][0]["resources"]["requests"] == {
        "kubernetes.io/batch-cpu": "1k",
        "kubernetes.io/batch-memory": "1Gi",
    }
    assert "namespace" not in patched["metadata"]


@pytest.mark.parametrize(
    "question",
    [
        review(pod()),
        review(pod({"job": "etl"}), "UPDATE"),
        review(pod({"job": "etl"}), subResource="status"),
        review({"spec": {}}, resource={"group": "", "version": "v1", "resource": "services"}),
    ],
    ids=["no match", "update", "subresource", "another kind"],
)
async def test_what_does_not_concern_us_is_allowed_unchanged(bundle, question):
    async with serving(bundle, TO_BATCH) as (session, _):
        assert await ask(session, "/mutate-pod", question) == {"uid": "u-1", "allowed": True}


async def test_a_broken_profile_denies_with_its_field(bundle):
    broken = {"metadata": {"name": "broken"}, "spec": {"priorityClassName": "nope"}}
    async with serving(bundle, broken) as (session, _):
        response = await ask(session, "/mutate-pod", review(pod()))
    assert (response["allowed"], response["status"]["code"]) == (False, 500)
    assert '"nope" not found' in response["status"]["message"]


async def test_an_illegal_combination_is_denied_in_the_protocols_words(bundle):
    given = pod({"koordinator.sh/qosClass": "BE"})
    given["spec"]["priority"] = 9000
    async with serving(bundle) as (session, _):
        response = await ask(session, "/validate-pod", review(given))
    assert response["status"]["code"] == 400
    assert response["status"]["message"] == (
        "Pod: Forbidden: koordinator.sh/qosClass=BE and priorityClass=koord-prod cannot be used in combination"
    )


UNREADABLE = [b"", b"{", b"[]", b'{"kind":"AdmissionReview"}', b'{"request":{"uid":5}}']


@pytest.mark.parametrize("path", ["/mutate-pod", "/validate-pod"])
@pytest.mark.parametrize("body", [*UNREADABLE, msgspec.json.encode(review({"metadata": 5}))])
async def test_what_cannot_be_read_is_answered_all_the_same(bundle, path, body):
    async with serving(bundle) as (session, _):
        response = await ask(session, path, body)
    if b'"metadata":5' not in body or path == "/validate-pod":
        assert response["allowed"] is False
        assert response["status"]["code"] == 400


async def test_a_bug_is_an_answer_too(bundle, caplog):
    async with serving(bundle) as (session, _):
        response = await ask(session, "/broken", review(pod()))
    assert response["status"]["message"] == "internal error in /broken: RuntimeError: bug"


@pytest.mark.slow
async def test_a_new_certificate_is_used_from_the_next_connection_on(bundle):
    async with serving(bundle) as (_, server):
        fresh = good_bundle(None, "127.0.0.1", SystemClock().now())
        server.use(fresh)
        context = ssl.create_default_context(cadata=fresh.ca_cert.decode())
        url = f"https://127.0.0.1:{server.port}/healthz"
        async with aiohttp.ClientSession() as other, other.get(url, ssl=context) as answer:
            assert answer.status == 200


async def test_a_port_that_is_taken_is_one_sentence(bundle):
    async with serving(bundle) as (_, server):
        second = WebhookServer({})
        second.use(bundle)
        with pytest.raises(Unavailable, match=f"webhook address 127.0.0.1:{server.port}: Address already in use"):
            await second.start("127.0.0.1", server.port)
