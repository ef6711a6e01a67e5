"""The part of the hooks' vectors that is built, as long as the whole topic has no adapter."""

import json
from pathlib import Path

import pytest

from vectors import suite
from vectors.adapters import agentqos

FILE = Path(__file__).parents[2] / "../shared/vectors/agentqos-hooks.json"
CASES = json.loads(FILE.read_text()) if FILE.exists() else []
BUILT = [case for case in CASES if case["input"]["op"] in agentqos.HOOKS]


@pytest.mark.skipif(not BUILT, reason="no vectors beside this clone")
@pytest.mark.parametrize("case", BUILT, ids=lambda case: case["name"])
def test_case(case):
    assert suite.run_case(suite.Adapter(agentqos.by_op(agentqos.HOOKS), suite.difference), case) == ""
