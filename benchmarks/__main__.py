"""Run benchmarks: each prints one JSON line a figure. `python -m benchmarks [name]`; exit 1 when a figure misses its goal."""

import importlib
import pkgutil
import sys

import benchmarks


def main(names: list[str]) -> int:
    known = sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__) if module.name.startswith("bench_"))
    wanted = [f"bench_{name.replace('-', '_')}" for name in names] or known
    if unknown := [name for name in wanted if name not in known]:
        sys.stderr.write(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(known)}\n")
        return 2
    results = [importlib.import_module(f"benchmarks.{name}").main() for name in wanted]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
