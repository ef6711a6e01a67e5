import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.api import numbers


@given(st.integers(-(2**63), 2**63 - 1))
def test_integers_read_back(number):
    assert numbers.decimal_int(str(number)) == number
    assert numbers.prefixed_int(hex(number)) == number
    assert numbers.prefixed_int(oct(number)) == number


@given(st.text(max_size=80))
def test_whatever_the_text_nothing_but_value_errors(text):
    for read in (numbers.decimal_int, numbers.prefixed_int, numbers.decimal_float, numbers.boolean):
        try:
            read(text)
        except ValueError as err:
            assert err.args  # noqa: PT017 — either outcome is fine


@pytest.mark.parametrize("text", ["", " 1", "1 ", "1_000", "0x10", "１", "1.0", "--1", "2147483648", "9" * 5000])
def test_not_decimal_32_bit_integers(text):
    with pytest.raises(ValueError, match=r"integer|fit"):
        numbers.decimal_int(text, 32)


@pytest.mark.parametrize(
    ("text", "number"),
    [("0x10", 16), ("1_000", 1000), ("010", 8), ("0o17", 15), ("0b11", 3), ("-0x1", -1), ("0", 0), ("0_7", 7)],
)
def test_prefixes(text, number):
    assert numbers.prefixed_int(text, 32) == number


@pytest.mark.parametrize("text", ["08", "_1", "1__0", "1_", "0x", "0b2", "", "1.5"])
def test_not_prefixed_integers(text):
    with pytest.raises(ValueError, match="integer"):
        numbers.prefixed_int(text)


def test_floats():
    assert numbers.decimal_float("1.5e2") == 150
    assert numbers.decimal_float("0x1p-1") == 0.5
    assert numbers.decimal_float("-INF") == -math.inf
    assert math.isnan(numbers.decimal_float("nan"))
    for text in ("1e999", "0x1p99999", " 1", "1_0", "0x1"):
        with pytest.raises(ValueError, match=r"number|range"):
            numbers.decimal_float(text)
