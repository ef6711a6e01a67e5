import asyncio

PODS = "/api/v1/namespaces/default/pods"
BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
TO_N1 = {"apiVersion": "v1", "kind": "Binding", "target": {"kind": "Node", "name": "n1"}}


async def test_a_pod_is_bound_once(http):
    pod = await http.pod()
    replies = await asyncio.gather(*(http.post(f"{PODS}/p/binding", TO_N1) for _ in range(8)))
    assert sorted(reply.code for reply in replies) == [201] + [409] * 7
    refused = next(reply for reply in replies if reply.code == 409)
    assert 'pod p is already assigned to node "n1"' in refused.message
    after = (await http.get(f"{PODS}/p")).body
    assert after["spec"]["nodeName"] == "n1"
    assert [condition["type"] for condition in after["status"]["conditions"]] == ["PodScheduled"]
    assert after["metadata"]["uid"] == pod["metadata"]["uid"]


async def test_what_cannot_be_bound(http):
    assert (await http.post(f"{PODS}/none/binding", TO_N1)).code == 404
    await http.pod()
    assert (await http.post(f"{PODS}/p/binding", {"target": {}})).code == 422
    other = await http.post(f"{PODS}/p/binding", {**TO_N1, "metadata": {"uid": "other"}})
    assert "UID in precondition: other" in other.message
    await http.patch(f"{PODS}/p", {"metadata": {"finalizers": ["x.io/y"]}})
    await http.delete(f"{PODS}/p")
    leaving = await http.post(f"{PODS}/p/binding", TO_N1)
    assert "pod p is being deleted, cannot be assigned to a host" in leaving.message


async def test_annotations_of_a_binding_go_to_the_pod(http):
    await http.pod()
    await http.post(f"{PODS}/p/binding", {**TO_N1, "metadata": {"annotations": {"a": "b"}}})
    assert (await http.get(f"{PODS}/p")).body["metadata"]["annotations"] == {"a": "b"}


async def running(http, name):
    await http.post(
        PODS, {"metadata": {"name": name, "labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    )
    await http.post(f"{PODS}/{name}/binding", TO_N1)
    await http.patch(f"{PODS}/{name}/status", {"status": {"phase": "Running"}})


async def test_an_eviction_honours_the_budget(http):
    await running(http, "p")
    await running(http, "q")
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "a"}}}
    await http.post(BUDGETS, {"metadata": {"name": "b"}, "spec": spec})
    early = await http.post(f"{PODS}/p/eviction", {})
    assert (early.code, early.body["details"]["retryAfterSeconds"]) == (429, 10)
    status = {"observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1}
    await http.patch(f"{BUDGETS}/b/status", {"status": status})
    assert (await http.post(f"{PODS}/p/eviction", {"metadata": {"name": "p"}})).code == 201
    assert (await http.get(f"{PODS}/p")).body["metadata"]["deletionTimestamp"]
    assert list((await http.get(f"{BUDGETS}/b")).body["status"]["disruptedPods"]) == ["p"]
    refused = await http.post(f"{PODS}/q/eviction", {})
    assert (refused.code, refused.message) == (429, "Cannot evict pod as it would violate the pod's disruption budget.")
    cause = refused.body["details"]["causes"][0]
    assert cause == {
        "reason": "DisruptionBudget",
        "message": "The disruption budget b needs 1 healthy pods and has 2 currently",
    }


async def test_eviction_of_a_pod_without_a_budget_deletes_it(http):
    await http.pod()
    assert (await http.post(f"{PODS}/p/eviction", {"deleteOptions": {"gracePeriodSeconds": 0}})).code == 201
    assert (await http.get(f"{PODS}/p")).code == 404
    assert (await http.post(f"{PODS}/p/eviction", {})).code == 404


async def test_scale(http):
    template = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    await http.post(
        DEPLOYMENTS, {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"app": "a"}}, "template": template}}
    )
    scale = (await http.get(f"{DEPLOYMENTS}/d/scale")).body
    assert (scale["kind"], scale["spec"]["replicas"], scale["status"]["selector"]) == ("Scale", 1, "app=a")
    assert (await http.patch(f"{DEPLOYMENTS}/d/scale", {"spec": {"replicas": 3}})).body["spec"]["replicas"] == 3
    deployment = (await http.get(f"{DEPLOYMENTS}/d")).body
    assert (deployment["spec"]["replicas"], deployment["metadata"]["generation"]) == (3, 2)
    assert (await http.put(f"{DEPLOYMENTS}/d/scale", scale)).code == 409
    negative = await http.patch(f"{DEPLOYMENTS}/d/scale", {"spec": {"replicas": -1}})
    assert (negative.code, "must be greater than or equal to 0" in negative.message) == (422, True)
