"""What is written on a node, and when."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from koordinator.api.core import Node
from koordinator.kube.patches import merge
from koordinator.manager.overcommit.prepare import (
    BATCH,
    ORIGIN,
    Prepared,
    changed_status,
    needs_sync,
    prepare_batch,
    remember,
    usable_ratio,
)

CPU, MEMORY = BATCH
values = st.dictionaries(st.sampled_from(BATCH), st.none() | st.integers(0, 2**50), min_size=2)


def node(allocatable=None, annotations=None, capacity=None):
    status = {"capacity": capacity or allocatable or {}, "allocatable": allocatable or {}}
    return msgspec.convert({"metadata": {"name": "n", "annotations": annotations}, "status": status}, Node)


@given(values, values)
def test_once_written_nothing_is_left_to_write(before, calculated):
    old = node({name: str(number) for name, number in before.items() if number is not None}, {"some": "thing"})
    prepared = prepare_batch(calculated, old.metadata.annotations)
    written = merge(msgspec.to_builtins(old), changed_status(old, prepared))
    after = msgspec.convert(written, Node)
    assert changed_status(after, prepare_batch(calculated, after.metadata.annotations)) == {}
    assert not needs_sync(after, prepared.resources, 0.1)


def test_a_reset_removes_the_keys_instead_of_writing_zero():
    old = node({CPU: "1000", MEMORY: "1Gi", "cpu": "8"}, {"a": "b"})
    patch = changed_status(old, prepare_batch({CPU: None, MEMORY: None}, old.metadata.annotations))
    assert patch["status"] == {"capacity": {CPU: None, MEMORY: None}, "allocatable": {CPU: None, MEMORY: None}}
    assert patch["metadata"]["annotations"][ORIGIN] == f'{{"resources":{{"{CPU}":"0","{MEMORY}":"0"}}}}'


def test_equal_numbers_in_other_words_are_not_written():
    assert changed_status(node({CPU: "1k", MEMORY: "1024Mi"}), Prepared({CPU: 1000, MEMORY: 2**30}, {})) == {}


def test_a_change_of_exactly_the_threshold_is_not_worth_a_write():
    assert not needs_sync(node({CPU: "10k"}), {CPU: 11_000}, 0.1)
    assert needs_sync(node({CPU: "10k"}), {CPU: 11_001}, 0.1)


def test_what_is_no_number_is_replaced():
    assert needs_sync(node({CPU: "many"}), {CPU: 1}, 0.1)


def test_remembering_keeps_what_others_remember():
    text = remember({ORIGIN: '{"resources":{"kubernetes.io/mid-cpu":"5"}}'}, {CPU: 50_000})
    assert msgspec.json.decode(text) == {"resources": {CPU: "50k", "kubernetes.io/mid-cpu": "5"}}


def test_unreadable_memory_is_replaced():
    assert msgspec.json.decode(remember({ORIGIN: "{bad"}, {CPU: 1})) == {"resources": {CPU: "1"}}


def test_a_third_party_that_cannot_be_read_is_named():
    annotations = {"node.koordinator.sh/thirdPartyAllocations": "{bad"}
    assert "thirdPartyAllocations" in prepare_batch({CPU: 1, MEMORY: 1}, annotations).problem


def test_a_ratio_that_makes_no_sense_is_one():
    texts = ("", "abc", "-1", "nan", "inf", "1.5")
    assert [usable_ratio({"node.koordinator.sh/cpu-normalization-ratio": text}) for text in texts] == [1, 1, 1, 1, 1, 1.5]
    assert usable_ratio(None) == 1
