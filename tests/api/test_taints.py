"""Which toleration answers which taint."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.api.core import Taint, Toleration
from koordinator.api.taints import taint_key, tolerates

TAINT = ("gpu", "yes", "NoSchedule")


@pytest.mark.parametrize(
    ("toleration", "answer"),
    [
        (Toleration(key="gpu", value="yes"), True),
        (Toleration(key="gpu", operator="Equal", value="yes", effect="NoSchedule"), True),
        (Toleration(key="gpu", operator="Exists"), True),
        (Toleration(operator="Exists"), True),
        (Toleration(operator="Exists", effect="NoExecute"), False),
        (Toleration(key="gpu", value="no"), False),
        (Toleration(key="gpu"), False),
        (Toleration(key="cpu", operator="Exists"), False),
        (Toleration(value="yes"), False),
        (Toleration(key="gpu", operator="In", value="yes"), False),
    ],
)
def test_tolerations(toleration, answer):
    assert tolerates(toleration, TAINT) is answer


def test_an_absent_value_is_the_empty_one():
    assert tolerates(Toleration(key="gpu"), ("gpu", "", "NoSchedule"))


@given(
    key=st.sampled_from(["", "a", "b"]),
    operator=st.sampled_from([None, "Equal", "Exists"]),
    value=st.sampled_from([None, "", "x"]),
    effect=st.sampled_from([None, "NoExecute", "NoSchedule"]),
)
def test_tolerating_follows_key_value_and_effect(key, operator, value, effect):
    toleration = Toleration(key=key, operator=operator, value=value, effect=effect)
    taint = Taint(key="a", effect="NoExecute", value="x")
    by_key = key == "a" or (key == "" and operator == "Exists")
    by_value = operator == "Exists" or value == "x"
    assert tolerates(toleration, taint_key(taint)) == (by_key and by_value and effect in (None, "NoExecute"))
