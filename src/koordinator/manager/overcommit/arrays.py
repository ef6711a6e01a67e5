"""Arithmetic that all sold resources share: arrays with one row per node (or zone) and the columns CPU and memory.

Rounding follows the Go plugins digit by digit: percentages become float64 ratios, products are truncated towards zero.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.int64]

CPU, MEMORY = 0, 1
LIMIT = 1 << 60
"""No input may be larger, so that no sum of a few of them leaves int64."""


def pairs(rows: npt.ArrayLike, count: int) -> Iterator[Array]:
    """``rows`` of int64 (n, 2 × ``count``), CPU before memory each time, as ``count`` arrays (n, 2)."""
    table = np.asarray(rows, dtype=np.int64).reshape(-1, count, 2)
    return (table[:, i, :] for i in range(count))


def percent(given: int | None, default: int) -> int:
    """A strategy's percentage as a number that cannot overflow what it is multiplied with; never negative when given."""
    return default if given is None else max(min(given, 10**9), 0)


def scale(amount: Array, ratio: npt.NDArray[np.float64]) -> Array:
    """``amount`` × ``ratio``, truncated towards zero, within ±2 × LIMIT."""
    product = np.trunc(amount.astype(np.float64) * ratio)
    return np.clip(product, -2.0 * LIMIT, 2.0 * LIMIT).astype(np.int64)
