"""What tools ask for beside objects: access reviews, usage, the newer events, metrics; and what they are told is not here."""

import io

import pytest

AUTHORIZATION = "/apis/authorization.k8s.io/v1"
USAGE = "/apis/metrics.k8s.io/v1beta1"
EVENTS = "/apis/events.k8s.io/v1/namespaces/default/events"
CORE_EVENTS = "/api/v1/namespaces/default/events"
METRICS = "/apis/slo.koordinator.sh/v1alpha1/nodemetrics"


async def test_whoever_has_the_token_may_do_everything(http):
    question = {"spec": {"resourceAttributes": {"verb": "delete", "resource": "nodes"}}}
    own = await http.post(f"{AUTHORIZATION}/selfsubjectaccessreviews", question)
    assert (own.code, own.body["status"]["allowed"]) == (201, True)
    somebody = {"spec": {**question["spec"], "user": "somebody"}}
    assert not (await http.post(f"{AUTHORIZATION}/subjectaccessreviews", somebody)).body["status"]["allowed"]
    master = {"spec": {**question["spec"], "user": "x", "groups": ["system:masters"]}}
    place = f"{AUTHORIZATION}/namespaces/default/localsubjectaccessreviews"
    assert (await http.post(place, master)).body["status"]["allowed"]
    rules = (await http.post(f"{AUTHORIZATION}/selfsubjectrulesreviews", {"spec": {"namespace": "default"}})).body["status"]
    assert rules["resourceRules"] == [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]
    who = await http.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", {})
    assert who.body["status"]["userInfo"]["username"] == "koord"


async def test_a_token_is_the_clusters_or_nobodys(http, apiserver):
    place = "/apis/authentication.k8s.io/v1/tokenreviews"
    known = await http.post(place, {"spec": {"token": apiserver.token, "audiences": ["a"]}})
    user = {"username": "koord", "groups": ["system:masters", "system:authenticated"]}
    assert (known.code, known.body["kind"]) == (201, "TokenReview")
    assert known.body["status"] == {"authenticated": True, "user": user, "audiences": ["a"]}
    unknown = await http.post(place, {"spec": {"token": apiserver.token + "x"}})
    assert unknown.body["status"] == {"authenticated": False, "error": "invalid bearer token"}
    assert (await http.post(place, {"spec": {}})).code == 422
    resources = (await http.get("/apis/authentication.k8s.io/v1")).body["resources"]
    assert {"tokenreviews", "selfsubjectreviews"} == {one["name"] for one in resources}
    assert "apis/authentication.k8s.io/v1" in (await http.get("/openapi/v3")).body["paths"]


@pytest.mark.parametrize("body", [{}, {"spec": 3}, {"spec": {"resourceAttributes": {"verb": "get"}}}, []])
async def test_a_review_without_a_question(http, body):
    reply = await http.post(f"{AUTHORIZATION}/subjectaccessreviews", body)
    assert reply.code in (400, 422)
    assert (await http.get(f"{AUTHORIZATION}/subjectaccessreviews")).code == 405


async def test_usage_comes_from_node_metrics(http):
    for name in ("n1", "n2"):
        await http.post("/api/v1/nodes", {"metadata": {"name": name, "labels": {"pool": name}}})
        await http.post(METRICS, {"metadata": {"name": name}, "spec": {}})
    containers = [{"name": "main", "image": "i"}, {"name": "side", "image": "i"}]
    await http.pod("p", nodeName="n1", containers=containers)
    usage = {"resources": {"cpu": "1500m", "memory": "2Gi"}}
    pods = [
        {"name": "p", "namespace": "default", "podUsage": {"resources": {"cpu": "250m", "memory": "64Mi"}}},
        {"name": "gone", "namespace": "default", "podUsage": usage},
    ]
    status = {"updateTime": "2026-01-01T00:00:00Z", "nodeMetric": {"nodeUsage": usage}, "podsMetric": pods}
    assert (await http.patch(f"{METRICS}/n1/status", {"status": status})).code == 200

    listed = (await http.get(f"{USAGE}/nodes")).body
    assert listed["kind"] == "NodeMetricsList"
    assert [(item["metadata"]["name"], item["usage"]) for item in listed["items"]] == [("n1", usage["resources"])]
    assert (await http.get(f"{USAGE}/nodes/n1")).body["window"] == "60s"
    assert (await http.get(f"{USAGE}/nodes/n2")).code == 404
    assert (await http.get(f"{USAGE}/nodes?labelSelector=pool=n2")).body["items"] == []
    (pod,) = (await http.get(f"{USAGE}/pods")).body["items"]
    assert pod == {
        key: value for key, value in (await http.get(f"{USAGE}/namespaces/default/pods/p")).body.items() if key in pod
    }
    assert [(item["name"], item["usage"]["cpu"]) for item in pod["containers"]] == [("main", "250m"), ("side", "0")]
    assert (await http.get(f"{USAGE}/namespaces/other/pods")).body["items"] == []
    assert (await http.post(f"{USAGE}/nodes", {})).code == 405
    assert (await http.get(f"{USAGE}/nodes?watch=1")).code == 405


