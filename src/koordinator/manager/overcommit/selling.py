"""Whether a node sells anything at all."""

from koordinator.api.sloconfig.colocation import ColocationStrategy
from koordinator.manager.config import ConfigCache
from koordinator.manager.overcommit import batch
from koordinator.manager.overcommit.inputs import Reported


def why_not(config: ConfigCache, strategy: ColocationStrategy, report: Reported, now: float) -> str:
    """Why a node with this strategy and this report sells nothing; empty when it sells."""
    if not config.colocation_enabled(strategy):
        return batch.DISABLED
    if not report.usable or batch.stale(report.updated, now, strategy.degrade_time_minutes or 15):
        return batch.DEGRADED
    return ""
