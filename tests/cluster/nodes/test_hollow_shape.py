import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.cluster.nodes.hollow_shape import Shape, parse
from koordinator.errors import ConfigInvalid


def test_a_full_shape():
    shape = parse("cpu=64, memory=256Gi,pods=220,zone=a|b|c,gpu=8,storage=1Ti")
    assert shape.resources == {
        "cpu": "64",
        "memory": "256Gi",
        "pods": "220",
        "ephemeral-storage": "1Ti",
        "nvidia.com/gpu": "8",
    }
    assert shape.zones == ("a", "b", "c")


def test_gpus_have_a_model_and_its_memory():
    shape = parse("gpu=8:A100,numa=2")
    assert (shape.gpus, shape.gpu_model, shape.gpu_memory_each, shape.numa) == (8, "A100", "80Gi", 2)
    assert parse("gpu=4:A100:40Gi").gpu_memory_each == "40Gi"
    assert parse("gpu=4").gpu_memory_each == parse("gpu=4:Mystery-1").gpu_memory_each == "16Gi"
    assert shape.resources["nvidia.com/gpu"] == "8"


def test_what_is_left_out_keeps_its_default():
    assert parse("") == Shape()
    assert parse("cpu=4") == Shape(cpu="4")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cpu=lots", "node shape is 'cpu=lots', must be a quantity such as 4, 500m or 16Gi"),
        ("cpu=0", "must be more than zero"),
        ("memory", "must be key=value with a key of cpu, memory, pods, storage, gpu, numa, zone"),
        ("disk=4", "must be key=value with a key of"),
        ("cpu=1,cpu=2", "must not give cpu twice"),
        ("pods=1.5", "must be a whole number"),
        ("gpu=-1", "must be a whole number"),
        ("gpu=8:A 100", "must name a model of letters"),
        ("gpu=8:A100:lots", "must be a quantity"),
        ("numa=0", "must be between 1 and 64"),
        ("numa=two", "must be a whole number"),
        ("zone=a||b", "must be names of letters"),
        ("zone=", "must be names of letters"),
    ],
)
def test_a_bad_shape_says_which_part_and_why(text, says):
    with pytest.raises(ConfigInvalid) as caught:
        parse(text)
    assert says in str(caught.value)
    assert str(caught.value).endswith("no node was made")


@given(st.text(max_size=30))
def test_any_text_is_a_shape_or_a_clear_error(text):
    with contextlib.suppress(ConfigInvalid):
        parse(text)
