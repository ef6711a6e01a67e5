"""Run benchmarks: each prints one JSON line a figure. `python -m benchmarks [name]`; exit 1 when a figure misses its goal.

`--only TEXT` takes the figures whose name contains the text, `--seconds N` says how long each may be measured again;
both where a benchmark knows them.
"""

import argparse
import importlib
import inspect
import pkgutil
import sys
from types import ModuleType
from typing import Any

import benchmarks


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure, and compare with the goals.")
    parser.add_argument("names", nargs="*", help="which benchmarks; all without a name")
    parser.add_argument("--only", help="only figures whose name contains this text")
    parser.add_argument("--seconds", type=float, help="how long each figure may take to be measured again")
    args = parser.parse_args(arguments)
    known = sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__) if module.name.startswith("bench_"))
    wanted = [f"bench_{name.replace('-', '_')}" for name in args.names] or known
    if unknown := [name for name in wanted if name not in known]:
        sys.stderr.write(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(known)}\n")
        return 2
    given = {name: value for name in ("only", "seconds") if (value := getattr(args, name)) is not None}
    modules = [importlib.import_module(f"benchmarks.{name}") for name in wanted]
    if deaf := [module.__name__ for module in modules if not _takes(module, given)]:
        sys.stderr.write(f"cannot be run in parts: {', '.join(deaf)}\n")
        return 2
    results = [module.main(**given) for module in modules]
    return 0 if all(results) else 1


def _takes(module: ModuleType, given: dict[str, Any]) -> bool:
    return given.keys() <= inspect.signature(module.main).parameters.keys()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
