import base64
import ssl

import msgspec
import pytest
from aiohttp import web

from koordinator.cluster.apiserver import pki

PODS = "/api/v1/namespaces/default/pods"
MUTATING = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
VALIDATING = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
CONTAINER = {"name": "c", "image": "i"}
RULE = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"], "scope": "*"}


class Hooks:
    """A webhook server over real TLS. ``answer(request) -> response`` decides."""

    def __init__(self, authority):
        self.authority, self.requests = authority, []
        self.answer = lambda request: {"allowed": True}

    async def __call__(self, request):
        review = msgspec.json.decode(await request.read())
        self.requests.append(review["request"])
        response = {"uid": review["request"]["uid"], **self.answer(review["request"])}
        return web.json_response({**review, "response": response})

    @property
    def bundle(self):
        return base64.b64encode(self.authority.ca.read_bytes()).decode()

    def configuration(self, name="hook.example.com", **changes):
        hook = {
            "name": name,
            "clientConfig": {"url": f"https://127.0.0.1:{self.port}/hook", "caBundle": self.bundle},
            "rules": [RULE],
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        }
        return {"metadata": {"name": name}, "webhooks": [hook | changes]}


@pytest.fixture
async def hooks(apiserver):
    authority = pki.Pki(apiserver.data / "pki")
    certificate, key = pki.issue(authority, "hook", ("127.0.0.1", "hook.demo.svc"), 1_900_000_000 - 200_000_000)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    hooks = Hooks(authority)
    runner = web.ServerRunner(web.Server(hooks))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    hooks.port = runner.addresses[0][1]
    yield hooks
    await runner.cleanup()


def patch_of(*operations):
    return {"allowed": True, "patchType": "JSONPatch", "patch": base64.b64encode(msgspec.json.encode(operations)).decode()}


async def test_a_mutating_webhook_changes_a_pod_before_it_is_stored(http, hooks):
    await http.post("/apis/scheduling.k8s.io/v1/priorityclasses", {"metadata": {"name": "koord-batch"}, "value": 5000})
    hooks.answer = lambda _: patch_of(
        {"op": "add", "path": "/metadata/labels", "value": {"mutated": "yes"}},
        {"op": "add", "path": "/spec/priorityClassName", "value": "koord-batch"},
        {"op": "replace", "path": "/spec/priority", "value": 5000},
    )
    assert (await http.post(MUTATING, hooks.configuration())).code == 201
    pod = await http.pod()
    assert pod["metadata"]["labels"] == {"mutated": "yes"}
    assert (pod["spec"]["priority"], pod["spec"]["priorityClassName"]) == (5000, "koord-batch")
    (request,) = hooks.requests
    assert (request["operation"], request["namespace"], request["resource"]["resource"]) == ("CREATE", "default", "pods")
    assert request["object"]["spec"]["dnsPolicy"] == "ClusterFirst"


