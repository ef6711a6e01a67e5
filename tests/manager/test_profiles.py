"""Applying profiles: mutation is idempotent, order is by name, broken profiles say what is broken."""

import copy

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.api.config import ClusterColocationProfile
from koordinator.api.core import Pod, PriorityClass
from koordinator.kube.patches import apply_json, json_diff
from koordinator.manager.webhooks.pods.devices import complete_devices
from koordinator.manager.webhooks.pods.extended import write_extended_spec
from koordinator.manager.webhooks.pods.profiles import Surroundings, apply_profiles, compile_profile, matching
from koordinator.manager.webhooks.pods.validate import Review, denial

CLASSES = {
    name: msgspec.convert(
        {"metadata": {"name": name}, "value": value, "preemptionPolicy": "PreemptLowerPriority"}, PriorityClass
    )
    for name, value in (("koord-prod", 9000), ("koord-mid", 7000), ("koord-batch", 5000), ("koord-free", 3000))
}
AROUND = Surroundings(CLASSES.get)


def profile(name="p", **spec):
    return msgspec.convert({"metadata": {"name": name}, "spec": spec}, ClusterColocationProfile)


def pod(requests=None, limits=None, **metadata):
    resources = {key: value for key, value in (("requests", requests), ("limits", limits)) if value}
    containers = [{"name": "c", "resources": resources}]
    return {"metadata": {"namespace": "ns", "name": "pod", **metadata}, "spec": {"containers": containers}}


def mutate(target, *profiles):
    """Everything that the webhook does to a new pod."""
    result = copy.deepcopy(target)
    if found := matching(map(compile_profile, profiles), result["metadata"].get("labels") or {}, {}):
        apply_profiles(result, found, AROUND)
    write_extended_spec(result)
    complete_devices(result)
    return result


texts = st.dictionaries(
    st.sampled_from(["a", "b", "koordinator.sh/qosClass"]), st.sampled_from(["x", "y", "BE", "LS"]), max_size=2
)
amounts = st.dictionaries(
    st.sampled_from(["cpu", "memory", "nvidia.com/gpu", "koordinator.sh/gpu", "kubernetes.io/batch-cpu"]),
    st.sampled_from(["1", "1500m", "4Gi", "200"]),
)
pods = st.builds(pod, amounts, amounts, labels=texts, annotations=texts)
settling = {
    "name": st.sampled_from(["p", "q"]),
    "labels": texts,
    "annotations": texts,
    "qosClass": st.sampled_from(["", "BE", "LS", "LSR"]),
    "priorityClassName": st.sampled_from(["", *CLASSES]),
    "koordinatorPriority": st.none() | st.integers(0, 9999),
    "schedulerName": st.sampled_from(["", "koord-scheduler"]),
    "patch": st.none() | st.just({"spec": {"containers": [{"name": "c", "env": [{"name": "A", "value": "1"}]}]}}),
}
"""What a profile may say that, once said, stays so. Copied keys and suffixes look at what others wrote."""

profiles = st.builds(
    profile, **settling, labelKeysMapping=st.none() | st.just({"a": "copied"}), labelSuffixes=st.none() | st.just({"b": "-x"})
)


@given(pods, st.lists(st.builds(profile, **settling), max_size=2))
def test_mutating_twice_is_mutating_once(target, given_profiles):
    once = mutate(target, *given_profiles)
    assert mutate(once, *given_profiles) == once


@given(pods, st.lists(profiles, max_size=2))
def test_the_patch_turns_the_pod_into_the_mutated_one(target, given_profiles):
    mutated = mutate(target, *given_profiles)
    assert apply_json(target, json_diff(target, mutated)) == mutated


@given(pods)
def test_a_pod_that_no_profile_matches_keeps_its_resources(target):
    spec = mutate(target, profile(selector={"matchLabels": {"no": "pod"}}))["spec"]
    without_devices = {"cpu", "memory", "nvidia.com/gpu"}
    for part in ("requests", "limits"):
        before, after = (one["containers"][0]["resources"].get(part) or {} for one in (target["spec"], spec))
        assert all(after.get(name) == before[name] for name in before if name in without_devices)


