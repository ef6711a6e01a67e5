"""The vectors of kube-scheduler's plugins that are built; the whole file joins ``make vectors`` when all of them are."""

import json
from pathlib import Path

import pytest

from vectors import run, suite
from vectors.adapters.scheduler import NATIVE_OPERATIONS

FILE = Path(__file__).parents[2] / run.DEFAULT_FOLDER / "scheduler-native.json"
CASES = json.loads(FILE.read_text()) if FILE.exists() else []
BUILT = [case for case in CASES if case["input"]["op"] in NATIVE_OPERATIONS]


@pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in BUILT])
def test_native(case):
    adapter = suite.Adapter(lambda given: NATIVE_OPERATIONS[given["op"]](given), suite.difference)
    assert suite.run_case(adapter, case) == ""
