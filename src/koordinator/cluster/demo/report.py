"""The demo's results as people see them: a table, a JSON file, a picture."""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from koordinator.cluster.demo.measure import Phase, Records, Window, percentile, utilization

_HEADINGS = ("phase", "node CPU", "requests/s", "p50 ms", "p99 ms", "p99.9 ms", "batch work")
_LINE = "#333333"
_COLOURS = ("#4c78a8", "#e45756", "#54a24b")


def table(phases: Sequence[Phase]) -> str:
    """The phases as aligned text."""
    rows = [_HEADINGS] + [
        (
            phase.name,
            f"{phase.cpu_utilization:.0%}",
            f"{phase.requests_per_second:.1f}",
            f"{phase.p50_ms:.1f}",
            f"{phase.p99_ms:.1f}",
            f"{phase.p999_ms:.1f}",
            f"{phase.batch_work:,}",
        )
        for phase in phases
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def verdict(phases: Sequence[Phase]) -> str:
    """What the numbers say, in a sentence each."""
    by_name = {phase.name: phase for phase in phases}
    alone, unprotected, guarded = by_name["alone"], by_name["unprotected"], by_name["koordinator"]
    times = guarded.cpu_utilization / alone.cpu_utilization if alone.cpu_utilization else float("inf")
    share = guarded.batch_work / unprotected.batch_work if unprotected.batch_work else 0.0
    return (
        f"The node is {times:.1f} times as busy as with the service alone. The service's p99 is {guarded.p99_ms:.1f} ms under\n"
        f"Koordinator, against {unprotected.p99_ms:.1f} ms unprotected and {alone.p99_ms:.1f} ms alone. Batch did\n"
        f"{share:.0%} of the work that it did unprotected."
    )


def write_json(path: Path, node: dict[str, Any], phases: Sequence[Phase]) -> None:
    """``{"node": {...}, "phases": [...]}``, for programs."""
    path.write_text(json.dumps({"node": node, "phases": [msgspec.to_builtins(phase) for phase in phases]}, indent=2) + "\n")


def draw_timeline(path: Path, windows: Sequence[Window], records: Records) -> None:
    """Node CPU, p99 latency and batch progress second by second, the phases shaded. Raises ImportError without matplotlib."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(3, 1, figsize=(11, 8), sharex=True, layout="constrained")
    origin, end = windows[0].start, windows[-1].end - windows[0].start
    for axis in axes:
        axis.grid(visible=True, alpha=0.3)
        for window, colour in zip(windows, _COLOURS, strict=False):
            axis.axvspan(window.start - origin, window.end - origin, color=colour, alpha=0.10, linewidth=0)
    for window, colour in zip(windows, _COLOURS, strict=False):
        middle = (window.start + window.end) / 2 - origin
        axes[0].text(middle, 104, window.name, ha="center", va="bottom", color=colour, fontweight="bold")
    _draw_cpu(axes[0], records, origin, end)
    _draw_latency(axes[1], records, origin)
    _draw_batch(axes[2], records, origin)
    axes[2].set(xlabel="seconds", xlim=(0, end))
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _draw_cpu(axis: Any, records: Records, origin: float, end: float) -> None:
    middles = [second + 0.5 for second in range(int(end))]
    busy = [100 * utilization(records.cpu, origin + middle - 1, origin + middle + 1) for middle in middles]
    axis.plot(middles, busy, color=_LINE)
    axis.set(ylabel="node CPU, %", ylim=(0, 102))


def _draw_latency(axis: Any, records: Records, origin: float) -> None:
    worst = [percentile(sorted(line.latencies_ms), 99) for line in records.load]
    axis.plot([line.time - origin for line in records.load], worst, color=_LINE)
    axis.set(ylabel="p99 latency, ms", yscale="log")


def _draw_batch(axis: Any, records: Records, origin: float) -> None:
    for lines in records.batch:
        steps = list(itertools.pairwise(lines))
        rates = [(after.units - before.units) / (after.time - before.time) for before, after in steps]
        axis.plot([after.time - origin for _, after in steps], rates, linewidth=1)
    axis.set(ylabel="batch units/s\nper process")
    axis.set_ylim(bottom=0)
