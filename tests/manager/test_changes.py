"""One object per node: what is, what is wanted, what follows."""

import pytest

from koordinator.manager.controllers.changes import Create, Delete, Patch, reconcile_spec

SPEC = {"a": 1, "b": {"c": 2}}


@pytest.mark.parametrize(
    ("node", "existing", "wanted", "change"),
    [
        pytest.param(False, None, None, None, id="nothing"),
        pytest.param(False, SPEC, None, Delete(), id="orphan"),
        pytest.param(True, None, SPEC, Create(SPEC), id="missing"),
        pytest.param(True, SPEC, SPEC, None, id="settled"),
        pytest.param(True, {"a": 1, "b": {"d": 3}}, SPEC, Patch({"spec": {"b": {"c": 2, "d": None}}}), id="different"),
        pytest.param(True, SPEC, None, None, id="leave it"),
    ],
)
def test_reconcile(node, existing, wanted, change):
    assert reconcile_spec(node_exists=node, existing=existing, wanted=wanted) == change
