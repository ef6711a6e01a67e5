"""Every key has one accessor, every accessor survives any text, and the reference pages are fresh."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.api import keys, reference
from koordinator.api.annotations import Annotation, Malformed
from koordinator.api.catalogue import accessors

DOCS = Path(__file__).parents[2] / "docs/reference"
ACCESSORS = [one for found in accessors().values() for one in found]
DOMAINS = {"DOMAIN", "SCHEDULING", "INTERNAL_SCHEDULING", "NODE_DOMAIN", "POD_DOMAIN", "GANG", "QUOTA"}


def test_every_key_has_exactly_one_accessor():
    known = {value for name, value in vars(keys).items() if name.isupper() and name not in DOMAINS}
    accessible = [one.key for one in ACCESSORS]
    assert sorted(accessible) == sorted(known)


def test_every_accessor_says_where_it_is_and_what_it_means():
    assert [one.key for one in ACCESSORS if not one.on or len(one.doc) < 10] == []


@pytest.mark.parametrize("accessor", [pytest.param(one, id=one.key) for one in ACCESSORS])
def test_absent_is_absent(accessor):
    assert accessor.read({}) == accessor.read(None)


@given(st.sampled_from(ACCESSORS), st.text() | st.sampled_from(["", "null", "{}", "[]", "1", "-1", "true", '{"cpu":"1"}']))
def test_reading_never_raises(accessor, text):
    value = accessor.read({accessor.key: text})
    if isinstance(accessor, Annotation) and value is not None and not isinstance(value, Malformed):
        assert accessor.read({accessor.key: accessor.write(value)}) == value


@pytest.mark.parametrize("name", reference.pages())
def test_reference_pages_are_fresh(name):
    assert (DOCS / name).read_text() == reference.pages()[name]


def test_stale_pages_are_named(tmp_path, capsys):
    assert reference.main([str(tmp_path)]) == 0
    assert reference.main([str(tmp_path), "--check"]) == 0
    (tmp_path / "feature-gates.md").write_text("old")
    assert reference.main([str(tmp_path), "--check"]) == 1
    assert "feature-gates.md is stale" in capsys.readouterr().err
