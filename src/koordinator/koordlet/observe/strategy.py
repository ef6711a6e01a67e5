"""How this node is to be guarded: NodeSLO's threshold strategy laid over the defaults."""

import msgspec

from koordinator.api.slo import NodeSLO
from koordinator.api.sloconfig.nodeslo import DEFAULT_THRESHOLD
from koordinator.api.sloconfig.overlay import overlay

CFS_QUOTA = "cfsQuota"


class Thresholds(msgspec.Struct, frozen=True):
    """``resourceUsedThresholdWithBE`` with every default filled in."""

    enable: bool = False
    cpu_suppress_threshold_percent: int = 65
    cpu_suppress_min_percent: int | None = None
    cpu_suppress_policy: str = "cpuset"

    @property
    def by_quota(self) -> bool:
        """Whether CPU suppression is on and works by quota: then best-effort pods must have no quota of their own."""
        return self.enable and self.cpu_suppress_policy == CFS_QUOTA


def thresholds(slo: NodeSLO | None) -> Thresholds | None:
    """None while there is no NodeSLO: then nobody knows what is wanted, and values stay as they are."""
    if slo is None:
        return None
    found = overlay(DEFAULT_THRESHOLD, slo.spec.resource_used_threshold_with_be)
    return Thresholds(
        enable=bool(found.enable),
        cpu_suppress_threshold_percent=found.cpu_suppress_threshold_percent or 0,
        cpu_suppress_min_percent=found.cpu_suppress_min_percent,
        cpu_suppress_policy=found.cpu_suppress_policy,
    )
