"""Claims made from templates, freed, and given up."""

import msgspec

from cluster.controllers.workloads import NOW, meta
from koordinator.api.core import Pod, PodResourceClaim, PodResourceClaimStatus, PodSpec, PodStatus
from koordinator.api.dra import DELETE_PROTECTION, POD_CLAIM_NAME, ResourceClaim, ResourceClaimTemplate
from koordinator.api.meta import OwnerReference, format_time
from koordinator.api.registry import PODS, RESOURCE_CLAIM_TEMPLATES, RESOURCE_CLAIMS
from koordinator.cluster.controllers.changes import Create, Delete, Patch, Tell
from koordinator.cluster.controllers.resourceclaim import is_done, settle, supply
from waiting import until

TEMPLATE = msgspec.convert(
    {
        "metadata": {"name": "one-gpu"},
        "spec": {
            "metadata": {"labels": {"team": "a"}},
            "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu"}}]}},
        },
    },
    ResourceClaimTemplate,
)
TEMPLATES = {"one-gpu": TEMPLATE}
DEVICES = {"devices": {"results": [{"request": "r", "driver": "d", "pool": "p", "device": "x"}]}}


def pod(name="p", made=(), *, phase="Pending", node="", deleting=False):
    entry = PodResourceClaim(name="gpu", resource_claim_template_name="one-gpu")
    statuses = [PodResourceClaimStatus(name="gpu", resource_claim_name=one) for one in made]
    going = format_time(NOW) if deleting else None
    return Pod(
        metadata=meta(name, deletion_timestamp=going),
        spec=PodSpec(node_name=node, resource_claims=[entry]),
        status=PodStatus(phase=phase, resource_claim_statuses=statuses or None),
    )


def claim(name="c", *users, owner=None, deleting=False, allocated=True, protected=True):
    refs = None
    if owner is not None:
        refs = [OwnerReference(api_version="v1", kind="Pod", name=owner.name, uid=owner.metadata.uid, controller=True)]
    status = {"reservedFor": [{"resource": "pods", "name": one, "uid": f"uid-{one}"} for one in users]}
    if allocated:
        status["allocation"] = DEVICES
    found = msgspec.convert({"status": status}, ResourceClaim)
    found.metadata = meta(
        name,
        owner_references=refs,
        annotations={POD_CLAIM_NAME: "gpu"},
        finalizers=[DELETE_PROTECTION] if protected else None,
        deletion_timestamp=format_time(NOW) if deleting else None,
    )
    return found


def test_a_pod_gets_a_claim_of_its_own_and_its_name():
    create, patch = supply(pod(), [], TEMPLATES)
    assert isinstance(create, Create)
    meta_ = create.body["metadata"]
    assert meta_["name"].startswith("p-gpu-")
    assert meta_["labels"] == {"team": "a"}
    assert meta_["annotations"] == {POD_CLAIM_NAME: "gpu"}
    assert (meta_["ownerReferences"][0]["uid"], meta_["ownerReferences"][0]["controller"]) == ("uid-p", True)
    assert create.body["spec"] == TEMPLATE.spec.spec
    made = [{"name": "gpu", "resourceClaimName": meta_["name"]}]
    assert (patch.resource, patch.subresource, patch.body) == (PODS, "status", {"status": {"resourceClaimStatuses": made}})


def test_what_was_made_is_found_again_by_status_and_without():
    owner = pod()
    assert supply(pod(made=["c"]), [claim("c", owner=owner)], TEMPLATES) == []
    (patch,) = supply(owner, [claim("c", owner=owner)], TEMPLATES)
    assert patch.body["status"]["resourceClaimStatuses"][0]["resourceClaimName"] == "c"


def test_a_claim_that_somebody_deleted_is_made_again_under_another_name():
    owner = pod(made=["c"])
    create, patch = supply(owner, [], TEMPLATES)
    assert patch.body["status"]["resourceClaimStatuses"] == [
        {"name": "gpu", "resourceClaimName": create.body["metadata"]["name"]}
    ]
    again, _ = supply(owner, [claim(create.body["metadata"]["name"], owner=owner, deleting=True)], TEMPLATES)
    assert again.body["metadata"]["name"] != create.body["metadata"]["name"]


def test_a_missing_template_is_told_on_the_pod():
    (tell,) = supply(pod(), [], {})
    assert isinstance(tell, Tell)
    assert tell.reason == "FailedResourceClaimCreation"
    assert 'resourceclaimtemplate.resource.k8s.io "one-gpu" not found' in tell.message


def test_pods_that_use_nothing_any_more():
    assert is_done(pod(phase="Succeeded", node="n1"))
    assert is_done(pod(deleting=True))
    assert not is_done(pod(deleting=True, node="n1"))
    assert not is_done(pod())


def test_users_that_are_done_leave_and_the_last_one_gives_the_devices_back():
    (patch,) = settle(claim("c", "a", "b"), {"uid-a"})
    assert [one["uid"] for one in patch.body["status"]["reservedFor"]] == ["uid-b"]
    assert "allocation" not in patch.body["status"]
    (patch,) = settle(claim("c", "a", "b"), {"uid-a", "uid-b"})
    assert patch.body["status"] == {"reservedFor": None, "allocation": None, "devices": None}
    assert patch.body["metadata"]["resourceVersion"]
    assert settle(claim("c", "a"), set()) == []


def test_a_pods_own_claim_goes_with_it_devices_first():
    owner = pod(phase="Succeeded", node="n1")
    used = claim("c", "p", owner=owner)
    assert [type(one) for one in settle(used, {"uid-p"})] == [Patch, Delete]
    going = claim("c", owner=owner, deleting=True)
    (patch,) = settle(going, {"uid-p"})
    assert patch.body["status"]["allocation"] is None
    (patch,) = settle(claim("c", owner=owner, deleting=True, allocated=False), {"uid-p"})
    assert patch.body["metadata"]["finalizers"] == []
    assert settle(claim("c", owner=owner, deleting=True, allocated=False, protected=False), {"uid-p"}) == []


def test_a_finalizer_without_devices_is_left_alone_while_the_claim_lives():
    """The scheduler writes it a moment before the devices."""
    assert settle(claim("c", allocated=False), set()) == []


async def test_from_the_template_to_a_finished_pod(cluster):
    client = cluster.client
    body = msgspec.to_builtins(TEMPLATE)
    await client.create(PODS, {"metadata": {"name": "p"}, "spec": spec_of("p")}, "default")
    await client.create(RESOURCE_CLAIM_TEMPLATES, body, "default")

    async def made():
        return (await client.get(PODS, "p", "default")).status.resource_claim_statuses

    await until(made)
    (found,) = (await client.list(RESOURCE_CLAIMS, "default")).items
    running = await client.get(PODS, "p", "default")
    status = {"allocation": DEVICES, "reservedFor": [{"resource": "pods", "name": "p", "uid": running.metadata.uid}]}
    await client.patch(RESOURCE_CLAIMS, found.name, {"metadata": {"finalizers": [DELETE_PROTECTION]}}, "default")
    await client.patch(RESOURCE_CLAIMS, found.name, {"status": status}, "default", subresource="status")
    await client.delete(PODS, "p", "default", grace_seconds=0)

    async def gone():
        return not (await client.list(RESOURCE_CLAIMS, "default")).items

    await until(gone)


def spec_of(name):
    entry = {"name": "gpu", "resourceClaimTemplateName": "one-gpu"}
    return {"containers": [{"name": name, "image": "x"}], "resourceClaims": [entry]}
