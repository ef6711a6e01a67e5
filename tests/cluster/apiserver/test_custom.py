import pytest

from koordinator.api.meta import Object
from koordinator.api.registry import CUSTOM_RESOURCE_DEFINITIONS, NODE_METRICS, Resource
from koordinator.kube.errors import AlreadyExists, Invalid, NotFound

GADGETS = Resource("example.com", "v1", "gadgets", "Gadget", Object)
SCHEMA = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["size"],
            "properties": {
                "size": {"type": "integer", "minimum": 1},
                "color": {"type": "string", "default": "red", "enum": ["red", "blue"]},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            },
        },
        "status": {"type": "object", "properties": {"ready": {"type": "boolean"}}},
    },
}
DEFINITION = {
    "metadata": {"name": "gadgets.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "gadgets", "kind": "Gadget", "shortNames": ["gg"]},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": SCHEMA},
                "subresources": {"status": {}},
                "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
            }
        ],
    },
}


@pytest.fixture
async def client(apiserver):
    await apiserver.client.create(CUSTOM_RESOURCE_DEFINITIONS, DEFINITION)
    return apiserver.client


async def test_defaults_pruning_and_generation(http, client):
    gadget = {"metadata": {"name": "a"}, "spec": {"size": 1, "extra": 1, "free": {"x": 1}}, "status": {"ready": True}}
    await client.create(GADGETS, gadget, "default")
    stored = (await http.get("/apis/example.com/v1/namespaces/default/gadgets/a")).body
    assert stored["spec"] == {"size": 1, "color": "red", "free": {"x": 1}}
    assert "status" not in stored
    await client.patch(GADGETS, "a", {"status": {"ready": True}, "spec": {"size": 9}}, "default", subresource="status")
    await client.patch(GADGETS, "a", {"spec": {"size": 2}, "status": {"ready": False}}, "default")
    stored = (await http.get("/apis/example.com/v1/namespaces/default/gadgets/a")).body
    assert stored["metadata"]["generation"] == 2
    assert (stored["spec"]["size"], stored["status"]) == (2, {"ready": True})


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "spec.size: Required value"),
        ({"size": "x"}, 'spec.size: Invalid value: "string": spec.size in body must be of type integer: "string"'),
        ({"size": 0}, "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1"),
        ({"size": 1, "color": "green"}, 'spec.color: Unsupported value: "green": supported values: "red", "blue"'),
    ],
)
async def test_what_does_not_fit_the_schema_is_refused(client, spec, message):
    with pytest.raises(Invalid) as caught:
        await client.create(GADGETS, {"metadata": {"name": "a"}, "spec": spec}, "default")
    assert str(caught.value) == f'Gadget.example.com "a" is invalid: {message}'


async def test_with_the_definition_go_its_objects(apiserver, client):
    await client.create(GADGETS, {"metadata": {"name": "a"}, "spec": {"size": 1}}, "default")
    await client.delete(CUSTOM_RESOURCE_DEFINITIONS, "gadgets.example.com")
    with pytest.raises(NotFound, match="the server could not find the requested resource"):
        await client.get(GADGETS, "a", "default")
    await client.create(CUSTOM_RESOURCE_DEFINITIONS, DEFINITION)
    assert (await client.list(GADGETS)).items == []


async def test_our_own_kinds_are_there(apiserver):
    metric = await apiserver.client.create(NODE_METRICS, {"metadata": {"name": "n1"}, "spec": {}})
    assert metric.metadata.generation == 1
    with pytest.raises(AlreadyExists):
        await apiserver.client.create(NODE_METRICS, {"metadata": {"name": "n1"}, "spec": {}})


def scalable(**changes):
    paths = {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.count", "labelSelectorPath": ".status.selector"}
    status = {"type": "object", "properties": {"count": {"type": "integer"}, "selector": {"type": "string"}}}
    schema = {**SCHEMA, "properties": {**SCHEMA["properties"], "status": status}}
    version = DEFINITION["spec"]["versions"][0]
    version = {**version, "subresources": {"status": {}, "scale": paths | changes}, "schema": {"openAPIV3Schema": schema}}
    return {**DEFINITION, "spec": {**DEFINITION["spec"], "versions": [version]}}


async def test_scale_works_on_the_fields_that_the_definition_names(http):
    await http.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", scalable())
    gadgets = "/apis/example.com/v1/namespaces/default/gadgets"
    await http.post(gadgets, {"metadata": {"name": "g"}, "spec": {"size": 2}})
    await http.patch(f"{gadgets}/g/status", {"status": {"count": 1, "selector": "a=b"}})
    scale = (await http.get(f"{gadgets}/g/scale")).body
    assert (scale["kind"], scale["spec"], scale["status"]) == ("Scale", {"replicas": 2}, {"replicas": 1, "selector": "a=b"})
    assert (await http.put(f"{gadgets}/g/scale", {**scale, "spec": {"replicas": 5}})).body["spec"] == {"replicas": 5}
    assert (await http.patch(f"{gadgets}/g/scale", {"spec": {"replicas": 7}})).code == 200
    assert (await http.get(f"{gadgets}/g")).body["spec"]["size"] == 7
    assert (await http.put(f"{gadgets}/g/scale", scale)).code == 409
    assert (await http.patch(f"{gadgets}/g/scale", {"spec": {"replicas": -1}})).code == 422
    listed = (await http.get("/apis/example.com/v1")).body["resources"]
    assert "gadgets/scale" in {entry["name"] for entry in listed}


async def test_a_scale_that_points_nowhere_is_refused(http):
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    reply = await http.post(path, scalable(specReplicasPath=".size"))
    assert reply.code == 422
    assert "subresources.scale.specReplicasPath: Invalid value" in reply.message


async def test_an_object_is_shown_in_the_version_that_is_asked_for(http):
    first = DEFINITION["spec"]["versions"][0]
    versions = [first, {**first, "name": "v2", "storage": False}]
    definition = {**DEFINITION, "spec": {**DEFINITION["spec"], "versions": versions}}
    await http.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", definition)
    v1, v2 = (f"/apis/example.com/{version}/namespaces/default/gadgets" for version in ("v1", "v2"))
    made = (await http.post(v1, {"metadata": {"name": "g"}, "spec": {"size": 2}})).body
    seen = (await http.get(f"{v2}/g")).body
    assert seen == {**made, "apiVersion": "example.com/v2"}
    assert [item["apiVersion"] for item in (await http.get(v2)).body["items"]] == ["example.com/v2"]
    patched = await http.patch(f"{v2}/g", {"spec": {"size": 3}})
    assert (patched.code, patched.body["apiVersion"]) == (200, "example.com/v2")
    replaced = await http.put(f"{v1}/g", {**patched.body, "apiVersion": "example.com/v1"})
    assert (replaced.code, replaced.body["apiVersion"]) == (200, "example.com/v1")
    assert (await http.put(f"{v1}/g", {**patched.body, "apiVersion": "example.com/v2"})).code == 400
    async with http.session.get(f"{http.url}{v1}?watch=1") as watch:
        assert b'"apiVersion":"example.com/v1"' in await watch.content.readline()
    assert (await http.delete(f"{v1}/g")).code == 200
