import io

import pytest

PODS = "/api/v1/namespaces/default/pods"
MAPS = "/api/v1/namespaces/default/configmaps"
MAIN = {"name": "main", "image": "pause:3"}


async def test_a_pod_gets_the_defaults_that_users_know(http):
    limits = {"cpu": 0.5, "memory": "1Gi"}
    pod = await http.pod(
        containers=[{**MAIN, "image": "nginx", "resources": {"limits": limits}, "ports": [{"containerPort": 80}]}]
    )
    spec, main = pod["spec"], pod["spec"]["containers"][0]
    assert (spec["restartPolicy"], spec["dnsPolicy"], spec["schedulerName"]) == ("Always", "ClusterFirst", "default-scheduler")
    assert (spec["terminationGracePeriodSeconds"], spec["priority"], spec["preemptionPolicy"]) == (
        30,
        0,
        "PreemptLowerPriority",
    )
    assert [toleration["tolerationSeconds"] for toleration in spec["tolerations"]] == [300, 300]
    assert main["resources"]["requests"] == {"cpu": "500m", "memory": "1Gi"}
    assert (main["imagePullPolicy"], main["ports"][0]["protocol"]) == ("Always", "TCP")
    assert pod["status"] == {"phase": "Pending", "qosClass": "Guaranteed"}
    assert list(pod)[:3] == ["apiVersion", "kind", "metadata"]


