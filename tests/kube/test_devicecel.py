"""Expressions over one device."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.api.dra import Device
from koordinator.kube.semantics.devicecel import Selector, SelectorError, compile_

DRIVER = "gpu.example.com"
HERE, CAPACITY = f'device.attributes["{DRIVER}"]', f'device.capacity["{DRIVER}"]'


def device(attributes, memory="80Gi"):
    body = {"name": "d", "attributes": attributes, "capacity": {"memory": {"value": memory}}}
    return msgspec.convert(body, Device)


GPU = device(
    {
        "model": {"string": "A100"},
        "index": {"int": 3},
        "healthy": {"bool": True},
        "firmware": {"version": "1.10.2"},
        "net.example.com/rail": {"int": 1},
    }
)


@pytest.mark.parametrize(
    ("expression", "answer"),
    [
        (f'device.driver == "{DRIVER}"', True),
        (f'{HERE}.model == "A100" && {HERE}.index > 2 && {HERE}.healthy', True),
        (f'{HERE}.model in ["H100", "H200"]', False),
        ('device.attributes["net.example.com"].rail == 1', True),
        (f'{HERE}.firmware.isGreaterThan(semver("1.9.0"))', True),
        (f"{HERE}.firmware.minor() == 10", True),
        (f'{CAPACITY}.memory.compareTo(quantity("40Gi")) > 0', True),
        (f'{CAPACITY}.memory == quantity("81920Mi")', True),
        (f"has({HERE}.missing)", False),
        ('has(device.attributes["other.example.com"].missing)', False),
        ('"other.example.com" in device.attributes && device.attributes["other.example.com"].x', False),
        (f'{HERE}.exists(name, name == "model")', True),
        (f'{HERE}.model.matches("A[0-9]+")', True),
        (f'{HERE}.model == "A100" || {HERE}.missing == 1', True),
    ],
)
def test_what_an_expression_says_of_a_device(expression, answer):
    assert compile_(expression).matches(DRIVER, GPU) is answer


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        (f'{HERE}.missing == "x"', "no such key: missing"),
        ('device.attributes["other.example.com"].x == 1', "no such key: x"),
        (f"{HERE}.model", "must evaluate to bool, not str"),
        (f"{HERE}.model > 3", "No such overload"),
        (f"{HERE}.model.compareTo({HERE}.model) == 0", "no such overload"),
    ],
)
def test_what_fails_on_a_device(expression, words):
    with pytest.raises(SelectorError, match=words):
        compile_(expression).matches(DRIVER, GPU)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("device.driver ==", "Syntax error"),
        ("nobody.driver == 'x'", "undeclared reference to 'nobody'"),
        ("device.driver.shout() == 'X'", "undeclared reference to 'shout'"),
        ("true || " * 2000 + "true", "too long"),
    ],
)
def test_what_is_no_selector(expression, words):
    assert words in str(compile_(expression))


def test_a_capacity_that_cannot_be_read_is_said():
    with pytest.raises(SelectorError, match="quantit"):
        compile_(f'{CAPACITY}.memory.compareTo(quantity("1")) > 0').matches(DRIVER, device({}, memory="lots"))


values = st.one_of(
    st.builds(lambda text: {"string": text}, st.sampled_from(["A", "B"])),
    st.builds(lambda number: {"int": number}, st.integers(0, 2)),
    st.builds(lambda truth: {"bool": truth}, st.booleans()),
)
EXPRESSIONS = [
    f'{HERE}.a == "A"',
    f"{HERE}.a == {HERE}.b",
    f'has({HERE}.a) && {HERE}.a != "B"',
    f'device.attributes["x.io"].a == 1 || device.driver == "{DRIVER}"',
]


@given(
    st.sampled_from(EXPRESSIONS),
    st.lists(st.dictionaries(st.sampled_from(["a", "b", "x.io/a", "c"]), values, max_size=3), min_size=1, max_size=6),
)
def test_answers_that_are_remembered_are_those_that_would_be_given_afresh(expression, devices):
    known = compile_(expression)
    for one in map(device, devices):
        assert said(known, one) == said(Selector(known._program), one)


def said(selector, one):
    try:
        return selector.matches(DRIVER, one)
    except SelectorError as err:
        return str(err)


def test_an_error_that_is_remembered_does_not_grow_with_every_device():
    selector = compile_("1 / 0 == 1")
    lengths = set()
    for _ in range(3):
        with pytest.raises(SelectorError) as caught:
            selector.matches(DRIVER, GPU)
        lengths.add(len(caught.traceback))
    assert len(lengths) == 1


NESTED = '"(".contains(")") || [1, 2].exists(a, ["x", "y"].all(b, device.driver == b))'
TEN = "[0,1,2,3,4,5,6,7,8,9]"


@pytest.mark.parametrize(
    ("expression", "refused"),
    [
        pytest.param(NESTED, False, id="two levels"),
        pytest.param(" || ".join([NESTED] * 10), False, id="many beside one another"),
        pytest.param(f"{TEN}.all(a, " * 8 + "true" + ")" * 8, True, id="eight levels"),
        pytest.param(f"[{'0,' * 2000}0].all(a, [{'0,' * 2000}0].all(b, a == b))", True, id="long lists"),
    ],
)
def test_expressions_that_would_take_too_long_are_refused(expression, refused):
    assert isinstance(compile_(expression), SelectorError) is refused


def test_patterns_take_no_longer_than_their_text():
    selector = compile_(f'"{"a" * 200}!".matches("(a+)+$")')
    assert selector.matches(DRIVER, GPU) is False