async def test_the_newer_events_are_the_same_events(http):
    about = {"kind": "Pod", "namespace": "default", "name": "p"}
    own = {"metadata": {"name": "e"}, "regarding": about, "note": "hello", "reason": "Made", "type": "Normal"}
    made = await http.post(EVENTS, {**own, "reportingController": "test"})
    assert (made.code, made.body["apiVersion"], made.body["note"]) == (201, "events.k8s.io/v1", "hello")
    core = (await http.get(f"{CORE_EVENTS}/e")).body
    assert (core["apiVersion"], core["involvedObject"], core["message"]) == ("v1", about, "hello")
    assert core["reportingComponent"] == "test"
    assert (await http.patch(f"{EVENTS}/e", {"note": "again", "deprecatedCount": 2})).body["deprecatedCount"] == 2
    patched = await http.patch(f"{EVENTS}/e", [{"op": "replace", "path": "/note", "value": "thrice"}], kind="json")
    assert patched.body["note"] == "thrice"
    listed = (await http.get(f"{EVENTS}?fieldSelector=regarding.name=p")).body
    assert (listed["apiVersion"], [item["regarding"]["name"] for item in listed["items"]]) == ("events.k8s.io/v1", ["p"])
    assert (await http.get(f"{EVENTS}?fieldSelector=regarding.name=q")).body["items"] == []
    assert (await http.post(EVENTS, {"metadata": {"name": "f"}, "wrong": 1, "regarding": about})).code == 201
    assert (await http.delete(f"{EVENTS}/e")).code == 200
    assert (await http.get(f"{CORE_EVENTS}/e")).code == 404


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("namespaces/default/pods/p/exec?command=ls", "exec is not served here"),
        ("namespaces/default/pods/p/attach", "attach is not served here"),
        ("namespaces/default/pods/p/portforward", "port-forward is not served here"),
        ("namespaces/default/services/s/proxy/a/b", "the service proxy is not served here"),
        ("nodes/n/proxy/metrics", "the node proxy is not served here"),
    ],
)
async def test_what_is_not_here_is_told_in_a_sentence(http, path, words):
    reply = await http.post(f"/api/v1/{path}", None)
    assert (reply.code, reply.body["reason"]) == (501, "NotImplemented")
    assert reply.message.startswith(words)


async def test_server_side_apply_is_refused_with_its_remedy(http):
    reply = await http.call("PATCH", "/api/v1/namespaces/default/configmaps/a", {}, type_="application/apply-patch+yaml")
    assert reply.code == 415
    assert "without --server-side" in reply.message


async def test_metrics_tell_what_was_asked_and_what_is_held(http):
    await http.pod()
    await http.get("/api/v1/namespaces/default/pods")
    await http.get("/api/v1/namespaces/default/pods/none")
    text = (await http.get("/metrics")).body
    counted = 'apiserver_request_total{verb="%s",resource="pods",subresource="",code="%s"} 1\n'
    for verb, code in (("POST", 201), ("LIST", 200), ("GET", 404)):
        assert counted % (verb, code) in text
    assert 'apiserver_request_duration_seconds_count{verb="POST",resource="pods",subresource=""} 1\n' in text
    assert 'apiserver_storage_objects{resource="pods"} 1\n' in text
    assert "apiserver_storage_size_bytes " in text
    assert "process_resident_memory_bytes " in text
    assert (await http.call("GET", "/metrics", Authorization="Bearer wrong")).code == 401


async def test_a_body_that_is_too_large(http):
    body = b'{"metadata":{"name":"' + b"a" * (4 << 20) + b'"}}'
    reply = await http.call("POST", "/api/v1/namespaces", io.BytesIO(body))
    assert (reply.code, reply.body["reason"]) == (413, "RequestEntityTooLarge")
    assert (await http.get("/healthz")).body == "ok"
