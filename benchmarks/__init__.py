"""Benchmarks, each a module `bench_<name>` with `main() -> bool` that prints figures through `figures.report`."""
