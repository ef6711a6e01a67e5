import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.kube.apply import LAST_APPLIED, ManifestInvalid, manifests_at, read_manifests, three_way, with_last_applied
from koordinator.kube.store import PatchType

CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"


def test_reads_every_document_and_the_items_of_lists():
    text = CONFIG + "---\n---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, metadata: {name: b}}\n"
    assert [manifest.title for manifest in read_manifests(text, "x.yaml")] == ["configmap/a", "pod/b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("a: [", "x.yaml is not readable YAML: line ", id="not YAML"),
        pytest.param("- 1", "must be an object with apiVersion, kind and metadata", id="not an object"),
        pytest.param("kind: Pod", "x.yaml has apiVersion None, must be a non-empty text", id="no version"),
        pytest.param("apiVersion: v1\nkind: Pod", "x.yaml has metadata.name None, must be a text", id="no metadata"),
        pytest.param(CONFIG + "---\napiVersion: v1\nkind: 3\n", "x.yaml, document 2 has kind 3", id="second document"),
    ],
)
def test_a_malformed_manifest_says_where_and_what(text, message):
    with pytest.raises(ManifestInvalid) as caught:
        list(read_manifests(text, "x.yaml"))
    assert message in str(caught.value)
    assert "nothing of it was applied" in str(caught.value)


def test_a_folder_is_its_files_in_order_and_an_empty_one_an_error(tmp_path):
    (tmp_path / "b.yaml").write_text(CONFIG.replace("name: a", "name: b"))
    (tmp_path / "a.json").write_text('{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}')
    (tmp_path / "notes.txt").write_text("not a manifest")
    assert [manifest.title for manifest in manifests_at(tmp_path)] == ["configmap/a", "configmap/b"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ManifestInvalid, match=r"holds no \.yaml"):
        manifests_at(tmp_path / "empty")


def test_the_manifest_keeps_a_copy_of_itself_without_that_copy():
    once = with_last_applied({"kind": "X", "metadata": {"name": "a", "annotations": {"mine": "1"}}})
    twice = with_last_applied(once)
    assert once == twice
    assert json.loads(once["metadata"]["annotations"][LAST_APPLIED])["metadata"]["annotations"] == {"mine": "1"}


def test_what_is_no_longer_said_is_removed_and_what_others_wrote_is_not_mentioned():
    before = {"spec": {"replicas": 3, "paused": True}, "data": {"a": "1", "b": "2"}}
    wanted = {"spec": {"replicas": 4}, "data": {"a": "1"}}
    assert three_way(before, wanted) == {"spec": {"replicas": 4, "paused": None}, "data": {"a": "1", "b": None}}


def test_members_of_named_lists_are_removed_by_name_only_in_the_strategic_dialect():
    before, wanted = {"containers": [{"name": "a"}, {"name": "b", "image": "x"}]}, {"containers": [{"name": "b"}]}
    assert three_way(before, wanted, PatchType.STRATEGIC) == {
        "containers": [{"name": "b", "image": None}, {"name": "a", "$patch": "delete"}]
    }
    assert three_way(before, wanted) == wanted


objects = st.recursive(
    st.integers() | st.text(max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abcd"), inner, max_size=4),
    max_leaves=12,
)


@given(before=st.dictionaries(st.sampled_from("abcd"), objects), wanted=st.dictionaries(st.sampled_from("abcd"), objects))
def test_applying_the_patch_to_what_was_applied_before_gives_what_is_wanted(before, wanted):
    assert _merged(before, three_way(before, wanted)) == wanted


def _merged(target, patch):
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result
