import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.api import quantity
from koordinator.api.quantity import Quantity

SUFFIXES = ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "e3", "E-2", "e+6"]
numbers = st.builds(
    lambda sign, whole, fraction, suffix: f"{sign}{whole}{'.' + str(fraction) if fraction is not None else ''}{suffix}",
    st.sampled_from(["", "-", "+"]),
    st.integers(0, 10**12),
    st.none() | st.integers(0, 10**6),
    st.sampled_from(SUFFIXES),
)
quantities = st.builds(Quantity, st.integers(-(10**30), 10**30), st.sampled_from(["DecimalSI", "BinarySI", "DecimalExponent"]))


@given(numbers)
def test_the_canonical_text_reads_as_the_same_number(text):
    one = quantity.parse(text)
    assert quantity.parse(one.canonical) == one
    assert quantity.parse(str(one)) == one


@given(quantities)
def test_canonical_texts_are_their_own_canonical_text(one):
    again = quantity.parse(one.canonical)
    if not one.nano or abs(one.nano) < 2**63 * quantity.NANO:
        assert again == one
        # A binary amount without a binary suffix reads as a decimal one: only then may the texts differ.
        assert again.canonical == one.canonical or again.format != one.format


@given(st.text(max_size=30))
def test_whatever_the_text_it_is_a_quantity_or_a_value_error(text):
    try:
        quantity.read(text)
    except ValueError as err:
        assert err.args  # noqa: PT017 — either outcome is fine


@given(quantities, quantities)
def test_order_and_arithmetic_agree(a, b):
    assert (a < b) == (a.nano < b.nano) == ((b - a).nano > 0)
    assert (a + b) - b == a
    assert a + b == b + a


@given(quantities)
def test_integer_views_round_away_from_zero(one):
    assert abs(one.value) * quantity.NANO >= abs(one.nano)
    assert abs(one.milli) * quantity.MILLI >= abs(one.nano)
    assert (abs(one.value) - 1) * quantity.NANO < abs(one.nano) or one.nano == 0


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("1.500", "1.500"),
        ("007", "007"),
        ("+1", "+1"),
        ("1E3", "1E3"),
        ("1.5", "1500m"),
        ("0.123", "123m"),
        ("1000m", "1"),
        ("8Gi", "8Gi"),
        ("1024Ki", "1Mi"),
        (".5", "500m"),
        ("1.", "1."),
        ("0", "0"),
        ("-0", "0"),
        ("16Ei", "9223372036854775807"),
        ("-16Ei", "-9223372036854775807"),
    ],
)
def test_texts_stay_where_the_api_server_keeps_them(text, written):
    assert str(quantity.parse(text)) == written


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "must match the regular expression"),
        (" 1", "must match the regular expression"),
        ("1 ", "must match the regular expression"),
        ("1K", "unable to parse quantity's suffix"),
        ("m", "unable to parse numeric part"),
        ("1e999999999", "unable to parse quantity's suffix"),
        ("1e", "unable to parse quantity's suffix"),
        ("9" * 5000, "digits"),
    ],
)
def test_errors_say_what_is_wrong(text, reason):
    with pytest.raises(ValueError, match=reason):
        quantity.parse(text)


def test_a_sum_keeps_the_left_format_unless_the_left_is_zero():
    assert str(quantity.parse("1Gi") + quantity.parse("1Gi")) == "2Gi"
    assert str(quantity.parse("0") + quantity.parse("1Gi")) == "1Gi"
    assert str(quantity.parse("1.500") + quantity.ZERO) == "1500m"


def test_json_numbers_are_quantities():
    assert quantity.read(2).milli == 2000
    assert quantity.read(0.5).milli == 500
    assert quantity.read(1e22).value == 10**22
    with pytest.raises(ValueError, match="must match"):
        quantity.read(float("nan"))


def test_scaling_cuts_off():
    assert quantity.scale_milli(quantity.parse("1"), 0.3335).milli == 333
    assert quantity.scale(quantity.parse("10Gi"), 0.55) == quantity.of(int(10 * 2**30 * 0.55))


def test_presence_of_only_one_is_a_difference():
    one = quantity.parse("1")
    assert quantity.differs(None, one, 0.5)
    assert quantity.differs(one, None, 0.5)
    assert not quantity.differs(None, None, 0.5)
