"""What resources want of a node's NUMA zones, made ready for merging: lists of hints, and what to tell when they do not agree.

Zones are bits of a number: zone 0 is 1, zone 1 is 2, zones 0 and 2 are 5.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from koordinator.scheduler.engine.hooks import Hint

REQUIRED = "Required"
SINGLE, SHARED = "single", "shared"

HintsOf = Mapping[str, Sequence[Hint] | None]
"""One provider's hints by resource. None: the resource does not mind; empty: no zones will do."""


class Zones(NamedTuple):
    """A node's zones and how they may be shared."""

    ids: tuple[int, ...]
    exclusive: str = ""
    """``Required``: pods of one zone and pods of several keep out of each other's zones."""
    status: tuple[tuple[int, str], ...] = ()
    """By zone: idle, single (pods of one zone are there) or shared (pods of several)."""

    @property
    def mask(self) -> int:
        return mask_of(self.ids)

    def allow(self, affinity: int | None) -> bool:
        """Whether exclusiveness lets a pod have these zones."""
        if affinity is None:
            return False
        if self.exclusive != REQUIRED:
            return True
        enemy = SINGLE if affinity.bit_count() > 1 else SHARED
        return not any(status == enemy and affinity >> zone & 1 for zone, status in self.status)


class Wishes(NamedTuple):
    """All providers' hints, one list a resource, and the texts for when they cannot be had together."""

    lists: tuple[tuple[Hint, ...], ...]
    reasons: tuple[str, ...]
    """Resources that no zones will do for."""
    summaries: tuple[str, ...]


def mask_of(zones: Iterable[int]) -> int:
    mask = 0
    for zone in zones:
        mask |= 1 << zone
    return mask


def zones_of(mask: int) -> list[int]:
    return [zone for zone in range(mask.bit_length()) if mask >> zone & 1]


def text(mask: int | None) -> str:
    """Binary digits as kubelet writes them: two at least, and two more whenever a number of even digits has been passed."""
    if mask is None:
        return "<nil>"
    shift = next((shift for shift in range(62, 0, -2) if mask > 1 << shift), 0)
    return f"{mask:0{shift + 2}b}"


def gathered(providers: Iterable[HintsOf | None]) -> Wishes:
    """One list of hints a resource. A provider or resource that does not mind has one hint: anything."""
    lists: list[tuple[Hint, ...]] = []
    reasons, summaries = [], []
    for hints_of in providers:
        if not hints_of:
            lists.append((Hint(),))
            continue
        for resource, hints in hints_of.items():
            if hints is None:
                lists.append((Hint(),))
            elif not hints:
                lists.append((Hint(preferred=False, unsatisfied=True),))
                reasons.append(f"Unsatisfied NUMA {resource}")
            else:
                lists.append(tuple(hints))
                summaries.append(_summary(resource, hints))
    return Wishes(tuple(lists), tuple(reasons), tuple(sorted(summaries)))


def _summary(resource: str, hints: Sequence[Hint]) -> str:
    preferred = " ".join(text(hint.affinity) for hint in hints if hint.preferred)
    possible = " ".join(text(hint.affinity) for hint in hints)
    return f"{resource} prefer [{preferred}] among [{possible}]"
