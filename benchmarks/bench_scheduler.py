"""The scheduler's figures: scheduler_perf's cases and Koordinator's own, on the engine alone and end to end; how costs grow.

"engine" is one core without API server: from a pod's arrival to its being on a node, all plugins of the profile on, all nodes
looked at. "end to end" is an API server that keeps pods on disk, the scheduler and a client, two cores in all.
"""

from collections.abc import Iterator
from functools import partial

from benchmarks import scheduler_e2e, scheduler_engine, scheduler_growth
from benchmarks.cluster import environment
from benchmarks.figures import Measurement, measure, single
from benchmarks.scheduler_cases import Case
from benchmarks.scheduler_engine import CROWD, rate, share
from benchmarks.scheduler_templates import big_node, plain, various


def case(nodes: int, pods: int) -> Case:
    return Case("one template", nodes, 0, pods, plain, 0, 0, node=big_node)


def measurements() -> Iterator[Measurement]:
    for nodes, pods, goal in (1_000, 10_000, 15_000), (5_000, 10_000, 15_000), (20_000, 20_000, 10_000):
        one = case(nodes, pods)
        yield single(f"engine, {one.title}", "pods/s", f">= {goal}", partial(rate, one))
    many = Case("200 templates", 5_000, 0, 10_000, various, 3000, 0, node=big_node)
    yield single(f"engine, {many.title}", "pods/s", ">= 3000", partial(rate, many))
    name = f"engine, one template, 5,000 nodes, {CROWD:,} resident pods against none"
    yield single(name, "times", ">= 0.95", partial(share, case(5_000, 10_000)))
    yield from scheduler_engine.measurements()
    yield from scheduler_growth.measurements()


def main(only: str = "", seconds: float | None = None) -> bool:
    """End to end first: processes forked from a small one are weighed by what is theirs."""
    print(f"# {environment()}")
    return measure([*scheduler_e2e.measurements(), *measurements()], only, seconds)


if __name__ == "__main__":
    main()
