"""Many points to one number, by the rules that readers of NodeMetric expect. Pure.

Percentiles take an element, never interpolate, and compute its index in 32-bit floats: p50 of nine is the fourth smallest.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
TYPES = ("avg", "p50", "p90", "p95", "p99")
"""Aggregations of a NodeMetric, by their names on the wire."""

_QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


def average(values: Array) -> float:
    """Raises ValueError when there are no points."""
    _need(values)
    return float(values.mean())


def percentile(values: Array, quantile: float) -> float:
    """The element at ``trunc(n × quantile) − 1`` of the sorted points, or the first. Raises ValueError when there are none."""
    _need(values)
    index = max(int(np.float32(len(values)) * np.float32(quantile)) - 1, 0)
    return float(np.partition(values, index)[index])


def last(times: npt.NDArray[np.int64], values: Array) -> float:
    """The value of the latest point, of the first of them when several share the time. Raises ValueError without points."""
    _need(values)
    return float(values[int(times.argmax())])


def aggregate(values: Array, kind: str) -> float:
    """One of ``TYPES``. Raises ValueError when there are no points."""
    how: Callable[[Array], float] = average if kind == "avg" else lambda points: percentile(points, _QUANTILES[kind])
    return how(values)


def cold(first_ms: int, last_ms: int, window_ms: int) -> bool:
    """Whether samples span less than half of the window: too little to speak for it."""
    return 2 * (last_ms - first_ms) < window_ms


def _need(values: Array) -> None:
    if not len(values):
        raise ValueError("no points to aggregate")
