"""What tables show of built-in kinds, in the words of kubectl's users."""

from koordinator.api.meta import parse_time


def age_of(timestamp: str | None, now: float) -> str:
    """The time since then, the way kubectl writes durations."""
    then = parse_time(timestamp)
    return "<unknown>" if then is None else duration(now - then)


def duration(seconds: float) -> str:
    """A duration with two units at most: 45s, 3m12s, 25m, 5h12m, 17h, 2d3h, 9d, 1y40d."""
    total = int(seconds)
    if total < -1:
        return "<invalid>"
    total = max(total, 0)
    minutes, hours, days = total // 60, total // 3600, total // 86400
    if total < 120:
        return f"{total}s"
    if minutes < 10:
        return _two(minutes, "m", total % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    return _two(days // 365, "y", days % 365, "d") if days < 2920 else f"{days // 365}y"


def _two(big: int, big_unit: str, small: int, small_unit: str) -> str:
    return f"{big}{big_unit}{small}{small_unit}" if small else f"{big}{big_unit}"
