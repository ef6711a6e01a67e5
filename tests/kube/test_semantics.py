"""The pure half of an API server: each rule once, without a server."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.api.registry import CONFIG_MAPS, NODE_METRICS, NODE_RESOURCE_TOPOLOGIES, POD_GROUPS, PODS
from koordinator.kube import errors
from koordinator.kube.semantics import deletion, fields, kinds, pods, podspec, selection, updates

NOW = 1_767_225_600.0
WHO = ("pods", "", "a")


def pod(**metadata):
    spec = {"containers": [{"name": "main", "image": "x:1"}], "terminationGracePeriodSeconds": 30}
    return {
        "metadata": {"name": "a", "uid": "u", "resourceVersion": "5"} | metadata,
        "spec": spec,
        "status": {"phase": "Running"},
    }


@pytest.mark.parametrize(
    ("change", "wanted", "grace"),
    [
        ({"nodeName": "n1"}, None, 30),
        ({"nodeName": "n1"}, 5, 5),
        ({"nodeName": "n1"}, -3, 0),
        ({"nodeName": "n1", "terminationGracePeriodSeconds": 90}, None, 90),
        ({}, 60, 0),
    ],
)
def test_grace_of_a_pod(change, wanted, grace):
    obj = pod()
    obj["spec"] |= change
    assert deletion.grace_of_pod(obj, wanted) == grace


def test_what_has_ended_needs_no_grace():
    obj = pod()
    obj["spec"]["nodeName"], obj["status"]["phase"] = "n1", "Failed"
    assert deletion.grace_of_pod(obj, None) == 0


@given(st.lists(st.integers(0, 100), min_size=1, max_size=6))
def test_a_deletion_can_only_come_sooner(graces):
    obj = pod(generation=1)
    for grace in graces:
        before = copy.deepcopy(obj)
        changed = deletion.mark(obj, grace, NOW)
        assert changed == (obj != before)
    assert obj["metadata"]["deletionGracePeriodSeconds"] == min(graces)
    assert obj["metadata"]["generation"] == 2


@pytest.mark.parametrize(
    ("metadata", "finished"),
    [
        ({}, False),
        ({"deletionTimestamp": "t"}, True),
        ({"deletionTimestamp": "t", "finalizers": ["x/y"]}, False),
        ({"deletionTimestamp": "t", "deletionGracePeriodSeconds": 5}, False),
        ({"deletionTimestamp": "t", "deletionGracePeriodSeconds": 0}, True),
    ],
)
def test_when_an_object_may_go(metadata, finished):
    assert deletion.finished({"metadata": metadata}) is finished


def test_a_namespace_waits_for_its_own_finalizers():
    obj = {"metadata": {"deletionTimestamp": "t"}, "spec": {"finalizers": ["kubernetes"]}}
    assert not deletion.finished(obj, namespace=True)
    assert deletion.finished(obj | {"spec": {}}, namespace=True)


def test_preconditions():
    assert updates.insists(WHO, pod(), {"resourceVersion": "5", "uid": "u"})
    assert not updates.insists(WHO, pod(), {})
    for metadata in ({"resourceVersion": "4"}, {"uid": "v"}):
        with pytest.raises(errors.Conflict, match='Operation cannot be fulfilled on pods "a"'):
            updates.insists(WHO, pod(), metadata)


def test_a_status_write_leaves_the_spec_alone():
    wanted = pod(labels={"x": "1"})
    wanted["spec"], wanted["status"] = {}, {"phase": "Failed"}
    kept = updates.status_only(wanted, pod(), metadata_too=True)
    assert (kept["spec"], kept["status"], kept["metadata"]["labels"]) == (pod()["spec"], {"phase": "Failed"}, {"x": "1"})
    assert "labels" not in updates.status_only(wanted, pod(), metadata_too=False)["metadata"]


def test_generation_counts_what_is_wanted_not_what_is():
    assert not updates.spec_differs(pod() | {"status": {}}, pod())
    assert updates.spec_differs(pod() | {"spec": {}}, pod())
    assert updates.spec_differs({"metadata": {}, "rules": [1]}, {"metadata": {}, "rules": []})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"nodeName": "n1"}, "spec: Forbidden: pod updates may not change fields"),
        ({"containers": [{"name": "main", "image": "x:2"}]}, ""),
        ({"tolerations": [{"operator": "Exists"}]}, ""),
        ({"schedulingGates": [{"name": "g"}]}, "only deletion is allowed"),
        ({"activeDeadlineSeconds": 5}, ""),
    ],
)
def test_what_may_change_of_a_pod(change, says):
    found = list(pods.update_errors(pod()["spec"] | change, pod()["spec"]))
    assert (says in found[0].message) if says else not found


def test_a_deadline_only_shrinks_and_tolerations_only_grow():
    old = pod()["spec"] | {"activeDeadlineSeconds": 5, "tolerations": [{"operator": "Exists"}]}
    now = old | {"activeDeadlineSeconds": 9, "tolerations": []}
    assert [error.path for error in pods.update_errors(now, old)] == ["spec.tolerations", "spec.activeDeadlineSeconds"]


CLASSES = {
    "high": pods.Priority("high", 1000, "Never", default=False),
    "usual": pods.Priority("usual", 10, "PreemptLowerPriority", default=True),
}


@pytest.mark.parametrize(
    ("spec", "result"),
    [
        ({}, {"priorityClassName": "usual", "priority": 10, "preemptionPolicy": "PreemptLowerPriority"}),
        ({"priorityClassName": "high"}, {"priorityClassName": "high", "priority": 1000, "preemptionPolicy": "Never"}),
        ({"priorityClassName": "high", "priority": 1000}, {"priorityClassName": "high", "priority": 1000}),
    ],
)
def test_priorities(spec, result):
    obj = {"metadata": {"name": "a"}, "spec": spec}
    pods.set_priority(obj, CLASSES)
    assert result.items() <= obj["spec"].items()


@pytest.mark.parametrize("spec", [{"priorityClassName": "none"}, {"priorityClassName": "high", "priority": 3}])
def test_priorities_that_cannot_be(spec):
    with pytest.raises(errors.Forbidden):
        pods.set_priority({"metadata": {"name": "a"}, "spec": spec}, CLASSES)


def budget(**status):
    return {"metadata": {"name": "b", "generation": 1}, "spec": {}, "status": {"observedGeneration": 1} | status}


def test_a_budget_is_spent_one_by_one():
    before = budget(disruptionsAllowed=2)
    once = pods.spend(before, "a", NOW)
    twice = pods.spend(once, "b", NOW)
    assert before["status"]["disruptionsAllowed"] == 2
    assert twice["status"]["disruptionsAllowed"] == 0
    assert twice["status"]["disruptedPods"].keys() == {"a", "b"}
    with pytest.raises(errors.TooManyRequests):
        pods.spend(twice, "c", NOW)


def test_a_budget_that_nobody_has_looked_at_yet_asks_to_come_back():
    with pytest.raises(errors.TooManyRequests) as caught:
        pods.spend(budget(disruptionsAllowed=2, observedGeneration=0), "a", NOW)
    assert caught.value.retry_after == 10


def test_requests_follow_limits_and_quantities_are_canonical():
    spec = {
        "containers": [{"name": "main", "resources": {"limits": {"cpu": "0.5", "memory": 1024}, "requests": {"cpu": "0.1"}}}]
    }
    podspec.canonical_quantities(spec)
    podspec.default(spec)
    podspec.requests_follow_limits(spec)
    assert spec["containers"][0]["resources"]["requests"] == {"cpu": "100m", "memory": "1024"}


def test_selections():
    test = selection.test_of("app=web", "spec.nodeName=n1,metadata.name!=b", fields.PODS)
    obj = pod(labels={"app": "web"})
    assert not test(obj)
    obj["spec"]["nodeName"] = "n1"
    assert test(obj)
    assert not test(obj | {"metadata": obj["metadata"] | {"name": "b"}})
    assert selection.test_of("", "", fields.PODS) is None
    with pytest.raises(errors.ApiError, match="field label not supported"):
        selection.test_of("", "spec.nodeName=n1", fields.NONE)


def test_every_selectable_field_has_a_value():
    obj = pod()
    assert fields.PODS.read(obj).keys() == fields.PODS.names


@pytest.mark.parametrize(
    ("resource", "traits"),
    [
        (PODS, (True, True, False)),
        (CONFIG_MAPS, (False, False, False)),
        (NODE_METRICS, (True, True, True)),
        (NODE_RESOURCE_TOPOLOGIES, (False, True, True)),
        (POD_GROUPS, (False, True, True)),
    ],
    ids=lambda value: getattr(value, "plural", ""),
)
def test_traits_of_kinds(resource, traits):
    found = kinds.traits_of(resource.group, resource.plural)
    assert (found.has_status, found.counted, found.custom) == traits
