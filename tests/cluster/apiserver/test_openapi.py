"""The documents themselves; test_kubectl shows that kubectl reads them."""

from koordinator.cluster.apiserver.openapi import gnostic, schemas
from koordinator.cluster.apiserver.protobuf import _fields

POD = "io.k8s.api.core.v1.Pod"


def references(value):
    if isinstance(value, list):
        return set().union(*map(references, value))
    if not isinstance(value, dict):
        return set()
    own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
    return own.union(*map(references, value.values()))


async def test_version_3_has_a_document_for_every_group_and_no_loose_ends(http):
    index = (await http.get("/openapi/v3")).body["paths"]
    assert {"api/v1", "apis/apps/v1", "apis/slo.koordinator.sh/v1alpha1"} <= set(index)
    for place in index.values():
        document = (await http.get(place["serverRelativeURL"])).body
        known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
        assert references(document) <= known
    document = (await http.get(index["api/v1"]["serverRelativeURL"])).body
    listing = document["paths"]["/api/v1/namespaces/{namespace}/pods"]
    assert set(listing) == {"get", "post", "delete", "parameters"}
    assert listing["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith(POD)
    assert document["components"]["schemas"][POD]["properties"]["spec"]["allOf"][0]["$ref"].endswith("PodSpec")
    assert (await http.get("/openapi/v3/apis/nothing/v1")).code == 404


async def test_version_2_has_no_loose_ends(http):
    document = (await http.get("/openapi/v2")).body
    assert references(document) <= {f"#/definitions/{name}" for name in document["definitions"]}
    profile = document["definitions"]["sh.koordinator.config.v1alpha1.ClusterColocationProfile"]
    assert profile["x-kubernetes-group-version-kind"][0]["kind"] == "ClusterColocationProfile"
    assert "selector" in profile["properties"]["spec"]["properties"]


async def test_a_definition_that_changes_changes_the_documents(http):
    before = (await http.get("/openapi/v3")).body["paths"]["api/v1"]["serverRelativeURL"]
    names = {"plural": "gadgets", "kind": "Gadget"}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
    spec = {"group": "example.com", "scope": "Cluster", "names": names, "versions": [version]}
    await http.post(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", {"metadata": {"name": "gadgets.example.com"}, "spec": spec}
    )
    after = (await http.get("/openapi/v3")).body["paths"]
    assert after["api/v1"]["serverRelativeURL"] != before
    assert "com.example.v1.Gadget" in (await http.get("/openapi/v3/apis/example.com/v1")).body["components"]["schemas"]


async def test_an_unchanged_document_is_not_sent_again(http):
    async with http.session.get(http.url + "/openapi/v2") as response:
        tag = response.headers["ETag"]
    async with http.session.get(http.url + "/openapi/v2", headers={"If-None-Match": tag}) as response:
        assert response.status == 304
        assert await response.read() == b""


def test_what_version_2_leaves_open():
    preserved = {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {"a": {"type": "string"}}}
    assert schemas.v2("x", preserved) == {"x-kubernetes-preserve-unknown-fields": True}
    either = {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}
    assert schemas.v2("x", either) == {"x-kubernetes-int-or-string": True}
    assert schemas.v2("x", {"type": "array"}) == {"type": "array", "items": {}}


def test_a_schema_in_protobuf():
    schema = {"type": "object", "description": "d" * 200, "properties": {"type": {"$ref": "#/definitions/x"}}}
    document = gnostic.document(
        {"swagger": "2.0", "info": {"title": "t", "version": "v"}, "paths": {}, "definitions": {"a": schema}}
    )
    definitions = dict(_fields(memoryview(document)))[9]
    named = dict(_fields(dict(_fields(definitions))[1]))
    written = dict(_fields(named[2]))
    assert bytes(named[1]) == b"a"
    assert bytes(written[4]) == b"d" * 200
    member = dict(_fields(dict(_fields(written[25]))[1]))
    assert (bytes(member[1]), bytes(dict(_fields(member[2]))[1])) == (b"type", b"#/definitions/x")
