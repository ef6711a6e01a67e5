"""resource.k8s.io on the embedded API server: what is filled in, what is refused, what tables show."""

import pytest

GROUP = "/apis/resource.k8s.io/v1"
CLAIMS = f"{GROUP}/namespaces/default/resourceclaims"


def claim(name="c", **request):
    exact = {"deviceClassName": "gpu", **request}
    return {"metadata": {"name": name}, "spec": {"devices": {"requests": [{"name": "r", "exactly": exact}]}}}


def slice_(**spec):
    pool = {"name": "n1", "generation": 1, "resourceSliceCount": 1}
    return {"metadata": {"name": "s"}, "spec": {"driver": "d.example.com", "pool": pool, "nodeName": "n1", **spec}}


async def test_a_claim_gets_its_defaults_and_keeps_its_spec(http):
    made = await http.post(CLAIMS, claim())
    assert made.code == 201
    exactly = made.body["spec"]["devices"]["requests"][0]["exactly"]
    assert exactly == {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1}
    other = await http.patch(f"{CLAIMS}/c", {"spec": {"devices": {"requests": []}}})
    assert other.code == 422
    assert "field is immutable" in other.message


async def test_status_has_its_own_door_and_devices_come_before_users(http):
    await http.post(CLAIMS, claim())
    user = {"resource": "pods", "name": "p", "uid": "u"}
    refused = await http.patch(f"{CLAIMS}/c/status", {"status": {"reservedFor": [user]}})
    assert "may not be specified when `allocated` is not set" in refused.message
    result = {"request": "r", "driver": "d.example.com", "pool": "n1", "device": "d0"}
    status = {"allocation": {"devices": {"results": [result]}}, "reservedFor": [user]}
    written = await http.patch(f"{CLAIMS}/c/status", {"status": status})
    assert written.body["status"] == status
    table = await http.get(CLAIMS, Accept="application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
    assert table.body["rows"][0]["cells"][:2] == ["c", "allocated,reserved"]


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"deviceClassName": ""}, "exactly.deviceClassName: Required value"),
        ({"count": 0}, "exactly.count: Invalid value: 0: must be greater than zero"),
        ({"allocationMode": "Some"}, 'exactly.allocationMode: Unsupported value: "Some"'),
        ({"selectors": [{"cel": {"expression": "device.driver =="}}]}, "selectors[0].cel.expression: Invalid value"),
        ({"selectors": [{"cel": {"expression": "nobody.driver == 'a'"}}]}, "undeclared reference to 'nobody'"),
    ],
)
async def test_a_claim_that_cannot_be_meant_is_refused_by_field(http, request_, words):
    refused = await http.post(CLAIMS, claim(**request_))
    assert refused.code == 422
    assert words in refused.message


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"driver": ""}, "spec.driver: Required value"),
        ({"nodeName": ""}, "exactly one of nodeName, nodeSelector, allNodes, perDeviceNodeSelection is required"),
        ({"devices": [{"name": "a"}, {"name": "a"}]}, 'spec.devices[1].name: Duplicate value: "a"'),
        ({"pool": {"name": "n1", "generation": 1, "resourceSliceCount": 0}}, "resourceSliceCount: Invalid value: 0"),
    ],
)
async def test_a_slice_that_cannot_be_meant_is_refused_by_field(http, spec, words):
    refused = await http.post(f"{GROUP}/resourceslices", slice_(**spec))
    assert refused.code == 422
    assert words in refused.message


async def test_slices_are_found_by_node_and_classes_by_name(http):
    assert (await http.post(f"{GROUP}/resourceslices", slice_(devices=[{"name": "a"}]))).code == 201
    found = await http.get(f"{GROUP}/resourceslices?fieldSelector=spec.nodeName%3Dn1")
    assert [one["metadata"]["name"] for one in found.body["items"]] == ["s"]
    assert (await http.get(f"{GROUP}/resourceslices?fieldSelector=spec.driver%3Dother")).body["items"] == []
    made = await http.post(f"{GROUP}/deviceclasses", {"metadata": {"name": "gpu"}, "spec": {}})
    assert made.body["metadata"]["generation"] == 1
    listed = await http.get(GROUP)
    assert {one["name"] for one in listed.body["resources"]} >= {"resourceclaims", "resourceclaims/status", "deviceclasses"}
