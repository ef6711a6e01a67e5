import pytest

from koordinator.api.meta import LabelSelector, LabelSelectorRequirement
from koordinator.api.selectors import is_empty, matches, problem


def expression(operator, *values):
    return LabelSelector(match_expressions=[LabelSelectorRequirement(key="tier", operator=operator, values=list(values))])


@pytest.mark.parametrize(
    ("selector", "labels", "fits"),
    [
        pytest.param(None, {}, False, id="absent"),
        pytest.param(LabelSelector(), {"a": "b"}, True, id="empty"),
        pytest.param(LabelSelector(match_labels={"a": "b"}), {"a": "b", "c": "d"}, True, id="label"),
        pytest.param(LabelSelector(match_labels={"a": "b"}), {"a": "x"}, False, id="other-value"),
        pytest.param(expression("In", "x", "y"), {"tier": "y"}, True, id="in"),
        pytest.param(expression("In", "x"), {}, False, id="in-absent"),
        pytest.param(expression("NotIn", "x"), {}, True, id="not-in-absent"),
        pytest.param(expression("NotIn", "x"), {"tier": "x"}, False, id="not-in"),
        pytest.param(expression("Exists"), {"tier": ""}, True, id="exists"),
        pytest.param(expression("DoesNotExist"), {"tier": ""}, False, id="does-not-exist"),
        pytest.param(expression("Like", "x"), {"tier": "x"}, False, id="unknown"),
    ],
)
def test_matches(selector, labels, fits):
    assert matches(selector, labels) is fits


def test_problem_names_the_field():
    assert problem(expression("In")) == "matchExpressions[0].values: must be given when the operator is In"
    assert problem(expression("Exists", "x")) == "matchExpressions[0].values: must be empty when the operator is Exists"
    assert problem(expression("Like")).startswith("matchExpressions[0].operator: 'Like'")
    assert problem(expression("In", "x")) == problem(None) == ""


def test_empty():
    assert is_empty(None)
    assert is_empty(LabelSelector())
    assert not is_empty(expression("Exists"))
