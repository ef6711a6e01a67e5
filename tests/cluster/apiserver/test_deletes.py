PODS = "/api/v1/namespaces/default/pods"
MAPS = "/api/v1/namespaces/default/configmaps"


async def bound(http, name="p", **spec):
    await http.pod(name, **spec)
    reply = await http.post(f"{PODS}/{name}/binding", {"target": {"kind": "Node", "name": "n1"}})
    assert reply.code == 201


async def test_a_pod_on_a_node_waits_for_its_kubelet(http):
    await bound(http)
    first = (await http.delete(f"{PODS}/p")).body
    assert first["metadata"]["deletionGracePeriodSeconds"] == 30
    again = (await http.delete(f"{PODS}/p")).body
    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    sooner = (await http.delete(f"{PODS}/p", {"gracePeriodSeconds": 1})).body
    assert sooner["metadata"]["deletionGracePeriodSeconds"] == 1
    await http.delete(f"{PODS}/p", {"gracePeriodSeconds": 0})
    assert (await http.get(f"{PODS}/p")).code == 404


async def test_a_pod_without_a_node_or_at_its_end_goes_at_once(http):
    await http.pod()
    await http.delete(f"{PODS}/p")
    assert (await http.get(f"{PODS}/p")).code == 404
    await bound(http, "q")
    await http.patch(f"{PODS}/q/status", {"status": {"phase": "Succeeded"}})
    await http.delete(f"{PODS}/q")
    assert (await http.get(f"{PODS}/q")).code == 404


async def test_finalizers_hold_an_object(http):
    await http.post(MAPS, {"metadata": {"name": "a", "finalizers": ["x.io/hold"]}})
    held = (await http.delete(f"{MAPS}/a")).body
    assert held["metadata"]["deletionTimestamp"]
    more = await http.patch(f"{MAPS}/a", {"metadata": {"finalizers": ["x.io/hold", "x.io/more"]}})
    assert "no new finalizers can be added if the object is being deleted" in more.message
    await http.patch(f"{MAPS}/a", {"metadata": {"finalizers": None}})
    assert (await http.get(f"{MAPS}/a")).code == 404


async def test_propagation_becomes_a_finalizer(http):
    for policy, finalizer in (("Foreground", "foregroundDeletion"), ("Orphan", "orphan")):
        await http.post(MAPS, {"metadata": {"name": policy.lower()}})
        left = (await http.delete(f"{MAPS}/{policy.lower()}", {"propagationPolicy": policy})).body
        assert left["metadata"]["finalizers"] == [finalizer]
    await http.post(MAPS, {"metadata": {"name": "b"}})
    done = await http.delete(f"{MAPS}/b?propagationPolicy=Background")
    assert (done.code, done.body["status"], done.body["details"]["name"]) == (200, "Success", "b")
    assert (await http.delete(f"{MAPS}/orphan?propagationPolicy=Sideways")).code == 400


async def test_preconditions(http):
    made = (await http.post(MAPS, {"metadata": {"name": "a"}})).body["metadata"]
    other = await http.delete(f"{MAPS}/a", {"preconditions": {"uid": "other"}})
    assert other.code == 409
    assert f"UID in precondition: other, UID in object meta: {made['uid']}" in other.message
    assert (await http.delete(f"{MAPS}/a", {"preconditions": {"resourceVersion": "1"}})).code == 409
    assert (await http.delete(f"{MAPS}/a", {"preconditions": {"uid": made["uid"]}})).code == 200


async def test_a_collection_by_label(http):
    for name in "abc":
        await http.post(MAPS, {"metadata": {"name": name, "labels": {"keep": str(name == "c").lower()}}})
    gone = await http.delete(f"{MAPS}?labelSelector=keep%3Dfalse")
    assert [item["metadata"]["name"] for item in gone.body["items"]] == ["a", "b"]
    assert [item["metadata"]["name"] for item in (await http.get(MAPS)).body["items"]] == ["c"]


async def test_deleting_what_is_not_there(http):
    reply = await http.delete(f"{MAPS}/none")
    assert (reply.code, reply.message) == (404, 'configmaps "none" not found')


async def test_protected_namespaces(http):
    assert (await http.delete("/api/v1/namespaces/default")).code == 403
