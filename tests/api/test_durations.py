import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.api import durations


@given(st.integers(-(2**63) + 1, 2**63 - 1))
def test_reading_what_was_written_gives_the_same(nanoseconds):
    assert durations.parse(durations.to_text(nanoseconds)) == nanoseconds


@given(st.text(alphabet="0123456789.hmsuµn+-", max_size=20))
def test_whatever_the_text_it_is_a_duration_or_a_value_error(text):
    try:
        durations.parse(text)
    except ValueError as err:
        assert "duration" in str(err) or "years" in str(err)  # noqa: PT017 — either outcome is fine


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("24h", "24h0m0s"),
        ("1h30m", "1h30m0s"),
        ("300ms", "300ms"),
        ("-1s", "-1s"),
        ("0", "0s"),
        ("1.5s", "1.5s"),
        ("90s", "1m30s"),
        (".5h", "30m0s"),
        ("1us", "1µs"),
    ],
)
def test_usual_form(text, written):
    assert durations.to_text(durations.parse(text)) == written


@pytest.mark.parametrize("text", ["", "1", "1d", "1 s", "s", ".s", "-", "1h-1m", "99999999999h", "１s"])
def test_not_durations(text):
    with pytest.raises(ValueError, match=r"duration|years"):
        durations.parse(text)
