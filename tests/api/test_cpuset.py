import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.api import cpuset


@given(st.frozensets(st.integers(0, 4096)))
def test_reading_what_was_written_gives_the_same(cpus):
    text = cpuset.to_text(cpus)
    assert cpuset.parse(text) == cpus
    assert cpuset.equal(text, ",".join(map(str, cpus)))


@given(st.text(alphabet="0123456789-, +a", max_size=20))
def test_whatever_the_text_it_is_a_list_or_a_value_error(text):
    try:
        assert cpuset.parse(cpuset.to_text(cpuset.parse(text))) == cpuset.parse(text)
    except ValueError as err:
        assert err.args  # noqa: PT017 — either outcome is fine


def test_limits():
    assert len(cpuset.parse("0-4096")) == 4097
    assert cpuset.parse("9999") == {9999}
    assert cpuset.parse("5-3") == frozenset()
    assert cpuset.parse("+1") == {1}
    assert not cpuset.equal("x", "x")
    with pytest.raises(ValueError, match="end 4097 exceed the maximum available CPU count: 4096"):
        cpuset.parse("0-4097")
