import pytest
from hypothesis import given
from hypothesis import strategies as st

from koordinator.api import selectors
from koordinator.api.meta import LabelSelector, LabelSelectorRequirement

LABELS = {"app": "web", "tier": "front", "cpus": "8", "empty": ""}

keys = st.sampled_from(["app", "tier", "cpus", "empty", "none"])
values = st.sampled_from(["web", "front", "8", "x"])
expressions = st.one_of(
    st.builds(
        lambda key, op, vs: LabelSelectorRequirement(key=key, operator=op, values=vs),
        keys,
        st.sampled_from(["In", "NotIn"]),
        st.lists(values, min_size=1, max_size=3),
    ),
    st.builds(
        lambda key, op: LabelSelectorRequirement(key=key, operator=op), keys, st.sampled_from(["Exists", "DoesNotExist"])
    ),
)
objects = st.builds(
    LabelSelector,
    match_labels=st.none() | st.dictionaries(keys, values, max_size=2),
    match_expressions=st.none() | st.lists(expressions, max_size=3),
)


@given(objects, st.dictionaries(keys, values))
def test_compiled_and_asked_once_agree(selector, labels):
    assert selectors.compile_(selector).matches(labels) is selectors.matches(selector, labels)


@given(st.lists(expressions, max_size=3), st.dictionaries(keys, values))
def test_the_text_form_means_the_same(found, labels):
    forms = {"In": "{0} in ({1})", "NotIn": "{0} notin ({1})", "Exists": "{0}", "DoesNotExist": "!{0}"}
    text = ",".join(forms[one.operator].format(one.key, ",".join(one.values or [])) for one in found)
    assert selectors.parse_labels(text).matches(labels) is selectors.matches(LabelSelector(match_expressions=found), labels)


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("", True),
        ("app=web", True),
        ("app==web,tier!=back", True),
        ("app!=web", False),
        ("other!=x", True),
        (" app = web , tier in ( front , back ) ", True),
        ("tier notin (front)", False),
        ("app", True),
        ("!app", False),
        ("! other", True),
        ("empty=", True),
        ("empty in (,x)", True),
        ("cpus>4,cpus<16", True),
        ("cpus>8", False),
        ("app>1", False),
        ("example.com/a=b", False),
    ],
)
def test_label_texts(text, fits):
    assert selectors.parse_labels(text).matches(LABELS) is fits


@pytest.mark.parametrize(
    "text", ["a=b,,c", ",", "a in ()x", "a in b", "=b", "a=b=c", "a notin", "-a", "a=b c", "a>b", "a in (", "x/y/z=1"]
)
def test_texts_that_are_no_selector(text):
    with pytest.raises(ValueError, match=r"\S"):
        selectors.parse_labels(text)


@given(st.text(max_size=30))
def test_whatever_the_text_nothing_but_value_errors(text):
    for parse in (selectors.parse_labels, selectors.parse_fields):
        try:
            parse(text).matches(LABELS)
        except ValueError:
            continue


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("", True),
        ("spec.nodeName=n1", True),
        ("spec.nodeName==n1,status.phase!=Failed", True),
        ("status.phase!=Running", False),
        ("spec.nodeName=", False),
        (r"metadata.name=a\,b", True),
    ],
)
def test_field_texts(text, fits):
    fields = {"spec.nodeName": "n1", "status.phase": "Running", "metadata.name": "a,b"}
    assert selectors.parse_fields(text).matches(fields) is fits


@pytest.mark.parametrize("text", ["spec.nodeName", "=x", "a=b=c", "a>b"])
def test_texts_that_are_no_field_selector(text):
    with pytest.raises(ValueError, match="invalid selector"):
        selectors.parse_fields(text)


def test_no_selector_and_an_empty_one():
    assert not selectors.compile_(None).matches({})
    assert selectors.compile_(LabelSelector()).everything
    assert selectors.EVERYTHING.matches(None)


@pytest.mark.parametrize(
    ("operator", "values"),
    [("Like", ["x"]), ("In", []), ("Exists", ["x"]), ("In", ["not valid!"]), ("Gt", ["x"]), ("Gt", ["1", "2"])],
)
def test_wrong_selectors_say_what_is_wrong(operator, values):
    selector = LabelSelector(match_expressions=[LabelSelectorRequirement(key="a", operator=operator, values=values)])
    with pytest.raises(ValueError, match=r"operator|values|valid"):
        selectors.compile_(selector)
