"""``python -m tests.vectors.run --dir FOLDER [--area AREA]``: every vector file of a folder through its adapter.

Exit code 0 when all pass or are disputed (``disputed.yaml``), 1 when one fails, 2 when the folder cannot be read.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

suite = importlib.import_module(".suite", __package__)
DEFAULT_FOLDER = "../shared/vectors"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="vectors", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--dir", default=DEFAULT_FOLDER, help=f"folder with AREA-TOPIC.json files (default {DEFAULT_FOLDER})")
    parser.add_argument("--area", default="", help="only files of this area, or one file by its name without .json")
    options = parser.parse_args(arguments)
    folder = Path(options.dir)
    if not folder.is_dir():
        return _absent(options.dir)
    outcomes = []
    for outcome in suite.run_folder(folder, options.area):
        outcomes.append(outcome)
        print(_line(outcome), flush=True)
    if not outcomes:
        print(f"vectors: no {options.area or 'AREA'}-TOPIC.json in {folder}", file=sys.stderr)
        return 2
    return _report(outcomes)


def _absent(folder: str) -> int:
    if folder == DEFAULT_FOLDER:
        print(f"vectors: {folder} is not here, nothing to run; give another folder with DIR=")
        return 0
    print(f"vectors: {folder} is not a folder; --dir wants the one that holds the AREA-TOPIC.json files", file=sys.stderr)
    return 2


def _line(outcome: "suite.Outcome") -> str:
    if outcome.passed is None:
        return f"{outcome.name} -/{outcome.total} (no adapter yet)"
    notes = [(len(outcome.disputed), "disputed"), (outcome.not_yet, "not yet")]
    told = ", ".join(f"{number} {what}" for number, what in notes if number)
    return f"{outcome.name} {outcome.passed}/{outcome.total}{f' ({told})' if told else ''}"


def _report(outcomes: "list[suite.Outcome]") -> int:
    failed = 0
    for outcome in outcomes:
        for failure in outcome.failures:
            failed += 1
            print(f"FAILED {outcome.name}: {failure.case}: {failure.reason}")
    passed = sum(outcome.passed or 0 for outcome in outcomes)
    total = sum(outcome.total for outcome in outcomes if outcome.passed is not None)
    disputed = sum(len(outcome.disputed) for outcome in outcomes)
    not_yet = sum(outcome.not_yet for outcome in outcomes)
    print(f"{passed}/{total} passed, {failed} failed, {disputed} disputed{f', {not_yet} not yet' if not_yet else ''}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
