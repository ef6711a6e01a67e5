import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.kube.errors import ApiError
from koordinator.kube.patches import strategic_merge


def pod(*containers, **spec):
    return {"spec": {"containers": list(containers), **spec}}


A, B, C = ({"name": name, "image": f"{name}:1"} for name in "abc")


@pytest.mark.parametrize(
    ("original", "patch", "expected"),
    [
        pytest.param(
            {"a": 1, "b": {"c": 1, "d": 2}}, {"b": {"c": None, "e": 3}}, {"a": 1, "b": {"d": 2, "e": 3}}, id="maps-merge"
        ),
        pytest.param(
            pod(A, B), pod({"name": "b", "image": "b:2"}), pod(A, {"name": "b", "image": "b:2"}), id="containers-by-name"
        ),
        pytest.param(pod(A, B), pod(C), pod(C, A, B), id="a-new-element-comes-first-as-in-the-go-server"),
        pytest.param(pod(A, B), pod({"name": "a", "$patch": "delete"}), pod(B), id="delete-an-element"),
        pytest.param(pod(A, B), pod({"$patch": "replace"}, C), pod(C), id="replace-a-list"),
        pytest.param(pod(A), {"spec": {"$patch": "replace", "x": 1}}, {"spec": {"x": 1}}, id="replace-a-map"),
        pytest.param({"spec": {"a": 1}}, {"spec": {"$patch": "delete"}}, {"spec": {}}, id="delete-a-map"),
        pytest.param({}, pod({"name": "a", "image": None}), pod({"name": "a"}), id="nulls-are-not-written-into-new-elements"),
        pytest.param(
            {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}},
            {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}},
            {"strategy": {"type": "Recreate"}},
            id="retain-keys",
        ),
        pytest.param(
            {"volumes": [{"name": "v", "emptyDir": {}}]},
            {"volumes": [{"$retainKeys": ["name", "hostPath"], "name": "v", "hostPath": {"path": "/x"}}]},
            {"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]},
            id="retain-keys-in-a-list",
        ),
        pytest.param(
            {"metadata": {"finalizers": ["a", "b"]}},
            {"metadata": {"finalizers": ["c", "b"]}},
            {"metadata": {"finalizers": ["c", "a", "b"]}},
            id="finalizers-are-a-set",
        ),
        pytest.param(
            {"metadata": {"finalizers": ["a", "b"]}},
            {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}},
            {"metadata": {"finalizers": ["b"]}},
            id="delete-from-a-set",
        ),
        pytest.param(
            {"metadata": {"ownerReferences": [{"uid": "1", "name": "x"}]}},
            {"metadata": {"ownerReferences": [{"uid": "2", "name": "y"}, {"$patch": "delete", "uid": "1"}]}},
            {"metadata": {"ownerReferences": [{"uid": "2", "name": "y"}]}},
            id="owners-by-uid",
        ),
        pytest.param(
            {
                "status": {
                    "conditions": [{"type": "Ready", "status": "False", "reason": "x"}, {"type": "Other", "status": "True"}]
                }
            },
            {"status": {"conditions": [{"type": "Ready", "status": "True"}]}},
            {
                "status": {
                    "conditions": [{"type": "Ready", "status": "True", "reason": "x"}, {"type": "Other", "status": "True"}]
                }
            },
            id="conditions-by-type",
        ),
        pytest.param(
            pod(A, tolerations=[{"key": "x"}, {"key": "y"}]),
            {"spec": {"tolerations": [{"key": "z"}]}},
            pod(A, tolerations=[{"key": "z"}]),
            id="tolerations-are-atomic",
        ),
        pytest.param(
            {"command": ["sleep", "1"]},
            {"command": ["sleep", "2"]},
            {"command": ["sleep", "2"]},
            id="scalars-are-atomic",
        ),
        pytest.param(
            {"ports": [{"containerPort": 53, "protocol": "TCP"}]},
            {"ports": [{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 53, "protocol": "TCP"}]},
            {"ports": [{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 53, "protocol": "TCP"}]},
            id="ports-of-two-protocols-stay-two",
        ),
        pytest.param(
            {"ports": [{"containerPort": 53, "name": "dns"}]},
            {"ports": [{"containerPort": 53, "protocol": "UDP"}]},
            {"ports": [{"containerPort": 53, "name": "dns", "protocol": "UDP"}]},
            id="a-single-port-changes-its-protocol",
        ),
        pytest.param(
            {"ports": [{"port": 80, "targetPort": 8080}]},
            {"ports": [{"port": 80, "targetPort": 9090}]},
            {"ports": [{"port": 80, "targetPort": 9090}]},
            id="service-ports",
        ),
        pytest.param(
            pod(A, B),
            {"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "c"}, {"name": "a"}], "containers": [C]}},
            pod(B, C, A),
            id="element-order",
        ),
        pytest.param(
            {"metadata": {"finalizers": ["a", "b"]}},
            {"metadata": {"$setElementOrder/finalizers": ["b", "a"]}},
            {"metadata": {"finalizers": ["b", "a"]}},
            id="element-order-of-a-set",
        ),
        pytest.param(
            pod(A, B, C),
            {"spec": {"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}]}},
            pod(B, C, A),
            id="server-only-elements-keep-their-place",
        ),
    ],
)
def test_strategic_merge(original, patch, expected):
    assert strategic_merge(original, patch) == expected


@pytest.mark.parametrize(
    "patch",
    [
        {"$patch": "explode"},
        {"containers": [{"image": "x"}]},
        {"containers": [{"name": ["x"]}]},
        {"$retainKeys": "x"},
        {"$retainKeys": ["a"], "b": 1},
        {"$setElementOrder/containers": 1},
        {"$deleteFromPrimitiveList/finalizers": "x", "finalizers": ["x"]},
        {"finalizers": [{}]},
    ],
)
def test_a_bad_patch_is_refused_with_a_reason(patch):
    with pytest.raises(ApiError, match=r"^strategic merge patch: .+") as caught:
        strategic_merge({"containers": [{"name": "a"}]}, patch)
    assert caught.value.code == 400


names = st.sampled_from("abcde")
containers = st.lists(
    st.fixed_dictionaries({"name": names}, optional={"image": names}), max_size=5, unique_by=lambda c: c["name"]
)


@given(before=containers, after=containers)
def test_a_patch_with_an_order_and_deletions_leads_to_the_target(before, after):
    """What kubectl sends: every element that is to be, in order, and a deletion for each that is not."""
    gone = [{"name": c["name"], "$patch": "delete"} for c in before if c["name"] not in {a["name"] for a in after}]
    full = [{"image": None, **c} for c in after]
    patch = {"containers": [*full, *gone], "$setElementOrder/containers": [{"name": c["name"]} for c in after]}
    assert strategic_merge({"containers": before}, patch)["containers"] == after


@given(before=containers, after=containers)
def test_applying_twice_changes_nothing_more_and_neither_input_is_touched(before, after):
    original, patch = {"containers": before}, {"containers": after}
    frozen = repr((original, patch))
    once = strategic_merge(original, patch)
    assert strategic_merge(once, patch) == once
    assert repr((original, patch)) == frozen


json = st.recursive(
    st.none() | st.booleans() | st.integers() | names,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["a", "name", "containers", "ports", "finalizers", "$patch", "$retainKeys"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(original=st.dictionaries(names, json), patch=st.dictionaries(names, json))
def test_whatever_comes_in_a_result_or_a_reason_comes_out(original, patch):
    with contextlib.suppress(ApiError):
        assert isinstance(strategic_merge(original, patch), dict)
