"""How costs grow with the cluster: of a pod, and of an informer's event, at 1,000 to 50,000 nodes; draws a picture of it."""

import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from benchmarks.figures import Figure, Measurement
from benchmarks.scheduler_cases import Case
from benchmarks.scheduler_engine import Engine, as_in_the_process, prepared, tiny
from benchmarks.scheduler_templates import big_node, hopeless, node, plain, usage

T = TypeVar("T")
SIZES = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000)
PICTURE = Path("out/bench/scheduler-growth.png")
PODS, EVENTS, REPEATS = 3_000, 1_000, 3


class Costs(NamedTuple):
    """Microseconds, by size of the cluster: a pod's processor time, best of a few runs; an event's median on the clock."""

    pods: list[float]
    events: dict[str, list[float]]


def costs() -> Costs:
    pods: list[float] = []
    events: dict[str, list[float]] = {}
    for size in SIZES:
        case = Case("growth", size, 0, 0, plain, 0, 0, node=big_node)
        engine = prepared(case)
        runs = [engine.schedule(plain, range(turn * PODS, (turn + 1) * PODS)) for turn in range(REPEATS)]
        pods.append(1e6 * min(runs) / PODS)
        for name, cost in events_of(prepared(case._replace(node=node)), size).items():
            events.setdefault(name, []).append(cost)
    return Costs(pods, events)


def events_of(engine: Engine, size: int) -> dict[str, float]:
    """What the informers' handlers take while a pod waits for room. Raises RuntimeError when it does not wait."""
    pending = hopeless(0)
    engine.set(pending)
    engine.step()
    if pending.metadata.uid not in engine.scheduler.queue:
        raise RuntimeError(f"{pending.key} does not wait")
    some = range(0, size, size // EVENTS)
    moved = [node(index) for index in some]
    for one in moved:
        one.metadata.labels = {**(one.metadata.labels or {}), "moved": "yes"}
    pods = [tiny(index, size) for index in some]
    return {
        "node changed": _each(engine, moved, engine.set),
        "usage report": _each(engine, [usage(index, size) for index in some], engine.set),
        "pod placed": _each(engine, pods, engine.set),
        "pod removed": _each(engine, pods, engine.delete),
    }


def _each(engine: Engine, things: Iterable[T], work: Callable[[T], object]) -> float:
    """The median of the microseconds for one."""
    took = []
    with as_in_the_process():
        for one in things:
            begin = time.perf_counter_ns()
            work(one)
            took.append(time.perf_counter_ns() - begin)
    while engine.step():
        pass
    return statistics.median(took) / 1000


def draw(found: Costs) -> None:
    """Raises ImportError without matplotlib."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    left.plot(SIZES, found.pods, marker="o")
    left.set_title("placing one pod, engine")
    for name, some in found.events.items():
        right.plot(SIZES, some, marker="o", label=name)
    right.set_title("one informer event, engine")
    right.legend()
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xlabel("nodes")
        axes.set_ylabel("µs")
        axes.set_ylim(bottom=0, top=1.3 * axes.get_ylim()[1])
        axes.grid(alpha=0.3)
    figure.tight_layout()
    PICTURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(PICTURE, dpi=110)


def drawn() -> Costs:
    found = costs()
    try:
        draw(found)
        print(f"# picture: {PICTURE}")
    except ImportError:
        print("# no picture: matplotlib is not installed")
    return found


EVENT_NAMES = ("node changed", "usage report", "pod placed", "pod removed")


def measurements() -> Iterator[Measurement]:
    yield Measurement(drawn, list(_figures()), runs=1)


def _figures() -> Iterator[Figure]:
    yield Figure("engine, growth: cost of a pod at 50,000 nodes against 1,000", "times", "<= 6", _growth_of_a_pod)
    for name in EVENT_NAMES:
        growth = f"engine, growth: {name}, 50,000 nodes against 1,000"
        yield Figure(f"engine, an event at 50,000 nodes: {name}", "us", "", partial(_of_an_event, name))
        yield Figure(growth, "times", "<= 2", partial(_growth_of_an_event, name))


def _growth_of_a_pod(found: Costs) -> float:
    return found.pods[-1] / found.pods[0]


def _of_an_event(name: str, found: Costs) -> float:
    return found.events[name][-1]


def _growth_of_an_event(name: str, found: Costs) -> float:
    return found.events[name][-1] / found.events[name][0]
