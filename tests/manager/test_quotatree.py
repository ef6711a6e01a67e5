"""Pods of a quota tree: the pool's selector becomes node affinity, in every term, once."""

import copy

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.api.meta import LabelSelector
from koordinator.manager.webhooks.pods.quotatree import add_pool_affinity

POOL = msgspec.convert(
    {"matchLabels": {"pool": "a", "arch": "x"}, "matchExpressions": [{"key": "spot", "operator": "DoesNotExist"}]},
    LabelSelector,
)
WANTED = [
    {"key": "arch", "operator": "In", "values": ["x"]},
    {"key": "pool", "operator": "In", "values": ["a"]},
    {"key": "spot", "operator": "DoesNotExist"},
]
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def with_terms(*terms, **more):
    return {"spec": {"affinity": {"podAffinity": {"kept": True}, "nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [*terms]}}}}}


def terms(pod):
    return pod["spec"]["affinity"]["nodeAffinity"][REQUIRED]["nodeSelectorTerms"]


def test_a_pod_without_affinity_gets_one_term():
    pod = {}
    add_pool_affinity(pod, POOL)
    assert terms(pod) == [{"matchExpressions": WANTED}]


def test_every_term_gets_the_requirements_and_the_rest_stays():
    own = {"key": "zone", "operator": "In", "values": ["z"]}
    pod = with_terms({"matchExpressions": [own]}, {"matchFields": [own]})
    add_pool_affinity(pod, POOL)
    assert terms(pod) == [{"matchExpressions": [own, *WANTED]}, {"matchFields": [own], "matchExpressions": WANTED}]
    assert pod["spec"]["affinity"]["podAffinity"] == {"kept": True}


@pytest.mark.parametrize("selector", [None, LabelSelector()])
def test_no_selector_asks_nothing(selector):
    pod = {"spec": {}}
    add_pool_affinity(pod, selector)
    assert pod == {"spec": {}}


@given(st.lists(st.lists(st.sampled_from(WANTED), max_size=3), max_size=3))
def test_a_second_time_changes_nothing(given_terms):
    pod = with_terms(*({"matchExpressions": one} for one in given_terms))
    add_pool_affinity(pod, POOL)
    once = copy.deepcopy(pod)
    add_pool_affinity(pod, POOL)
    assert pod == once