async def test_a_denial_has_the_words_of_the_webhook(http, hooks):
    hooks.answer = lambda _: {"allowed": True, "warnings": ["think again"]}
    await http.post(VALIDATING, hooks.configuration())
    pod = {"metadata": {"name": "q"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    async with http.session.post(http.url + PODS, json=pod) as response:
        assert response.headers["Warning"] == '299 - "think again"'
    hooks.answer = lambda _: {"allowed": False, "status": {"message": "no pods today"}}
    reply = await http.post(PODS, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    assert (reply.code, reply.message) == (400, 'admission webhook "hook.example.com" denied the request: no pods today')
    hooks.answer = lambda _: {"allowed": False, "status": {"code": 403, "reason": "Forbidden"}}
    reply = await http.post(PODS, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    assert (reply.code, reply.message) == (403, 'admission webhook "hook.example.com" denied the request: Forbidden')
    assert (await http.get(f"{PODS}/p")).code == 404


async def test_updates_deletes_and_subresources_are_asked_for_by_rule(http, hooks):
    rule = {**RULE, "operations": ["UPDATE", "DELETE"], "resources": ["pods", "pods/status"]}
    await http.post(VALIDATING, hooks.configuration(rules=[rule]))
    await http.pod()
    await http.patch(f"{PODS}/p", {"metadata": {"labels": {"a": "b"}}})
    await http.patch(f"{PODS}/p/status", {"status": {"phase": "Running"}})
    await http.delete(f"{PODS}/p")
    assert [(request["operation"], request.get("subResource")) for request in hooks.requests] == [
        ("UPDATE", None),
        ("UPDATE", "status"),
        ("DELETE", None),
    ]
    assert hooks.requests[0]["oldObject"]["metadata"].get("labels") is None
    assert hooks.requests[2]["object"] is None


async def test_a_binding_can_be_denied_and_leaves_the_pod_unbound(http, hooks):
    await http.post(VALIDATING, hooks.configuration(rules=[{**RULE, "resources": ["pods/binding"]}]))
    await http.pod()
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}}
    hooks.answer = lambda request: {"allowed": request["object"]["target"]["name"] != "n1", "status": {"message": "not there"}}
    reply = await http.post(f"{PODS}/p/binding", binding)
    assert (reply.code, reply.message) == (400, 'admission webhook "hook.example.com" denied the request: not there')
    assert "nodeName" not in (await http.get(f"{PODS}/p")).body["spec"]
    assert (await http.post(f"{PODS}/p/binding", {**binding, "target": {"name": "n2"}})).code == 201
    assert {request["kind"]["kind"] for request in hooks.requests} == {"Binding"}
    assert hooks.requests[0]["subResource"] == "binding"


async def test_selectors_say_which_objects_and_namespaces(http, hooks):
    hooks.answer = lambda _: {"allowed": False}
    only = {"objectSelector": {"matchLabels": {"app": "a"}}, "namespaceSelector": {"matchLabels": {"guarded": "yes"}}}
    await http.post(VALIDATING, hooks.configuration(**only))
    pod = {"metadata": {"name": "p", "labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    assert (await http.post(PODS, pod)).code == 201
    await http.patch("/api/v1/namespaces/default", {"metadata": {"labels": {"guarded": "yes"}}})
    refused = await http.post(PODS, {**pod, "metadata": {"name": "q", "labels": {"app": "a"}}})
    assert refused.message == 'admission webhook "hook.example.com" denied the request without explanation'
    assert (await http.post(PODS, {**pod, "metadata": {"name": "r"}})).code == 201


async def test_a_webhook_that_does_not_answer(http, hooks):
    broken = hooks.configuration(clientConfig={"url": "https://127.0.0.1:1/x"}, timeoutSeconds=1)
    await http.post(MUTATING, broken)
    reply = await http.post(PODS, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    assert reply.code == 500
    start = 'Internal error occurred: failed calling webhook "hook.example.com": failed to call webhook: Post "https://127.0.0.1:1/x'
    assert reply.message.startswith(start)
    await http.patch(f"{MUTATING}/hook.example.com", {"webhooks": [broken["webhooks"][0] | {"failurePolicy": "Ignore"}]})
    await http.pod()
    await http.delete(f"{MUTATING}/hook.example.com")
    await http.pod("q")


async def test_a_webhook_behind_a_service(http, hooks):
    reference = {"service": {"namespace": "demo", "name": "hook", "path": "/hook"}, "caBundle": hooks.bundle}
    await http.post(VALIDATING, hooks.configuration(clientConfig=reference))
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    assert 'service "hook" not found' in (await http.post(PODS, pod)).message
    await http.post("/api/v1/namespaces", {"metadata": {"name": "demo"}})
    await http.post("/api/v1/namespaces/demo/services", {"metadata": {"name": "hook"}, "spec": {"ports": [{"port": 443}]}})
    assert 'no endpoints available for service "hook"' in (await http.post(PODS, pod)).message
    subsets = [{"addresses": [{"ip": "127.0.0.1"}], "ports": [{"port": hooks.port}]}]
    await http.post("/api/v1/namespaces/demo/endpoints", {"metadata": {"name": "hook"}, "subsets": subsets})
    assert (await http.post(PODS, pod)).code == 201
    assert len(hooks.requests) == 1


async def test_one_that_wants_to_is_asked_again_after_others(http, hooks):
    def answer(request):
        labels = request["object"]["metadata"].get("labels", {})
        if "second" in labels or len(hooks.requests) == 1:
            return {"allowed": True}
        return patch_of({"op": "add", "path": "/metadata/labels", "value": {"second": "yes"}})

    hooks.answer = answer
    await http.post(MUTATING, hooks.configuration("a.example.com", reinvocationPolicy="IfNeeded"))
    await http.post(MUTATING, hooks.configuration("b.example.com"))
    await http.pod()
    assert len(hooks.requests) == 3


async def test_match_conditions_say_when_not_to_ask(http, hooks):
    hooks.answer = lambda _: {"allowed": False}
    conditions = [
        {"name": "named", "expression": "object.metadata.name.startsWith('guarded-')"},
        {"name": "created", "expression": "request.operation == 'CREATE' && request.namespace == 'default'"},
    ]
    assert (await http.post(VALIDATING, hooks.configuration(matchConditions=conditions))).code == 201
    await http.pod("free")
    assert (await http.post(PODS, {"metadata": {"name": "guarded-1"}, "spec": {"containers": [CONTAINER]}})).code == 400
    assert len(hooks.requests) == 1


@pytest.mark.parametrize(("policy", "code"), [("Fail", 500), ("Ignore", 201)])
async def test_a_match_condition_that_fails(http, hooks, policy, code):
    hooks.answer = lambda _: {"allowed": False}
    conditions = [{"name": "labelled", "expression": "object.metadata.labels.tier == 'x'"}]
    await http.post(VALIDATING, hooks.configuration(matchConditions=conditions, failurePolicy=policy))
    reply = await http.post(PODS, {"metadata": {"name": "p"}, "spec": {"containers": [CONTAINER]}})
    assert reply.code == code
    assert code == 201 or "match condition failed: object.metadata.labels.tier" in reply.message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sideEffects": ""}, "webhooks[0].sideEffects: Required value"),
        ({"timeoutSeconds": 31}, "the timeout value must be between 1 and 30 seconds"),
        ({"failurePolicy": "Maybe"}, 'webhooks[0].failurePolicy: Unsupported value: "Maybe"'),
        ({"matchConditions": [{"name": "a", "expression": "object."}]}, "matchConditions[0].expression"),
        ({"matchConditions": [{"expression": "self.a"}]}, "matchConditions[0].name: Required value"),
        ({"rules": "x"}, "webhooks"),
        ({"rules": [{"operations": "CREATE"}]}, "webhooks"),
        ({"objectSelector": {"matchExpressions": [{"key": "a", "operator": "Like"}]}}, "objectSelector"),
    ],
)
async def test_configurations_that_are_refused(http, hooks, change, words):
    reply = await http.post(MUTATING, hooks.configuration(**change))
    assert reply.code in (400, 422)
    assert words in reply.message
    await http.pod()
