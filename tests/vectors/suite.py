"""Vector files: how they are found, run through adapters, and judged. Knows nothing of any area.

A vector file ``AREA-TOPIC.json`` is a list of ``{"name", "about", "input", "expected"}``. Its adapter is the function
``ADAPTERS["TOPIC"]`` of the module ``adapters/AREA.py`` (dashes as underscores): it takes the input, calls our code and returns
what to compare. A case passes when every key of ``expected`` is in the answer with an equal value (floats within 1e-9).
An area that must compare otherwise gives ``DIFFERENCE["TOPIC"]``, a function of expected and actual that returns "" when they
agree, else the difference. An area that is being built says which operations its adapter knows with ``OPERATIONS["TOPIC"]``, a
collection of values of the input's ``op``: cases of others are counted as not yet run.
"""

import importlib
import importlib.util
import json
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

HERE = Path(__file__).parent


class Failure(NamedTuple):
    case: str
    reason: str


class Outcome(NamedTuple):
    """One file. ``passed`` is None where there is no adapter yet; ``not_yet`` are cases of operations that are not built."""

    name: str
    passed: int | None
    total: int
    failures: Sequence[Failure] = ()
    disputed: Sequence[Failure] = ()
    not_yet: int = 0


class Adapter(NamedTuple):
    run: Callable[[Any], Any]
    difference: Callable[[Any, Any], str]
    operations: Collection[str] | None = None
    """The operations that it knows; None for all."""


def vector_files(folder: Path, area: str = "") -> list[Path]:
    """The vector files of a folder, of one area if named."""
    return sorted(path for path in folder.glob("*.json") if not area or path.stem == area or path.stem.startswith(f"{area}-"))


def read_disputed(path: Path = HERE / "disputed.yaml") -> dict[tuple[str, str], str]:
    """(file without .json, case name) → why we hold the vector to be wrong."""
    entries = yaml.safe_load(path.read_text()) or [] if path.exists() else []
    return {(entry["file"], entry["case"]): entry["reason"] for entry in entries}


def find_adapter(stem: str) -> Adapter | None:
    """The adapter of ``AREA-TOPIC``; an area may itself contain dashes."""
    parts = stem.split("-")
    for cut in range(1, len(parts)):
        module_name = f"{__package__}.adapters.{'_'.join(parts[:cut])}"
        if importlib.util.find_spec(module_name) is None:
            continue
        module = importlib.import_module(module_name)
        topic = "-".join(parts[cut:])
        if (run := module.ADAPTERS.get(topic)) is not None:
            known = getattr(module, "OPERATIONS", {}).get(topic)
            return Adapter(run, getattr(module, "DIFFERENCE", {}).get(topic, difference), known)
    return None


def run_file(path: Path, disputed: dict[tuple[str, str], str], adapter: Adapter | None) -> Outcome:
    """Every case of one file. A file that is not a list of cases is one failure."""
    try:
        cases = json.loads(path.read_text())
    except ValueError as err:
        return Outcome(path.stem, 0, 1, [Failure("(file)", f"not a vector file: {err}")])
    if not isinstance(cases, list) or not all(isinstance(case, dict) and "input" in case for case in cases):
        return Outcome(path.stem, 0, 1, [Failure("(file)", "not a vector file: it is not a list of cases")])
    if adapter is None:
        return Outcome(path.stem, None, len(cases))
    built = [case for case in cases if adapter.operations is None or case["input"].get("op") in adapter.operations]
    failures = [Failure(str(case.get("name")), reason) for case in built if (reason := run_case(adapter, case))]
    excused = [failure for failure in failures if (path.stem, failure.case) in disputed]
    open_ = [failure for failure in failures if (path.stem, failure.case) not in disputed]
    return Outcome(path.stem, len(built) - len(failures), len(cases), open_, excused, len(cases) - len(built))


def run_case(adapter: Adapter, case: dict[str, Any]) -> str:
    """Empty when the case passes, else what is different."""
    try:
        actual = adapter.run(case["input"])
    except Exception as err:  # noqa: BLE001 — whatever goes wrong in a case is that case's failure
        return f"raised {type(err).__name__}: {err}"
    return adapter.difference(case.get("expected"), actual)


def run_folder(folder: Path, area: str = "") -> Iterator[Outcome]:
    disputed = read_disputed()
    for path in vector_files(folder, area):
        yield run_file(path, disputed, find_adapter(path.stem))


def difference(expected: Any, actual: Any) -> str:
    """Empty when every expected key is there and equal; keys that only ``actual`` has do not matter at the top."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        wrong = {key: (want, actual.get(key)) for key, want in expected.items() if not same(want, actual.get(key))}
        return "; ".join(f"{key}: expected {_short(want)}, got {_short(got)}" for key, (want, got) in wrong.items())
    return "" if same(expected, actual) else f"expected {_short(expected)}, got {_short(actual)}"


def same(a: Any, b: Any) -> bool:
    """Deep equality; numbers within 1e-9, and true is not 1."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, int | float) and isinstance(b, int | float):
        return a == b or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-9)
    return bool(a == b)


def _short(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 300 else text[:297] + "..."
