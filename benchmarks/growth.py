"""How costs grow with the cluster: of a pod, and of an informer's event, at 1,000 to 50,000 nodes; draws a picture of it."""

import gc
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from benchmarks.bench_scheduler import NAME, node, pod, rate, scheduler, usage
from benchmarks.figures import report
from koordinator.scheduler.engine.pod import PodReader

if TYPE_CHECKING:
    from koordinator.scheduler.plugins.load_aware.plugin import LoadAwareScheduling

T = TypeVar("T")
SIZES = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000)
PICTURE = Path("out/bench/scheduler-growth.png")
_EVENTS = 3_000


def pod_costs(pods: int = 4_000) -> list[float]:
    """Microseconds per pod of one template, by size."""
    return [1e6 / max(rate(size, pods) for _ in range(2)) for size in SIZES]


def event_costs() -> dict[str, list[float]]:
    """Microseconds per event, by size: a node's heartbeat with new labels, a usage report, a pod coming and going."""
    found: dict[str, list[float]] = {}
    for size in SIZES:
        for name, cost in _events_of(size).items():
            found.setdefault(name, []).append(cost)
    return found


def _events_of(size: int) -> dict[str, float]:
    engine, _ = scheduler(size)
    cluster, reader = engine.cluster, PodReader()
    load_aware = cast("LoadAwareScheduling", engine.profiles[NAME].plugins["LoadAwareScheduling"])
    some = range(0, size, max(size // _EVENTS, 1))
    moved, reports = [node(index) for index in some], [usage(index) for index in some]
    for one in moved:
        one.metadata.labels = {**(one.metadata.labels or {}), "zone": "moved"}
    pods = [(reader.read(pod(index, 1)), f"node-{index}") for index in some]
    return {
        "node changed": _each(moved, cluster.set_node),
        "usage report": _each(reports, load_aware.object_set),
        "pod placed": _each(pods, lambda one: cluster.place(*one)),
        "pod removed": _each(pods, lambda one: cluster.remove(one[0].uid)),
    }


def _each(things: list[T], work: Callable[[T], object]) -> float:
    """Microseconds of processor time for one."""
    gc.collect()
    begin = time.process_time()
    for one in things:
        work(one)
    return 1e6 * (time.process_time() - begin) / len(things)


def draw(pods: Sequence[float], events: dict[str, list[float]]) -> None:
    """Raises ImportError without matplotlib."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    left.plot(SIZES, pods, marker="o")
    left.set_title("one pod, engine")
    for name, costs in events.items():
        right.plot(SIZES, costs, marker="o", label=name)
    right.set_title("one event")
    right.legend()
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xlabel("nodes")
        axes.set_ylabel("µs of processor time")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    figure.tight_layout()
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, dpi=110)


def main() -> bool:
    pods, events = pod_costs(), event_costs()
    results = [report("engine, growth: cost of a pod at 50,000 nodes against 1,000", pods[-1] / pods[0], "times", "<= 6")]
    for name, costs in events.items():
        report(f"engine, an event in a cluster of 50,000 nodes: {name}", costs[-1], "us")
        results.append(report(f"engine, growth: {name}, 50,000 nodes against 1,000", costs[-1] / costs[0], "times", "<= 2"))
    try:
        draw(pods, events)
        print(f"# picture: {PICTURE}")
    except ImportError:
        print("# no picture: matplotlib is not installed")
    return all(results)


if __name__ == "__main__":
    main()
