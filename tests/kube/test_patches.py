import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.kube.errors import Invalid
from koordinator.kube.patches import apply_json, json_diff, merge, merge_diff

keys = st.text("ab/~", min_size=1, max_size=3)


def objects(scalars):
    return st.dictionaries(
        keys,
        st.recursive(
            scalars,
            lambda inner: st.lists(inner.filter(lambda v: v is not None), max_size=3) | st.dictionaries(keys, inner),
            max_leaves=8,
        ),
        max_size=4,
    )


without_null = objects(st.booleans() | st.integers(0, 2) | st.text("xy", max_size=2))
with_null = objects(st.none() | st.booleans() | st.integers(0, 2) | st.text("xy", max_size=2))


@given(before=without_null, after=without_null)
def test_a_merge_diff_leads_to_the_target(before, after):
    assert merge(before, merge_diff(before, after)) == after


@given(obj=without_null)
def test_no_change_is_an_empty_patch(obj):
    assert merge_diff(obj, obj) == {}
    assert json_diff(obj, obj) == []


@given(before=with_null, after=with_null)
def test_a_json_diff_leads_to_the_target(before, after):
    assert apply_json(before, json_diff(before, after)) == after


def test_true_is_not_one():
    assert merge_diff({"a": 1}, {"a": True}) == {"a": True}


def test_merge_follows_rfc_7386():
    assert merge({"a": "b", "c": {"d": "e", "f": "g"}}, {"a": "z", "c": {"f": None}}) == {"a": "z", "c": {"d": "e"}}
    assert merge({"a": {"b": "c"}}, {"a": [1]}) == {"a": [1]}
    assert merge([1, 2], {"a": "b", "c": None}) == {"a": "b"}
    assert merge({}, {"a": {"bb": {"ccc": None}}}) == {"a": {"bb": {}}}


@pytest.mark.parametrize(
    "operations",
    [
        [{"op": "test", "path": "/a", "value": 2}],
        [{"op": "remove", "path": "/b"}],
        [{"op": "fly", "path": "/a"}],
        [{"op": "add", "path": "a", "value": 1}],
        [{}],
        ["x"],
    ],
)
def test_a_json_patch_that_does_not_fit_says_why(operations):
    with pytest.raises(Invalid, match=r"^the JSON patch does not apply: .+"):
        apply_json({"a": 1}, operations)
