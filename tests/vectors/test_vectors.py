"""Every vector file that lies beside the repository, and the runner itself on vectors made here."""

import json
from pathlib import Path

import pytest

from vectors import run, suite

FOLDER = Path(__file__).parents[2] / run.DEFAULT_FOLDER
FILES = suite.vector_files(FOLDER) if FOLDER.is_dir() else []


@pytest.mark.skipif(not FILES, reason=f"no vectors: {run.DEFAULT_FOLDER} does not lie beside this clone")
@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in FILES])
def test_vector_file(path):
    adapter = suite.find_adapter(path.stem)
    if adapter is None:
        pytest.skip(f"no adapter yet for {path.stem}")
    outcome = suite.run_file(path, suite.read_disputed(), adapter)
    assert [tuple(failure) for failure in outcome.failures] == []


def test_every_dispute_has_a_reason():
    assert all(len(reason) > 20 for reason in suite.read_disputed().values())


@pytest.fixture
def folder(tmp_path):
    cases = [
        {"name": "right", "input": {"op": "equal", "a": "0-1", "b": "0,1"}, "expected": {"result": True}},
        {"name": "wrong", "input": {"op": "equal", "a": "0-1", "b": "0"}, "expected": {"result": True}},
        {"name": "odd", "input": {"op": "fly"}, "expected": {}},
    ]
    (tmp_path / "protocol-cpuset.json").write_text(json.dumps(cases))
    (tmp_path / "nowhere-thing.json").write_text(json.dumps(cases))
    return tmp_path


def test_failures_are_named_and_files_without_adapter_are_told(folder, capsys):
    assert run.main(["--dir", str(folder)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "nowhere-thing -/3 (no adapter yet)",
        "protocol-cpuset 1/3",
        "FAILED protocol-cpuset: wrong: result: expected true, got false",
        "FAILED protocol-cpuset: odd: raised NotImplementedError: fly",
        "1/3 passed, 2 failed, 0 disputed",
    ]


def test_one_area(folder, capsys):
    assert run.main(["--dir", str(folder), "--area", "nowhere"]) == 0
    assert "protocol" not in capsys.readouterr().out


def test_a_disputed_case_does_not_fail_the_run(folder):
    disputed = {("protocol-cpuset", "wrong"): "made up", ("protocol-cpuset", "odd"): "made up"}
    outcome = suite.run_file(folder / "protocol-cpuset.json", disputed, suite.find_adapter("protocol-cpuset"))
    assert (outcome.passed, outcome.total, list(outcome.failures), len(outcome.disputed)) == (1, 3, [], 2)


def test_operations_that_are_not_built_are_counted_apart(folder):
    adapter = suite.find_adapter("protocol-cpuset")._replace(operations={"equal"})
    outcome = suite.run_file(folder / "protocol-cpuset.json", {}, adapter)
    assert (outcome.passed, outcome.total, outcome.not_yet, [one.case for one in outcome.failures]) == (1, 3, 1, ["wrong"])


def test_an_absent_default_folder_is_fine(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert run.main([]) == 0
    assert "nothing to run" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--dir", "/nonexistent"], ["--area", "unheard"]])
def test_a_wrong_folder_or_area_is_one_clear_error(arguments, folder, capsys):
    assert run.main(["--dir", str(folder), *arguments]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("content", ["{", "{}", "[1]"])
def test_a_file_that_holds_no_cases_is_one_failure(content, folder, capsys):
    (folder / "protocol-quantity.json").write_text(content)
    assert run.main(["--dir", str(folder), "--area", "protocol-quantity"]) == 1
    assert "not a vector file" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        (1, 1.0, True),
        (True, 1, False),
        (None, 0, False),
        ({"a": [0.1 + 0.2]}, {"a": [0.3]}, True),
        ([1], [1, 2], False),
        ("1", 1, False),
    ],
)
def test_same(a, b, equal):
    assert suite.same(a, b) is equal