@pytest.mark.parametrize(
    ("containers", "message"),
    [
        ([], 'Pod "p" is invalid: spec.containers: Required value'),
        ([{"image": "x"}], 'Pod "p" is invalid: spec.containers[0].name: Required value'),
        ([{"name": "a"}], 'Pod "p" is invalid: spec.containers[0].image: Required value'),
        ([MAIN, MAIN], 'Pod "p" is invalid: spec.containers[1].name: Duplicate value: "main"'),
        (
            [{**MAIN, "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}],
            (
                'Pod "p" is invalid: spec.containers[0].resources.requests: Invalid value: "2": '
                "must be less than or equal to cpu limit of 1"
            ),
        ),
        (
            [{**MAIN, "resources": {"requests": {"nvidia.com/gpu": "500m"}, "limits": {"nvidia.com/gpu": "500m"}}}],
            (
                'Pod "p" is invalid: [spec.containers[0].resources.requests[nvidia.com/gpu]: Invalid value: "500m": must be an '
                'integer, spec.containers[0].resources.limits[nvidia.com/gpu]: Invalid value: "500m": must be an integer]'
            ),
        ),
    ],
)
async def test_a_pod_that_breaks_a_rule_is_refused_by_field(http, containers, message):
    reply = await http.post(PODS, {"metadata": {"name": "p"}, "spec": {"containers": containers}})
    assert (reply.code, reply.message, reply.body["reason"]) == (422, message, "Invalid")
    assert reply.body["details"]["causes"][0]["field"].startswith("spec.containers")


@pytest.mark.parametrize(
    ("path", "body", "code", "words"),
    [
        (PODS, b"{", 400, "unrecognized"),
        (PODS, b"[1]", 400, "JSON object is expected"),
        (PODS, b"\xff", 400, "unrecognized"),
        (PODS, {"kind": "Node"}, 400, 'Node in version "v1" cannot be handled as a Pod'),
        (PODS, {"apiVersion": "v2"}, 400, "does not match the expected API version"),
        (PODS, {"metadata": {"name": "a", "namespace": "other"}}, 400, "does not match the namespace"),
        (PODS, {"metadata": []}, 400, "metadata"),
        (PODS, {"metadata": {"name": "a", "labels": {"a": 1}}}, 400, "labels"),
        (PODS, {"metadata": {"name": "a"}, "spec": {"containers": "x"}}, 400, "$.spec.containers"),
        (PODS, {"metadata": {"name": "a"}, "spec": None}, 422, "spec.containers: Required value"),
        (
            PODS,
            {"metadata": {"name": "a"}, "spec": {"containers": [{**MAIN, "resources": {"limits": {"cpu": "1x"}}}]}},
            400,
            "spec.containers[0].resources.limits.cpu: '1x' is not a quantity",
        ),
        (MAPS, {"metadata": {"name": "A_B"}}, 422, "a lowercase RFC 1123 subdomain must consist of"),
        (MAPS, {}, 422, "metadata.name: Required value: name or generateName is required"),
        (MAPS, {"metadata": {"name": "a", "labels": {"-": "x"}}}, 422, "metadata.labels"),
        (MAPS, {"metadata": {"name": "a", "resourceVersion": "7"}}, 400, "resourceVersion should not be set"),
        ("/api/v1/namespaces/nope/configmaps", {"metadata": {"name": "a"}}, 404, 'namespaces "nope" not found'),
        ("/api/v1/configmaps", {"metadata": {"name": "a"}}, 405, "does not allow this method"),
        ("/api/v1/namespaces/default/nosuch", {}, 404, "could not find the requested resource"),
        ("/apis/nosuch/v1/things", {}, 404, "could not find the requested resource"),
    ],
)
async def test_what_cannot_be_created(http, path, body, code, words):
    reply = await http.post(path, body)
    assert reply.code == code
    assert words in reply.message
    assert reply.body["kind"] == "Status"


async def test_names_are_generated_and_taken_once(http):
    first = await http.post(MAPS, {"metadata": {"generateName": "x-"}})
    name = first.body["metadata"]["name"]
    assert name.startswith("x-")
    again = await http.post(MAPS, {"metadata": {"name": name}})
    assert (again.code, again.body["reason"], again.message) == (409, "AlreadyExists", f'configmaps "{name}" already exists')


async def test_an_update_needs_the_present_version(http):
    made = (await http.post(MAPS, {"metadata": {"name": "a"}, "data": {"x": "1"}})).body
    changed = await http.put(f"{MAPS}/a", {**made, "data": {"x": "2"}})
    assert changed.code == 200
    assert changed.body["metadata"]["uid"] == made["metadata"]["uid"]
    stale = await http.put(f"{MAPS}/a", {**made, "data": {"x": "3"}})
    assert (stale.code, stale.body["reason"]) == (409, "Conflict")
    assert "the object has been modified; please apply your changes to the latest version" in stale.message
    blind = await http.put(f"{MAPS}/a", {"metadata": {"name": "a"}, "data": {"x": "4"}})
    assert (blind.code, blind.body["data"]) == (200, {"x": "4"})


async def test_a_write_that_changes_nothing_makes_no_version(http):
    made = (await http.post(MAPS, {"metadata": {"name": "a"}, "data": {"x": "1"}})).body
    same = (await http.patch(f"{MAPS}/a", {"data": {"x": "1"}})).body
    assert same == made


async def test_the_three_patch_dialects(http):
    await http.pod(containers=[MAIN, {"name": "side", "image": "a:1"}])
    patch = {"spec": {"containers": [{"name": "side", "image": "b:1"}]}}
    strategic = await http.patch(f"{PODS}/p", patch, "strategic-merge")
    assert [container["image"] for container in strategic.body["spec"]["containers"]] == ["pause:3", "b:1"]
    operations = [{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}]
    assert (await http.patch(f"{PODS}/p", operations, "json")).body["metadata"]["labels"] == {"a": "b"}
    assert "labels" not in (await http.patch(f"{PODS}/p", {"metadata": {"labels": None}})).body["metadata"]
    failing = await http.patch(f"{PODS}/p", [{"op": "test", "path": "/metadata/name", "value": "q"}], "json")
    assert failing.code == 422
    applied = await http.call("PATCH", f"{PODS}/p", {}, type_="application/apply-patch+yaml")
    assert (applied.code, "server-side apply is not served here" in applied.message) == (415, True)


async def test_a_pods_spec_is_fixed_but_for_a_few_fields(http):
    await http.pod()
    reply = await http.patch(f"{PODS}/p", {"spec": {"nodeName": "n1"}})
    assert reply.code == 422
    assert "pod updates may not change fields other than `spec.containers[*].image`" in reply.message
    image = [{"op": "replace", "path": "/spec/containers/0/image", "value": "pause:4"}]
    assert (await http.patch(f"{PODS}/p", image, "json")).code == 200


async def test_status_and_spec_have_their_own_doors(http):
    await http.pod()
    await http.patch(f"{PODS}/p", {"status": {"phase": "Running"}})
    assert (await http.get(f"{PODS}/p")).body["status"]["phase"] == "Pending"
    await http.patch(f"{PODS}/p/status", {"status": {"phase": "Running"}, "spec": {"nodeName": "n"}})
    pod = (await http.get(f"{PODS}/p")).body
    assert (pod["status"]["phase"], "nodeName" in pod["spec"]) == ("Running", False)


async def test_a_node_keeps_the_status_it_is_created_with(http):
    capacity = {"cpu": "16", "memory": "64Gi"}
    node = (await http.post("/api/v1/nodes", {"metadata": {"name": "n1"}, "status": {"capacity": capacity}})).body
    assert node["status"] == {"capacity": capacity, "allocatable": capacity}


async def test_deployments_and_jobs_get_what_their_controllers_need(http):
    template = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [MAIN]}}
    deployment = {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"app": "a"}}, "template": template}}
    made = (await http.post("/apis/apps/v1/namespaces/default/deployments", deployment)).body
    assert (made["spec"]["replicas"], made["spec"]["strategy"]["rollingUpdate"]["maxSurge"]) == (1, "25%")
    assert made["metadata"]["generation"] == 1
    once = {"spec": {"containers": [MAIN], "restartPolicy": "Never"}}
    job = (
        await http.post("/apis/batch/v1/namespaces/default/jobs", {"metadata": {"name": "j"}, "spec": {"template": once}})
    ).body
    uid = job["metadata"]["uid"]
    assert (job["spec"]["parallelism"], job["spec"]["completions"], job["spec"]["backoffLimit"]) == (1, 1, 6)
    assert job["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    assert job["spec"]["template"]["metadata"]["labels"]["batch.kubernetes.io/job-name"] == "j"
    mismatch = {"metadata": {"name": "e"}, "spec": {"selector": {"matchLabels": {"app": "b"}}, "template": template}}
    refused = await http.post("/apis/apps/v1/namespaces/default/deployments", mismatch)
    assert "`selector` does not match template `labels`" in refused.message


async def test_priority_classes(http):
    classes = "/apis/scheduling.k8s.io/v1/priorityclasses"
    await http.post(classes, {"metadata": {"name": "koord-batch"}, "value": 5000, "preemptionPolicy": "Never"})
    pod = await http.pod(priorityClassName="koord-batch")
    assert (pod["spec"]["priority"], pod["spec"]["preemptionPolicy"]) == (5000, "Never")
    assert (await http.pod("s", priorityClassName="system-node-critical"))["spec"]["priority"] == 2_000_001_000
    spec = {"containers": [MAIN], "priorityClassName": "nope"}
    missing = await http.post(PODS, {"metadata": {"name": "q"}, "spec": spec})
    assert (missing.code, missing.message) == (403, 'pods "q" is forbidden: no PriorityClass with name nope was found')
    wrong = await http.post(PODS, {"metadata": {"name": "q"}, "spec": {"containers": [MAIN], "priority": 7}})
    assert "the integer value of priority (7) must not be provided in pod spec" in wrong.message


async def test_a_dry_run_changes_nothing(http):
    assert (await http.post(f"{MAPS}?dryRun=All", {"metadata": {"name": "a"}})).code == 201
    assert (await http.get(f"{MAPS}/a")).code == 404
    assert (await http.post(f"{MAPS}?dryRun=Maybe", {"metadata": {"name": "a"}})).code == 400


async def test_without_the_token_only_health_is_told(apiserver, http):
    for header in ("", "Bearer wrong", "Basic x"):
        reply = await http.get("/api/v1/pods", Authorization=header)
        assert (reply.code, reply.body["reason"]) == (401, "Unauthorized")
        for path in ("/healthz", "/livez", "/readyz"):
            assert (await http.get(path, Authorization=header)).body == "ok"
        assert (await http.get("/version", Authorization=header)).body["major"] == "1"


async def test_a_body_that_is_too_large(http):
    reply = await http.post(MAPS, io.BytesIO(b'{"data":{"x":"' + b"a" * (3 << 20) + b'"}}'))
    assert (reply.code, reply.body["reason"]) == (413, "RequestEntityTooLarge")


async def test_yaml_bodies(http):
    reply = await http.call("POST", MAPS, b"metadata: {name: a}\ndata: {x: 'yes'}\n", type_="application/yaml")
    assert (reply.code, reply.body["data"]) == (201, {"x": "yes"})


async def test_fields_that_a_kind_does_not_have(http):
    body = {"metadata": {"name": "p"}, "spec": {"containers": [{**MAIN, "imgae": "x"}]}, "sepc": 1}
    strict = await http.post(f"{PODS}?fieldValidation=Strict", {**body, "sepc": 1})
    assert (strict.code, "strict decoding error: unknown field" in strict.message) == (400, True)
    nested = await http.post(f"{PODS}?fieldValidation=Strict", {key: body[key] for key in ("metadata", "spec")})
    assert (
        'unknown field "spec.containers[0].imgae"' in nested.message
        or 'unknown field "spec.containers[...].imgae"' in nested.message
    )
    async with http.session.post(http.url + PODS, json=body) as response:
        warning, stored = response.headers["Warning"], await response.json()
    assert warning.startswith('299 - "unknown field \\"s')
    assert ("sepc" in stored, "imgae" in stored["spec"]["containers"][0]) == (False, False)
    metric = {"metadata": {"name": "n1"}, "spec": {"nope": 1}}
    custom = await http.post("/apis/slo.koordinator.sh/v1alpha1/nodemetrics?fieldValidation=Strict", metric)
    assert 'strict decoding error: unknown field "spec.nope"' in custom.message