@given(st.sampled_from(["koord-batch", "koord-mid", "koord-free"]), amounts)
def test_a_valid_pod_is_still_valid_after_becoming_a_batch_pod(priority_class, requests):
    requests.pop("koordinator.sh/gpu", None)
    mutated = mutate(pod(requests, requests), profile(qosClass="BE", priorityClassName=priority_class))
    assert denial(Review("CREATE", msgspec.convert(mutated, Pod))) == ""


def test_the_profile_with_the_larger_name_wins():
    result = mutate(pod(), profile("b", labels={"who": "b"}), profile("a", labels={"who": "a"}))
    assert result["metadata"]["labels"]["who"] == "b"


def test_profiles_are_matched_against_the_pod_as_it_came():
    chain = [profile("a", labels={"step": "1"}), profile("b", selector={"matchLabels": {"step": "1"}}, labels={"late": "yes"})]
    assert "late" not in mutate(pod(), *chain)["metadata"]["labels"]


def test_a_broken_selector_counts_as_matching():
    broken = profile(selector={"matchExpressions": [{"key": "a", "operator": "Like"}]}, labels={"hit": "yes"})
    assert mutate(pod(), broken)["metadata"]["labels"] == {"hit": "yes"}


def test_a_profiles_own_patch_is_not_changed_by_what_follows():
    patch = {"spec": {"containers": [{"name": "side", "resources": {"requests": {"cpu": "1"}}}]}}
    given_profile = profile(priorityClassName="koord-batch", patch=copy.deepcopy(patch))
    mutate(pod(), given_profile)
    assert given_profile.spec.patch == patch


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"priorityClassName": "nope"}, 'spec.priorityClassName: priorityclasses.scheduling.k8s.io "nope" not found'),
        ({"probability": "often"}, "spec.probability is 'often', neither a number nor a percentage"),
        ({"patch": [1]}, "spec.patch is no object"),
        ({"patch": {"spec": {"containers": [{"image": "x"}]}}}, "spec.patch does not fit the pod: strategic merge patch: "),
        ({"patch": {"metadata": {"labels": {"a": 1}}}}, "the pod cannot be read after ClusterColocationProfile p: "),
    ],
)
def test_a_broken_profile_denies_with_its_name_and_field(spec, reason):
    with pytest.raises(ValueError, match="ClusterColocationProfile p") as caught:
        mutate(pod(), profile(**spec))
    assert reason in str(caught.value)


def test_a_quantity_that_cannot_be_read_is_denied_with_its_path():
    with pytest.raises(ValueError, match=r"spec\.containers\[0\]\.resources\.requests\.cpu is 'much'"):
        mutate(pod({"cpu": "much"}), profile(priorityClassName="koord-batch"))


def test_an_unreadable_extended_spec_is_denied_with_its_key():
    with pytest.raises(ValueError, match="extended-resource-spec"):
        mutate(pod(annotations={"node.koordinator.sh/extended-resource-spec": "{bad"}))


def test_story_a_plain_pod_becomes_a_batch_pod():
    etl = pod({"cpu": "1", "memory": "3456Mi"}, {"cpu": "1", "memory": "3456Mi"}, labels={"job": "etl"})
    to_batch = profile(
        selector={"matchLabels": {"job": "etl"}},
        qosClass="BE",
        priorityClassName="koord-batch",
        koordinatorPriority=1000,
        schedulerName="koord-scheduler",
        patch={"spec": {"terminationGracePeriodSeconds": 33}},
    )
    result = mutate(etl, to_batch)
    batch = {"kubernetes.io/batch-cpu": "1k", "kubernetes.io/batch-memory": "3456Mi"}
    assert result["metadata"]["labels"] == {"job": "etl", "koordinator.sh/qosClass": "BE", "koordinator.sh/priority": "1000"}
    assert result["spec"]["containers"][0]["resources"] == {"requests": batch, "limits": batch}
    assert (result["spec"]["priority"], result["spec"]["terminationGracePeriodSeconds"]) == (5000, 33)
    spec = result["metadata"]["annotations"]["node.koordinator.sh/extended-resource-spec"]
    assert msgspec.json.decode(spec) == {"containers": {"c": {"limits": batch, "requests": batch}}}
