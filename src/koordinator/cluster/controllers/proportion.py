"""A deployment that is scaled while pods of several templates run: every replica set gets its share. Pure.

Whoever scales in the middle of a bad rollout gets more pods that work, not only more of the new ones. A set carries in an
annotation the replica count that it was last sized for; one that differs from the deployment's has its share yet to come.
"""

from collections.abc import Sequence

from koordinator.cluster.controllers import revisions, rollout
from koordinator.cluster.controllers.objects import Deployment, ReplicaSet


def shares(sizes: Sequence[int], total: int) -> list[int]:
    """``total`` in proportion to ``sizes`` (not all zero): rounded down, and what is left to those who lost most by that."""
    whole = sum(sizes)
    given = [size * total // whole for size in sizes]
    by_loss = sorted(range(len(sizes)), key=lambda index: (-(sizes[index] * total % whole), -sizes[index], index))
    for index in by_loss[: total - sum(given)]:
        given[index] += 1
    return given


def outdated(deployment: Deployment, rs: ReplicaSet) -> bool:
    """Whether the set was sized for another replica count than the deployment now has."""
    sized_for = rs.annotations.get(revisions.DESIRED)
    return sized_for is not None and sized_for != str(revisions.wanted_replicas(deployment))


def resized(sizes: list[rollout.Size], stale: list[bool], limits: rollout.Bounds) -> list[int]:
    """What each running set is to have. Those that are not stale have had their share; together they stay within the surge."""
    allowed = limits.replicas + limits.surge if limits.replicas else 0
    settled = sum(size.spec for size, old in zip(sizes, stale, strict=True) if not old)
    pending = [index for index, old in enumerate(stale) if old]
    wanted = [size.spec for size in sizes]
    for index, share in zip(pending, shares([wanted[i] for i in pending], max(0, allowed - settled)), strict=True):
        wanted[index] = share
    room = max(0, allowed - sum(max(size.spec, size.actual) for size in sizes))
    for index in pending:
        growth = max(0, min(wanted[index] - sizes[index].spec, room))
        room -= growth
        wanted[index] = min(wanted[index], sizes[index].spec + growth)
    return wanted
