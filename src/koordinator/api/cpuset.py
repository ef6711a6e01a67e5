"""CPU lists as the kernel writes them: ``0-3,8,10-11``."""

from collections.abc import Iterable
from itertools import pairwise

from koordinator.api.numbers import decimal_int

MAX_CPUS = 4096


def parse(text: str) -> frozenset[int]:
    """The CPUs of a list. A reversed range holds none. Raises ValueError."""
    if not text:
        return frozenset()
    cpus: set[int] = set()
    for item in text.split(","):
        ends = item.split("-")
        if len(ends) > 2:
            raise ValueError(f"invalid format: {item}")
        numbers = [decimal_int(end, 32) for end in ends]
        if len(numbers) == 2 and numbers[1] > MAX_CPUS:
            raise ValueError(f"end {numbers[1]} exceed the maximum available CPU count: {MAX_CPUS}")
        cpus.update(range(numbers[0], numbers[-1] + 1))
    return frozenset(cpus)


def to_text(cpus: Iterable[int]) -> str:
    """Ascending, runs as ``a-b``, the empty set as the empty text."""
    ordered = sorted(set(cpus))
    if not ordered:
        return ""
    breaks = [(a, b) for a, b in pairwise(ordered) if b != a + 1]
    starts = [ordered[0], *(b for _, b in breaks)]
    ends = [*(a for a, _ in breaks), ordered[-1]]
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))


def equal(a: str, b: str) -> bool:
    """Whether two texts name the same CPUs. False when either cannot be read."""
    try:
        return parse(a) == parse(b)
    except ValueError:
        return False
