"""The arithmetic of a rolling update: numbers in, numbers out.

Guarantees, whatever is late: never more than ``replicas + surge`` pods of all sets together (a set counts with what it was told
or what it still has, whichever is more), and no pod is given up that would leave fewer than ``replicas - unavailable``
available.
"""

import math

import msgspec


class Size(msgspec.Struct, frozen=True):
    """One replica set in a rollout: told to have, really has (active pods), of these available for use."""

    spec: int
    actual: int
    available: int


class Bounds(msgspec.Struct, frozen=True):
    """How far a rollout may stray from ``replicas``, in pods."""

    replicas: int
    surge: int
    unavailable: int


def bounds(replicas: int, max_surge: int | str | None, max_unavailable: int | str | None) -> Bounds:
    """Percentages round surge up and unavailable down; were both zero nothing could ever move, so one may be unavailable.

    Raises: ValueError naming the field.
    """
    surge = _resolve("maxSurge", "25%" if max_surge is None else max_surge, replicas, up=True)
    unavailable = _resolve("maxUnavailable", "25%" if max_unavailable is None else max_unavailable, replicas, up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return Bounds(replicas, surge, min(unavailable, replicas))


def _resolve(field: str, value: int | str, total: int, *, up: bool) -> int:
    try:
        return scaled(value, total, up=up)
    except ValueError as err:
        raise ValueError(f"{field}: {err}") from None


def scaled(value: int | str, total: int, *, up: bool) -> int:
    """A number, or that per cent of ``total``. Raises: ValueError."""
    if isinstance(value, int):
        if value < 0:
            raise ValueError(f"{value} must not be negative")
        return value
    digits = value.removesuffix("%")
    if not (value.endswith("%") and digits.isascii() and digits.isdigit()):
        raise ValueError(f"{value!r} is neither a number nor a percentage")
    share = int(digits) * total
    return math.ceil(share / 100) if up else share // 100


def scale_up(new: Size, old: list[Size], limits: Bounds) -> int:
    """What the new set should be told to have; fewer when the deployment has shrunk below it."""
    if new.spec >= limits.replicas:
        return limits.replicas
    present = sum(max(size.spec, size.actual) for size in [new, *old])
    room = limits.replicas + limits.surge - present
    return new.spec + max(0, min(room, limits.replicas - new.spec))


def scale_down(new: Size, old: list[Size], limits: Bounds) -> list[int]:
    """What the old sets (oldest first) are to have: first pods that do not work go, then as many as may be missed."""
    told = [size.spec for size in old]
    floor = limits.replicas - limits.unavailable
    broken_new = max(0, new.spec - new.available)
    budget = max(0, new.spec + sum(told) - floor - broken_new)
    for index, size in enumerate(old):
        cut = max(0, min(budget, told[index] - size.available))
        told[index] -= cut
        budget -= cut
    spare = max(0, new.available + sum(min(size.available, size.spec) for size in old) - floor)
    budget = min(budget, spare)
    for index in range(len(told)):
        cut = min(budget, told[index])
        told[index] -= cut
        budget -= cut
    return told
