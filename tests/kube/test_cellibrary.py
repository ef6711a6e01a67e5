"""What expressions may call beyond the core language, where it is wrong to call it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.kube.semantics.cel import CelError, compile_, optional


def value(expression, **variables):
    return compile_(expression, frozenset(variables))(variables)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("quantity('much')", "quantities must match"),
        ("quantity('1').compareTo(semver('1.0.0'))", "a quantity cannot be compared with a version"),
        ("quantity('1500m').asInteger()", "cannot convert value to integer"),
        ("semver('1.0')", "'1.0' is not a semantic version"),
        ("url('a/b')", "neither absolute nor a path"),
        ("ip('fe80::1%eth0')", "with a zone is not allowed"),
        ("cidr('10.0.0.1')", "network address parse error"),
        ("'%d and %d'.format([1])", "fewer values than verbs"),
        ("'%q'.format([1])", "unrecognized formatting clause"),
        ("{'a': 1}.isLoopback()", "no such overload: not ip"),
        ("{'a': 1}['b']", "'b'"),
    ],
)
def test_what_cannot_be_calculated_says_why(expression, words):
    with pytest.raises(CelError) as caught:
        value(expression)
    assert str(caught.value).startswith(f"{expression}: ")
    assert words in str(caught.value)


def test_too_long_an_expression_is_not_read():
    with pytest.raises(CelError, match="may not be more than 5 bytes"):
        compile_("1 == 1", frozenset(), 5)


@pytest.mark.parametrize("expression", ["itself.a", "[1].all(x, x > y)", "[1].map(x, maths.abs(x))"])
def test_a_name_that_nobody_bound_is_refused(expression):
    with pytest.raises(CelError, match=r"undeclared reference to '(itself|y|abs)'"):
        compile_(expression, frozenset({"self"}))


def test_optional_variables():
    rule = "old.hasValue() ? old.value() == now : now > 0"
    assert value(rule, old=optional(), now=1)
    assert value(rule, old=optional(-3), now=-3)
    assert not value(rule, old=optional(1), now=2)


numbers = st.integers(0, 20)
versions = st.tuples(numbers, numbers, numbers)


@given(versions, versions)
def test_versions_are_ordered_by_number(one, other):
    texts = [".".join(map(str, parts)) for parts in (one, other)]
    assert value(f"semver('{texts[0]}').compareTo(semver('{texts[1]}'))") == (one > other) - (one < other)


@given(st.integers(-(2**62), 2**62), st.integers(-(2**62), 2**62))
def test_quantities_are_exact(one, other):
    assert value(f"quantity('{one}').sub(quantity('{other}')).sign()") == (one > other) - (one < other)
